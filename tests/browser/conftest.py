"""Chromium, headless; the tests are skipped where it is not installed."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
# Builders of made-up contents.
sys.path.insert(0, str(ROOT / "tests" / "report"))
REQUIRED = os.environ.get("VISUAL_SUMMARIES_BROWSER_TESTS") == "required"


def absent(what: str) -> None:
    """Skip, saying what is missing; fail where the browser tests are required, as in CI."""
    (pytest.fail if REQUIRED else pytest.skip)(f"{what} is not installed: .ci/run says how")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """The browser."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        absent("Chromium")
    sync = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install '.[test]'")
    with sync.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe-core."""
    path = ROOT / ".ci" / "browser" / "node_modules" / "axe-core" / "axe.min.js"
    if not path.is_file():
        absent("axe-core")
    return path.read_text()


@pytest.fixture(scope="session")
def artefacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots are kept: VISUAL_SUMMARIES_ARTEFACTS, or the folder artefacts."""
    folder = Path(os.environ.get("VISUAL_SUMMARIES_ARTEFACTS", ROOT / "artefacts"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
