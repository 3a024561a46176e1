"""The map of summaries, parts that classes share, and the nearest class."""

import re
from pathlib import Path

from contents import EVIL_LABEL, Page, assert_complete, index, robin, summary

from visual_summaries.pipeline.report import class_pages, near, site
from visual_summaries.pipeline.report.content import ToldContent
from visual_summaries.pipeline.report.near import Near, Point

SHARED = dict(likeness=0.75, shared=True)


def written(folder: Path, label: str, name: str, own: Near, count: int = 2) -> class_pages.ClassCard:
    summaries = [summary(number, 1) for number in range(1, count + 1)]
    content = robin(label=label, class_name=name, summaries=summaries, examples=[])
    return class_pages.write_class_page(folder, content, ToldContent(near=own))


def words_of(page: Page) -> str:
    return re.sub(r"\s+", " ", page.text)


def three(folder: Path) -> tuple[Path, list[class_pages.ClassCard]]:
    """Robin and wren share a part; the wren's other one is like the auk's, but not so much that it is shared."""
    robins = Near([Point(1, 0.0, 0.0, "wren", "Wren", 2, **SHARED), Point(2, 1.0, 0.5, "auk", "Auk", 1, 0.25)],
                  "wren", "Wren", 0.4, 0.5)  # fmt: skip
    wrens = Near([Point(1, 0.5, 1.0, "auk", "Auk", 1, 0.25), Point(2, 0.02, 0.0, "robin", "Robin", 1, **SHARED)],
                 "robin", "Robin", 0.625, 0.5)  # fmt: skip
    auks = Near([Point(1, 0.5, 0.9, "wren", "Wren", 1, 0.25), Point(3, 0.5, 0.8)], least=0.5)
    cards = [written(folder, label, label.title(), own) for label, own in
             (("robin", robins), ("wren", wrens), ("auk", auks))]  # fmt: skip
    return site.write_site(folder, index(classes=cards)), cards


def test_each_summary_is_a_point_that_leads_to_it(tmp_path: Path) -> None:
    three(tmp_path)
    page = Page(tmp_path / "map.html")
    assert_complete(page)
    points = [a for a in page.all("a") if "aria-label" in a]
    # The auk's third summary has no picture.
    assert sorted(point["href"] for point in points) == sorted(
        [f"classes/{label}/summary-0{n}.html" for label in ("robin", "wren") for n in (1, 2)]
        + ["classes/auk/summary-01.html"]
    )
    first = next(point for point in points if point["aria-label"] == "Summary 1 of Robin")
    assert first["data-near"] == "Most like summary 2 of Wren (0.750)."
    circles = page.all("circle")
    assert (circles[0]["cx"], circles[0]["cy"]) == ("24.0", "24.0") and len(circles) == 5
    assert {"Robin", "Wren", "Auk"} <= set(words_of(page).split())


def test_shared_parts_are_listed_once_and_classes_by_what_they_share(tmp_path: Path) -> None:
    _, cards = three(tmp_path)
    view = near.map_view(cards)
    assert [(pair["likeness"], [(card.label, point["number"]) for card, point in pair["sides"]]) for pair in
            view["shared"]] == [(0.75, [("robin", 1), ("wren", 2)])]  # fmt: skip
    assert [one["card"].label for one in view["near_classes"]] == ["wren", "robin"]
    words = words_of(Page(tmp_path / "map.html"))
    assert "Summary 1 of Robin, likeness 0.750" in words
    own = Page(tmp_path / cards[0].page)
    assert_complete(own)
    said = "40% of what its summaries hold is shared with Wren: summary 1 is like its summary 2 (0.750)."
    assert said in words_of(own)
    assert "Nearest class" not in Page(tmp_path / cards[2].page).text


def test_runs_without_features_have_an_empty_map(tmp_path: Path) -> None:
    card = class_pages.write_class_page(tmp_path, robin(examples=[]))
    site.write_site(tmp_path, index(classes=[card]))
    page = Page(tmp_path / "map.html")
    assert_complete(page)
    assert "no summaries to compare" in page.text and not page.all("svg")


def test_where_parts_are_not_known_alone_the_map_says_so(tmp_path: Path) -> None:
    own = Near([Point(1, 0.5, 0.5, "wren", "Wren", 1, 0.75)], least=0.5, recognized=0.25)
    site.write_site(tmp_path, index(classes=[written(tmp_path, "robin", "Robin", own)]))
    words = words_of(Page(tmp_path / "map.html"))
    assert "is the most common name of 25% of the summaries" in words and "Parts that classes share" not in words


def test_a_map_of_very_many_summaries_stays_small(tmp_path: Path) -> None:
    card = written(tmp_path, "robin", "an unusually long name of a class", Near(
        [Point(n, n / 11, n / 11, "robin", "an unusually long name of a class", 1, **SHARED) for n in range(1, 11)]
    ), 10)  # fmt: skip
    view = near.map_view([card] * 1000)
    assert len(view["points"]) == near.POINTS_SHOWN and view["others"] == view["dots"].count("M") == 8000
    # Those of number n are at n elevenths of the way.
    assert f"M{24 + 952 * 10 / 11:.1f} {24 + 592 * 10 / 11:.1f}h0" in view["dots"]
    assert view["radius"] == near.LEAST_RADIUS and near.map_view([card])["radius"] == near.RADIUS
    # The first summaries of all classes before the second of any.
    assert {point["number"] for point in view["points"]} == {1, 2} and view["names"] == []
    site.write_site(tmp_path, index(classes=[card] * 1000))
    assert (tmp_path / "map.html").stat().st_size < 1_000_000
    assert len(Page(tmp_path / "map.html").all("path")) == 1
    assert all(a["tabindex"] == "-1" for a in Page(tmp_path / "map.html").all("a") if "aria-label" in a)


def test_names_on_the_map_are_text(tmp_path: Path) -> None:
    own = Near([Point(1, 0.5, 0.5, EVIL_LABEL, EVIL_LABEL, 1, **SHARED)], EVIL_LABEL, EVIL_LABEL, 0.5)
    card = written(tmp_path, EVIL_LABEL, EVIL_LABEL, own)
    site.write_site(tmp_path, index(classes=[card]))
    page = Page(tmp_path / "map.html")
    assert len(page.all("script")) == 2 and page.text.count(EVIL_LABEL) >= 3
    (point,) = [a for a in page.all("a") if "aria-label" in a]
    assert point["aria-label"] == f"Summary 1 of {EVIL_LABEL}" and EVIL_LABEL in point["data-near"]
