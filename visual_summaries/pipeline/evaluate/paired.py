"""Two classifiers on the same photographs: which one is right more often, and how sure that is."""

import math
from dataclasses import dataclass

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


def paired_accuracy(both: int, only_first: int, only_second: int, neither: int) -> PairedAccuracy:
    """Compare two classifiers by how many of the same photographs both get right, only one of them, and neither."""
    apart = only_first + only_second
    images = both + apart + neither
    low, high = paired_interval(only_first, only_second, images)
    return PairedAccuracy(
        both=both,
        only_first=only_first,
        only_second=only_second,
        neither=neither,
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
