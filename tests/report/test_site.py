"""The pages about a run, read back with the standard library's HTML parser."""

import base64
import hashlib
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from contents import EVIL_LABEL, EVIL_URI, Page, assert_complete, class_page, example, index, member, robin, summary

from visual_summaries.pipeline.report import class_drawings, class_pages, site
from visual_summaries.pipeline.report.content import ErrorContent, MetricContent, StageContent, ToldContent
from visual_summaries.pipeline.report.plots import Plot


def test_whole_report_is_complete(tmp_path: Path) -> None:
    cards = [
        class_pages.write_class_page(tmp_path, robin()),
        class_pages.write_class_page(tmp_path, robin(label="a/b", class_name="Wren", summaries=[], examples=[])),
    ]
    path = site.write_site(tmp_path, index(classes=cards))
    assert path == tmp_path / "index.html"
    pages = {page.relative_to(tmp_path).as_posix(): Page(page) for page in tmp_path.rglob("*.html")}
    own = [f"classes/robin/{name}.html" for name in ("index", "photographs", "summary-01", "summary-02")]
    about = [f"{name}.html" for name in ("index", "worries", "mistakes", "map", "plots", "errors", "methods")]
    assert set(pages) == {*about, *own, cards[1].page}
    for page in pages.values():
        assert_complete(page)
    assert [a["href"] for a in pages["index.html"].all("a")][-2:] == [card.page for card in cards]
    assert "{{" not in (tmp_path / "style.css").read_text() and "http" not in (tmp_path / "style.css").read_text()


def test_text_is_never_markup(tmp_path: Path) -> None:
    error = ErrorContent(EVIL_LABEL, EVIL_LABEL, EVIL_LABEL, EVIL_URI, EVIL_LABEL)
    metric = MetricContent(EVIL_LABEL, 1.0, 0.5, 1.5, 3, EVIL_LABEL, EVIL_LABEL)
    members = [member(0, EVIL_URI, exemplar=True), member(1, EVIL_URI, kept=False, reason=EVIL_LABEL)]
    card = class_pages.write_class_page(
        tmp_path,
        robin(
            label=EVIL_LABEL,
            class_name=EVIL_LABEL,
            summaries=[
                replace(summary(1), members=members, tags=[(EVIL_LABEL, 0.5)]),
                summary(2, kept=False, reason=EVIL_LABEL),
            ],
            examples=[replace(example(EVIL_URI), prediction_name=EVIL_LABEL)],
        ),
        ToldContent([metric], [metric], [error], {1: [(EVIL_LABEL, 2)]}, previous=(EVIL_LABEL, EVIL_LABEL)),
    )
    stage = StageContent(EVIL_LABEL, 1.0, 1, 0, 1.0, 1, 1)
    path = site.write_site(
        tmp_path,
        index(
            title=EVIL_LABEL, model=EVIL_LABEL, weights=EVIL_LABEL, explainer=EVIL_LABEL, started=EVIL_LABEL,
            classes=[card], metrics=[metric], stages=[stage], errors=[error], configuration=EVIL_LABEL,
            versions=EVIL_LABEL, evaluation=[metric], ratings=[metric], methods=[(EVIL_LABEL, EVIL_LABEL)],
            plots=[Plot("<svg></svg>", EVIL_LABEL, EVIL_LABEL)],
        ),
    )
    folder = (tmp_path / card.page).parent
    scripts = len(Page(path).all("script"))
    for page, labels, uris in (
        (Page(path), 5, 0),
        (Page(tmp_path / "plots.html"), 12, 0),
        (Page(tmp_path / "errors.html"), 6, 1),
        (Page(tmp_path / "methods.html"), 7, 0),
        (Page(tmp_path / card.page), 13, 1),
        (Page(folder / "summary-01.html"), 5, 0),
        (Page(folder / "photographs.html"), 3, 1),
    ):
        assert_complete(page)
        assert len(page.all("script")) == (scripts if page.path == path else scripts - 1)
        assert all(not name.startswith("on") for _, attributes in page.elements for name in attributes)
        assert all(image["src"].endswith(".webp") for image in page.all("img"))
        assert page.text.count(EVIL_LABEL) >= labels
        assert page.text.count(EVIL_URI) >= uris
    assert EVIL_URI in [p.get("title") for p in Page(tmp_path / card.page).all("p")]
    assert EVIL_LABEL.casefold() in Page(path).all("li")[-1]["data-search"]


def test_scripts_are_allowed_by_their_hashes_alone(tmp_path: Path) -> None:
    path = site.write_site(tmp_path, index(classes=[class_pages.write_class_page(tmp_path, robin())]))
    for file in (path, tmp_path / "classes" / "robin" / "index.html"):
        page = Page(file)
        (policy,) = [meta["content"] for meta in page.all("meta") if meta.get("http-equiv")]
        scripts = re.findall(r"(?s)<script>(.*?)</script>", page.source)
        hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts]
        assert hashes and policy.split(";")[0] == "script-src " + " ".join(f"'sha256-{value}'" for value in hashes)


def test_strip_shows_the_exemplars(tmp_path: Path) -> None:
    card = class_pages.write_class_page(tmp_path, robin(summaries=[summary(number) for number in range(1, 6)]))
    pitch = class_drawings.STRIP_SIDE + class_drawings.STRIP_GAP
    assert card.strip_width == class_drawings.STRIP_COLUMNS * pitch - class_drawings.STRIP_GAP
    one = class_pages.write_class_page(tmp_path, robin(label="one", summaries=[summary()]))
    assert (one.strip_width, one.strip_height) == (class_drawings.STRIP_SIDE, class_drawings.STRIP_SIDE)
    none = class_pages.write_class_page(tmp_path, robin(label="none", summaries=[summary(kept=False, reason="small")]))
    assert (none.strip, none.sheet, none.summaries, none.pruned) == (None, None, 0, 1)
    page = Page(site.write_site(tmp_path, index(classes=[card, one, none])))
    widths = [image["style"] for image in page.all("img")]
    assert widths == ["width:100.0%", f"width:{round(100 * one.strip_width / card.strip_width, 2)}%"]
    assert page.text.count("No part recurs often enough") == 1


def test_figures_are_shown_with_unit_interval_and_method(tmp_path: Path) -> None:
    metrics = [
        MetricContent("drop", 0.96214, 0.955, 0.9687, 1798, "share", "mean over images"),
        MetricContent("deletion", 0.0831, 0.079, 0.0884, 798, "0..1", "area under the curve"),
        MetricContent("distance", 15.96, 14.2, 17.449, 20, "px", "mean distance"),
        MetricContent("purity", float("nan"), None, None, 0, "bit", "there are no landmarks"),
        MetricContent("summaries", 31.0, None, None, 12, "summaries", "sum over classes"),
    ]
    stages = [StageContent("explain", 1843.24, 104, 96, 3600.06, 1_912_400_000, 371_233)]
    site.write_site(tmp_path, index(metrics=metrics, stages=stages))
    pages = [Page(tmp_path / f"{name}.html") for name in ("plots", "methods", "index", "errors")]
    words = " ".join(re.sub(r"\s+", " ", page.text) for page in pages)
    for expected in (
        "drop 96.2% 95.5% to 96.9% 1,798 mean over images",
        "deletion 0.083 0.079 to 0.088 798 area under the curve",
        "distance 16.0 px 14.2 to 17.4 20 mean distance",
        "purity – – 0 there are no landmarks",
        "summaries 31 summaries – 12 sum over classes",
        "explain 1,843.2 s 3,600.1 s 1,912 MB 104 96 371,233",
        "Seed 7 ",
    ):
        assert expected in words
    assert words.count("Nothing: every photograph") == 2


def test_index_adds_up_its_classes(tmp_path: Path) -> None:
    cards = [class_pages.write_class_page(tmp_path, robin(label=f"c{number}", examples=[])) for number in range(3)]
    words = re.sub(r"\s+", " ", Page(site.write_site(tmp_path, index(classes=cards))).text)
    for expected in ("Classes 3 ", "Photographs 123 120 explained", "Summaries 6 0 more were pruned"):
        assert expected in words
    assert words.count("accuracy 92.5%, mean drop 87.1%") == 3


def test_why_not_all_photographs_are_explained(tmp_path: Path) -> None:
    few, all_of_them = robin(label="few", examples=[]), robin(label="all", examples=[], explained=41)
    cards = [class_pages.write_class_page(tmp_path, content) for content in (few, all_of_them)]
    links = [
        [one["href"] for one in Page(path).all("a") if "#unexplained" in one.get("href", "")]
        for path in (site.write_site(tmp_path, index(classes=cards)), *(tmp_path / card.page for card in cards))
    ]
    assert links == [["errors.html#unexplained"], ["../../errors.html#unexplained"], []]
    page = Page(tmp_path / "errors.html")
    assert "81 of 82 photographs were explained" in page.text and page.source.count('id="unexplained"') == 1
    site.write_site(tmp_path, index(classes=cards[1:]))
    assert "unexplained" not in (tmp_path / "errors.html").read_text() + (tmp_path / "index.html").read_text()


def test_long_error_lists_are_cut_and_counted_by_reason(tmp_path: Path) -> None:
    many = site.ALL_ERRORS_SHOWN
    errors = [ErrorContent("images", "robin", f"reason {number % 3};", f"{number}.jpg") for number in range(many + 30)]
    path = site.write_site(tmp_path, index(errors=errors))
    assert f"{many + 30:,} things left out" in Page(path).text
    page = Page(tmp_path / "errors.html")
    assert page.text.count(".jpg") == many == 2000 and "30 more rows" in page.text
    words = re.sub(r"\s+", " ", page.text)
    # 2,030 errors of three kinds in turn.
    assert all(f"reason {number};{rows} " in words for number, rows in enumerate((677, 677, 676)))
    own = class_page(tmp_path, robin(), errors=errors[: class_pages.ERRORS_SHOWN + 7])
    assert own.text.count("reason ") == class_pages.ERRORS_SHOWN == 200 and "7 more rows" in own.text


def test_faithfulness_is_deletion_where_it_was_measured(tmp_path: Path) -> None:
    def order(*cards) -> list[str | None]:
        page = Page(site.write_site(tmp_path, index(classes=cards)))
        return [item.get("data-faithfulness") for item in page.all("li")]

    deletion = MetricContent("deletion", 0.125, 0.1, 0.2, 40, "", "faithfulness")
    one = class_pages.write_class_page(tmp_path, robin(label="one"))
    two = class_pages.write_class_page(tmp_path, robin(label="two"), ToldContent(evaluation=[deletion]))
    bare = class_pages.write_class_page(tmp_path, robin(label="three", drop=None))
    assert order(one, bare) == ["0.8710", None] and order(one, two) == [None, "-0.1250"]


def test_a_thousand_classes_stay_below_a_megabyte(tmp_path: Path) -> None:
    summaries = [summary(n, tags=[(f"chambered nautilus{n}{tag}", 0.5) for tag in range(5)]) for n in range(1, 11)]
    content = robin(label="n01234567", class_name="an unusually long name of a class", summaries=summaries)
    card = class_pages.write_class_page(tmp_path, content)
    plots = [Plot(f"<svg>{'x' * size}</svg>", "a", "b") for size in (50_000, 90_000, 90_000, 9_000, 90_000)]
    path = site.write_site(tmp_path, index(classes=[card] * 1000, plots=plots))
    assert Page(path).source.count("<svg>") == 3
    assert path.stat().st_size < 1_000_000
    assert max(page.stat().st_size for page in tmp_path.rglob("*.html")) < 1_000_000


def test_failed_writing_leaves_the_old_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = site.write_site(tmp_path, index()).read_bytes()

    def fail(source, target) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk is full"):
        site.write_site(tmp_path, index(title="Another"))
    assert (tmp_path / "index.html").read_bytes() == before
    names = ["errors.html", "icon.svg", "index.html", "map.html", "methods.html", "mistakes.html", "plots.html"]
    names += ["style.css", "worries.html"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_report_needs_neither_ray_nor_pyarrow() -> None:
    program = (
        "import sys; sys.modules.update(ray=None, pyarrow=None, torch=None)\n"
        "from visual_summaries.pipeline.report import site, class_pages, pictures"
    )
    root = Path(site.__file__).parents[2]
    result = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
