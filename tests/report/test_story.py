"""Summaries in words, and how the evidence is shared out among them."""

import re
from dataclasses import asdict
from pathlib import Path

import pytest
from contents import Page, class_page, index, robin, summary

from visual_summaries.pipeline.report import site
from visual_summaries.pipeline.report.class_pages import write_class_page
from visual_summaries.pipeline.report.content import MetricContent, ToldContent
from visual_summaries.pipeline.report.story import in_words, shares

EVIDENT = dict(coverage=0.5, added=0.5, necessity=0.412, sufficiency=0.628, found_again=0.92, members_kept=37)


def said(resamples: int = 100, **changes) -> str:
    return in_words(asdict(summary(members=0, **(EVIDENT | changes))), 42, resamples)


def test_a_summary_is_told_in_a_line() -> None:
    assert said() == (
        "in 37 of 42 photographs; without it the score falls by 41%, alone it keeps 63%; found again in 92 of 100 "
        "resamples"
    )
    assert "without it the score rises by 7%, alone" in said(necessity=-0.07)
    assert "without it the score stays the same, alone" in said(necessity=-0.004)
    assert "keeps 63%; found again in 3 of 4 resamples" in said(4, found_again=0.75)
    # In one of four resamples it had no photograph: two thirds are of three.
    assert said(4, found_again=2 / 3).endswith("found again in 67% of the resamples")


def test_what_was_not_measured_is_not_told() -> None:
    bare = dict(necessity=None, sufficiency=float("nan"), found_again=None)
    assert said(**bare) == "in 37 of 42 photographs"
    assert said(**bare, drop=0.8) == "in 37 of 42 photographs; with its regions blurred the score falls by 80%"
    assert said(drop=0.8).count("score") == 1


def test_evidence_is_shared_out_only_where_all_shares_are_known() -> None:
    kept = [asdict(summary(n, members=0, added=0.3 / n)) for n in (1, 2)]
    pruned = asdict(summary(3, members=0, kept=False, reason="small"))
    assert shares([*kept, pruned]) == [(1, 0.3), (2, 0.15)]
    assert shares([*kept, asdict(summary(3, members=0))]) == []


def test_the_class_page_tells_what_each_summary_adds_and_what_is_left(tmp_path: Path) -> None:
    summaries = [summary(1, **(EVIDENT | dict(tags=[("beak", 0.75)]))), summary(2, **(EVIDENT | dict(added=0.125)))]
    page = class_page(tmp_path, robin(summaries=summaries, accounted=0.625, resamples=100), names={1: [("wing", 1)]})
    words = re.sub(r"\s+", " ", page.text)
    assert "wing: in 37 of 40 photographs; without it the score falls by 41%" in words
    assert "Summary 2 In 37 of 40 photographs" in words
    assert "Summary 1 50% Summary 2 12% left 38%" in words and "38% of the salient pixels are in no summary" in words
    (bars,) = [[li["style"] for li in page.all("li") if "style" in li]]
    assert bars == [f"--share: {share}" for share in ("0.5000", "0.1250", "0.3750")]
    # Figures, and what the classifier calls it, are details.
    assert "The classifier calls it" in page.folded_text and "Necessity" in page.folded_text
    assert words.count("The classifier calls it") == 1


@pytest.mark.parametrize("changes", [{}, EVIDENT])
def test_each_name_of_a_figure_leads_to_how_it_is_computed(tmp_path: Path, changes: dict) -> None:
    content = robin(summaries=[summary(1, tags=[("beak", 0.75)], **changes)], accounted=0.5)
    told = ToldContent(metrics=[MetricContent("drop", 0.5, 0.4, 0.6, 9, "share", "a long explanation")])
    card = write_class_page(tmp_path, content, told)
    site.write_site(tmp_path, index(classes=[card], methods=[("drop", "a long explanation")]))
    methods = Page(tmp_path / "methods.html")
    anchors = {attributes.get("id") for _, attributes in methods.elements}
    for page in (Page(tmp_path / card.page), Page((tmp_path / card.page).with_name("summary-01.html"))):
        terms = [a["href"] for a in page.all("a") if a.get("class") == "term"]
        assert len(terms) >= 5
        for href in terms:
            place, _, anchor = href.partition("#")
            assert place == "../../methods.html" and anchor in anchors
        assert "a long explanation" not in page.text
    assert methods.text.count("a long explanation") == 1
