import numpy as np
import pytest

from visual_summaries.pipeline.summarize.neighbors import nearest_pairs, pair_graph


def brute_force(features: np.ndarray, neighbors: int) -> set[tuple[int, int]]:
    """Each image's nearest by cosine, one after the other."""
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    pairs = {(number, number) for number in range(len(features))}
    for number, vector in enumerate(unit):
        order = [other for other in np.argsort(-(unit @ vector), kind="stable") if other != number]
        pairs |= {(min(number, other), max(number, other)) for other in order[:neighbors]}
    return pairs


@pytest.mark.parametrize(("count", "neighbors"), [(40, 3), (200, 7), (12, 30), (2, 5), (1, 5)])
def test_nearest_pairs_are_those_of_an_exhaustive_search(count: int, neighbors: int) -> None:
    features = np.random.default_rng(count).normal(size=(count, 9)) * np.logspace(-2, 2, count)[:, None]
    pairs = nearest_pairs(features, neighbors)
    assert {tuple(pair) for pair in pairs.tolist()} == brute_force(features, neighbors)
    assert len(pairs) == len(np.unique(pairs, axis=0)) and (pairs[:, 0] <= pairs[:, 1]).all()


def test_images_that_look_the_same_are_neighbors_and_never_their_own() -> None:
    features = np.repeat(np.random.default_rng(0).normal(size=(4, 5)), 3, axis=0)
    pairs = nearest_pairs(features, 2)
    expected = {(a, b) for a in range(12) for b in range(a, 12) if a // 3 == b // 3}
    assert {tuple(pair) for pair in pairs.tolist()} == expected


def test_small_classes_meet_in_full_and_large_ones_do_not() -> None:
    features = np.random.default_rng(1).normal(size=(50, 8))
    full = pair_graph(features, 50, 4, 64)
    assert {tuple(pair) for pair in full.pairs.tolist()} == {(a, b) for a in range(50) for b in range(a, 50)}
    sparse = pair_graph(features, 49, 4, 64)
    assert {tuple(pair) for pair in sparse.pairs.tolist()} == brute_force(features, 4)


def test_similarity_is_the_cosine_and_tasks_are_of_one_size() -> None:
    features = np.random.default_rng(2).normal(size=(30, 6))
    graph = pair_graph(features, 10, 5, 16)
    for (a, b), similarity in zip(graph.pairs, graph.similarity, strict=True):
        cosine = features[a] @ features[b] / np.linalg.norm(features[a]) / np.linalg.norm(features[b])
        assert similarity == pytest.approx(cosine, abs=1e-6)
    counts = np.bincount(graph.task)
    assert (counts[:-1] == 16).all() and 0 < counts[-1] <= 16
    assert (np.diff(graph.task) >= 0).all()


def test_components_are_found_and_numbered_by_their_first_image() -> None:
    generator = np.random.default_rng(3)
    group = np.array([0, 1, 0, 2, 1, 1, 0, 2, 2, 0, 1, 2])
    features = np.eye(3)[group] * 10 + generator.normal(scale=0.1, size=(12, 3))
    graph = pair_graph(features, 1, 2, 100)
    assert graph.component.tolist() == group.tolist()


def test_a_task_of_a_large_class_touches_few_images() -> None:
    """The order of the pairs follows the neighborhoods: in a random order a task would touch nearly 256."""
    generator = np.random.default_rng(4)
    centers = generator.normal(size=(40, 12))[generator.integers(0, 40, 800)]
    graph = pair_graph(centers + generator.normal(scale=0.2, size=(800, 12)), 100, 20, 256)
    touched = [len(np.unique(graph.pairs[graph.task == task])) for task in range(graph.task.max() + 1)]
    assert max(touched) < 110


def test_features_that_are_not_finite_are_refused() -> None:
    features = np.ones((4, 3))
    features[2, 1] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        pair_graph(features, 2, 1, 8)
