"""The fixtures every test shares."""

import json
import os
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent / "commands"))

from runs import SETTINGS, run_job  # noqa: E402

from visual_summaries.pipeline.data.demo.scenes import CLASS_NAMES, write_demo_set  # noqa: E402


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


HOSTILE = "a'b\"; DROP TABLE images; --"


@pytest.fixture(scope="session")
def named_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a finished run of two demo classes, one with a hostile name and wide photographs, and a broken file."""
    from PIL import Image, ImageOps

    folder = tmp_path_factory.mktemp("named")
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
    result = run_job(folder / "run", photographs, *settings)
    assert result.returncode == 0, result.stdout + result.stderr
    return folder / "run"
