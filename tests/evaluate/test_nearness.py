"""Which summaries are alike, and which classes share evidence, against loops over all pairs of members."""

from itertools import product

import numpy as np
import pytest
from sklearn.decomposition import PCA

from visual_summaries.pipeline.evaluate import nearness
from visual_summaries.pipeline.evaluate.nearness import Likeness, described, nearest, shared_evidence

CLASSES = np.array([0, 0, 0, 1, 1, 2, 2, 2, 3, 5, 5, 5])


def members(counts: list[int], dimensions: int = 6, seed: int = 0) -> list[np.ndarray]:
    """The members of each summary, of length 1, around a direction of the summary."""
    generator = np.random.default_rng(seed)
    found = []
    for count in counts:
        own = np.abs(generator.normal(size=dimensions)) + 0.3 * generator.normal(size=(count, dimensions))
        found.append(own / np.linalg.norm(own, axis=1, keepdims=True))
    return found


def likenesses(every: list[np.ndarray], classes: np.ndarray) -> np.ndarray:
    """Likeness by all pairs of members."""
    within = [
        np.mean([one[a] @ one[b] for a, b in product(range(len(one)), repeat=2) if a != b]) for one in every
    ]
    between = {
        (a, b): np.mean([x @ y for x in every[a] for y in every[b]])
        for a, b in product(range(len(every)), repeat=2)
        if classes[a] != classes[b]
    }
    base = np.mean(list(between.values()))
    found = np.full((len(every),) * 2, -np.inf)
    for (a, b), value in between.items():
        span = (within[a] + within[b]) / 2 - base
        found[a, b] = np.clip((value - base) / span, -1, 1) if span > 0 else 0
    return found


def judged(every: list[np.ndarray], classes: np.ndarray) -> Likeness:
    means = np.array([one.mean(axis=0) for one in every])
    return Likeness(described(lambda: [means[:5], means[5:]]), classes, np.array([len(one) for one in every]))


def test_summaries_are_described_by_principal_components_however_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    features = np.random.default_rng(0).normal(size=(60, 12)).astype(np.float16)
    pieces = [features[:7], features[7:7], features[7:50], features[50:]]
    found = described(lambda: pieces, 12)
    exact = features.astype(float)
    assert np.abs(found.places) == pytest.approx(np.abs(PCA(12, svd_solver="full").fit_transform(exact)), abs=1e-6)
    products = found.places @ found.places.T + found.along[:, None] + found.along
    assert products == pytest.approx(exact @ exact.T, abs=1e-6)
    assert found.squares == pytest.approx(products.diagonal(), abs=1e-6)
    assert np.array_equal(found.places, described(lambda: iter([features]), 12).places)
    # A few at a time they are nearly the same.
    monkeypatch.setattr(nearness, "AT_ONCE", 16)
    tilted = exact * ([8] * 3 + [0.1] * 9)
    some, whole = described(lambda: [tilted], 3).places, PCA(3, svd_solver="full").fit_transform(tilted)
    assert some.shape == (60, 3) and np.abs(np.corrcoef(some.T, whole.T)[:3, 3:].diagonal()).min() > 0.99
    assert described(lambda: []).places.shape == (0, 0) and described(lambda: [features[:2]]).places.shape == (2, 2)


def test_likeness_is_what_members_have_in_common(monkeypatch: pytest.MonkeyPatch) -> None:
    every = members([2, 3, 4, 5, 6, 7, 2, 3, 4, 5, 6, 7])
    expected = likenesses(every, CLASSES)
    found = judged(every, CLASSES).rows(slice(0, 12))
    assert np.isinf(found).sum() == np.isinf(expected).sum() == 9 + 4 + 9 + 1 + 9
    apart = np.isfinite(expected)
    assert found[apart] == pytest.approx(expected[apart], abs=1e-6) and np.ptp(found[apart]) > 1
    whole = judged(every, CLASSES)
    monkeypatch.setattr(nearness, "AT_ONCE", 5)
    alike = nearest(whole, 12)
    assert alike.at.tolist() == expected.argmax(axis=1).tolist()
    assert alike.likeness == pytest.approx(expected.max(axis=1), abs=1e-6)


def test_two_halves_of_one_summary_under_two_classes_are_the_same_part() -> None:
    one, *others = members([40, 20, 20, 20], 16, seed=3)
    found = nearest(judged([one[:20], *others, one[20:]], np.array([0, 0, 1, 2, 2])), 5)
    assert (found.at[0], found.at[4]) == (4, 0) and found.likeness[0] > 0.9
    assert found.likeness[1:4].max() < 0.5
    alone = nearest(judged(others, np.zeros(3, int)), 3)
    assert alone.at.tolist() == [-1] * 3 and np.isnan(alone.likeness).all()


def test_evidence_is_shared_with_the_class_that_has_most_of_it() -> None:
    every = members([4] * 12, seed=5)
    evidence = np.random.default_rng(6).uniform(0.1, 0.5, 12)
    found, expected = shared_evidence(judged(every, CLASSES), CLASSES, evidence, 6), likenesses(every, CLASSES)
    assert found[4] is None
    some = 0
    for one in (0, 1, 2, 3, 5):
        own = np.flatnonzero(CLASSES == one)
        shares = {}
        for other in {0, 1, 2, 3, 5} - {one}:
            shared = [evidence[at] for at in own if (expected[at, other == CLASSES] >= 0.5).any()]
            shares[other] = sum(shared) / evidence[own].sum()
        if max(shares.values()) == 0:
            assert found[one] is None
            continue
        some += 1
        assert found[one].share == pytest.approx(max(shares.values()))
        assert shares[found[one].other] == pytest.approx(max(shares.values()))
    assert some >= 3
    assert shared_evidence(judged(every, CLASSES), CLASSES, np.zeros(12), 6) == [None] * 6
