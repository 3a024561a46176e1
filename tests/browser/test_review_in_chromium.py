"""The questions of the review server in Chromium: answered, stored, exported, shown on the report."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from watched import violations, wait_until, watched  # noqa: E402

from visual_summaries.pipeline.store.tables import TableStore  # noqa: E402

ROOT = Path(__file__).parents[2]
QUESTIONS = ("part", "map", "find")


@pytest.fixture
def served(named_run: Path, tmp_path: Path) -> Iterator[tuple[Path, str, subprocess.Popen]]:
    """A run of its own, the address of its server, and the server."""
    run = tmp_path / "run"
    shutil.copytree(named_run, run)
    command = [sys.executable, "-m", "visual_summaries", "review", "--run", str(run), "--port", "0"]
    settings = os.environ | {"PYTHONUNBUFFERED": "1", "COLUMNS": "200"}
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=settings
    )
    try:
        lines = []
        while "Ctrl-C" not in (line := process.stdout.readline()):
            assert line, "".join(lines)
            lines.append(line)
        yield run, re.search(r"Review: (http://\S+?:\d+)/", "".join(lines))[1], process
    finally:
        process.kill()
        process.wait()


def answer(page, kind: str) -> None:  # noqa: ANN001
    """Answer one question by the keyboard alone."""
    if kind == "part":
        page.locator("#names").focus()
        page.keyboard.type("the <b>tail</b>, fan")
        page.keyboard.press("Enter")
    else:
        page.locator("input[type=radio]").first.focus()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Enter")


def test_questions_are_answered_stored_and_exported(chromium, axe: str, served, artefacts: Path) -> None:  # noqa: ANN001
    run, address, process = served
    for width, scheme, rater in ((390, "dark", "Ann"), (1280, "light", "Bob & <i>")):
        with watched(chromium, width, color_scheme=scheme, bypass_csp=True) as view:
            page = view.page
            page.goto(f"{address}/index.html")
            page.get_by_role("link", name="Name parts, rate maps").click()
            page.wait_for_load_state("load")
            assert violations(page, axe) == []
            page.get_by_label("name").fill(rater)
            page.keyboard.press("Enter")
            page.wait_for_selector(".kinds")
            page.wait_for_load_state("load")
            assert violations(page, axe) == []
            page.screenshot(path=artefacts / f"review-start-{width}-{scheme}.png")
            for kind in QUESTIONS:
                page.goto(f"{address}/review/{kind}")
                wait_until(page, "[...document.images].every((image) => image.complete && image.naturalWidth)")
                assert page.evaluate("document.documentElement.scrollWidth") <= width
                assert violations(page, axe) == []
                page.screenshot(path=artefacts / f"review-{kind}-{width}-{scheme}.png", full_page=True)
                with page.expect_navigation():
                    answer(page, kind)
        assert view.troubles == []
        assert all(request.startswith(address) for request in view.requests)
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and "6 answers" in rest
    rows = TableStore(run).read_all("ratings").to_pylist()
    assert sorted((row["rater"], row["kind"]) for row in rows) == [
        (rater, kind) for rater in ("Ann", "Bob & <i>") for kind in ("find the image", "map rating", "part name")
    ]
    assert {row["text"] for row in rows if row["kind"] == "part name"} == {"the <b>tail</b>, fan"}
    assert {row["value"] for row in rows if row["kind"] == "map rating"} == {1.0}
    command = [sys.executable, "-m", "visual_summaries", "report", "--run", str(run)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True)
    assert result.returncode == 0, result.stderr
    with watched(chromium) as view:
        view.open(run / "report" / "plots.html")
        told = view.page.locator("section:has(#ratings)").inner_text()
        assert "interpretability index" in told and "1.000" in told and "2 raters" in told
        view.page.goto((run / "report" / "index.html").as_uri())
        view.page.fill("#search", "tail</b>")
        # Which summaries were asked about first follows from the digests of this machine's run.
        named = {row["label"] for row in rows if row["kind"] == "part name"}
        assert view.page.locator(".card:visible").count() == len(named)
        view.page.fill("#search", "no such part")
        assert view.page.locator(".card:visible").count() == 0
    assert view.troubles == []
