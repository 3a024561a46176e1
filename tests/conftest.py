"""The fixtures every test shares."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / folder) for folder in ("commands", "stages")]

from runs import SETTINGS, run_here, run_job  # noqa: E402

from visual_summaries.pipeline.data.demo.scenes import CLASS_NAMES, write_demo_set  # noqa: E402

# The files that take minutes, longest first, so that no process is left with one of them when the others have ended.
# The first two do without the runs below, which one process makes for all.
LONGEST_FIRST = (
    "jobs/test_submission.py",
    "jobs/test_demo.py",
    "commands/test_evaluate.py",
    "commands/test_summarize.py",
    "objects/test_runs.py",
    "chaos/test_chaos.py",
    "runtime/test_pool.py",
    "commands/test_bad_input.py",
    "test_recipes.py",
    "commands/test_full_disk.py",
    "stages/test_resources.py",
    "explain/test_crisp.py",
    "surface/test_package.py",
    "objects/test_google.py",
    "commands/test_stored.py",
    "commands/test_report.py",
    "data/test_odd_images.py",
    "stages/test_candidates.py",
    "schemas/test_views.py",
    "review/test_app.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ranks = {HERE / name: rank for rank, name in enumerate(LONGEST_FIRST)}
    assert all(path.is_file() for path in ranks)
    items.sort(key=lambda item: ranks.get(item.path, len(ranks)))


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that the first of the session's processes to come here fills, and that all may read."""
    base = factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, whole = shared / name, shared / f"{name} is whole"
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not whole.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            whole.touch()
    return folder


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


@pytest.fixture(scope="session")
def demo_folder(tmp_path_factory) -> Path:
    """Two classes of the demo set, seven pictures each; not to be changed."""
    return made_once(tmp_path_factory, "demo", two_classes) / "photographs"


def two_classes(folder: Path) -> None:
    write_demo_set(folder / "photographs", 7, seed=1)
    for name in CLASS_NAMES[2:]:
        shutil.rmtree(folder / "photographs" / name)
    (folder / "photographs" / "parts.csv").rename(folder / "parts.csv")


@pytest.fixture(scope="session")
def whole_run(demo_folder, tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess]:
    """(folder, finished process) of an undisturbed run with two workers; not to be written into."""

    def make(folder: Path) -> None:
        result = run_job(folder / "run", demo_folder, *SETTINGS, f"data.parts={demo_folder.parent / 'parts.csv'}")
        assert result.returncode == 0, result.stdout + result.stderr
        (folder / "said.json").write_text(json.dumps([result.args, result.stdout, result.stderr]))

    folder = made_once(tmp_path_factory, "whole", make)
    arguments, stdout, stderr = json.loads((folder / "said.json").read_text())
    return folder / "run", subprocess.CompletedProcess(arguments, 0, stdout, stderr)


HOSTILE = "a'b\"; DROP TABLE images; --"


@pytest.fixture(scope="session")
def named_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a finished run of two demo classes, one with a hostile name and wide photographs, and a broken file;
    not to be written into."""
    return made_once(tmp_path_factory, "named", hostile_run) / "run"


def hostile_run(folder: Path) -> None:
    from PIL import Image, ImageOps

    photographs = folder / "photographs"
    write_demo_set(folder / "set", 6, seed=2)
    photographs.mkdir()
    for own, name in ((HOSTILE, CLASS_NAMES[0]), (CLASS_NAMES[1], CLASS_NAMES[1])):
        (folder / "set" / name).rename(photographs / own)
    for path in sorted((photographs / HOSTILE).iterdir()):
        ImageOps.expand(Image.open(path).convert("RGB"), (31, 0), fill=(150, 150, 140)).save(path)
    (photographs / HOSTILE / "broken.jpg").write_bytes(b"\xff\xd8\xff no photograph")
    (folder / "map.json").write_text(json.dumps({HOSTILE: CLASS_NAMES[0]}))
    settings = (f"data.class_map={folder / 'map.json'}", "error_tolerance=1", "proposals.limit=150")
    settings += ("explain.shard_size=3", "pruning.minimum_members=2", "data.test=0.17", "data.held_out=0")
    settings += ("explain.policy=all", "explain.preset=fast")
    result = run_here(folder / "run", photographs, *settings)
    assert result.returncode == 0, result.stdout + result.stderr
