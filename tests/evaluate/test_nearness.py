"""Which summaries are alike, and which classes share evidence, against loops over all pairs."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from visual_summaries.pipeline.evaluate import nearness
from visual_summaries.pipeline.evaluate.nearness import coordinates, nearest, shared_evidence


def drawn(count: int, dimensions: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, dimensions)).astype(np.float16)


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / np.sqrt((one @ one) * (other @ other)))


def test_coordinates_are_principal_components_however_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    features = drawn(60, 12)
    pieces = [features[:7], features[7:7], features[7:50], features[50:]]
    found = coordinates(lambda: pieces, 5)
    expected = PCA(5, svd_solver="full").fit_transform(features.astype(float))
    assert found.dtype == np.float32 and np.abs(found) == pytest.approx(np.abs(expected), abs=1e-3)
    assert np.array_equal(found, coordinates(lambda: iter([features]), 5))
    # A few at a time they are nearly the same, and the places are those of all.
    monkeypatch.setattr(nearness, "AT_ONCE", 16)
    tilted = features.astype(float) * ([8] * 3 + [0.1] * 9)
    some, whole = coordinates(lambda: [tilted], 3), PCA(3, svd_solver="full").fit_transform(tilted)
    assert some.shape == (60, 3)
    assert np.abs(np.corrcoef(some.T, whole.T)[:3, 3:].diagonal()).min() > 0.99
    assert coordinates(lambda: []).shape == (0, 0) and coordinates(lambda: [features[:2]]).shape == (2, 2)


def test_the_nearest_summary_is_of_another_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearness, "AT_ONCE", 4)
    places, classes = drawn(11, 6).astype(float), np.array([0, 0, 0, 1, 1, 2, 2, 2, 2, 3, 3])
    found = nearest(places, classes)
    for at in range(11):
        others = {to: cosine(places[at], places[to]) for to in range(11) if classes[to] != classes[at]}
        assert found.at[at] == max(others, key=others.get)
        assert found.likeness[at] == pytest.approx(max(others.values()))
    alone = nearest(places[:3], classes[:3])
    assert alone.at.tolist() == [-1] * 3 and np.isnan(alone.likeness).all()


def test_evidence_is_shared_with_the_class_that_has_most_of_it() -> None:
    places, classes = drawn(12, 3, 5).astype(float), np.array([0, 0, 0, 1, 1, 2, 2, 2, 3, 5, 5, 5])
    evidence = np.random.default_rng(6).uniform(0.1, 0.5, 12)
    found = shared_evidence(places, classes, evidence, 6)
    assert found[4] is None
    for one in (0, 1, 2, 3, 5):
        shares = {}
        for other in {0, 1, 2, 3, 5} - {one}:
            shared = [
                evidence[at]
                for at in np.flatnonzero(classes == one)
                if any(cosine(places[at], places[to]) >= 0.5 for to in np.flatnonzero(classes == other))
            ]
            shares[other] = sum(shared) / evidence[classes == one].sum()
        assert found[one].share == pytest.approx(max(shares.values()))
        assert shares[found[one].other] == pytest.approx(max(shares.values()))


def test_classes_without_anything_in_common_share_nothing() -> None:
    places = np.eye(4)
    assert shared_evidence(places, np.arange(4), np.ones(4), 4) == [None] * 4
    assert shared_evidence(places, np.array([0, 0, 1, 1]), np.zeros(4), 2) == [None] * 2
    twice = shared_evidence(np.vstack([places, places[:1]]), np.array([0, 0, 1, 1, 2]), np.ones(5), 3)
    assert twice[0].other == 2 and twice[0].share == 0.5 and twice[2].share == 1 and twice[1] is None
