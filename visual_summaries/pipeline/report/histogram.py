"""Counts of values between 0 and 1: a million photographs take no more room than ten."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

BINS = 40
"""Bins of a histogram, of equal width from 0 to 1."""


@dataclass(frozen=True)
class Histogram:
    """How often values fall into the bins of 0..1.

    Attributes:
        counts: values of each bin; a bin holds its lower edge, the last one its upper edge too. What lies outside 0..1
            is counted in the first or last bin.
        below, above: how many these are.
        missing: values that are not finite, counted nowhere else.
        total: sum of the values as they were.
    """

    counts: tuple[int, ...] = (0,) * BINS
    below: int = 0
    above: int = 0
    missing: int = 0
    total: float = 0.0

    def add(self, values: Any) -> "Histogram":
        """With further values: an array or a sequence of any shape, None or NaN where there is no value."""
        found = np.asarray(values, dtype=np.float64).ravel()
        finite = found[np.isfinite(found)]
        counts = np.histogram(np.clip(finite, 0, 1), BINS, (0, 1))[0]
        below, above = int((finite < 0).sum()), int((finite > 1).sum())
        return self.merge(
            Histogram(tuple(counts.tolist()), below, above, len(found) - len(finite), float(finite.sum()))
        )

    def merge(self, other: "Histogram") -> "Histogram":
        """With the values of another one."""
        counts = tuple(one + more for one, more in zip(self.counts, other.counts, strict=True))
        ours, theirs = ((one.below, one.above, one.missing, one.total) for one in (self, other))
        return Histogram(counts, *(one + more for one, more in zip(ours, theirs, strict=True)))

    @property
    def n(self) -> int:
        """How many values were counted."""
        return sum(self.counts)

    @property
    def mean(self) -> float:
        """Mean of the values as they were; NaN without any."""
        return self.total / self.n if self.n else math.nan
