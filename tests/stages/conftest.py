"""A small demo set and one whole run over it, shared by the tests of whole runs."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from runs import run_job  # noqa: E402

from pipeline.data.demo.scenes import CLASS_NAMES, write_demo_set  # noqa: E402

SETTINGS = ("explain.shard_size=4", "explain.batch_size=4", "proposals.limit=150", "explain.preset=fast")


@pytest.fixture(scope="session")
def demo_folder(tmp_path_factory) -> Path:
    """Two classes of the demo set, seven pictures each."""
    folder = tmp_path_factory.mktemp("demo")
    write_demo_set(folder, 7, seed=1)
    for name in CLASS_NAMES[2:]:
        for file in (folder / name).iterdir():
            file.unlink()
        (folder / name).rmdir()
    (folder / "parts.csv").rename(folder.parent / "parts.csv")
    return folder


@pytest.fixture(scope="session")
def whole_run(demo_folder, tmp_path_factory):  # noqa: ANN201
    """(folder, finished process) of an undisturbed run with two workers."""
    output = tmp_path_factory.mktemp("whole")
    parts = f"data.parts={demo_folder.parent / 'parts.csv'}"
    result = run_job(output, demo_folder, *SETTINGS, parts)
    assert result.returncode == 0, result.stdout + result.stderr
    return output, result
