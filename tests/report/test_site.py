"""The report's pages, read back with the standard library's HTML parser and with Pillow."""

import json
import os
import pickle
import re
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from html.parser import HTMLParser
from multiprocessing import get_context
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from PIL import Image

from pipeline.report import site
from pipeline.report.content import (
    ClassCard,
    ClassContent,
    ErrorContent,
    ExampleContent,
    IndexContent,
    MemberContent,
    MetricContent,
    StageContent,
    SummaryContent,
)

EVIL_LABEL = "<script>alert(1)</script>\"&'"
EVIL_URI = '"><img src=x onerror=alert(1)>.jpg'
EMPTY_ELEMENTS = {"meta", "link", "img", "br"}


class Page(HTMLParser):
    """Elements with their attributes, and the text, of a page; complains when elements are not closed in order."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.path = path
        self.source = path.read_text(encoding="utf-8")
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.folded_text = ""
        self.open: list[str] = []
        self.feed(self.source)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes) -> None:
        assert len(attributes) == len(dict(attributes))
        self.elements.append((tag, dict(attributes)))
        if tag not in EMPTY_ELEMENTS:
            self.open.append(tag)

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data) -> None:
        self.text += data
        if "details" in self.open:
            self.folded_text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def member(seed: int = 0, uri: str | None = None, **changes) -> MemberContent:
    generator = np.random.default_rng(seed)
    mask = np.zeros((32, 32), bool)
    mask[6:22, 8:26] = True
    values = dict(
        image=generator.integers(0, 256, (32, 32, 3), dtype=np.uint8),
        regions_mask=mask,
        hull=np.array([[10.0, 8.0], [20.0, 8.0], [20.0, 18.0], [10.0, 18.0]]),
        box=(10, 8, 20, 18),
        image_id=f"{seed:064x}",
        uri=uri or f"/photographs/robin/{seed:04d}.jpg",
        similarity=1.25,
        ssim=0.31,
        drop=0.8,
    )
    return MemberContent(**(values | changes))


def summary(number: int = 1, members: int = 3, **changes) -> SummaryContent:
    contents = [member(10 * number + place, exemplar=place == 0) for place in range(members)]
    values = dict(
        number=number,
        kept=True,
        reason=None,
        members=contents,
        members_kept=members,
        members_before=members,
        support=members / 40,
    )
    return SummaryContent(**(values | changes))


def example(uri: str = "/photographs/robin/e.jpg") -> ExampleContent:
    picture = member(7)
    saliency = np.where(picture.regions_mask, 250, 5).astype(np.uint8)
    return ExampleContent(picture.image, saliency, picture.regions_mask, "e" * 64, uri, "robin", 0.9, 0.1, 0.889)


def robin(**changes) -> ClassContent:
    values = dict(
        label="robin",
        class_name="robin",
        class_index=15,
        images=41,
        explained=40,
        accuracy=0.925,
        drop=0.871,
        area=0.104,
        crispness=0.062,
        summaries=[summary(1, 4), summary(2, 3)],
        examples=[example()],
    )
    return ClassContent(**(values | changes))


def index(**changes) -> IndexContent:
    return IndexContent(**(dict(title="A run", model="net", weights="ab" * 32, explainer="crisp", seed=7) | changes))


def class_page(directory: Path, content: ClassContent) -> Page:
    return Page(directory / site.write_class_page(directory, content).page)


def assert_complete(page: Page) -> None:
    """Each link and picture is a file of the report, each picture says its size and what it shows."""
    references = [link["href"] for link in page.all("link")] + [link["href"] for link in page.all("a")]
    for reference in [*references, *(image["src"] for image in page.all("img"))]:
        parts = urlsplit(reference)
        assert not parts.scheme and not parts.netloc and not parts.query and not reference.startswith("/")
        assert (page.path.parent / unquote(parts.path)).is_file(), reference
    for image in page.all("img"):
        with Image.open(page.path.parent / unquote(image["src"])) as picture:
            assert picture.size == (int(image["width"]), int(image["height"]))
        assert image["loading"] == "lazy" and len(image["alt"]) > 10
    assert not re.search(r"""(https?:)?//[\w.]|url\(|@import|javascript:""", page.source)


def test_whole_report_is_complete(tmp_path: Path) -> None:
    cards = [
        site.write_class_page(tmp_path, robin()),
        site.write_class_page(tmp_path, robin(label="a/b", class_name="Wren", summaries=[], examples=[])),
    ]
    path = site.write_index(tmp_path, index(classes=cards))
    assert path == tmp_path / "index.html"
    pages = [Page(path), *(Page(tmp_path / card.page) for card in cards)]
    for page in pages:
        assert_complete(page)
    assert [a["href"] for a in pages[0].all("a")] == [card.page for card in cards]
    assert "{{" not in (tmp_path / "style.css").read_text() and "http" not in (tmp_path / "style.css").read_text()


def test_text_is_never_markup(tmp_path: Path) -> None:
    error = ErrorContent(EVIL_LABEL, EVIL_LABEL, EVIL_LABEL, EVIL_URI, EVIL_LABEL)
    metric = MetricContent(EVIL_LABEL, 1.0, 0.5, 1.5, 3, EVIL_LABEL, EVIL_LABEL)
    members = [member(0, EVIL_URI, exemplar=True), member(1, EVIL_URI, kept=False, reason=EVIL_LABEL)]
    card = site.write_class_page(
        tmp_path,
        robin(
            label=EVIL_LABEL,
            class_name=EVIL_LABEL,
            summaries=[replace(summary(1), members=members), summary(2, kept=False, reason=EVIL_LABEL)],
            examples=[replace(example(EVIL_URI), prediction_name=EVIL_LABEL)],
            metrics=[metric],
            errors=[error],
        ),
    )
    stage = StageContent(EVIL_LABEL, 1.0, 1, 0, 1.0, 1, 1)
    path = site.write_index(
        tmp_path,
        index(
            title=EVIL_LABEL, model=EVIL_LABEL, weights=EVIL_LABEL, explainer=EVIL_LABEL, started=EVIL_LABEL,
            classes=[card], metrics=[metric], stages=[stage], errors=[error], configuration=EVIL_LABEL,
            versions=EVIL_LABEL,
        ),
    )
    for page, labels, uris in ((Page(path), 12, 1), (Page(tmp_path / card.page), 10, 2)):
        assert_complete(page)
        assert not page.all("script")
        assert all(not name.startswith("on") for _, attributes in page.elements for name in attributes)
        assert all(image["src"].endswith(".webp") for image in page.all("img"))
        assert page.text.count(EVIL_LABEL) >= labels
        assert page.text.count(EVIL_URI) >= uris
    assert EVIL_URI in [p.get("title") for p in Page(tmp_path / card.page).all("p")]


def test_labels_never_share_a_folder() -> None:
    labels = ["robin", "Robin", "ROBIN", "a/b", "a b", "a-b", "a.b", "..", ".", "", " ", "é", "e", "e\u0301", "知更鳥",
              "con", "nul", "com1", "a" * 64, "a" * 65, "a" * 300, EVIL_LABEL, "a\\b", "a%2Fb", "-a", "\udcff", "\x00"]
    labels += [site.slug(label) for label in labels if site.slug(label) != label]
    names = [site.slug(label) for label in labels]
    assert len({name.lower() for name in names}) == len(set(labels)) == len(labels)
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", name) and not name.endswith(".") for name in names)
    assert not {"con", "nul", "com1"} & {name.split(".")[0] for name in names}  # reserved on Windows
    assert site.slug("robin") == "robin" and site.slug("n01531178") == "n01531178"


@pytest.mark.parametrize("label", ["..", "../../escape", "", "知更鳥", "a\x00b", "\udcff", "x" * 400, "CON"])
def test_any_label_makes_a_page_inside_the_folder(tmp_path: Path, label: str) -> None:
    card = site.write_class_page(tmp_path / "site", robin(label=label, summaries=[summary()], examples=[]))
    page = tmp_path / "site" / card.page
    assert page.resolve().parent.parent == (tmp_path / "site" / "classes").resolve()
    assert [path.name for path in tmp_path.iterdir()] == ["site"]
    assert_complete(Page(site.write_index(tmp_path / "site", index(classes=[card]))))


def test_card_survives_json_and_pickle(tmp_path: Path) -> None:
    card = site.write_class_page(tmp_path, robin())
    assert ClassCard(**json.loads(json.dumps(asdict(card)))) == card
    assert pickle.loads(pickle.dumps(card)) == card
    assert (card.summaries, card.pruned, card.images, card.explained, card.errors) == (2, 0, 41, 40, 0)


def test_class_pages_are_written_at_once_by_processes(tmp_path: Path) -> None:
    contents = [robin(label=f"Class {number}", summaries=[summary()], examples=[]) for number in range(6)]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        cards = list(pool.map(site.write_class_page, [tmp_path] * 6, contents))
    site.write_index(tmp_path, index(classes=cards))
    assert [card.label for card in cards] == [content.label for content in contents]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["classes", "index.html", "style.css"]
    for card in cards:
        assert_complete(Page(tmp_path / card.page))


def test_exemplar_comes_first_and_pruned_ones_are_folded_with_their_reason(tmp_path: Path) -> None:
    members = [member(1, "one.jpg"), member(2, "two.jpg", kept=False, reason="differs from the others"),
               member(3, "chosen.jpg", exemplar=True)]
    pruned = summary(2, kept=False, reason="2 images are fewer than 3")
    page = class_page(tmp_path, robin(summaries=[replace(summary(1), members=members), pruned], examples=[]))
    titles = [p["title"] for p in page.all("p") if p.get("class") == "file"]
    assert titles[:3] == ["chosen.jpg", "one.jpg", "two.jpg"]
    assert "Exemplar of summary 1 of robin, chosen.jpg" in page.all("img")[0]["alt"]
    assert page.all("img")[0]["src"] == "summary-01-01.webp"
    for reason in ("differs from the others", "2 images are fewer than 3"):
        assert reason in page.folded_text
    assert "one.jpg" in page.text and "one.jpg" not in page.folded_text


def test_many_members_are_folded_and_missing_ones_counted(tmp_path: Path) -> None:
    shown = site.MEMBERS_SHOWN
    page = class_page(tmp_path, robin(summaries=[summary(1, shown + 3, members_kept=shown + 8)], examples=[]))
    assert len(page.all("figure")) == shown + 3
    assert page.folded_text.count("similarity") == 3
    assert "3 more members" in page.text and "5 further members are" in page.text


def test_contact_sheet_has_a_row_for_each_summary(tmp_path: Path) -> None:
    contents = robin(summaries=[summary(1, 10), summary(2, 3), summary(3, 5, kept=False, reason="small")])
    card = site.write_class_page(tmp_path, contents)
    sheet = np.asarray(Image.open(tmp_path / card.sheet).convert("RGB")).astype(int)
    side, columns = site.SHEET_SIDE, site.SHEET_COLUMNS
    assert sheet.shape[1] == columns * side + (columns - 1) * 6
    assert 2 * side < sheet.shape[0] < 3 * side
    last_row = sheet[-side:]
    drawn = [(last_row[:, left : left + side].std() > 5) for left in range(0, sheet.shape[1], side + 6)]
    assert drawn == [True] * 3 + [False] * (columns - 3)
    teal = np.abs(last_row[side // 2, 1] - (13, 110, 110)).max()
    assert teal < 40 < np.abs(last_row[side // 2, side + 7] - (13, 110, 110)).max()


def test_contact_sheet_of_very_many_summaries_shows_the_first(tmp_path: Path) -> None:
    # One row for each would be higher than a WebP can be.
    contents = robin(summaries=[summary(number, 3) for number in range(1, 121)], examples=[])
    card = site.write_class_page(tmp_path, contents)
    with Image.open(tmp_path / card.sheet) as sheet:
        assert 40 * site.SHEET_SIDE < sheet.height < 16383
    assert "The first 40 of 120 kept summaries of robin" in Page(tmp_path / card.page).text


def test_strip_shows_the_exemplars(tmp_path: Path) -> None:
    card = site.write_class_page(tmp_path, robin(summaries=[summary(number) for number in range(1, 6)]))
    assert card.strip_width == site.STRIP_COLUMNS * (site.STRIP_SIDE + site.STRIP_GAP) - site.STRIP_GAP
    one = site.write_class_page(tmp_path, robin(label="one", summaries=[summary()]))
    assert (one.strip_width, one.strip_height) == (site.STRIP_SIDE, site.STRIP_SIDE)
    none = site.write_class_page(tmp_path, robin(label="none", summaries=[summary(kept=False, reason="small")]))
    assert (none.strip, none.sheet, none.summaries, none.pruned) == (None, None, 0, 1)
    page = Page(site.write_index(tmp_path, index(classes=[card, one, none])))
    widths = [image["style"] for image in page.all("img")]
    assert widths == ["width: 100.0%", f"width: {round(100 * one.strip_width / card.strip_width, 2)}%"]
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
    page = Page(site.write_index(tmp_path, index(metrics=metrics, stages=stages)))
    words = re.sub(r"\s+", " ", page.text)
    for expected in (
        "drop 96.2% 95.5% to 96.9% 1,798 mean over images",
        "deletion 0.083 0.079 to 0.088 798 area under the curve",
        "distance 16.0 px 14.2 to 17.4 20 mean distance",
        "purity – – 0 there are no landmarks",
        "summaries 31 summaries – 12 sum over classes",
        "explain 1,843.2 s 3,600.1 s 1,912 MB 104 96 371,233",
    ):
        assert expected in words
    assert "Nothing: every photograph" in words


def test_index_adds_up_its_classes(tmp_path: Path) -> None:
    cards = [site.write_class_page(tmp_path, robin(label=f"c{number}", examples=[])) for number in range(3)]
    words = re.sub(r"\s+", " ", Page(site.write_index(tmp_path, index(classes=cards))).text)
    for expected in ("Classes 3 ", "Photographs 123 120 explained", "Summaries 6 0 more were pruned", "Seed 7 "):
        assert expected in words
    assert words.count("accuracy 92.5%, mean drop 87.1%") == 3


def test_absent_figures_are_dashes(tmp_path: Path) -> None:
    bare = member(0, similarity=None, ssim=None, drop=float("nan"), exemplar=True)
    content = robin(accuracy=None, drop=None, area=None, crispness=None, examples=[],
                    summaries=[replace(summary(), members=[bare])])
    words = re.sub(r"\s+", " ", class_page(tmp_path, content).text)
    assert "similarity– SSIM– drop–" in words and "Accuracy –" in words
    assert "nan" not in words.lower() and "None" not in words


def test_long_error_lists_are_cut_and_counted(tmp_path: Path) -> None:
    errors = [ErrorContent("images", "robin", f"reason {number};", f"{number}.jpg") for number in range(230)]
    text = Page(site.write_index(tmp_path, index(errors=errors))).text
    assert text.count("reason ") == site.ERRORS_SHOWN == 200
    assert "30 more rows" in text


def test_page_without_class_name_is_headed_by_the_label(tmp_path: Path) -> None:
    page = class_page(tmp_path, robin(label="folder 7", class_name="", summaries=[], examples=[]))
    assert re.search(r"<h1><bdi>folder 7</bdi></h1>", page.source)
    assert "<title>folder 7</title>" in page.source


def test_second_writing_replaces_the_page_and_removes_only_its_own_pictures(tmp_path: Path) -> None:
    card = site.write_class_page(tmp_path, robin(summaries=[summary(1, 5), summary(2, 3)]))
    folder = (tmp_path / card.page).parent
    (folder / "notes.webp").write_bytes(b"mine")
    fresh = site.write_class_page(tmp_path / "fresh", robin(summaries=[summary(1, 2)], examples=[]))
    site.write_class_page(tmp_path, robin(summaries=[summary(1, 2)], examples=[]))
    expected = {path.name: path.read_bytes() for path in (tmp_path / "fresh" / fresh.page).parent.iterdir()}
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == expected | {"notes.webp": b"mine"}


def test_failed_writing_leaves_the_old_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = site.write_index(tmp_path, index()).read_bytes()

    def fail(source, target) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk is full"):
        site.write_index(tmp_path, index(title="Another"))
    assert (tmp_path / "index.html").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index.html", "style.css"]


@pytest.mark.parametrize(
    "content",
    [
        robin(summaries=[replace(summary(), members=[member(0, "bad.jpg", image=np.zeros((4, 5, 3), np.uint8))])]),
        robin(summaries=[], examples=[replace(example("bad.jpg"), saliency=np.zeros((3, 8, 8), np.uint8))]),
    ],
)
def test_picture_that_cannot_be_drawn_is_named(tmp_path: Path, content: ClassContent) -> None:
    with pytest.raises(ValueError, match=r"bad\.jpg.*cannot be drawn.*uint8"):
        site.write_class_page(tmp_path, content)


def test_file_name_that_is_not_utf8(tmp_path: Path) -> None:
    uri = os.fsdecode(b"/photographs/caf\xe9.jpg")
    page = class_page(tmp_path, robin(summaries=[replace(summary(), members=[member(0, uri)])], examples=[]))
    assert "caf?.jpg" in page.text


def test_report_needs_neither_ray_nor_pyarrow() -> None:
    program = (
        "import sys; sys.modules.update(ray=None, pyarrow=None, torch=None)\n"
        "import pipeline.report.site, pipeline.report.pictures"
    )
    root = Path(site.__file__).parents[2]
    result = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
