"""The cover against loops over single cells, and against all subsets."""

from itertools import combinations

import numpy as np
import pytest

from visual_summaries.pipeline.summarize.candidates import Candidate
from visual_summaries.pipeline.summarize.cover import CoverProblem, fewest, greedy

GRID, IMAGES = 6, 4


def case(seed: int, count: int = 7) -> tuple[list[Candidate], np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    shares = np.where(random.random((IMAGES, GRID, GRID)) < 0.5, random.random((IMAGES, GRID, GRID)), 0)
    candidates = []
    for _ in range(count):
        images = np.flatnonzero(random.random(IMAGES) < 0.7)
        segments = np.zeros((len(images), GRID, GRID), dtype=bool)
        for segment in segments:
            row, column = random.integers(0, GRID - 2, 2)
            segment[row : row + random.integers(1, 5), column : column + random.integers(1, 5)] = True
        candidates.append(Candidate("x", images, np.zeros((len(images), 4), np.float32), segments))
    return candidates, random.uniform(0.2, 1, count), shares, random.uniform(0.3, 1, IMAGES)


def value_by_loops(candidates, coherence, shares, weights, price, waste, chosen) -> float:
    total = sum(shares[n].sum() * weights[n] for n in range(IMAGES))
    value = 0.0
    for n in range(IMAGES):
        for row in range(GRID):
            for column in range(GRID):
                worth = 0.0
                for one in chosen:
                    for image, segment in zip(candidates[one].images, candidates[one].segments, strict=True):
                        if image == n and segment[row, column]:
                            worth = max(worth, coherence[one])
                            value -= coherence[one] * waste * (1 - shares[n, row, column]) * weights[n] / total
                value += worth * shares[n, row, column] * weights[n] / total
    return value - price * len(chosen)


@pytest.mark.parametrize("seed", range(4))
def test_value_and_greedy_choice_equal_loops(seed: int) -> None:
    candidates, coherence, shares, weights = case(seed)
    price, waste = 0.01, 0.1
    problem = CoverProblem(candidates, coherence, shares, weights, price, waste)

    def value(chosen: list[int]) -> float:
        return value_by_loops(candidates, coherence, shares, weights, price, waste, chosen)

    for chosen in ([], [3], [0, 1, 4], list(range(7))):
        assert problem.value(chosen) == pytest.approx(value(chosen), abs=1e-9)
    expected: list[int] = []
    while True:
        left = [one for one in range(7) if one not in expected]
        gains = [value([*expected, one]) - value(expected) for one in left]
        if not left or max(gains) <= 0:
            break
        expected.append(left[int(np.argmax(gains))])
    assert greedy(problem, range(7)) == expected
    assert len(expected) >= 2


@pytest.mark.parametrize("seed", range(4))
def test_coverage_extent_and_overlap_equal_loops(seed: int) -> None:
    candidates, coherence, shares, weights = case(seed)
    problem = CoverProblem(candidates, coherence, shares, weights)
    total = (shares * weights[:, None, None]).sum()

    def held(one: int) -> dict[tuple[int, int, int], float]:
        return {
            (int(n), row, column): shares[n, row, column] * weights[n]
            for n, segment in zip(candidates[one].images, candidates[one].segments, strict=True)
            for row, column in np.argwhere(segment)
        }

    for one in range(7):
        assert problem.coverage(one) == pytest.approx(sum(held(one).values()) / total)
        of_images = [
            sum(value for (n, *_), value in held(one).items() if n == image) / (shares[image].sum() * weights[image])
            for image in candidates[one].images
        ]
        assert problem.extent(one) == pytest.approx(np.mean(of_images))
        for other in range(7):
            common = set(candidates[one].images) & set(candidates[other].images)
            a, b = ({key: v for key, v in held(which).items() if key[0] in common} for which in (one, other))
            least = min(sum(a.values()), sum(b.values()))
            expected = sum(a[key] for key in a.keys() & b.keys()) / least if least else 0
            assert problem.overlap(one, other) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(8))
def test_the_chosen_set_is_near_the_best_of_all_subsets(seed: int) -> None:
    candidates, coherence, shares, weights = case(seed)
    problem = CoverProblem(candidates, coherence, shares, weights, 0.02, 0.2)
    cover = fewest(problem)
    allowed = [
        subset
        for size in range(8)
        for subset in combinations(range(7), size)
        if all(problem.overlap(one, other) < 0.5 for one, other in combinations(subset, 2))
    ]
    assert tuple(sorted(cover.chosen)) in allowed
    assert problem.value(cover.chosen) >= 0.8 * max(problem.value(subset) for subset in allowed)
    # Nothing more can be added, and nothing left out, to advantage.
    for subset in allowed:
        if len(set(subset) ^ set(cover.chosen)) == 1:
            assert problem.value(subset) <= problem.value(cover.chosen) + 1e-12


def test_what_a_cover_tells() -> None:
    candidates, coherence, shares, weights = case(1)
    problem = CoverProblem(candidates, coherence, shares, None, 0.01, 0.0)
    cover = fewest(problem)
    assert len(cover.chosen) >= 2
    held = np.zeros(shares.shape, dtype=bool)
    for rank, one in enumerate(cover.chosen):
        before = held.copy()
        for image, segment in zip(candidates[one].images, candidates[one].segments, strict=True):
            held[image] |= segment
        assert cover.added[rank] == pytest.approx(shares[held & ~before].sum() / shares.sum())
    assert cover.total == pytest.approx(shares[held].sum() / shares.sum())
    np.testing.assert_allclose(cover.unaccounted, np.where(held, 0, shares), rtol=1e-6)
    assert sum(cover.gains) == pytest.approx(problem.value(cover.chosen) + 0.01 * len(cover.chosen))
    assert fewest(CoverProblem([], [], shares)).chosen == []
