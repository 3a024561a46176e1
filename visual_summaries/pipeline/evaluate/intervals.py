"""Means with bootstrap intervals, shares with Wilson intervals."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import binomtest

_DRAWS_AT_ONCE = 2**22


def mean_interval(
    values: np.ndarray, seed: int = 0, samples: int = 2000, level: float = 0.95
) -> tuple[float, float, float]:
    """Mean of `values` `[n]` and its percentile-bootstrap interval over items: (mean, low, high).

    All three are NaN without values.
    """
    values = np.asarray(values, dtype=np.float64)
    if len(values) == 0:
        return (float("nan"),) * 3
    generator = np.random.default_rng(seed)
    # A few samples at a time: the table of all draws has n·samples entries.
    step = max(1, _DRAWS_AT_ONCE // len(values))
    means = [
        values[generator.integers(len(values), size=(min(step, samples - start), len(values)))].mean(axis=1)
        for start in range(0, samples, step)
    ]
    tail = (1 - level) / 2
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail])
    return float(values.mean()), float(low), float(high)


def class_mean_interval(
    groups: Sequence[np.ndarray], seed: int = 0, samples: int = 2000, level: float = 0.95
) -> tuple[float, float, float]:
    """Mean over classes of the means of their items, and its interval: (mean, low, high).

    The bootstrap draws items within each class: the classes are those that were asked about, not a sample of classes.
    `groups`: the values `[n]` of each class; classes without any do not count. All three are NaN without values.
    """
    groups = [np.asarray(group, dtype=np.float64) for group in groups if len(group)]
    if not groups:
        return (float("nan"),) * 3
    generator = np.random.default_rng(seed)
    means = np.zeros(samples)
    for group in groups:
        step = max(1, _DRAWS_AT_ONCE // len(group))
        for start in range(0, samples, step):
            size = (min(step, samples - start), len(group))
            means[start : start + size[0]] += group[generator.integers(len(group), size=size)].mean(axis=1)
    tail = (1 - level) / 2
    low, high = np.quantile(means / len(groups), [tail, 1 - tail])
    return float(np.mean([group.mean() for group in groups])), float(low), float(high)


def wilson_interval(successes: int, count: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval (1927) of a share, from `successes` of `count`: (low, high); NaN without any."""
    if count == 0:
        return (float("nan"),) * 2
    interval = binomtest(successes, count).proportion_ci(level, method="wilson")
    return float(interval.low), float(interval.high)
