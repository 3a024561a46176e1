"""The documentation holds together: links, anchors, navigation, and pages that code and messages name."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
WRITTEN = [ROOT / "README.md", *PAGES]
FENCE = re.compile(r"^( *)```.*?^\1```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"!?\[(?:[^\]\[]|\[[^\]]*\])*\]\(([^)\s]+)\)")


def prose(path: Path) -> str:
    """A page without its blocks and spans of code."""
    return re.sub(r"`[^`\n]*`", "", FENCE.sub("", path.read_text()))


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    titles = re.findall(r"^#+ (.+)$", FENCE.sub("", path.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def broken(path: Path) -> list[str]:
    """The relative links of a page that lead nowhere."""
    found = []
    for target in LINK.findall(prose(path)):
        if re.match(r"https?://", target):
            continue
        file, _, anchor = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        if not there.is_file() or not there.is_relative_to(ROOT):
            found.append(target)
        elif anchor and anchor not in anchors(there):
            found.append(target)
    return found


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_and_anchors_lead_somewhere(path: Path) -> None:
    assert not broken(path)


def test_a_broken_link_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    (tmp_path / "there.md").write_text("# A title, with (signs) & λ\n\n```\n# no title\n```\n")
    links = ("there.md", "there.md#a-title-with-signs--λ", "gone.md", "there.md#gone", "there.md#no-title", "../up.md")
    page = tmp_path / "page.md"
    page.write_text("\n".join(f"[x]({link}) `[x](code.md)`" for link in links) + "\n```\n[x](block.md)\n```\n")
    assert broken(page) == list(links[2:])


def test_links_of_pages_stay_within_the_site() -> None:
    for path in PAGES:
        links = [link for link in LINK.findall(prose(path)) if not re.match(r"https?://", link)]
        assert not [link for link in links if not (path.parent / link).resolve().is_relative_to(DOCS)], path


def test_every_page_is_in_the_navigation_once() -> None:
    class Loader(yaml.SafeLoader):
        """Reads past what names a function of the builder."""

    Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, suffix, node: suffix)
    site = yaml.load((ROOT / "mkdocs.yml").read_text(), Loader)

    def listed(entry: object) -> list[str]:
        if isinstance(entry, str):
            return [entry]
        return [name for value in (entry.values() if isinstance(entry, dict) else entry) for name in listed(value)]

    assert sorted(listed(site["nav"])) == [str(path.relative_to(DOCS)) for path in PAGES]


def test_pages_that_the_repository_names_are_there() -> None:
    folders = ("visual_summaries", "benchmarks", "deploy", "tests", "docs")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.*")]
    files += [*ROOT.glob("*.yaml"), *ROOT.glob("*.toml"), ROOT / "Makefile", ROOT / "README.md"]
    named: dict[str, Path] = {}
    for path in files:
        if path.suffix in (".py", ".md", ".sql", ".yaml", ".html", ".toml", ".js", ""):
            for page in re.findall(r"(?<![\w./-])docs/[\w/-]+\.(?:md|webp|svg)\b", path.read_text()):
                named.setdefault(page, path)
    assert len(named) > 20
    assert not {page: path for page, path in named.items() if not (ROOT / page).is_file()}


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: str(path.relative_to(ROOT)))
def test_lists_and_code_look_the_same_on_github_and_on_the_site(path: Path) -> None:
    """The site's Markdown wants an empty line before a list or table, and four spaces below an item of a list."""
    text = path.read_text()
    for line in re.findall(r"^ *```(?!$).*$", text, re.MULTILINE):
        assert re.fullmatch(r' *```\w+( title="[^"]+")?', line), line
    lines = FENCE.sub("", text).splitlines()
    for before, line in zip(lines, lines[1:], strict=False):
        begins = re.match(r"( *)([-*]|\d+\.) ", line) or re.match(r"()\|", line)
        if begins and before.strip() and not re.match(r" *([-*]|\d+\.) |\||  ", before):
            pytest.fail(f"no empty line before: {line}")
    for block in re.findall(r"^( +)```", text, re.MULTILINE):
        assert len(block) % 4 == 0, "a block of code in a list is indented by four spaces"
