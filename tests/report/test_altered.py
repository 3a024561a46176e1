"""Classes that go by what is no part of their pictures, in words and pairs of pictures on all pages that tell of it."""

import json
import re
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from contents import EVIL_LABEL, Page, assert_complete, index, robin, summary
from PIL import Image
from test_worries import CORNER, words_of

from visual_summaries.pipeline.evaluate.reliance import RelianceSign
from visual_summaries.pipeline.report import class_pages, site
from visual_summaries.pipeline.report.altered import AlteredContent, most_reliant, reliance_in_words
from visual_summaries.pipeline.report.content import ToldContent

FRAME = asdict(RelianceSign("frame", 7, 8, 3, 88, 0, 0.93, 0.05, 1e-9))
COLORS = asdict(RelianceSign("colors", 6, 8, 0, 0, 1, 0.71, 0.05, 1e-6))
DARK, LIGHT = (np.full((32, 32, 3), value, np.uint8) for value in (20, 230))


def pair(number: int, kind: str = "frame", called: str | None = "starfish") -> AlteredContent:
    return AlteredContent(kind, DARK, LIGHT, f"{number:064x}", f"/p/{number}.jpg", 0.99, 0.26, called)


def test_a_sign_is_told_as_what_the_class_does() -> None:
    frame = "goes by the frame of its pictures: without it, 7 of 8 photographs change their class"
    assert reliance_in_words(FRAME) == f"{frame} (other classes: 3 of 88)"
    colors = "is told by the colors of its pictures: with balanced colors, 6 of 8 photographs change their class"
    assert reliance_in_words(COLORS | {"alike": 0}) == f"{colors} (no other class to compare with)"
    alike = "no other class to compare with; not compared: 1 class that changes as much"
    assert reliance_in_words(COLORS) == f"{colors} ({alike})"
    assert "8; not compared: 2 classes that change as much)" in reliance_in_words(FRAME | {"alike": 2})


def test_a_planted_frame_is_shown_on_the_overview_the_worries_and_the_class(tmp_path: Path) -> None:
    altered = [pair(number) for number in range(4)] + [pair(5, "colors", None)]
    content = robin(label="n01", class_name="nautilus", altered=altered, summaries=[summary(1)], examples=[])
    cards = [
        class_pages.write_class_page(tmp_path, robin(summaries=[summary(1)], examples=[])),
        class_pages.write_class_page(tmp_path, content, ToldContent(reliance=[FRAME])),
    ]
    path = site.write_site(tmp_path, index(classes=cards, altered=True))
    overview, worries, own = Page(path), Page(tmp_path / "worries.html"), Page(tmp_path / "classes/n01/index.html")
    for page, shown in ((overview, 2), (worries, 4), (own, 4)):
        assert_complete(page)
        assert reliance_in_words(FRAME) in words_of(page)
        pictures = [image["src"] for image in page.all("img") if "altered-" in image["src"]]
        assert [src.rpartition("-")[2] for src in pictures] == ["before.webp", "after.webp"] * shown
        # Of the other kind, which is no sign here, none is shown.
        assert not any("altered-05" in src for src in pictures)
        assert words_of(page).count("Score 99% → 26%, called starfish") == shown
        for src, value in zip(pictures[:2], (20, 230), strict=True):
            assert abs(np.asarray(Image.open(page.path.parent / src)).mean() - value) < 4
    assert "1 class goes by something that is no part of the picture" in words_of(worries)
    assert "Suspicious: this class goes by the frame" in words_of(own)
    assert "goes by the frame of its" not in words_of(Page(tmp_path / "classes/robin/index.html"))
    # Told later, without drawing anything again.
    drawn = json.loads((tmp_path / "classes/n01/drawn.json").read_text())["state"]
    card = class_pages.tell_class(tmp_path, "n01", ToldContent(reliance=[COLORS]), "", drawn)
    assert [one["sign"]["kind"] for one in card.reliance] == ["colors"]
    assert "99% → 26%" in words_of(Page(tmp_path / "classes/n01/index.html"))


def test_classes_and_summaries_share_the_overview(tmp_path: Path) -> None:
    def written(label: str, signs: list[dict], summaries: int) -> class_pages.ClassCard:
        content = robin(label=label, class_name=label, altered=[pair(1)], examples=[],
                        summaries=[summary(number, signs=[CORNER]) for number in range(1, summaries + 1)])  # fmt: skip
        return class_pages.write_class_page(tmp_path, content, ToldContent(reliance=signs))

    cards = [written(label, [FRAME], 0) for label in "abcdef"]

    def shown(cards: list[class_pages.ClassCard]) -> tuple[int, int, str]:
        text = words_of(Page(site.write_site(tmp_path, index(classes=cards, altered=True))))
        more = re.search(r"(\d+) more, and how this was judged", text)
        return text.count("goes by the frame"), text.count("lies in the lower right"), more.group(1) if more else ""

    assert shown(cards) == (site.WORRIES_AT_ONCE, 0, "1")
    assert shown([*cards, written("z", [], 4)]) == (site.CLASSES_AT_ONCE, 2, "5")
    assert shown([*cards[:1], written("z", [], 2)]) == (1, 2, "")
    weaker = replace(cards[0], label="0", reliance=[{**cards[0].reliance[0], "label": "0", "sign": COLORS}])
    assert [one["label"] for one in most_reliant([weaker, *cards[2:0:-1]])] == ["b", "c", "0"]
    quiet = words_of(Page(site.write_site(tmp_path, index(classes=[written("q", [], 0)], altered=True))))
    assert "No summary looks suspicious, and no class goes by the frame or the colors of its pictures." in quiet
    site.write_site(tmp_path, index(classes=[written("q", [], 0)]))
    assert "an earlier version made it" in words_of(Page(tmp_path / "worries.html"))


def test_names_beside_the_pictures_are_text(tmp_path: Path) -> None:
    content = robin(label=EVIL_LABEL, class_name=EVIL_LABEL, altered=[pair(1, called=EVIL_LABEL)], examples=[])
    card = class_pages.write_class_page(tmp_path, content, ToldContent(reliance=[FRAME]))
    path = site.write_site(tmp_path, index(classes=[card], altered=True))
    for page in (Page(path), Page(tmp_path / "worries.html"), Page(tmp_path / card.page)):
        assert f"called {EVIL_LABEL}" in words_of(page) and len(page.all("script")) <= 2
