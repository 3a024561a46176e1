"""Two classifiers on the same photographs: counts, the test, and the interval against the likelihood itself."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import norm

from visual_summaries.pipeline.evaluate.paired import paired_accuracy, paired_interval


def test_photographs_are_counted_and_the_test_is_exact() -> None:
    found = paired_accuracy(both=5, only_first=6, only_second=1, neither=3)
    assert (found.images, found.first, found.second) == (15, 11, 6)
    assert found.difference == pytest.approx(11 / 15 - 6 / 15)
    # Of 7 tosses of a coin at most 1 or at least 6 show heads.
    assert found.p == pytest.approx(2 * (1 + 7) / 2**7)
    assert paired_accuracy(1, 0, 0, 1).p == 1.0
    nothing = paired_accuracy(0, 0, 0, 0)
    assert nothing.images == 0 and np.isnan([nothing.difference, nothing.low, nothing.high]).all()


def score(b: int, c: int, n: int, difference: float) -> float:
    """Tango's statistic with the share of `c` found by maximizing the likelihood numerically."""

    def loss(share: float) -> float:
        shares = np.array([share + difference, share, 1 - 2 * share - difference])
        counts = np.array([b, c, n - b - c])
        return -float((counts * np.log(np.maximum(shares, 1e-300))).sum())

    bounds = max(0.0, -difference), (1 - difference) / 2
    share = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-10}).x
    return (b - c - n * difference) / np.sqrt(n * (2 * share + difference * (1 - difference)))


@pytest.mark.parametrize(("b", "c", "n"), [(6, 1, 15), (0, 0, 20), (3, 0, 40), (12, 2, 50), (30, 45, 200), (5, 5, 10)])
def test_the_interval_holds_the_differences_that_the_score_test_does_not_reject(b: int, c: int, n: int) -> None:
    low, high = paired_interval(b, c, n)
    limit = norm.ppf(0.975)
    assert -1 < low < (b - c) / n < high < 1
    assert score(b, c, n, low) == pytest.approx(limit, abs=2e-3)
    assert score(b, c, n, high) == pytest.approx(-limit, abs=2e-3)
    # The other way round it is the same.
    assert paired_interval(c, b, n) == pytest.approx((-high, -low), abs=1e-9)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    generator, shares = np.random.default_rng(0), (0.12, 0.06, 0.82)
    draws = [tuple(draw[:2]) for draw in generator.multinomial(40, shares, 1500)]
    intervals = {draw: paired_interval(*map(int, draw), 40) for draw in set(draws)}
    inside = np.mean([intervals[draw][0] <= 0.06 <= intervals[draw][1] for draw in draws])
    assert 0.93 < inside < 0.98
