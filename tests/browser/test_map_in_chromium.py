"""The map of summaries in Chromium, from the disk: what is pointed at is shown, by the mouse and by the keyboard."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from watched import violations, watched  # noqa: E402

from visual_summaries.pipeline.report import class_pages, site  # noqa: E402


def test_the_map_shows_the_summary_that_is_pointed_at(chromium, axe: str, tmp_path: Path) -> None:  # noqa: ANN001
    from contents import EVIL_LABEL, index, robin, summary

    from visual_summaries.pipeline.report.content import ToldContent
    from visual_summaries.pipeline.report.near import Near, Point

    cards = []
    for place, (label, other) in enumerate((("robin", EVIL_LABEL), (EVIL_LABEL, "robin"))):
        point = Point(1, 0.2 + place / 2, 0.5, other, other, 1, 0.75, True)
        content = robin(label=label, class_name=label, summaries=[summary(1, 1)], examples=[])
        told = ToldContent(near=Near([point], other, other, 0.5, 0.5))
        cards.append(class_pages.write_class_page(tmp_path, content, told))
    site.write_site(tmp_path, index(classes=cards))
    with watched(chromium, 1024, bypass_csp=True) as view:
        view.open(tmp_path / "map.html")
        page, told = view.page, view.page.locator("#pointed")
        page.locator(".map circle").nth(0).hover()
        assert told.inner_text() == f"Summary 1 of robin. Most like summary 1 of {EVIL_LABEL} (0.750)."
        page.wait_for_function("document.querySelector('#pointed img').naturalWidth === 224")
        picture = (tmp_path / "classes" / "robin" / "summary-01-01.webp").as_uri()
        assert page.evaluate("document.querySelector('#pointed img').src") == picture and picture in view.requests
        assert violations(page, axe) == []
        page.locator(".map a").nth(1).focus()
        assert told.inner_text().startswith(f"Summary 1 of {EVIL_LABEL}. Most like summary 1 of robin")
        # By its class, from the field to the point and on to its page.
        page.locator("#wanted").fill("ROB")
        assert page.locator("#wanted-told").inner_text() == "1 of 2 summaries"
        assert page.locator(".map a.wanted").get_attribute("aria-label") == "Summary 1 of robin"
        assert violations(page, axe) == []
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Summary 1 of robin"
        page.keyboard.press("Enter")
        page.wait_for_url("**/summary-01.html")
    assert view.troubles == []
