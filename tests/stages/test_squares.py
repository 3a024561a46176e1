"""The analyzed squares that a run keeps on a node."""

import os
import time
from pathlib import Path

import numpy as np
import pytest

from visual_summaries.pipeline.stages.squares import LEFT_OVER_SECONDS, Squares

SIDE = 8
BYTES = 3 * SIDE * SIDE


def square(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(256, size=(3, SIDE, SIDE), dtype=np.uint8)


def test_another_worker_of_the_run_reads_what_one_has_kept(tmp_path: Path) -> None:
    first, second = Squares("run", SIDE, parent=tmp_path), Squares("run", SIDE, parent=tmp_path)
    assert second.get("a") is None
    first.put("a", square(0))
    np.testing.assert_array_equal(second.get("a"), square(0))
    assert Squares("other", SIDE, parent=tmp_path).get("a") is None
    assert [one.name for one in first.folder.iterdir()] == ["a"]
    second.remove()
    assert first.get("a") is None
    first.put("a", square(1))
    np.testing.assert_array_equal(second.get("a"), square(1))


def test_the_oldest_give_way(tmp_path: Path) -> None:
    squares = Squares("run", SIDE, limit=2 * BYTES + 1, parent=tmp_path)
    for number in range(4):
        squares.put(str(number), square(number))
    assert sorted(one.name for one in squares.folder.iterdir()) == ["2", "3"]
    none = Squares("none", SIDE, limit=BYTES - 1, parent=tmp_path)
    none.put("a", square(0))
    assert not none.folder.exists()


def test_what_is_cut_short_is_not_taken(tmp_path: Path) -> None:
    squares = Squares("run", SIDE, parent=tmp_path)
    squares.put("a", square(0))
    content = (squares.folder / "a").read_bytes()
    (squares.folder / "a").write_bytes(content[:-1])
    assert squares.get("a") is None


@pytest.mark.parametrize("mode", [0o777, 0o720])
def test_a_folder_that_others_can_write_to_is_not_read(tmp_path: Path, mode: int) -> None:
    squares = Squares("run", SIDE, parent=tmp_path)
    squares.put("a", square(0))
    squares.folder.chmod(mode)
    assert squares.get("a") is None
    squares.put("b", square(1))
    assert sorted(one.name for one in squares.folder.iterdir()) == ["a"]


def test_a_link_in_place_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    squares = Squares("run", SIDE, parent=tmp_path)
    squares.folder.symlink_to(elsewhere)
    squares.put("a", square(0))
    assert list(elsewhere.iterdir()) == []


def test_what_other_runs_left_goes_after_a_day(tmp_path: Path) -> None:
    old, young, own = (Squares(name, SIDE, parent=tmp_path) for name in ("old", "young", "own"))
    for one in (old, young, own):
        one.put("a", square(0))
    then = time.time() - LEFT_OVER_SECONDS - 60
    os.utime(old.folder, (then, then))
    own.remove()
    assert [one.name for one in tmp_path.iterdir()] == [young.folder.name]


def test_a_full_or_missing_disk_costs_time_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = Squares("run", SIDE, parent=tmp_path / "gone")
    gone.put("a", square(0))
    assert gone.get("a") is None
    monkeypatch.setattr("visual_summaries.pipeline.stages.squares.LEAST_FREE_BYTES", 2**62)
    full = Squares("run", SIDE, parent=tmp_path)
    full.put("a", square(0))
    assert full.get("a") is None
