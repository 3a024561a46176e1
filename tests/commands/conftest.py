"""A small run made in this process, for tests that change its photographs."""

import shutil
from pathlib import Path

import pytest
from runs import SMALL, tables_here

from visual_summaries.pipeline.data.demo.scenes import CLASS_NAMES, write_demo_set


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(a finished run's folder, the folder of its photographs): four of each of two classes."""
    folder = tmp_path_factory.mktemp("small")
    write_demo_set(folder / "set", 4, seed=4)
    for name in CLASS_NAMES[:2]:
        shutil.move(folder / "set" / name, folder / "photographs" / name)
    tables_here(folder / "run", folder / "photographs", *SMALL)
    return folder / "run", folder / "photographs"
