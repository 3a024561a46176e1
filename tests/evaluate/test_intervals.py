import math
from itertools import product
from statistics import NormalDist

import numpy as np
import pytest

from visual_summaries.pipeline.evaluate import intervals
from visual_summaries.pipeline.evaluate.intervals import class_mean_interval, mean_interval


@pytest.mark.parametrize("level", [0.8, 0.95])
@pytest.mark.parametrize("shape", ["normal", "success"])
def test_large_samples_agree_with_the_normal_approximation(level: float, shape: str) -> None:
    generator = np.random.default_rng(0)
    values = generator.normal(3, 2, 3000) if shape == "normal" else generator.random(3000) < 0.7
    mean, low, high = mean_interval(values, level=level, samples=4000)
    assert mean == pytest.approx(math.fsum(values) / 3000, rel=1e-12)
    error = np.std(values) / math.sqrt(3000)
    half = NormalDist().inv_cdf((1 + level) / 2) * error
    # The ends are quantiles of 4000 draws: known to a few hundredths of the standard error.
    assert low == pytest.approx(mean - half, abs=0.12 * error)
    assert high == pytest.approx(mean + half, abs=0.12 * error)


def test_small_samples_agree_with_all_possible_resamples() -> None:
    values = [0.0, 1.0, 1.5, 4.0, 9.0]
    means = [sum(chosen) / 5 for chosen in product(values, repeat=5)]
    mean, low, high = mean_interval(np.array(values), samples=20_000)
    assert mean == 3.1
    assert low == pytest.approx(np.quantile(means, 0.025), abs=0.1)
    assert high == pytest.approx(np.quantile(means, 0.975), abs=0.1)


def test_no_values_give_nan_and_one_value_itself() -> None:
    assert np.isnan(mean_interval(np.zeros(0))).all()
    assert len(mean_interval([])) == 3
    assert mean_interval(np.array([0.3])) == (0.3, 0.3, 0.3)
    assert mean_interval(np.array([True, True, True])) == (1, 1, 1)


def test_same_seed_same_interval() -> None:
    values = np.random.default_rng(0).random(50)
    assert mean_interval(values, seed=4) == mean_interval(values, seed=4)
    assert mean_interval(values, seed=4)[1:] != mean_interval(values, seed=5)[1:]
    assert mean_interval(values, seed=4)[0] == mean_interval(values, seed=5)[0]


def test_all_samples_are_drawn_whatever_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).random(40)
    whole = mean_interval(values, samples=101)
    # Batches of 3 samples, the last one of 2; batches of one sample where not even one fits.
    for draws in (130, 7):
        monkeypatch.setattr(intervals, "_DRAWS_AT_ONCE", draws)
        assert mean_interval(values, samples=101) == pytest.approx(whole, rel=1e-12)


def test_classes_count_the_same_whatever_their_size() -> None:
    groups = [np.array([0.0, 1.0]), np.full(40, 1.0), np.zeros(0)]
    mean, low, high = class_mean_interval(groups, samples=20_000)
    # The first class's resamples have means 0, ½, ½ and 1, the second's 1 alone.
    assert (mean, low, high) == (0.75, 0.5, 1.0)
    assert np.isnan(class_mean_interval([])).all()
    values = np.random.default_rng(0).normal(2, 1, (2, 3000))
    mean, low, high = class_mean_interval(values, samples=4000)
    error = math.sqrt(values.var(axis=1).sum() / 3000) / 2
    assert mean == pytest.approx(values.mean(), rel=1e-12)
    assert low == pytest.approx(mean - 1.96 * error, abs=0.12 * error)
    assert high == pytest.approx(mean + 1.96 * error, abs=0.12 * error)
