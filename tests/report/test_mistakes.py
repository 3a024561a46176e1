"""Photographs that are called something else: in words, on the page of their class, by pairs on the page of the run."""

import re
from dataclasses import replace
from pathlib import Path

from contents import EVIL_LABEL, EVIL_URI, Page, assert_complete, index, member, robin, summary

from visual_summaries.pipeline.report import class_pages, mistake_views, site
from visual_summaries.pipeline.report.content import ToldContent
from visual_summaries.pipeline.report.mistakes import Confusion, MistakeContent, Mistakes, in_words, most_shown, pairs

SHOWS = {"a": [2, 1], "b": [2], "c": []}
LACKS = {"a": [1], "b": [], "c": [1, 3]}
CALLED = Confusion(7, "grand piano", "piano", 4, own=[1, 3], others=[1, 2], names={2: "keyboard"}, shows=SHOWS,
                   lacks=LACKS)  # fmt: skip


def mistake(image_id: str, uri: str = "", called: int = 7) -> MistakeContent:
    return MistakeContent(member(3).image, image_id, uri or f"{image_id}.jpg", called, 0.82, 0.09)


def written(folder: Path, confusions: list[Confusion], **changes) -> class_pages.ClassCard:
    return class_pages.write_class_page(
        folder, robin(**(dict(examples=[]) | changes)), ToldContent(mistakes=Mistakes(confusions, 10, 8))
    )


def words_of(page: Page) -> str:
    return re.sub(r"\s+", " ", page.text)


def test_a_mistake_is_told_in_a_line() -> None:
    assert in_words(CALLED, "a", {1: "bellows"}) == "shows its summaries keyboard, 1; lacks its own summary bellows"
    assert in_words(CALLED, "b", {}) == "shows its summary keyboard; lacks none of its own summaries"
    assert in_words(CALLED, "c", {}) == "shows none of its summaries; lacks its own summaries 1, 3"
    outside = replace(CALLED, label=None, others=[], shows={})
    assert in_words(outside, "a", {}) == "lacks its own summary 1"
    assert "neither class has a summary" in in_words(replace(outside, own=[], lacks={}), "a", {})


def test_the_summary_that_most_show_first_is_counted() -> None:
    assert most_shown(CALLED) == (2, 2) and most_shown(replace(CALLED, shows={"c": []})) is None
    assert most_shown(replace(CALLED, shows={"a": [3], "b": [1, 3]})) == (1, 1)


def test_a_class_shows_its_mistakes_beside_both_classes(tmp_path: Path) -> None:
    far = Confusion(9, "organ", None, 1, own=[1, 3], lacks={"d": [3]})
    drawn = [mistake("a"), mistake("c"), mistake("d", called=9)]
    summaries = [summary(1), summary(3)]
    card = written(tmp_path, [CALLED, far], summaries=summaries, mistakes=drawn)
    class_pages.write_class_page(tmp_path, robin(label="piano", class_name="grand piano"))
    site.write_site(tmp_path, index(classes=[card]))
    page = Page((tmp_path / card.page).with_name("mistakes.html"))
    for one in (page, Page(tmp_path / card.page), Page(tmp_path / "mistakes.html")):
        assert_complete(one)
    words = words_of(page)
    assert "5 photographs of 41 that are called something else" in words
    assert "Called grand piano: 4 photographs" in words and "2 more photographs in the table images" in words
    assert "(82%, its own class 9%): shows its summaries keyboard, 1; lacks its own summary 1." in words
    assert "Called organ (82%, its own class 9%): lacks its own summary 3." in words and "has no such class" in words
    pictures = [image["src"] for image in page.all("img")]
    own = ["summary-01-01.webp", "summary-03-01.webp"]
    theirs = [f"../../classes/piano/summary-0{n}-01.webp" for n in (1, 2)]
    assert pictures == [*own, *theirs, "mistake-01.webp", "mistake-02.webp", *own, "mistake-03.webp"]
    assert "grand piano (4), organ (1)" in words_of(Page(tmp_path / card.page))


def test_pairs_bring_both_directions_together_most_mistakes_first(tmp_path: Path) -> None:
    back = Confusion(15, "robin", "robin", 3, others=[1], shows={"x": [1]})
    other = Confusion(15, "robin", "robin", 6)
    far = Confusion(9, "organ", None, 2)
    cards = [
        written(tmp_path, [CALLED, far]),
        written(tmp_path, [back], label="piano", class_name="grand piano"),
        written(tmp_path, [other], label="wren", class_name="wren"),
    ]
    found = pairs(cards)
    assert [[(side["card"].label, side["count"]) for side in pair["sides"]] for pair in found] == [
        [("robin", 4), ("piano", 3)], [("wren", 6)], [("robin", 2)],
    ]  # fmt: skip
    path = site.write_site(tmp_path, index(classes=cards))
    page = Page(tmp_path / "mistakes.html")
    assert_complete(page)
    words = words_of(page)
    assert "15 photographs are called something else" in words
    assert "4 of 41 photographs of robin are called grand piano; 2 show its summary 2 first." in words
    assert "3 of 41 photographs of grand piano are called robin; 1 shows its summary 1 first." in words
    assert "2 of 41 photographs of robin are called organ, which is no class of this run." in words
    assert "Of 30 photographs that are called rightly and took no part in the summaries, 24 (80%)" in words
    assert "4 of 41 photographs of robin are called grand piano." in words_of(Page(path))


def test_many_pairs_are_cut_and_none_is_said(tmp_path: Path) -> None:
    confusions = [Confusion(n, f"class {n}", None, 1) for n in range(mistake_views.PAIRS_SHOWN + 5)]
    card = written(tmp_path, confusions)
    path = site.write_site(tmp_path, index(classes=[card]))
    assert "5 more pairs" in words_of(Page(tmp_path / "mistakes.html"))
    assert Page(path).text.count("is called") == mistake_views.PAIRS_AT_ONCE
    bare = written(tmp_path / "bare", [])
    site.write_site(tmp_path / "bare", index(classes=[bare]))
    assert "No photograph is called something else" in Page(tmp_path / "bare" / "mistakes.html").text
    assert not (tmp_path / "bare" / bare.page).with_name("mistakes.html").exists()


def test_names_of_mistakes_are_text(tmp_path: Path) -> None:
    evil = replace(CALLED, name=EVIL_LABEL, label=EVIL_LABEL, names={2: EVIL_LABEL})
    card = written(tmp_path, [evil], label=EVIL_LABEL, class_name=EVIL_LABEL, mistakes=[mistake("a", EVIL_URI)])
    site.write_site(tmp_path, index(classes=[card]))
    for page in ((tmp_path / card.page).with_name("mistakes.html"), tmp_path / "mistakes.html"):
        found = Page(page)
        assert found.text.count(EVIL_LABEL) >= 2 and len(found.all("script")) == 1
        assert all(image["src"].endswith(".webp") for image in found.all("img"))
