"""Scores of an atlas's segments: which comes first in a scan, and what they come to over the scans of a class."""

from dataclasses import dataclass

import numpy as np

from visual_summaries.pipeline.evaluate.intervals import mean_interval


def ranks(scores: np.ndarray) -> list[int | None]:
    """Places of scores `[P]`, 1 for the largest, equal ones alike; None for all where none is above 0."""
    scores = np.asarray(scores, dtype=np.float64)
    if not (scores > 0).any():
        return [None] * len(scores)
    ascending = np.sort(scores)
    return [1 + len(scores) - int(place) for place in np.searchsorted(ascending, scores, side="right")]


@dataclass(frozen=True)
class SegmentMeans:
    """Figures of P segments over the scans of a class.

    Attributes:
        score: means `[P]` float64.
        intervals: 95 % bootstrap intervals over scans `[P,2]` float64, NaN of fewer than two scans.
        relative: means over the largest one `[P]` float64, 0 where all are 0.
        first: in how many scans each has the first place, P numbers.
        ranks: places of the means, as `ranks`.
    """

    score: np.ndarray
    intervals: np.ndarray
    relative: np.ndarray
    first: list[int]
    ranks: list[int | None]


def segment_means(scores: np.ndarray, seed: int = 0) -> SegmentMeans:
    """What scores `[N,P]` of N scans come to; each segment's interval draws the same scans.

    Raises:
        ValueError: no scan.
    """
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 2 or not len(scores):
        raise ValueError(f"scores must be [scans, segments] of at least one scan, got {list(scores.shape)}")
    means = scores.mean(axis=0)
    if len(scores) > 1:
        intervals = np.array([mean_interval(column, seed)[1:] for column in scores.T])
    else:
        intervals = np.full((scores.shape[1], 2), np.nan)
    largest = means.max(initial=0.0)
    places = [ranks(row) for row in scores]
    return SegmentMeans(
        score=means,
        intervals=intervals,
        relative=means / largest if largest > 0 else np.zeros_like(means),
        first=[sum(row[segment] == 1 for row in places) for segment in range(scores.shape[1])],
        ranks=ranks(means),
    )
