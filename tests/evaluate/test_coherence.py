"""Distances by hand, and random subsets against all possible ones."""

from itertools import combinations, product

import numpy as np
import pytest

from visual_summaries.pipeline.evaluate.coherence import (
    Coherence,
    coherence,
    cosine_distances,
    jaccard_distances,
    mean_pair_distance,
)


def test_jaccard_distances_are_those_of_sets() -> None:
    generator = np.random.default_rng(0)
    tags = generator.random((30, 9)) < 0.3
    tags[:2] = False
    sets = [set(np.nonzero(row)[0]) for row in tags]
    found = jaccard_distances(tags)
    for (i, a), (j, b) in product(enumerate(sets), repeat=2):
        assert found[i, j] == pytest.approx(1 - len(a & b) / len(a | b) if a | b else 0)
    assert jaccard_distances(np.zeros((2, 0), bool)).tolist() == [[0, 0], [0, 0]]
    with pytest.raises(ValueError, match="tags"):
        jaccard_distances(tags.astype(int))


def test_cosine_distances_by_hand() -> None:
    found = cosine_distances(np.array([[2.0, 0], [0, 1], [-3, 0], [1, 1]]))
    half = 0.5**0.5
    np.testing.assert_allclose(
        found, [[0, 1, 2, 1 - half], [1, 0, 1, 1 - half], [2, 1, 0, 1 + half], [1 - half, 1 - half, 1 + half, 0]]
    )
    with pytest.raises(ValueError, match="zeros"):
        cosine_distances(np.zeros((1, 2)))


def symmetric(count: int) -> np.ndarray:
    values = np.random.default_rng(1).random((count, count))
    values = values + values.T
    np.fill_diagonal(values, 0)
    return values


def test_within_is_the_mean_over_pairs() -> None:
    distances = symmetric(7)
    found = coherence(distances, [np.array([4, 0, 2]), np.array([5]), np.array([], int), np.array([6, 1])])
    assert found.within[0] == pytest.approx((distances[0, 2] + distances[0, 4] + distances[2, 4]) / 3)
    assert found.within[3] == distances[1, 6]
    assert np.isnan(found.within[1:3]).all() and np.isnan(found.random[1:3]).all()
    assert found.summaries == pytest.approx((found.within[0] + found.within[3]) / 2)
    assert found.chance == pytest.approx((found.random[0].mean() + found.random[3].mean()) / 2)
    subsets = np.array([[[0, 1, 2], [3, 4, 5]]])
    expected = [[mean_pair_distance(distances, subset) for subset in row] for row in subsets]
    np.testing.assert_allclose(mean_pair_distance(distances, subsets), expected)


def test_random_subsets_are_all_subsets_of_the_size() -> None:
    distances = symmetric(5)
    possible = [mean_pair_distance(distances, np.array(subset)) for subset in combinations(range(5), 3)]
    found = coherence(distances, [np.array([0, 1, 2])], draws=4000).random[0]
    counts = [int(np.isclose(found, value).sum()) for value in possible]
    assert sum(counts) == 4000 and min(counts) > 320 and max(counts) < 480


def test_random_subsets_hold_an_image_once() -> None:
    """Image a has three items, b one and c one: a is no likelier than b."""
    images, distances = np.array(["a", "b", "a", "c", "a"]), symmetric(5)
    possible = {}
    for first, second in combinations(range(5), 2):
        if images[first] != images[second]:
            possible[distances[first, second]] = 1 / 3 if "a" not in images[[first, second]] else 1 / 9
    found = coherence(distances, [np.array([0, 1])], images, draws=9000).random[0]
    for value, share in possible.items():
        assert np.isclose(found, value).mean() == pytest.approx(share, abs=0.02)
    with pytest.raises(ValueError, match="4 members, the class 3 images"):
        coherence(distances, [np.array([0, 1, 2, 3])], images)


def test_seed() -> None:
    distances, summaries = symmetric(9), [np.arange(4), np.arange(4, 8)]
    one, same, other = (coherence(distances, summaries, seed=seed).random for seed in (1, 1, 2))
    assert np.array_equal(one, same) and not np.array_equal(one, other) and not np.array_equal(one[0], one[1])


def test_coherent_summaries_are_below_chance_and_empty_classes_unknown() -> None:
    tags = np.eye(3, dtype=bool)[np.repeat([0, 1, 2], 6)]
    found = coherence(jaccard_distances(tags), [np.arange(6), np.arange(6, 12)])
    # Of 17 other items, 12 have another tag.
    assert found.summaries == 0 and found.chance == pytest.approx(12 / 17, abs=0.02)
    nothing = Coherence(np.zeros(0), np.zeros((0, 3)))
    assert np.isnan(nothing.summaries) and np.isnan(nothing.chance)
