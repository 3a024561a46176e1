"""How network and specialists decide together: against loops, and against scikit-learn's temperature scaling."""

import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression

from visual_summaries.pipeline.summarize.mixtures import MIXTURES, Mixture, convex, log_losses, mistakes, pooled

CLASSES = np.array([5, 0, 3])


@pytest.fixture(scope="module")
def network() -> np.ndarray:
    return np.random.default_rng(1).dirichlet(np.full(7, 0.3), 40).astype(np.float32)


@pytest.fixture(scope="module")
def decisions() -> np.ndarray:
    return np.random.default_rng(2).normal(size=(40, 3))


def test_the_pool_equals_its_formula(network: np.ndarray, decisions: np.ndarray) -> None:
    together = pooled(network, decisions, CLASSES, 1.7)
    for image in range(len(network)):
        mass = sum(float(network[image, index]) for index in CLASSES)
        own = network[image, CLASSES].astype(float)
        weighed = [p * np.exp(1.7 * decision) for p, decision in zip(own, decisions[image], strict=True)]
        expected = network[image].astype(float)
        for at, index in enumerate(CLASSES):
            expected[index] = mass * weighed[at] / sum(weighed)
        np.testing.assert_allclose(together[image], expected, rtol=1e-9)


def test_the_sum_equals_its_formula(network: np.ndarray, decisions: np.ndarray) -> None:
    together = convex(network, decisions, CLASSES, 0.7)
    for image in range(len(network)):
        mass = sum(float(network[image, index]) for index in CLASSES)
        powers = np.exp(decisions[image])
        expected = network[image].astype(float)
        for at, index in enumerate(CLASSES):
            expected[index] = 0.3 * expected[index] + 0.7 * mass * powers[at] / powers.sum()
        np.testing.assert_allclose(together[image], expected, rtol=1e-9)


@pytest.mark.parametrize("way", MIXTURES)
def test_mass_moves_only_within_the_specialized_set(way: str, network: np.ndarray, decisions: np.ndarray) -> None:
    before, others = network.copy(), [1, 2, 4, 6]
    for strength in (0.0, 0.35, 1.0):
        together = MIXTURES[way].together(network, decisions, CLASSES, strength)
        np.testing.assert_array_equal(together[:, others], network[:, others])
        np.testing.assert_allclose(together[:, CLASSES].sum(axis=1), network[:, CLASSES].sum(axis=1), rtol=1e-6)
        assert (together >= 0).all()
        assert (strength == 0) == np.allclose(together, network, rtol=1e-6)
    np.testing.assert_array_equal(network, before)
    nobody = MIXTURES[way].together(network, decisions[:, :0], CLASSES[:0], 0.5)
    np.testing.assert_array_equal(nobody, network)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("way", MIXTURES)
def test_extreme_decisions_and_probabilities_stay_finite(way: str) -> None:
    probabilities = np.array([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    decisions = np.array([[2000.0, -2000.0], [1.0, 0.0], [-2000.0, 2000.0]])
    for strength in MIXTURES[way].strengths:
        together = MIXTURES[way].together(probabilities, decisions, np.array([0, 1]), strength)
        np.testing.assert_allclose(together.sum(axis=1), 1)
    assert pooled(probabilities, decisions, np.array([0, 1]), 1.0).tolist() == [[1, 0, 0], [0, 0, 1], [1, 0, 0]]


def test_costs_are_losses_and_mistakes() -> None:
    probabilities = np.array([[0.5, 0.5, 0.0], [0.2, 0.1, 0.7]])
    np.testing.assert_allclose(log_losses(probabilities, np.array([1, 2])), -np.log([0.5, 0.7]))
    np.testing.assert_allclose(log_losses(probabilities, np.array([2, 2]))[0], 12 * np.log(10))
    assert mistakes(probabilities, np.array([0, 1])).tolist() == [0, 1]


@pytest.mark.parametrize("way", MIXTURES)
def test_the_best_strength_is_that_of_a_loop_and_sums_over_batches(
    way: str, network: np.ndarray, decisions: np.ndarray
) -> None:
    mixture = MIXTURES[way]
    truth = np.random.default_rng(4).integers(0, 7, len(network))
    helpful = decisions + 1.5 * (truth[:, None] == CLASSES)
    expected = []
    for strength in mixture.strengths:
        together = mixture.together(network, helpful, CLASSES, strength)
        of_image = [
            -np.log(max(row[own], 1e-12)) if way == "logarithmic" else float(max(row) > row[own])
            for row, own in zip(together, truth, strict=True)
        ]
        expected.append(sum(of_image))
    costs = sum(
        mixture.costs(network[some], helpful[some], CLASSES, truth[some]) for some in (slice(0, 13), slice(13, 40))
    )
    np.testing.assert_allclose(costs, expected, rtol=1e-6)
    assert mixture.best(costs) == mixture.strengths[expected.index(min(expected))] > 0


@pytest.mark.parametrize("way", MIXTURES)
def test_specialists_that_only_harm_are_not_heard(way: str, network: np.ndarray) -> None:
    truth = network.argmax(axis=1)
    wrong = -5.0 * (truth[:, None] == CLASSES)
    mixture = MIXTURES[way]
    assert mixture.best(mixture.costs(network, wrong, CLASSES, truth)) == 0
    nothing = mixture.costs(network[:0], wrong[:0], CLASSES, truth[:0])
    assert mixture.best(nothing) == 0


def test_the_strength_is_the_slope_of_a_logistic_regression() -> None:
    """Of two classes: logit of p' = logit of p + β·(d₁ − d₀), β fitted by scikit-learn with the network's as an offset.

    scikit-learn knows no offset, so its own slope for the network is left free; it comes out near 1.
    """
    generator = np.random.default_rng(7)
    truth = generator.integers(0, 2, 4000)
    signs = 2.0 * truth - 1
    # Normal evidence of mean ±m and variance 2m is calibrated log odds; margins are the same, four times as small.
    own = generator.normal(signs * 1.0, np.sqrt(2.0))
    margin = generator.normal(signs * 1.5, np.sqrt(3.0)) / 4
    probabilities = np.exp(log_softmax(np.stack([0 * own, own], axis=1), axis=1))
    decisions = np.stack([-margin / 2, margin / 2], axis=1)
    mixture = MIXTURES["logarithmic"]
    found = mixture.best(mixture.costs(probabilities, decisions, np.array([0, 1]), truth))
    fitted = LogisticRegression(C=1e9, fit_intercept=False).fit(np.stack([own, margin], axis=1), truth)
    assert fitted.coef_[0, 0] == pytest.approx(1, abs=0.1)
    # The grid's steps are factors of √2.
    assert 2**-0.25 <= found / fitted.coef_[0, 1] <= 2**0.25
    together = pooled(probabilities, decisions, np.array([0, 1]), found)
    np.testing.assert_allclose(together, fitted.predict_proba(np.stack([own, margin], axis=1)), atol=0.05)


def test_a_mixture_may_be_of_ones_own() -> None:
    mixture = Mixture(convex, (0.0, 0.25, 1.0), mistakes)
    probabilities, decisions = np.array([[0.6, 0.4], [0.9, 0.1]]), np.array([[0.0, 9.0], [0.0, 9.0]])
    costs = mixture.costs(probabilities, decisions, np.array([0, 1]), np.array([1, 0]))
    assert costs.tolist() == [1, 0, 1] and mixture.best(costs) == 0.25
