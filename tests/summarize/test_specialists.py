import numpy as np
import pytest
from scipy.optimize import minimize

from visual_summaries.pipeline.summarize.specialists import Specialist, SpecializedClasses, normalized, train_specialist


def random_machines(counts: list[int], dimensions: int) -> list[list[Specialist]]:
    generator = np.random.default_rng(0)
    return [
        [
            Specialist(generator.normal(size=dimensions).astype(np.float32), float(generator.normal()), 1.0)
            for _ in range(count)
        ]
        for count in counts
    ]


def blobs(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features of two kinds in different directions and of any length."""
    generator = np.random.default_rng(seed)
    directions = generator.normal(size=(2, 20))
    kinds = [direction + 0.5 * generator.normal(size=(60, 20)) for direction in directions]
    return tuple(kind * generator.uniform(0.1, 50, (60, 1)) for kind in kinds)


def test_normalized_rows_have_unit_length() -> None:
    features = np.array([[3, 4], [0, 0], [-0.5, 0]], dtype=np.float16)
    result = normalized(features)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, [[0.6, 0.8], [0, 0], [-1, 0]], rtol=1e-6)


def test_specialist_separates_images_it_has_not_seen() -> None:
    positives, negatives = blobs()
    machine = train_specialist(positives[:30], negatives[:30])
    assert machine.fit_accuracy == 1
    for features, sign in ((positives[30:], 1), (negatives[30:], -1)):
        decisions = (features / np.linalg.norm(features, axis=1, keepdims=True)) @ machine.coefficients
        assert (np.sign(decisions + machine.intercept) == sign).all()


def test_specialist_minimizes_the_balanced_squared_hinge_loss() -> None:
    generator = np.random.default_rng(0)
    positives, negatives = generator.normal(0.4, 1, (10, 4)), generator.normal(-0.1, 1, (50, 4))
    machine = train_specialist(positives, negatives, regularization=0.7)
    features = np.concatenate([positives, negatives])
    features = features / np.linalg.norm(features, axis=1, keepdims=True)
    sign = np.repeat([1, -1], [10, 50])
    weight = np.repeat([60 / 2 / 10, 60 / 2 / 50], [10, 50])

    def loss(parameters: np.ndarray) -> float:
        """The intercept is penalized like a coefficient, as LIBLINEAR does."""
        margins = np.clip(1 - sign * (features @ parameters[:-1] + parameters[-1]), 0, None)
        return 0.5 * parameters @ parameters + 0.7 * (weight * margins**2).sum()

    best = minimize(loss, np.zeros(5), options={"gtol": 1e-8}).x
    np.testing.assert_allclose([*machine.coefficients, machine.intercept], best, atol=2e-3)
    right = (features @ best[:-1] + best[-1] > 0) == (sign > 0)
    assert 0.5 < machine.fit_accuracy < 1
    assert machine.fit_accuracy == pytest.approx((right[:10].mean() + right[10:].mean()) / 2)


def test_same_seed_same_specialist() -> None:
    positives, negatives = blobs()
    first, second = (train_specialist(positives, negatives, seed=5) for _ in range(2))
    np.testing.assert_array_equal(first.coefficients, second.coefficients)
    assert first.intercept == second.intercept and first.coefficients.dtype == np.float32


@pytest.mark.parametrize(("positives", "negatives"), [(0, 3), (3, 0)])
def test_specialist_needs_both_sides(positives: int, negatives: int) -> None:
    with pytest.raises(ValueError, match=f"{positives} positive and {negatives} negative"):
        train_specialist(np.ones((positives, 4)), np.ones((negatives, 4)))


def test_decisions_equal_a_loop() -> None:
    machines = random_machines([2, 1, 3], 6)
    features = np.random.default_rng(2).normal(size=(9, 6)) * 10
    features[4] = 0
    result = SpecializedClasses(machines).decisions(features)
    for row, decisions in zip(features, result, strict=True):
        unit = row / (np.linalg.norm(row) or 1)
        highest = [max(float(unit @ machine.coefficients) + machine.intercept for machine in own) for own in machines]
        np.testing.assert_allclose(decisions, highest, rtol=1e-5)


def test_every_specialized_class_has_a_specialist() -> None:
    assert SpecializedClasses([]).decisions(np.ones((3, 5))).shape == (3, 0)
    assert SpecializedClasses(random_machines([1, 2], 5)).decisions(np.ones((0, 5))).shape == (0, 2)
    with pytest.raises(ValueError, match="without specialists"):
        SpecializedClasses(random_machines([1, 0], 5))
