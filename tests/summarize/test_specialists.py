import numpy as np
import pytest
from scipy.optimize import minimize

from visual_summaries.pipeline.summarize.specialists import (
    Specialist,
    choose_alpha,
    class_scores,
    fuse,
    normalized,
    train_specialist,
)


def random_machines(counts: list[int], dimensions: int) -> list[list[Specialist]]:
    generator = np.random.default_rng(0)
    return [
        [
            Specialist(generator.normal(size=dimensions).astype(np.float32), float(generator.normal()), 1.0)
            for _ in range(count)
        ]
        for count in counts
    ]


def random_probabilities(count: int, classes: int) -> np.ndarray:
    return np.random.default_rng(1).dirichlet(np.full(classes, 0.3), count).astype(np.float32)


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


def test_class_scores_equal_a_loop() -> None:
    machines = random_machines([2, 1, 0, 3], 6)
    features = np.random.default_rng(2).normal(size=(9, 6)) * 10
    features[4] = 0
    result = class_scores(features, machines)
    for row, scores in zip(features, result, strict=True):
        unit = row / (np.linalg.norm(row) or 1)
        highest = [
            max((float(unit @ machine.coefficients) + machine.intercept for machine in own), default=None)
            for own in machines
        ]
        lowest = min(value for value in highest if value is not None)
        powers = [np.exp(lowest if value is None else value) for value in highest]
        np.testing.assert_allclose(scores, np.array(powers) / sum(powers), rtol=1e-5)
    np.testing.assert_allclose(result.sum(axis=1), 1, rtol=1e-12)


def test_large_decisions_do_not_overflow() -> None:
    machines = [[Specialist(np.array([1.0, 0.0], np.float32), offset, 1.0)] for offset in (2000.0, 1999.0, -2000.0)]
    scores = class_scores(np.array([[1.0, 0.0]]), machines)
    np.testing.assert_allclose(scores, [[1 / (1 + np.exp(-1)), 1 / (1 + np.exp(1)), 0]], atol=1e-12)


@pytest.mark.filterwarnings("error")
def test_without_any_machine_all_classes_score_the_same() -> None:
    features = np.ones((3, 5))
    assert class_scores(features, [[], []]).tolist() == [[0.5, 0.5]] * 3
    assert class_scores(features, []).shape == (3, 0)
    assert class_scores(features[:0], random_machines([1, 2], 5)).shape == (0, 2)


def test_fusion_equals_its_formula() -> None:
    probabilities = random_probabilities(8, 7)
    classes = np.array([5, 0, 3])
    scores = class_scores(np.random.default_rng(3).normal(size=(8, 6)), random_machines([1, 0, 2], 6))
    fused = fuse(probabilities, scores, classes, 0.3)
    for image in range(8):
        mass = sum(float(probabilities[image, index]) for index in classes)
        for index in range(7):
            expected = float(probabilities[image, index])
            if index in classes:
                position = classes.tolist().index(index)
                expected = 0.3 * expected + 0.7 * scores[image, position] * mass
            assert fused[image, index] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("alpha", [0.0, 0.35, 1.0])
def test_fusion_moves_mass_only_within_the_specialized_set(alpha: float) -> None:
    probabilities = random_probabilities(20, 9)
    before = probabilities.copy()
    classes, others = np.array([1, 8, 4]), [0, 2, 3, 5, 6, 7]
    scores = class_scores(np.random.default_rng(3).normal(size=(20, 6)), random_machines([2, 1, 1], 6))
    fused = fuse(probabilities, scores, classes, alpha)
    np.testing.assert_array_equal(fused[:, others], probabilities[:, others])
    np.testing.assert_allclose(fused[:, classes].sum(axis=1), probabilities[:, classes].sum(axis=1), rtol=1e-6)
    assert (fused >= 0).all()
    np.testing.assert_array_equal(probabilities, before)
    if alpha == 1:
        np.testing.assert_array_equal(fused, probabilities)
    if alpha == 0:
        np.testing.assert_array_equal(fused[:, classes].argmax(axis=1), scores.argmax(axis=1))


def test_fusion_with_no_specialized_class_is_the_network() -> None:
    probabilities = random_probabilities(4, 5)
    fused = fuse(probabilities, class_scores(np.ones((4, 3)), []), np.zeros(0, int), 0.2)
    np.testing.assert_array_equal(fused, probabilities)


def test_alpha_is_the_highest_of_the_most_accurate() -> None:
    classes = np.array([0, 1])
    probabilities = np.array([[0.52, 0.38, 0.1], [0.3, 0.6, 0.1], [0.1, 0.1, 0.8]])
    scores = np.array([[0.2, 0.8], [0.1, 0.9], [0.5, 0.5]])
    # The first image flips where 0.52·α + 0.2·0.9·(1−α) < 0.38·α + 0.8·0.9·(1−α), that is for α < 0.79…
    assert choose_alpha(probabilities, scores, classes, np.array([1, 1, 2])) == pytest.approx(0.75)
    # Specialists that help nothing or harm leave the network alone.
    assert choose_alpha(probabilities, scores, classes, np.array([0, 1, 2])) == 1
    assert choose_alpha(probabilities, scores, classes, np.array([2, 1, 0])) == 1
    assert choose_alpha(probabilities[:0], scores[:0], classes, np.zeros(0, int)) == 1


def test_alpha_equals_a_loop() -> None:
    generator = np.random.default_rng(4)
    probabilities, classes = random_probabilities(60, 6), np.array([2, 4, 5])
    truth = generator.integers(0, 6, 60)
    scores = generator.dirichlet([0.4] * 3, 60)
    for position, index in enumerate(classes):
        scores[truth == index, position] += 0.5
    scores /= scores.sum(axis=1, keepdims=True)
    best_right, best_alpha = -1, None
    for step in range(10, -1, -1):
        alpha = step / 10
        right = 0
        for row, score, label in zip(probabilities.astype(float), scores, truth, strict=True):
            changed = row.copy()
            for position, index in enumerate(classes):
                changed[index] = alpha * row[index] + (1 - alpha) * score[position] * row[classes].sum()
            right += changed.argmax() == label
        if right > best_right:
            best_right, best_alpha = right, alpha
    assert 0 < best_alpha < 1
    assert choose_alpha(probabilities, scores, classes, truth, steps=10) == pytest.approx(best_alpha)
