"""The site of a real run, opened from the disk in Chromium."""

import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from watched import violations, watched  # noqa: E402

WIDTHS = (390, 1280, 2560)


@pytest.fixture(scope="module")
def site(named_run: Path) -> Path:
    return named_run / "report"


@pytest.fixture(scope="module")
def pages(site: Path) -> list[Path]:
    """A page of each kind."""
    found = {path.name if path.parent == site else f"class {path.name}": path for path in sorted(site.rglob("*.html"))}
    kinds = {"index.html", "worries.html", "mistakes.html", "map.html", "plots.html", "errors.html", "methods.html"}
    kinds |= {"class index.html", "class photographs.html"}
    assert kinds | {"class summary-01.html"} <= set(found)
    return list(found.values())


def test_every_page_opens_from_the_disk_without_a_word_and_asks_for_nothing_else(chromium, site: Path) -> None:  # noqa: ANN001
    every = sorted(site.rglob("*.html"))
    with watched(chromium) as page:
        for path in every:
            page.open(path)
            assert page.broken_pictures() == []
    assert page.troubles == []
    assert len(page.requests) > 3 * len(every)
    assert all(request.startswith(site.as_uri()) for request in page.requests)


def test_classes_are_found_and_ordered(chromium, site: Path) -> None:  # noqa: ANN001
    with watched(chromium) as view:
        view.open(site / "index.html")
        page = view.page
        names = [text.strip() for text in page.locator(".card h3").all_inner_texts()]
        assert len(names) == 2 and page.locator("#told").inner_text() == "2 of 2 classes"
        page.keyboard.press("/")
        page.keyboard.type("drop TABLE")
        assert page.locator(".card:visible").count() == 1
        assert page.locator("#told").inner_text() == "1 of 2 classes" and "#find=drop+TABLE" in page.url
        page.keyboard.type(" nowhere")
        assert page.locator(".card:visible").count() == 0 and page.locator("#no-match").is_visible()
        page.keyboard.press("Escape")
        assert page.locator(".card:visible").count() == 2
        for value, name in (("summaries down", "summaries"), ("accuracy up", "accuracy")):
            page.select_option("#order", value)
            figures = [float(card.get_attribute(f"data-{name}")) for card in page.locator(".card").all()]
            assert figures == sorted(figures, reverse=value.endswith("down"))
        page.reload()
        assert page.locator("#order").input_value() == "accuracy up"
    assert view.troubles == []


def test_keys_lead_through_the_site(chromium, site: Path) -> None:  # noqa: ANN001
    with watched(chromium) as view:
        view.open(site / "index.html")
        page = view.page
        first, second = (page.locator(".card a").nth(place).get_attribute("href") for place in (0, 1))
        page.locator(".card a").first.focus()
        page.keyboard.press("ArrowRight")
        assert page.evaluate("document.activeElement.getAttribute('href')") == second
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("Enter")
        page.wait_for_url(f"**/{first}")
        page.keyboard.press("n")
        page.wait_for_url(f"**/{second}")
        page.keyboard.press("p")
        page.wait_for_url(f"**/{first}")
        page.keyboard.press("?")
        assert page.locator("#key-list").is_visible()
        page.keyboard.press("u")
        # The whole address: a class's page is called index.html too.
        page.wait_for_url((site / "index.html").as_uri())
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.wait_for_url("**/index.html#main")
    assert view.troubles == []


def test_dark_and_light_are_the_systems_choice_or_the_readers(chromium, site: Path) -> None:  # noqa: ANN001
    background = "getComputedStyle(document.body).backgroundColor"
    with watched(chromium, color_scheme="dark") as view:
        view.open(site / "index.html")
        page = view.page
        dark = page.evaluate(background)
        page.keyboard.press("d")
        light = page.evaluate(background)
        assert light != dark and page.locator("#theme").inner_text() == "Dark"
        page.goto((site / "methods.html").as_uri())
        assert page.evaluate(background) == light
        page.locator("#theme").click()
        assert page.evaluate(background) == dark
    with watched(chromium, color_scheme="light") as view:
        view.open(site / "index.html")
        assert view.page.evaluate(background) == light


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_fit_their_width_and_are_accessible(
    chromium, axe: str, pages: list[Path], artefacts: Path, width: int, scheme: str  # noqa: ANN001
) -> None:
    with watched(chromium, width, 844 if width < 500 else 1000, color_scheme=scheme, bypass_csp=True) as view:
        for path in pages:
            view.open(path)
            page = view.page
            assert page.evaluate("document.documentElement.scrollWidth") <= width, path
            assert violations(page, axe) == [], path
            name = f"{'class-' if 'classes' in path.parts else ''}{path.stem}-{width}-{scheme}.png"
            page.screenshot(path=artefacts / name)
            assert os.path.getsize(artefacts / name) > 5_000
    assert view.troubles == []


def test_names_that_would_be_markup_are_text(chromium, tmp_path: Path) -> None:  # noqa: ANN001
    from contents import EVIL_LABEL, EVIL_URI, example, index, member, robin, summary

    from visual_summaries.pipeline.report import class_pages
    from visual_summaries.pipeline.report import site as pages_of_run
    from visual_summaries.pipeline.report.content import ErrorContent, MetricContent, ToldContent
    from visual_summaries.pipeline.report.plots import summaries_against_accuracy

    members = [member(0, EVIL_URI, exemplar=True), member(1, EVIL_URI, kept=False, reason=EVIL_LABEL)]
    named = summary(1, members=2, tags=[(EVIL_LABEL, 0.5)])
    content = robin(
        label=EVIL_LABEL, class_name=EVIL_LABEL,
        summaries=[named, summary(2, kept=False, reason=EVIL_LABEL)], examples=[example(EVIL_URI)],
    )
    errors = [ErrorContent(EVIL_LABEL, EVIL_LABEL, EVIL_LABEL, EVIL_URI)]
    figures = [MetricContent(EVIL_LABEL, 1.0, 0.5, 1.5, 3, EVIL_LABEL, EVIL_LABEL)]
    beside = {name: (EVIL_LABEL, EVIL_LABEL) for name in ("previous", "next")}
    card = class_pages.write_class_page(tmp_path, content, ToldContent(names={1: [(EVIL_LABEL, 2)]}, **beside))
    plots = [summaries_against_accuracy([card])]
    assert members[0].uri == EVIL_URI
    pages_of_run.write_site(
        tmp_path, index(title=EVIL_LABEL, classes=[card], errors=errors, metrics=figures, plots=plots)
    )
    # Of this run they name nothing; tests/report has them with names.
    empty = {"methods.html", "map.html", "mistakes.html", "worries.html"}
    with watched(chromium) as view:
        for path in sorted(tmp_path.rglob("*.html")):
            view.open(path)
            assert EVIL_LABEL in view.page.locator("body").text_content() or path.name in empty
        view.open(tmp_path / "index.html")
        view.page.keyboard.press("/")
        view.page.keyboard.type("<script>alert(1)")
        assert view.page.locator(".card:visible").count() == 1
        assert view.page.locator(".card h3").first.inner_text().startswith(EVIL_LABEL)
    assert view.troubles == []


@pytest.mark.parametrize("width", [390, 1280])
def test_compared_runs_are_shown_side_by_side(chromium, axe: str, tmp_path: Path, artefacts: Path, width: int) -> None:  # noqa: ANN001
    from contents import EVIL_LABEL, robin

    from visual_summaries.pipeline.evaluate.paired import paired_accuracy
    from visual_summaries.pipeline.report import class_pages
    from visual_summaries.pipeline.report.compared import ComparedPair, ComparedSummary, Disagreement
    from visual_summaries.pipeline.report.comparison import ComparedClass, ComparedRun
    from visual_summaries.pipeline.report.comparison_page import (
        ComparedPictures,
        PairPictures,
        PairShown,
        write_comparison,
    )

    card = class_pages.write_class_page(tmp_path / "run", robin(label=EVIL_LABEL, class_name=EVIL_LABEL))
    folder = (tmp_path / "run" / card.page).parent
    runs = [
        ComparedRun(EVIL_LABEL, 10, 0.5, 0.2, 0.8, (2,), 2.0, 1.0, 2.0),
        ComparedRun("another network", 10, 0.75, 0.4, 0.9, (2,), 2.0, 1.0, 2.0),
    ]
    one = ComparedClass(EVIL_LABEL, ((0, 1), (0, 1)), (((1, 0),),), ((0.75, 0.25),), ((False, True),))
    there = {number: (folder / f"summary-{number + 1:02d}-01.webp", 3, 0.5) for number in range(2)}
    lost = {0: there[0], 1: (tmp_path / "nothing.webp", 3, 0.5)}
    shown = [ComparedPictures(EVIL_LABEL, there), ComparedPictures(EVIL_LABEL, lost)]
    parts = [ComparedSummary(number, EVIL_LABEL, 0.5, None, 0.0, 9, 2, 0.2) for number in range(2)]
    wrong = [Disagreement(f"p{run}", EVIL_LABEL, EVIL_LABEL, run, EVIL_LABEL, 0.75, 0.125) for run in (0, 1)]
    own = [(EVIL_LABEL, ComparedPair(parts, parts[:1], 3, 1, wrong, 9))]
    (tmp_path / "compared" / "pictures").mkdir(parents=True)
    shutil.copy(there[0][0], tmp_path / "compared" / "pictures" / "own.webp")
    drawn = PairPictures({(0, EVIL_LABEL, 0): ("pictures/own.webp",) * 2}, {"p1": "pictures/own.webp"})
    pair = PairShown(paired_accuracy(3, 1, 1, 1), own, drawn)
    one = replace(one, pairs=(own[0][1],))
    path = write_comparison(tmp_path / "compared", runs, [one], [shown], [pair])
    with watched(chromium, width, bypass_csp=True, color_scheme="dark" if width == 390 else "light") as view:
        view.open(path)
        lead = view.page.locator(".lead").inner_text()
        assert f"{EVIL_LABEL}\N{POP DIRECTIONAL ISOLATE} is right in 4" in lead and "2 show parts that only" in lead
        assert view.page.locator(".alone li").count() == 3 and view.page.locator(".two img").count() == 2
        assert "looks there in 2 of 9 photographs" in view.page.locator(".alone").first.inner_text()
        assert "the photograph cannot be read any more" in view.page.locator(".mistaken").first.inner_text()
        assert view.broken_pictures() == [] and violations(view.page, axe) == []
        assert view.page.evaluate("document.documentElement.scrollWidth") <= width
        text = view.page.locator("main").inner_text()
        assert text.count(EVIL_LABEL) >= 2 and "the same as 2 of run 1" in text and "the same as 1 of run 2" in text
        assert view.page.locator(".compared img").count() == 3 and "report was not drawn" in text
        view.page.screenshot(path=artefacts / f"comparison-{width}.png", full_page=True)
    assert view.troubles == []
    assert all(request.startswith((tmp_path / "compared").as_uri()) for request in view.requests)
