"""What runs of a random grouping agree on."""

import numpy as np
import pytest

from visual_summaries.pipeline.summarize import consensus
from visual_summaries.pipeline.summarize.candidates import largest_pieces
from visual_summaries.pipeline.summarize.consensus import agreed

IMAGES, GRID = 5, 9


def block(row: int, column: int, high: int, wide: int) -> np.ndarray:
    cells = np.zeros((IMAGES, GRID, GRID), dtype=bool)
    cells[:, row : row + high, column : column + wide] = True
    return cells


def noisy(cells: np.ndarray, seed: int, flips: float) -> np.ndarray:
    """With some cells on either side of its border gained or lost."""
    random = np.random.default_rng(seed)
    return largest_pieces(cells ^ (random.random(cells.shape) < flips) & ~np.roll(~cells, 2, axis=1))


def one_vote(mode: np.ndarray, cells: list[np.ndarray], evidence: np.ndarray, least: float) -> np.ndarray:
    """A round, written as one would say it."""
    votes, total = np.zeros(mode.shape), 0.0
    for other in cells:
        common = evidence[mode & other].sum()
        overlap = common / evidence[mode | other].sum()
        if overlap >= least:
            votes += overlap * other
            total += overlap
    won = (votes / total >= 0.5) & (evidence > 0)
    return np.stack([largest_pieces(won[n : n + 1], evidence[n : n + 1])[0] for n in range(len(won))])


@pytest.mark.parametrize("seed", range(3))
def test_a_round_is_the_vote_of_what_overlaps(seed: int) -> None:
    random = np.random.default_rng(seed)
    shares, weights = random.random((IMAGES, GRID, GRID)).astype(np.float32), random.random(IMAGES) + 0.5
    cells = [noisy(block(1, 1, 5, 4), one, 0.1) for one in range(4)] + [block(3, 2, 4, 4), block(0, 6, 3, 3)]
    evidence = shares * weights[:, None, None]
    expected = {one_vote(one, cells, evidence, 0.35).tobytes() for one in cells}
    modes, _ = agreed(cells, shares, weights, rounds=1)
    assert {one.tobytes() for one in modes} <= expected
    # A mode that is left out is nearly one that is there.
    for left in expected:
        one = np.frombuffer(left, bool).reshape(shares.shape)
        assert max(evidence[one & mode].sum() / evidence[one | mode].sum() for mode in modes) >= 0.8 or left in {
            mode.tobytes() for mode in modes
        }


def test_versions_of_a_part_arrive_at_the_part() -> None:
    parts = [block(0, 0, 4, 4), block(5, 3, 3, 5)]
    cells = [noisy(part, seed, 0.08) for seed in range(8) for part in parts]
    assert not any((one == part).all() for one in cells for part in parts)
    modes, around = agreed(cells, np.ones(parts[0].shape, np.float32), np.ones(IMAGES))
    assert len(modes) == 2
    for part in parts:
        overlaps = [(part & mode).sum() / (part | mode).sum() for mode in modes]
        single = [(part & one).sum() / (part | one).sum() for one in cells]
        assert max(overlaps) > max(single)
    assert around.sum(axis=1).tolist() == [8, 8]
    assert (around.sum(axis=0) == 1).all()


def test_the_part_with_the_most_versions_is_first_and_a_lone_one_stays() -> None:
    cells = [block(5, 0, 3, 3), block(0, 0, 4, 4), block(0, 0, 4, 4)]
    modes, around = agreed(cells, np.ones(cells[0].shape, np.float32), np.ones(IMAGES))
    np.testing.assert_array_equal(modes, np.stack([cells[1], cells[0]]))
    assert around.tolist() == [[False, True, True], [True, False, False]]


def test_memory_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    shares = random.random((IMAGES, GRID, GRID)).astype(np.float32)
    cells = [noisy(block(1, 1, 5, 4), seed, 0.15) for seed in range(5)]
    whole = agreed(cells, shares, np.ones(IMAGES))
    monkeypatch.setattr(consensus, "CHUNK", 7)
    for first, second in zip(whole, agreed(cells, shares, np.ones(IMAGES)), strict=True):
        np.testing.assert_array_equal(first, second)


def test_nothing_and_what_does_not_fit() -> None:
    shares = np.zeros((IMAGES, GRID, GRID), np.float32)
    modes, around = agreed([block(0, 0, 2, 2)], shares, np.ones(IMAGES))
    assert (modes.shape, around.shape) == ((0, IMAGES, GRID, GRID), (0, 1))
    assert agreed([], shares, np.ones(IMAGES))[0].shape == (0, IMAGES, GRID, GRID)
    with pytest.raises(ValueError, match="cells must be"):
        agreed([np.zeros((2, 3, 3), bool)], shares, np.ones(IMAGES))
