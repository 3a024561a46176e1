from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from visual_summaries.pipeline.summarize import sparse_affinity
from visual_summaries.pipeline.summarize.clustering import affinity_propagation
from visual_summaries.pipeline.summarize.sparse_affinity import Clustering, Messages, sparse_affinity_propagation

Edges = tuple[np.ndarray, np.ndarray, np.ndarray]
Values = dict[tuple[int, int], float]


def dense_matrix(edges: Edges, count: int, preference: float, null: float) -> np.ndarray:
    similarity = np.full((count, count), null, dtype=np.float64)
    similarity[edges[0], edges[1]] = edges[2]
    np.fill_diagonal(similarity, preference)
    return similarity


def net_similarity(similarity: np.ndarray, exemplar: np.ndarray, null: float) -> float:
    """Of a matrix with the preference on its diagonal."""
    return sum(null if own < 0 else similarity[point, own] for point, own in enumerate(exemplar))


def best_net_similarity(similarity: np.ndarray, null: float) -> float:
    """The optimum, by trying every set of exemplars; with a finite null also none."""
    count = len(similarity)
    best = count * null
    for size in range(1, count + 1):
        for chosen in combinations(range(count), size):
            others = np.delete(similarity, chosen, axis=0)[:, chosen].max(axis=1, initial=null)
            best = max(best, similarity[chosen, chosen].sum() + others.sum())
    return best


def parts(seed: int, count: int = 120, blocks: int = 4, symmetric: bool = True) -> Edges:
    """Scores like those of a class's parts: high in blocks, a few low ones between, 1 of every part with itself."""
    generator = np.random.default_rng(seed)
    block = generator.permutation(count) % blocks
    same = block[:, None] == block
    kept = generator.random(same.shape) < np.where(same, 0.8, 0.04)
    low, high = np.where(same, 0.3, 0.02), np.where(same, 0.9, 0.3)
    scores = np.where(kept, generator.uniform(low, high), 0)
    if symmetric:
        scores = np.maximum(np.triu(scores), np.triu(scores).T)
    np.fill_diagonal(scores, 1)
    rows, columns = np.nonzero(scores)
    return rows, columns, scores[rows, columns]


def uneven(seed: int, count: int = 40) -> Edges:
    """Directed edges, from none to many a point, some forbidden."""
    generator = np.random.default_rng(seed)
    share = generator.random((count, 1)) ** 2
    share[:3] = 0
    rows, columns = np.nonzero(generator.random((count, count)) < share)
    similarity = generator.normal(size=len(rows))
    similarity[generator.random(len(rows)) < 0.1] = -np.inf
    return rows, columns, similarity


@pytest.mark.parametrize("case", range(8))
def test_equals_the_original_program(data_directory: Path, case: int) -> None:
    with np.load(data_directory / "reference" / "affinity_propagation.npz") as arrays:
        names = ("S", "preference", "exemplar", "netsim")
        similarity, preference, exemplar, net = (arrays[f"{name}{case}"] for name in names)
    preference, exemplar = float(preference), exemplar.astype(int)
    rows, columns = np.nonzero(np.isfinite(similarity))
    edges = rows, columns, similarity[rows, columns]
    result = sparse_affinity_propagation(*edges, len(similarity), preference, -np.inf)
    assert result.converged and result.preference == preference
    assert result.net_similarity >= net[0] - 1e-9 * abs(net[0])
    filled = dense_matrix(edges, len(similarity), preference, -np.inf)
    assert result.net_similarity == pytest.approx(net_similarity(filled, result.exemplar, -np.inf), rel=1e-12)
    assert set(result.exemplar) == set(exemplar)
    if case == 7:
        # Its similarities have exact ties, so a point may belong to either of two exemplars.
        points = np.arange(len(exemplar))
        np.testing.assert_array_equal(filled[points, result.exemplar], filled[points, exemplar])
    else:
        np.testing.assert_array_equal(result.exemplar, exemplar)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("blocks", "absent"), [(3, 0.7), (8, 0.85), (24, 0.93)])
def test_equals_the_dense_algorithm_with_zeros(blocks: int, absent: float, seed: int, symmetric: bool) -> None:
    edges = parts(seed, 120, blocks, symmetric)
    assert len(edges[0]) / 120**2 == pytest.approx(1 - absent, abs=0.05)
    result = sparse_affinity_propagation(*edges, 120, -0.3)
    filled = dense_matrix(edges, 120, -0.3, 0)
    dense = affinity_propagation(filled, -0.3)
    assert result.net_similarity == pytest.approx(net_similarity(filled, result.exemplar, 0), rel=1e-9)
    assert result.net_similarity >= dense.net_similarity - 1e-9 * abs(dense.net_similarity)
    assert result.converged == dense.converged
    if dense.converged:
        nowhere = filled[np.arange(120), dense.exemplar] == 0
        np.testing.assert_array_equal(result.exemplar, np.where(nowhere, -1, dense.exemplar))


@pytest.mark.parametrize("null", [0.0, -0.5, -np.inf])
@pytest.mark.parametrize("seed", range(6))
def test_finds_the_optimum_of_small_cases(seed: int, null: float) -> None:
    generator = np.random.default_rng(seed)
    place = np.repeat([[0, 0], [6, 1], [1, 7]], 3, axis=0) + 0.8 * generator.normal(size=(9, 2))
    similarity = 3 - np.sqrt(((place[:, None] - place) ** 2).sum(axis=2))
    rows, columns = np.nonzero((similarity > 0) & (generator.random((9, 9)) < 0.8))
    edges = rows, columns, similarity[rows, columns]
    result = sparse_affinity_propagation(*edges, 9, -0.8, null)
    filled = dense_matrix(edges, 9, -0.8, null)
    assert result.net_similarity == pytest.approx(net_similarity(filled, result.exemplar, null), rel=1e-9)
    assert result.net_similarity == pytest.approx(best_net_similarity(filled, null), rel=1e-9)


def plain_messages(edges: Edges, count: int, preference: float, null: float, steps: int) -> list[Values]:
    """Responsibilities and availabilities of every edge after damped steps, by the paper's equations."""
    similarity = {(i, k): s for i, k, s in zip(*(end.tolist() for end in edges), strict=True)}
    similarity = {edge: s for edge, s in similarity.items() if s > -np.inf and edge[0] != edge[1]}
    similarity |= {(k, k): preference for k in range(count)}
    responsibility, availability = dict.fromkeys(similarity, 0.0), dict.fromkeys(similarity, 0.0)
    for _ in range(steps):
        new = {}
        for i, k in similarity:
            rivals = [availability[e] + similarity[e] for e in similarity if e[0] == i and e[1] != k]
            new[i, k] = similarity[i, k] - max([null, *rivals])
        responsibility = {e: 0.8 * responsibility[e] + 0.2 * new[e] for e in new}
        for i, k in similarity:
            sent = sum(max(0, responsibility[e]) for e in similarity if e[1] == k and e[0] not in (i, k))
            new[i, k] = sent if i == k else min(0, responsibility[k, k] + sent)
        availability = {e: 0.8 * availability[e] + 0.2 * new[e] for e in new}
    return [responsibility, availability]


def block_messages(messages: Messages) -> Values:
    """Responsibilities of the edges in the caller's numbering."""
    found = {}
    for block in messages.blocks:
        for line, place in enumerate(range(block.points.start, block.points.stop)):
            for position in np.flatnonzero(block.columns[line] < len(messages.order)):
                edge = int(messages.order[place]), int(messages.order[block.columns[line, position]])
                assert edge not in found
                found[edge] = block.responsibility[line, position]
    return found


@pytest.mark.parametrize("null", [0.0, -0.7])
@pytest.mark.parametrize("size", [1, 7, 50, 32_768])
def test_messages_equal_a_plain_loop(monkeypatch: pytest.MonkeyPatch, size: int, null: float) -> None:
    monkeypatch.setattr(sparse_affinity, "BLOCK_EDGES", size)
    edges = uneven(3)
    # Equal largest values in a row: then the best rival of each is the other.
    edges[2][edges[0] == edges[0][-1]] = 1.5
    messages = Messages(*edges, 40, -0.4, null, 0.8, 0)
    assert (len(messages.blocks) > 15) == (size <= 50)
    # Availabilities act in the step that follows them.
    for steps in range(1, 5):
        messages.step()
        responsibility, availability = plain_messages(edges, 40, -0.4, null, steps)
        own = np.array([(responsibility[point, point], availability[point, point]) for point in messages.order])
        np.testing.assert_allclose(messages.responsibility, own[:, 0], atol=1e-7)
        np.testing.assert_allclose(messages.availability, own[:, 1], atol=1e-7)
        found = block_messages(messages)
        assert found == pytest.approx({e: r for e, r in responsibility.items() if e[0] != e[1]}, abs=1e-7)
        chosen = {k for k in range(40) if responsibility[k, k] + availability[k, k] > 0}
        assert set(np.flatnonzero(messages.exemplars())) == chosen


@pytest.mark.parametrize("null", [0.0, -np.inf])
def test_order_of_edges_and_size_of_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch, null: float) -> None:
    edges = parts(1, symmetric=False)
    usual = sparse_affinity_propagation(*edges, 120, -0.3, null)
    shuffled = np.random.default_rng(0).permutation(len(edges[0]))
    others = [sparse_affinity_propagation(*(end[shuffled] for end in edges), 120, -0.3, null)]
    for size in (1, 100, 1000):
        monkeypatch.setattr(sparse_affinity, "BLOCK_EDGES", size)
        others.append(sparse_affinity_propagation(*edges, 120, -0.3, null))
    for other in others:
        np.testing.assert_array_equal(other.exemplar, usual.exemplar)
        assert other.net_similarity == pytest.approx(usual.net_similarity, rel=1e-12)
        assert (other.iterations, other.converged) == (usual.iterations, usual.converged)


def test_little_of_a_block_leads_nowhere() -> None:
    rows, columns, similarity = uneven(0, 400)
    messages = Messages(rows, columns, similarity, 400, -0.4, 0, 0.9, 0)
    lengths = np.bincount(rows[(rows != columns) & np.isfinite(similarity)], minlength=400)
    assert (lengths == 0).any() and lengths.max() > 300
    used = sum(np.isfinite(block.similarity).sum() for block in messages.blocks)
    assert used == lengths.sum()
    for block in messages.blocks:
        assert np.isfinite(block.similarity).mean() >= 8 / 9
        assert block.columns.size <= sparse_affinity.BLOCK_EDGES


def test_constant_added_to_everything_changes_only_the_net_similarity() -> None:
    rows, columns, similarity = parts(2)
    raw = sparse_affinity_propagation(rows, columns, similarity, 120, -0.3, 0.0)
    shifted = sparse_affinity_propagation(rows, columns, similarity - 1, 120, -1.3, -1.0)
    np.testing.assert_array_equal(raw.exemplar, shifted.exemplar)
    assert shifted.net_similarity == pytest.approx(raw.net_similarity - 120, rel=1e-9)


def test_noise_belongs_nowhere_unless_forbidden() -> None:
    # Points 0–3 are a star around 0; 4 likes 0 too little, 5 is liked by nobody.
    edges = np.array([1, 2, 3, 4]), np.array([0, 0, 0, 0]), np.array([5.0, 5.0, 5.0, 0.5])
    result = sparse_affinity_propagation(*edges, 6, -2.0, 1.0)
    assert result.exemplar.tolist() == [0, 0, 0, 0, -1, -1] and result.exemplar.dtype == np.int64
    assert result.net_similarity == pytest.approx(-2 + 15 + 2)
    never = sparse_affinity_propagation(*edges, 6, -2.0, -np.inf)
    assert never.exemplar.tolist() == [0, 0, 0, 0, 0, 5]
    assert never.net_similarity == pytest.approx(-2 + 15.5 - 2)
    assert result.converged and never.converged


def test_never_means_never() -> None:
    edges = np.array([0, 1, 2]), np.array([1, 1, 1]), np.array([0.5, 9.0, -np.inf])
    result = sparse_affinity_propagation(*edges, 3, -0.3, -np.inf)
    assert result.exemplar.tolist() == [1, 1, 2]
    assert result.net_similarity == pytest.approx(-0.1)


@pytest.mark.parametrize("pairs", [10, 40])
def test_both_points_of_a_symmetric_pair_do_not_become_exemplars(pairs: int) -> None:
    points = np.arange(2 * pairs)
    result = sparse_affinity_propagation(points, points ^ 1, np.full(2 * pairs, 0.5), 2 * pairs, -0.3)
    assert result.converged
    assert result.net_similarity == pytest.approx(0.2 * pairs)


def test_exemplars_are_refined_at_the_end() -> None:
    ends = np.array([1, 2, 0, 2, 0, 1]), np.array([0, 0, 1, 1, 2, 2])
    edges = *ends, np.array([1.0, 0.4, 3.0, 1.0, 0.4, 1.2])
    start = np.array([0, 0, 0])
    for null in (0.0, -np.inf):
        assert sparse_affinity._refined(edges, start, null).tolist() == [False, True, False]
    # Point 2 may not choose point 1 now.
    fewer = tuple(end[[0, 1, 2, 4, 5]] for end in edges)
    assert sparse_affinity._refined(fewer, start, 0.0).tolist() == [False, True, False]
    assert sparse_affinity._refined(fewer, start, -np.inf).tolist() == [False, False, True]
    # A member worth less than null could leave for it.
    edges = *ends, np.array([1.0, 0.4, 0.92, 0.92, 0.9, 0.9])
    assert sparse_affinity._refined(edges, np.array([2, 2, 2]), 0.9).tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("count", "preference", "null", "exemplar", "net"),
    [
        (0, -1.0, 0.0, [], 0.0),
        (1, -1.0, 0.0, [-1], 0.0),
        (1, 2.0, 0.0, [0], 2.0),
        (3, -1.0, 0.5, [-1, -1, -1], 1.5),
        (3, 0.5, 0.5, [0, 1, 2], 1.5),
        (3, -1.0, -np.inf, [0, 1, 2], -3.0),
    ],
)
def test_no_edges(count: int, preference: float, null: float, exemplar: list[int], net: float) -> None:
    itself = np.arange(count)
    for rows, similarity in (([], []), (itself, np.full(count, 9.0))):
        result = sparse_affinity_propagation(rows, rows, similarity, count, preference, null)
        assert result.exemplar.tolist() == exemplar and result.exemplar.dtype == np.int64
        assert (result.net_similarity, result.converged, result.iterations) == (net, True, 0)


def test_equal_similarities_make_one_cluster() -> None:
    rows, columns = np.nonzero(~np.eye(6, dtype=bool))
    for null in (0.0, -np.inf):
        result = sparse_affinity_propagation(rows, columns, np.full(30, 0.4), 6, -0.3, null)
        assert len(set(result.exemplar)) == 1 and result.converged
        assert result.net_similarity == pytest.approx(1.7)


def test_same_seed_same_result() -> None:
    points = np.arange(40)
    edges = points, points ^ 1, np.full(40, 0.5)
    results = [sparse_affinity_propagation(*edges, 40, -0.3, seed=seed) for seed in (3, 3, 4)]
    np.testing.assert_array_equal(results[0].exemplar, results[1].exemplar)
    assert vars(results[0]).keys() == vars(results[1]).keys()
    for name in ("preference", "net_similarity", "converged", "iterations"):
        assert getattr(results[0], name) == getattr(results[1], name)
    # Either point of a pair does as its exemplar; another noise chooses otherwise.
    assert (results[2].exemplar != results[0].exemplar).any()
    assert results[2].net_similarity == results[0].net_similarity


def test_convergence_is_told_apart_at_the_last_step() -> None:
    edges = parts(0, blocks=3)
    unlimited = sparse_affinity_propagation(*edges, 120, -0.3)
    assert unlimited.converged and unlimited.iterations < 1000
    needed = unlimited.iterations
    enough = sparse_affinity_propagation(*edges, 120, -0.3, maximum_iterations=needed)
    assert (enough.converged, enough.iterations) == (True, needed)
    short = sparse_affinity_propagation(*edges, 120, -0.3, maximum_iterations=needed - 1)
    assert (short.converged, short.iterations) == (False, needed - 1)
    sooner = sparse_affinity_propagation(*edges, 120, -0.3, stable_iterations=60)
    assert sooner.iterations == needed - 40
    assert sparse_affinity_propagation(*edges, 120, -0.3, damping=0.6).iterations < needed


@pytest.mark.parametrize("null", [0.0, -np.inf])
@pytest.mark.parametrize("steps", [0, 3, 12])
def test_state_without_convergence_is_a_clustering(steps: int, null: float) -> None:
    edges = uneven(7)
    result = sparse_affinity_propagation(*edges, 40, -0.4, null, maximum_iterations=steps)
    assert (result.converged, result.iterations) == (False, steps)
    clustered = np.flatnonzero(result.exemplar >= 0)
    np.testing.assert_array_equal(result.exemplar[result.exemplar[clustered]], result.exemplar[clustered])
    filled = dense_matrix(edges, 40, -0.4, null)
    assert np.isfinite(result.net_similarity)
    assert result.net_similarity == pytest.approx(net_similarity(filled, result.exemplar, null))
    assert null > -np.inf or len(clustered) == 40


def test_no_exemplar_is_no_convergence() -> None:
    result = sparse_affinity_propagation([0], [1], [0.1], 3, -0.3, maximum_iterations=300)
    assert result.exemplar.tolist() == [-1, -1, -1]
    assert (result.net_similarity, result.converged, result.iterations) == (0, False, 300)


def test_input_is_not_changed() -> None:
    edges = uneven(2)
    before = [end.copy() for end in edges]
    sparse_affinity_propagation(*edges, 40, -0.4, maximum_iterations=5)
    for end, was in zip(edges, before, strict=True):
        np.testing.assert_array_equal(end, was)


def run(**changed: object) -> Clustering:
    given = dict(rows=[0, 1, 2], columns=[1, 2, 0], similarity=[1.0, 2.0, 3.0], count=3, preference=-1.0) | changed
    return sparse_affinity_propagation(**given)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"similarity": [1.0, np.nan, 3.0]}, "similarity is NaN"),
        ({"similarity": [1.0, np.inf, 3.0]}, "similarity is infinite"),
        ({"preference": np.nan}, "preference must be finite, not NaN"),
        ({"preference": -np.inf}, "preference must be finite, not -inf"),
        ({"null": np.nan}, "null must be finite or -inf, not NaN"),
        ({"null": np.inf}, "null must be finite or -inf, not inf"),
        ({"rows": [0, 1, 3]}, r"rows must lie in \[0, 3\)"),
        ({"columns": [-1, 2, 0]}, r"columns must lie in \[0, 3\)"),
        ({"count": 0}, r"rows must lie in \[0, 0\)"),
        ({"rows": [0.0, 1.0, 2.0]}, "rows must be a list of integers"),
        ({"rows": [0, 1]}, "2 rows, but 3 columns"),
        ({"similarity": [1.0]}, "3 edges, but similarities of shape"),
        ({"rows": [0, 1, 0], "columns": [1, 2, 1]}, "edges 0 and 2 join the same two points"),
        ({"rows": [0, 1, 0], "columns": [1, 2, 1], "similarity": [-np.inf] * 3}, "edges 0 and 2"),
        ({"damping": 0.4}, "damping"),
        ({"damping": 1.0}, "damping"),
    ],
)
def test_wrong_input_is_refused(changed: dict, message: str) -> None:
    run()
    with pytest.raises(ValueError, match=message):
        run(**changed)
