"""The pages of a class, read back with the standard library's HTML parser and with Pillow."""

import json
import os
import pickle
import re
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from contents import EVIL_LABEL, Page, assert_complete, class_page, example, index, member, robin, summary
from PIL import Image

from visual_summaries.pipeline.report import class_drawings, class_pages, site
from visual_summaries.pipeline.report.content import ClassCard, ClassContent, MetricContent, ToldContent
from visual_summaries.pipeline.report.files import slug


def test_labels_never_share_a_folder() -> None:
    labels = ["robin", "Robin", "ROBIN", "a/b", "a b", "a-b", "a.b", "..", ".", "", " ", "é", "e", "e\u0301", "知更鳥",
              "con", "nul", "com1", "a" * 64, "a" * 65, "a" * 300, EVIL_LABEL, "a\\b", "a%2Fb", "-a", "\udcff", "\x00"]
    labels += [slug(label) for label in labels if slug(label) != label]
    names = [slug(label) for label in labels]
    assert len({name.lower() for name in names}) == len(set(labels)) == len(labels)
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", name) and not name.endswith(".") for name in names)
    assert not {"con", "nul", "com1"} & {name.split(".")[0] for name in names}  # reserved on Windows
    assert slug("robin") == "robin" and slug("n01531178") == "n01531178"


@pytest.mark.parametrize("label", ["..", "../../escape", "", "知更鳥", "a\x00b", "\udcff", "x" * 400, "CON"])
def test_any_label_makes_a_page_inside_the_folder(tmp_path: Path, label: str) -> None:
    card = class_pages.write_class_page(tmp_path / "site", robin(label=label, summaries=[summary()], examples=[]))
    page = tmp_path / "site" / card.page
    assert page.resolve().parent.parent == (tmp_path / "site" / "classes").resolve()
    assert [path.name for path in tmp_path.iterdir()] == ["site"]
    site.write_site(tmp_path / "site", index(classes=[card]))
    for path in (tmp_path / "site").rglob("*.html"):
        assert_complete(Page(path))


def test_card_survives_json_and_pickle(tmp_path: Path) -> None:
    card = class_pages.write_class_page(tmp_path, robin())
    assert ClassCard(**json.loads(json.dumps(asdict(card)))) == card
    assert pickle.loads(pickle.dumps(card)) == card
    assert (card.summaries, card.pruned, card.images, card.explained, card.errors) == (2, 0, 41, 40, 0)


def test_class_pages_are_written_at_once_by_processes(tmp_path: Path) -> None:
    contents = [robin(label=f"Class {number}", summaries=[summary()], examples=[]) for number in range(6)]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        cards = list(pool.map(class_pages.write_class_page, [tmp_path] * 6, contents))
    site.write_site(tmp_path, index(classes=cards))
    assert [card.label for card in cards] == [content.label for content in contents]
    assert not list(tmp_path.rglob("*.tmp"))
    for card in cards:
        assert_complete(Page(tmp_path / card.page))


def test_exemplar_comes_first_and_pruned_ones_are_folded_with_their_reason(tmp_path: Path) -> None:
    members = [member(1, "one.jpg"), member(2, "two.jpg", kept=False, reason="differs from the others"),
               member(3, "chosen.jpg", exemplar=True)]
    pruned = summary(2, kept=False, reason="2 images are fewer than 3")
    page = class_page(tmp_path, robin(summaries=[replace(summary(1), members=members), pruned], examples=[]))
    whole = Page(page.path.with_name("summary-01.html"))
    for one, names in ((page, ["chosen.jpg", "one.jpg"]), (whole, ["chosen.jpg", "one.jpg", "two.jpg"])):
        titles = [p["title"] for p in one.all("p") if p.get("class") == "file"]
        assert titles[: len(names)] == names
    assert "Exemplar of summary 1 of robin, chosen.jpg" in page.all("img")[0]["alt"]
    assert page.all("img")[0]["src"] == "summary-01-01.webp"
    assert "2 images are fewer than 3" in page.folded_text
    assert "differs from the others" in whole.text and "differs from the others" not in page.text
    assert not page.path.with_name("summary-02.html").exists()
    assert "one.jpg" in page.text and "one.jpg" not in page.folded_text


def test_many_members_are_on_the_summarys_own_page_and_missing_ones_counted(tmp_path: Path) -> None:
    shown = class_drawings.MEMBERS_SHOWN
    page = class_page(tmp_path, robin(summaries=[summary(1, shown + 3, members_kept=shown + 8)], examples=[]))
    assert len(page.all("figure")) == shown and "with 8 more photographs" in page.text
    whole = Page(page.path.with_name("summary-01.html"))
    assert len(whole.all("figure")) == shown + 3 and "5 further members are" in whole.text


def test_contact_sheet_has_a_row_for_each_summary(tmp_path: Path) -> None:
    contents = robin(summaries=[summary(1, 10), summary(2, 3), summary(3, 5, kept=False, reason="small")])
    card = class_pages.write_class_page(tmp_path, contents)
    sheet = np.asarray(Image.open(tmp_path / card.sheet).convert("RGB")).astype(int)
    side, columns = class_drawings.SHEET_SIDE, class_drawings.SHEET_COLUMNS
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
    card = class_pages.write_class_page(tmp_path, contents)
    with Image.open(tmp_path / card.sheet) as sheet:
        assert 40 * class_drawings.SHEET_SIDE < sheet.height < 16383
    assert "The first 40 of 120 kept summaries of robin" in Page(tmp_path / card.page).text


def test_absent_figures_are_dashes(tmp_path: Path) -> None:
    bare = member(0, similarity=None, ssim=None, drop=float("nan"), exemplar=True)
    content = robin(accuracy=None, drop=None, area=None, binarization_error=None, examples=[],
                    summaries=[replace(summary(), members=[bare])])
    page = class_page(tmp_path, content)
    words = re.sub(r"\s+", " ", page.text + Page(page.path.with_name("summary-01.html")).text)
    assert "similarity– SSIM– drop–" in words and "Accuracy –" in words
    assert "nan" not in words.lower() and "None" not in words


def test_page_without_class_name_is_headed_by_the_label(tmp_path: Path) -> None:
    page = class_page(tmp_path, robin(label="folder 7", class_name="", summaries=[], examples=[]))
    assert re.search(r"<h1><bdi>folder 7</bdi></h1>", page.source)
    assert "<title>folder 7</title>" in page.source


def test_second_writing_replaces_the_page_and_removes_only_its_own_pictures(tmp_path: Path) -> None:
    card = class_pages.write_class_page(tmp_path, robin(summaries=[summary(1, 5), summary(2, 3)]))
    folder = (tmp_path / card.page).parent
    (folder / "notes.webp").write_bytes(b"mine")
    fresh = class_pages.write_class_page(tmp_path / "fresh", robin(summaries=[summary(1, 2)], examples=[]))
    class_pages.write_class_page(tmp_path, robin(summaries=[summary(1, 2)], examples=[]))
    expected = {path.name: path.read_bytes() for path in (tmp_path / "fresh" / fresh.page).parent.iterdir()}
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == expected | {"notes.webp": b"mine"}


@pytest.mark.parametrize(
    "content",
    [
        robin(summaries=[replace(summary(), members=[member(0, "bad.jpg", image=np.zeros((4, 5, 3), np.uint8))])]),
        robin(summaries=[], examples=[replace(example("bad.jpg"), saliency=np.zeros((3, 8, 8), np.uint8))]),
    ],
)
def test_picture_that_cannot_be_drawn_is_named(tmp_path: Path, content: ClassContent) -> None:
    with pytest.raises(ValueError, match=r"bad\.jpg.*cannot be drawn.*uint8"):
        class_pages.write_class_page(tmp_path, content)


def test_file_name_that_is_not_utf8(tmp_path: Path) -> None:
    uri = os.fsdecode(b"/photographs/caf\xe9.jpg")
    page = class_page(tmp_path, robin(summaries=[replace(summary(), members=[member(0, uri)])], examples=[]))
    assert "caf?.jpg" in page.text


def test_a_class_is_drawn_again_only_when_something_changed(tmp_path: Path) -> None:
    card = class_pages.write_class_page(tmp_path, robin(), state="first")
    assert class_pages.written_card(tmp_path, "robin", "first") == card
    assert class_pages.written_card(tmp_path, "robin", "second") is None
    assert class_pages.written_card(tmp_path, "wren", "first") is None
    file = (tmp_path / card.page).with_name("card.json")
    file.write_text(file.read_text()[:-20])
    assert class_pages.written_card(tmp_path, "robin", "first") is None


def test_writing_that_ends_half_way_is_taken_up_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, count = os.replace, iter(range(100))

    def fail(source, target) -> None:
        if next(count) == 7:
            raise OSError("the disk is full")
        real(source, target)

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk is full"):
        class_pages.write_class_page(tmp_path, robin(), state="first")
    assert class_pages.written_card(tmp_path, "robin", "first") is None


def test_classes_are_linked_to_those_beside_them(tmp_path: Path) -> None:
    page = class_page(tmp_path, robin(), previous=("n01", "auk"), next=("Wren", ""))
    links = {link["rel"]: link["href"] for link in page.all("a") if link.get("rel")}
    assert links == {
        "up": "../../index.html", "prev": f"../{slug('n01')}/index.html", "next": f"../{slug('Wren')}/index.html"
    }
    assert "auk" in page.text and "Wren" in page.text


def test_single_photographs_are_shown_step_by_step(tmp_path: Path) -> None:
    page = class_page(tmp_path, robin())
    steps = Page(page.path.with_name("photographs.html"))
    names = [Path(image["src"]).stem.removeprefix("example-01-") for image in steps.all("img")]
    assert names == ["photograph", "saliency", "mask", "salient", "regions", "proposals"]
    assert "1: 50%" in steps.text and "Proposals kept as parts: 1" in steps.text
    bare = class_page(tmp_path, robin(label="bare", examples=[]))
    assert not bare.path.with_name("photographs.html").exists() and "Single photographs" not in bare.text


def test_names_and_tags_are_shown_and_found(tmp_path: Path) -> None:
    named = summary(1, tags=[("beak", 0.75), ("ant", 0.25)])
    pruned = summary(2, kept=False, reason="small", tags=[("lemon", 1.0)])
    told = ToldContent(names={1: [("the head", 3)]})
    card = class_pages.write_class_page(tmp_path, robin(summaries=[named, pruned]), told)
    words = re.sub(r"\s+", " ", Page(tmp_path / card.page).text)
    assert "the head 3×: in 3 of 40 photographs" in words and "The classifier calls it beak 75%, ant 25%" in words
    assert card.words == ["the head", "beak"]


def test_what_is_told_later_is_told_around_the_pictures_that_are_there(tmp_path: Path) -> None:
    told = ToldContent(
        [MetricContent("area", 0.25, None, None, 3, "share", "mean")], names={1: [("the head", 3)]}, next=("n2", "wren")
    )
    at_once = class_pages.write_class_page(tmp_path / "at once", robin(), told, "whole", "pictures")
    early = class_pages.write_class_page(tmp_path / "later", robin(), drawn="pictures")
    folder = (tmp_path / "later" / early.page).parent
    times = {path: path.stat().st_mtime_ns for path in folder.glob("*.webp")}
    assert len(times) > 7 and "the head" not in Page(folder / "index.html").text
    assert class_pages.written_card(tmp_path / "later", "robin", "whole") is None
    assert class_pages.drawn_class(tmp_path / "later", "robin", "pictures")
    assert class_pages.tell_class(tmp_path / "later", "robin", told, "whole", "other pictures") is None
    assert class_pages.tell_class(tmp_path / "later", "robin", told, "whole", "pictures") == at_once
    assert class_pages.written_card(tmp_path / "later", "robin", "whole") == at_once
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*.webp")} == times
    there, other = ({path.name: path.read_bytes() for path in one.iterdir()} for one in (
        folder, (tmp_path / "at once" / at_once.page).parent
    ))  # fmt: skip
    assert there == other


def test_pictures_that_are_half_replaced_are_of_no_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class_pages.write_class_page(tmp_path, robin(), state="first", drawn="first")
    monkeypatch.setattr(class_drawings, "_write_strip", lambda *arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        class_pages.write_class_page(tmp_path, robin(), state="second", drawn="second")
    for state in ("first", "second"):
        assert not class_pages.drawn_class(tmp_path, "robin", state)
        assert class_pages.written_card(tmp_path, "robin", state) is None
