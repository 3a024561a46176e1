"""What is suspicious, in words, on the overview, on a page of its own and on the page of its class."""

import re
from dataclasses import asdict
from pathlib import Path

from contents import EVIL_LABEL, Page, assert_complete, index, robin, summary

from visual_summaries.pipeline.evaluate.suspicion import Sign
from visual_summaries.pipeline.report import class_pages, site
from visual_summaries.pipeline.report.worries import most_suspicious, sign_in_words

CORNER = asdict(Sign("corner", "lower right corner", 38, 40, 0.0625, 1e-9))
PLACE = asdict(Sign("same place", "", 36, 40, 0.1, 0.0005))


def words_of(page: Page) -> str:
    return re.sub(r"\s+", " ", page.text)


def test_signs_are_told_as_what_a_summary_does() -> None:
    assert sign_in_words(CORNER) == "lies in the lower right corner of 38 of 40 photographs"
    assert sign_in_words(PLACE) == "is in the same place of 36 of 40 photographs (by chance 10%)"
    others = {
        Sign("border", "lower border", 9, 10, 0.25, 0): "lies at the lower border of 9 of 10 photographs",
        Sign("outside", "", 9, 10, 0.5, 0): "lies outside the object in 9 of 10 photographs",
        Sign("source", "500 × 375", 9, 10, 0.05, 0): "is in 9 of 10 photographs of 500 × 375 pixels, probably of one "
        "source, and in 5% of the others",
    }
    assert [sign_in_words(asdict(sign)) for sign in others] == list(others.values())


def test_the_most_suspicious_come_first() -> None:
    def worry(label: str, *signs: dict, coverage: float | None = 0.1) -> dict:
        return {"label": label, "number": 1, "signs": signs, "coverage": coverage}

    weak = CORNER | {"count": 31}
    expected = [worry("z", weak, PLACE), worry("y", CORNER), worry("x", weak, coverage=0.5), worry("v", weak),
                worry("w", weak), worry("u", weak, coverage=None)]
    for turned in (expected, expected[::-1], expected[2:] + expected[:2]):
        assert most_suspicious(turned) == expected


def test_a_planted_mark_is_named_on_the_overview(tmp_path: Path) -> None:
    marked = summary(1, signs=[CORNER, PLACE])
    cards = [
        class_pages.write_class_page(tmp_path, robin(summaries=[summary(1)], examples=[])),
        class_pages.write_class_page(
            tmp_path, robin(label="n01", class_name="goldfinch", summaries=[marked, summary(2)], examples=[])
        ),
    ]
    path = site.write_site(tmp_path, index(classes=cards))
    sentence = (
        "Summary 1 of goldfinch lies in the lower right corner of 38 of 40 photographs; is in the same place of 36 of "
        "40 photographs (by chance 10%)."
    )
    pages = [Page(path), Page(tmp_path / "worries.html")]
    for page in pages:
        assert_complete(page)
        assert sentence in words_of(page) and page.text.count("Summary 2") == 0
        assert {a["href"] for a in page.all("a") if "classes" in a["href"]} >= {"classes/n01/summary-01.html"}
    # Before the classes, so on the first screen.
    assert words_of(pages[0]).index(sentence) < words_of(pages[0]).index("Classes 2")
    assert "corner38 of 406%1.0e-09" in pages[1].text and "same place36 of 4010%0.0005" in pages[1].text
    for name in ("index", "summary-01"):
        own = Page(tmp_path / "classes" / "n01" / f"{name}.html")
        assert "Suspicious: it lies in the lower right corner of 38 of 40 photographs" in words_of(own)
    assert "Suspicious" not in Page(tmp_path / "classes" / "robin" / "index.html").text


def test_many_worries_are_cut_and_counted_and_none_is_said(tmp_path: Path) -> None:
    many = site.WORRIES_AT_ONCE + 3
    content = robin(summaries=[summary(n, signs=[CORNER]) for n in range(1, many + 1)], examples=[])
    path = site.write_site(tmp_path, index(classes=[class_pages.write_class_page(tmp_path, content)]))
    assert Page(path).text.count("lies in the lower right") == site.WORRIES_AT_ONCE
    assert "3 more, and how this was judged" in words_of(Page(path))
    assert Page(tmp_path / "worries.html").text.count("lies in the lower right") == many
    assert "8 summaries look" in words_of(Page(tmp_path / "worries.html"))
    bare = class_pages.write_class_page(tmp_path / "bare", robin(examples=[]))
    quiet = words_of(Page(site.write_site(tmp_path / "bare", index(classes=[bare], boxes=True))))
    assert "No summary looks suspicious." in quiet
    assert "This run knows no boxes" in words_of(Page(tmp_path / "worries.html"))
    assert "This run knows no boxes" not in words_of(Page(tmp_path / "bare" / "worries.html"))


def test_names_in_worries_are_text(tmp_path: Path) -> None:
    evil = Sign(kind="source", where=EVIL_LABEL, count=9, of=10, chance=0.1, p=0.0)
    content = robin(label=EVIL_LABEL, class_name=EVIL_LABEL, summaries=[summary(1, signs=[asdict(evil)])], examples=[])
    card = class_pages.write_class_page(tmp_path, content)
    path = site.write_site(tmp_path, index(classes=[card]))
    for page in (Page(path), Page(tmp_path / "worries.html"), Page(tmp_path / card.page)):
        assert f"photographs of {EVIL_LABEL} pixels" in page.text and len(page.all("script")) <= 2


def test_classes_that_are_named_poorly_are_named_and_counted(tmp_path: Path) -> None:
    accuracies = {"a": 0.5, "b": 0.2, "c": None, "d": 0.0, "e": 0.49, "f": 0.3, "g": 0.3, "h": 0.4}
    cards = [
        class_pages.write_class_page(
            tmp_path, robin(label=label, class_name=f"bird {label}", accuracy=accuracy, examples=[])
        )
        for label, accuracy in accuracies.items()
    ]
    said = words_of(Page(site.write_site(tmp_path, index(classes=cards))))
    named = "bird d (0%), bird b (20%), bird f (30%), bird g (30%), bird h (40%) and 1 more class:"
    assert f"less than half of the photographs rightly of {named} summaries show" in said
    good = class_pages.write_class_page(tmp_path / "good", robin(accuracy=0.5, examples=[]))
    assert "less than half" not in words_of(Page(site.write_site(tmp_path / "good", index(classes=[good]))))
