"""The fixtures every test shares."""

import os
from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="session")
def data_directory() -> Path:
    """Folder of real photographs, weights and reference vectors; the test is skipped where it is absent."""
    value = os.environ.get("VISUAL_SUMMARIES_DATA")
    if not value:
        pytest.skip("VISUAL_SUMMARIES_DATA is not set: tests on real photographs and reference vectors are skipped")
    path = Path(value).resolve()
    if not (path / "reference").is_dir():
        pytest.skip(f"VISUAL_SUMMARIES_DATA={value} has no folder 'reference'")
    return path


@pytest.fixture(autouse=True, scope="session")
def few_threads() -> None:
    torch.set_num_threads(1)
