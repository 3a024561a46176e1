from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from sklearn.cluster import affinity_propagation as dense_affinity_propagation

from visual_summaries.pipeline.summarize import clustering
from visual_summaries.pipeline.summarize.clustering import affinity_propagation, cluster_edges, cluster_scores


def original(data_directory: Path, case: int) -> tuple[np.ndarray, float, np.ndarray, np.ndarray]:
    """Similarities, preference, exemplars and (net, data, preference) similarity of the Frey–Dueck program."""
    with np.load(data_directory / "reference" / "affinity_propagation.npz") as arrays:
        similarity, preference, exemplar, net = (
            arrays[f"{name}{case}"] for name in ("S", "preference", "exemplar", "netsim")
        )
    return similarity, float(preference), exemplar.astype(int), net


def net_similarity(similarity: np.ndarray, preference: float, exemplar: np.ndarray) -> float:
    total = 0.0
    for point, own in enumerate(exemplar):
        total += preference if own == point else similarity[point, own]
    return total


def best_net_similarity(similarity: np.ndarray, preference: float) -> float:
    """The optimum, by trying every set of exemplars."""
    count = len(similarity)
    best = -np.inf
    for size in range(1, count + 1):
        for chosen in combinations(range(count), size):
            others = np.delete(similarity, chosen, axis=0)[:, chosen]
            best = max(best, size * preference + others.max(axis=1, initial=-np.inf).sum())
    return best


def planted(sizes: list[int], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores high within blocks and low between, and the number of each point's block, shuffled."""
    generator = np.random.default_rng(seed)
    block = generator.permutation(np.repeat(np.arange(len(sizes)), sizes))
    same = block[:, None] == block
    scores = np.where(same, generator.uniform(0.6, 0.9, same.shape), generator.uniform(0, 0.2, same.shape))
    return ((scores + scores.T) / 2).astype(np.float32), block


@pytest.mark.parametrize("case", range(8))
def test_equals_the_original_program(data_directory: Path, case: int) -> None:
    similarity, preference, exemplar, net = original(data_directory, case)
    result = affinity_propagation(similarity, preference)
    # The reference's three figures mean what this file takes them for.
    assert net_similarity(similarity, preference, exemplar) == pytest.approx(net[0], rel=1e-9)
    assert net[1] + net[2] == pytest.approx(net[0], rel=1e-12)

    assert result.converged and result.preference == preference
    assert result.net_similarity == pytest.approx(net_similarity(similarity, preference, result.exemplar), rel=1e-12)
    assert result.net_similarity >= net[0] - 1e-9 * abs(net[0])
    assert set(result.exemplar) == set(exemplar)
    if case == 7:
        # Its similarities have exact ties, so a point may belong to either of two exemplars.
        points = np.arange(len(exemplar))
        np.testing.assert_array_equal(similarity[points, result.exemplar], similarity[points, exemplar])
    else:
        np.testing.assert_array_equal(result.exemplar, exemplar)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("forbidden", [0.0, 0.3])
def test_finds_the_optimum_of_small_cases(seed: int, forbidden: float) -> None:
    generator = np.random.default_rng(seed)
    points = np.repeat([[0, 0], [6, 1], [1, 7]], 3, axis=0) + generator.normal(size=(9, 2))
    similarity = -((points[:, None] - points) ** 2).sum(axis=2)
    similarity[generator.random((9, 9)) < forbidden] = -np.inf
    result = affinity_propagation(similarity, -8.0)
    assert result.net_similarity == pytest.approx(best_net_similarity(similarity, -8.0), rel=1e-9)


@pytest.mark.parametrize("iterations", [10, 20, 40])
def test_no_point_gets_a_forbidden_exemplar_even_without_convergence(iterations: int) -> None:
    for seed in range(8):
        generator = np.random.default_rng(seed)
        points = generator.random((15, 2))
        similarity = -((points[:, None] - points) ** 2).sum(axis=2)
        similarity[generator.random((15, 15)) < 0.6] = -np.inf
        result = affinity_propagation(similarity, -0.1, maximum_iterations=iterations, stable_iterations=50)
        assert not result.converged
        net = net_similarity(similarity, -0.1, result.exemplar)
        assert np.isfinite(net)
        assert result.net_similarity == pytest.approx(net)
        np.testing.assert_array_equal(result.exemplar[result.exemplar], result.exemplar)


def test_point_that_may_join_nobody_stands_alone() -> None:
    scores, block = planted([4, 5])
    similarity = scores.astype(np.float64) - 1
    similarity[3] = -np.inf
    result = affinity_propagation(similarity, -1.0)
    assert result.exemplar[3] == 3
    assert np.isfinite(result.net_similarity)
    nobody = affinity_propagation(np.full((4, 4), -np.inf), -1.0)
    assert nobody.exemplar.tolist() == [0, 1, 2, 3] and nobody.net_similarity == -4


def test_diagonal_is_not_read_and_input_not_changed() -> None:
    similarity, preference = planted([10, 8, 6])[0].astype(np.float64) - 1, -1.0
    other = similarity.copy()
    np.fill_diagonal(other, np.nan)
    before = other.copy()
    first, second = affinity_propagation(similarity, preference), affinity_propagation(other, preference)
    np.testing.assert_array_equal(first.exemplar, second.exemplar)
    assert first.net_similarity == second.net_similarity
    np.testing.assert_array_equal(other, before)


def test_convergence_is_told_apart_at_the_last_iteration() -> None:
    similarity, preference = planted([10, 8, 6])[0].astype(np.float64) - 1, -1.0
    unlimited = affinity_propagation(similarity, preference)
    needed = unlimited.iterations
    enough = affinity_propagation(similarity, preference, maximum_iterations=needed)
    assert (enough.converged, enough.iterations) == (True, needed)
    np.testing.assert_array_equal(enough.exemplar, unlimited.exemplar)
    short = affinity_propagation(similarity, preference, maximum_iterations=needed - 1)
    assert (short.converged, short.iterations) == (False, needed - 1)


def test_non_convergence_is_reported() -> None:
    similarity, preference = planted([10, 8, 6])[0].astype(np.float64) - 1, -1.0
    result = affinity_propagation(similarity, preference, maximum_iterations=5)
    assert not result.converged
    assert result.iterations == 5
    np.testing.assert_array_equal(result.exemplar[result.exemplar], result.exemplar)
    assert result.net_similarity == pytest.approx(net_similarity(similarity, preference, result.exemplar))


@pytest.mark.parametrize(
    ("similarity", "preference", "exemplar", "net"),
    [
        (np.zeros((0, 0)), -1.0, [], 0.0),
        (np.array([[-5.0]]), -2.0, [0], -2.0),
        (np.full((2, 2), -1.0), -3.0, [0, 0], -4.0),
        (np.full((2, 2), -3.0), -1.0, [0, 1], -2.0),
        (np.full((4, 4), -1.0), -3.0, [0, 0, 0, 0], -6.0),
        (np.full((4, 4), -1.0), -1.0, [0, 1, 2, 3], -4.0),
    ],
)
def test_few_points_and_equal_similarities(
    similarity: np.ndarray, preference: float, exemplar: list[int], net: float
) -> None:
    result = affinity_propagation(similarity, preference)
    assert result.exemplar.tolist() == exemplar and result.exemplar.dtype == np.int64
    assert result.net_similarity == net
    assert result.converged


def test_two_points_of_which_one_may_join_the_other() -> None:
    similarity = np.array([[0.0, -1.0], [-np.inf, 0.0]])
    result = affinity_propagation(similarity, -5.0)
    assert result.exemplar.tolist() == [1, 1] and result.net_similarity == -6


def test_similarity_that_is_not_a_number_is_refused() -> None:
    similarity = -np.arange(16.0).reshape(4, 4)
    similarity[1, 2] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        affinity_propagation(similarity, -1.0)


def test_same_seed_same_result() -> None:
    # Whole-number similarities are full of ties, which the noise has to break.
    similarity = -np.random.default_rng(0).integers(1, 4, (40, 40)).astype(np.float64)
    first, second = (affinity_propagation(similarity, -6.0, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first.exemplar, second.exemplar)
    assert first == type(first)(first.exemplar, *(getattr(second, name) for name in list(vars(second))[1:]))


def test_scores_recover_planted_blocks() -> None:
    scores, block = planted([12, 9, 15, 7])
    result = cluster_scores(scores)
    assert result.converged
    assert len(set(result.exemplar)) == 4
    np.testing.assert_array_equal(block[result.exemplar], block)


def test_preference_is_taken_from_all_scores_with_the_self_matches() -> None:
    scores, _ = planted([10, 8, 6])
    np.fill_diagonal(scores, 5.0)
    result = cluster_scores(scores, preference_factor=1.3)
    raw = 1.3 * np.median(scores) - 0.3 * scores.max()
    assert result.preference == pytest.approx(raw - scores.max(), rel=1e-6)
    shifted = scores.astype(np.float64) - 5.0
    centers, labels = dense_affinity_propagation(
        shifted, preference=result.preference, damping=0.9, max_iter=1000, convergence_iter=100, random_state=0
    )
    np.testing.assert_array_equal(result.exemplar, centers[labels])


def test_settings_reach_the_algorithm() -> None:
    scores, _ = planted([10, 8, 6])
    usual = cluster_scores(scores)
    # Once stable, the exemplars only have to stay so for longer.
    assert usual.iterations - cluster_scores(scores, stable_iterations=60).iterations == 40
    assert cluster_scores(scores, damping=0.6).iterations < usual.iterations
    short = cluster_scores(scores, maximum_iterations=5)
    assert (short.iterations, short.converged) == (5, False)
    assert len(set(cluster_scores(scores, preference_factor=0.02).exemplar)) > 3


@pytest.mark.parametrize(("count", "exemplar"), [(0, []), (1, [0]), (2, [0, 1]), (5, [0, 1, 2, 3, 4])])
def test_equal_scores_stand_alone(count: int, exemplar: list[int]) -> None:
    """Shifted they are 0, and so is the preference: joining gains nothing."""
    result = cluster_scores(np.full((count, count), 0.25, dtype=np.float32))
    assert result.exemplar.tolist() == exemplar
    assert (result.preference, result.net_similarity, result.converged) == (0.0, 0.0, True)


def sparse(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows, columns = np.nonzero(scores)
    return rows, columns, scores[rows, columns]


def thinned(sizes: list[int], seed: int = 0) -> np.ndarray:
    """Planted scores without most of the low ones, and a part that matches only itself."""
    scores, block = planted(sizes, seed)
    same = block[:, None] == block
    scores[~same & (np.random.default_rng(seed).random(same.shape) < 0.8)] = 0
    scores[5], scores[:, 5] = 0, 0
    np.fill_diagonal(scores, 1)
    return scores


@pytest.mark.parametrize("factor", [1.3, 1.1])
@pytest.mark.parametrize("seed", range(4))
def test_edges_dense_and_sparse_agree(seed: int, factor: float) -> None:
    scores = thinned([12, 9, 15, 7, 11, 10], seed)
    edges, count = sparse(scores), len(scores)
    dense, own = (cluster_edges(*edges, count, factor, dense_limit=limit) for limit in (count, count - 1))
    whole = cluster_scores(scores, factor)
    # Not the same algorithm twice: only the dense one gives a part a place in a cluster with which it has no score.
    assert whole.exemplar[5] >= 0 and dense.exemplar[5] == own.exemplar[5] == -1
    np.testing.assert_array_equal(np.where(dense.exemplar < 0, whole.exemplar, dense.exemplar), whole.exemplar)
    assert whole.preference == dense.preference == own.preference
    assert whole.net_similarity == pytest.approx(dense.net_similarity, rel=1e-12)
    np.testing.assert_array_equal(own.exemplar, dense.exemplar)
    assert own.net_similarity == pytest.approx(dense.net_similarity, rel=1e-9)
    assert own.converged and dense.converged


def test_edges_choose_the_algorithm_by_the_number_of_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*arguments: object) -> None:
        raise AssertionError("not this one")

    edges = sparse(thinned([10, 12]))
    monkeypatch.setattr(clustering, "sparse_affinity_propagation", refused)
    cluster_edges(*edges, 22, dense_limit=22)
    cluster_edges(*edges, 2000)
    with pytest.raises(AssertionError, match="not this one"):
        cluster_edges(*edges, 2001)
    monkeypatch.undo()
    monkeypatch.setattr(clustering, "affinity_propagation", refused)
    cluster_edges(*edges, 22, dense_limit=21)


@pytest.mark.parametrize("limit", [0, 100])
def test_settings_reach_both_algorithms_from_edges(limit: int) -> None:
    scores, _ = planted([10, 8, 6])
    edges = *sparse(scores), 24
    usual = cluster_edges(*edges, dense_limit=limit)
    assert usual.iterations - cluster_edges(*edges, stable_iterations=60, dense_limit=limit).iterations == 40
    assert cluster_edges(*edges, damping=0.6, dense_limit=limit).iterations < usual.iterations
    short = cluster_edges(*edges, maximum_iterations=5, dense_limit=limit)
    assert (short.iterations, short.converged) == (5, False)
    assert len(set(cluster_edges(*edges, 0.02, dense_limit=limit).exemplar)) > 3


@pytest.mark.parametrize("share", [0.0, 0.3, 0.45, 0.5, 0.55, 0.9, 1.0])
@pytest.mark.parametrize("count", [1, 2, 5, 6, 31])
def test_preference_counts_absent_scores_as_zeros(count: int, share: float) -> None:
    generator = np.random.default_rng(count)
    scores = generator.uniform(0.1, 2, count**2)
    scores[generator.permutation(count**2)[round(share * count**2) :]] = 0
    scores = scores.reshape(count, count).astype(np.float32)
    expected = 1.3 * np.median(scores.astype(np.float64) - scores.max())
    for limit in (0, 100):
        result = cluster_edges(*sparse(scores), count, maximum_iterations=1, dense_limit=limit)
        assert result.preference == expected


@pytest.mark.parametrize("limit", [0, 100])
def test_few_edges(limit: int) -> None:
    nothing = cluster_edges([], [], [], 0, dense_limit=limit)
    assert nothing.exemplar.shape == (0,) and nothing.exemplar.dtype == np.int64 and nothing.converged
    apart = cluster_edges([], [], [], 3, dense_limit=limit)
    assert apart.exemplar.tolist() == [0, 1, 2] and (apart.net_similarity, apart.converged) == (0, True)
    zeros = cluster_edges([0, 1], [1, 2], [0.0, 0.0], 3, dense_limit=limit)
    assert zeros.exemplar.tolist() == [0, 1, 2] and zeros.preference == 0
    # Six parts of which three match: the preference is −1.3 · 1, so 0.4 + 0.4 pay for an exemplar.
    rows, columns = np.array([0, 0, 1, 1, 2, 2]), np.array([0, 1, 0, 1, 1, 2])
    result = cluster_edges(rows, columns, np.array([1, 0.4, 0.3, 1, 0.4, 1]), 6, dense_limit=limit)
    assert result.exemplar.tolist() == [1, 1, 1, -1, -1, -1]
    assert result.exemplar.dtype == np.int64 and result.preference == -1.3
    assert result.net_similarity == pytest.approx(-1.3 - 2 * 0.6 - 3)


@pytest.mark.parametrize("limit", [0, 100])
@pytest.mark.parametrize(
    ("rows", "columns", "scores", "message"),
    [
        ([0, 1], [1, 2], [0.5, np.nan], "score is NaN"),
        ([0, 1], [1, 2], [0.5, np.inf], "score is infinite"),
        ([0, 1], [1, 2], [0.5, -0.1], "score is negative"),
        ([0, 1], [1, 3], [0.5, 0.5], r"columns must lie in \[0, 3\)"),
        ([-1, 1], [1, 2], [0.5, 0.5], r"rows must lie in \[0, 3\)"),
        ([0, 1, 0], [1, 2, 1], [0.5, 0.5, 0.5], "edges 0 and 2 join the same two points"),
        ([0, 1], [1, 2], [0.5], "2 pairs, but scores of shape"),
    ],
)
def test_wrong_edges_are_refused(
    rows: list[int], columns: list[int], scores: list[float], message: str, limit: int
) -> None:
    with pytest.raises(ValueError, match=message):
        cluster_edges(rows, columns, scores, 3, dense_limit=limit)
