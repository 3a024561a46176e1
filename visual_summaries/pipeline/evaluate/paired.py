"""Two classifiers on the same photographs: which one is right more often, and how sure that is."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.stats import binomtest, norm


@dataclass(frozen=True)
class PairedAccuracy:
    """How often two classifiers are right on the same photographs.

    Attributes:
        both, only_first, only_second, neither: photographs that they get right.
        difference: accuracy of the first minus that of the second, −1..1; NaN without photographs.
        low, high: its 95 % interval (`paired_interval`).
        p: McNemar's exact test, two-sided: how likely so uneven a split of the photographs that only one gets right is
            if both are equally good; 1 where there are none.
    """

    both: int
    only_first: int
    only_second: int
    neither: int
    difference: float
    low: float
    high: float
    p: float

    @property
    def images(self) -> int:
        return self.both + self.only_first + self.only_second + self.neither

    @property
    def first(self) -> int:
        """Photographs that the first gets right."""
        return self.both + self.only_first

    @property
    def second(self) -> int:
        """Photographs that the second gets right."""
        return self.both + self.only_second


def paired_accuracy(first: np.ndarray, second: np.ndarray) -> PairedAccuracy:
    """Compare two classifiers.

    Args:
        first, second: bool `[n]`, whether each photograph is called rightly.

    Raises:
        ValueError: they are not of the same photographs.
    """
    first, second = np.asarray(first, bool), np.asarray(second, bool)
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f"paired answers must be of the same photographs, not {first.shape} and {second.shape}")
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    images, apart = len(first), only_first + only_second
    low, high = paired_interval(only_first, only_second, images)
    return PairedAccuracy(
        both=int((first & second).sum()),
        only_first=only_first,
        only_second=only_second,
        neither=int((~first & ~second).sum()),
        difference=(only_first - only_second) / images if images else float("nan"),
        low=low,
        high=high,
        p=float(binomtest(only_first, apart, 0.5).pvalue) if apart else 1.0,
    )


def paired_interval(only_first: int, only_second: int, images: int, level: float = 0.95) -> tuple[float, float]:
    """Score interval of the difference of two paired shares: (low, high), NaN without images.

    It holds the differences that the score test of Tango does not reject (Equivalence test and confidence interval for
    the difference in proportions for the paired-sample design, Statistics in Medicine 17, 1998); unlike Wald's, it
    keeps its level with few photographs, and it has a width where the two never disagree.
    """
    if images == 0:
        return (float("nan"),) * 2
    limit = float(norm.ppf((1 + level) / 2))
    observed = (only_first - only_second) / images

    def beyond(difference: float) -> float:
        return _score(only_first, only_second, images, difference)

    edge = 1 - 1e-12
    low = -1.0 if beyond(-edge) <= limit else brentq(lambda value: beyond(value) - limit, -edge, observed)
    high = 1.0 if beyond(edge) >= -limit else brentq(lambda value: beyond(value) + limit, observed, edge)
    return float(low), float(high)


def _score(only_first: int, only_second: int, images: int, difference: float) -> float:
    """Standard score of the observed difference if `difference` were true; falls as that grows."""
    b, c, n = only_first, only_second, images
    excess = b - c - n * difference
    # The likeliest share of the photographs that only the second gets right, given the difference, solves a quadratic
    # equation.
    linear = -b - c + (2 * n - b + c) * difference
    constant = -c * difference * (1 - difference)
    share = (math.sqrt(max(0.0, linear**2 - 8 * n * constant)) - linear) / (4 * n)
    variance = n * (2 * share + difference * (1 - difference))
    if variance <= 1e-12:
        return 0.0 if abs(excess) < 1e-9 else math.copysign(math.inf, excess)
    return excess / math.sqrt(variance)
