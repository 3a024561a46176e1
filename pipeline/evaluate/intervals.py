"""Means with bootstrap intervals."""

import numpy as np


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
    # Counts of a multinomial draw are a bootstrap sample without its n·samples index table.
    counts = generator.multinomial(len(values), np.full(len(values), 1 / len(values)), size=samples)
    means = counts @ values / len(values)
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(values.mean()), float(low), float(high)
