"""How many of a class's known parts do its summaries show, and how many summaries are one? For data whose parts have
true boxes, as the demo set's.

Shapes: N images of a class, S summaries with m members each, P parts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from visual_summaries.pipeline.evaluate.parts import part_overlap


@dataclass(frozen=True)
class FoundParts:
    """Which parts of a class are found.

    Attributes:
        summary_of: `[P]` int64, the summary that counts for each part; −1 for a part that is not found.
        summaries: number of summaries, S.
    """

    summary_of: np.ndarray
    summaries: int

    @property
    def parts(self) -> int:
        return len(self.summary_of)

    @property
    def found(self) -> int:
        return int((self.summary_of >= 0).sum())


@dataclass(frozen=True)
class PartFigure:
    """A figure over the classes with the interval of a bootstrap of the classes; NaN where it is not defined."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class PartScores:
    """Precision, recall and F1 of the distinct parts found, the summaries and parts of all classes taken together.

    Attributes:
        precision: parts found / summaries.
        recall: parts found / parts.
        f1: harmonic mean of the two, 2 · parts found / (summaries + parts).
    """

    precision: PartFigure
    recall: PartFigure
    f1: PartFigure


def part_overlaps(images: Sequence[np.ndarray], boxes: Sequence[np.ndarray], truth: np.ndarray) -> np.ndarray:
    """How well each summary is each part, `[S,P]` float64 in 0..1: median over members of intersection over union.

    Args:
        images: of each summary, `[m]` int64: its members' images, by their number in the class.
        boxes: of each summary, `[m,4]`: its members' boxes, half-open pixels.
        truth: `[N,P,4]` true boxes of the parts; NaN where a part is not visible, which counts as overlap 0.

    Raises:
        ValueError: shapes do not fit.
    """
    if truth.ndim != 3 or truth.shape[2] != 4 or [len(own) for own in images] != [len(own) for own in boxes]:
        raise ValueError(f"truth must be [N,P,4], got {truth.shape}; each member has an image and a box")
    found = [
        [part_overlap(np.asarray(own, dtype=np.float64), truth[of, part]) for part in range(truth.shape[1])]
        for of, own in zip(images, boxes, strict=True)
    ]
    return np.array(found, dtype=np.float64).reshape(len(boxes), truth.shape[1])


def found_parts(overlaps: np.ndarray, least: float = 0.5) -> FoundParts:
    """The most parts that can be found, each by a summary of its own whose overlap with it is at least `least`.

    Each part counts once, and each summary for one part at most. Of several such assignments that with the largest
    overlaps in all.

    Args:
        overlaps: `[S,P]` as `part_overlaps` gives them.
        least: above 0.
    """
    summaries, parts = overlaps.shape
    enough = overlaps >= least
    # One more part outweighs all overlaps together.
    rows, columns = linear_sum_assignment(np.where(enough, overlaps + parts, 0), maximize=True)
    summary_of = np.full(parts, -1)
    chosen = enough[rows, columns]
    summary_of[columns[chosen]] = rows[chosen]
    return FoundParts(summary_of, summaries)


def part_scores(classes: Sequence[FoundParts], seed: int = 0, samples: int = 2000, level: float = 0.95) -> PartScores:
    """Precision, recall and F1 over classes, each with its interval: percentiles of a bootstrap that draws classes.

    Of a single class the interval is NaN.
    """
    counts = np.array([[one.found, one.summaries, one.parts] for one in classes], dtype=np.float64).reshape(-1, 3)
    drawn = np.full((samples, 3), np.nan)
    if len(counts) > 1:
        chosen = np.random.default_rng(seed).integers(len(counts), size=(samples, len(counts)))
        drawn = counts[chosen].sum(axis=1)
    tail = (1 - level) / 2
    figures = []
    for value, draws in zip(_scores(counts.sum(axis=0)), _scores(drawn).T, strict=True):
        known = draws[~np.isnan(draws)]
        low, high = np.quantile(known, [tail, 1 - tail]) if len(known) else (np.nan, np.nan)
        figures.append(PartFigure(float(value), float(low), float(high)))
    return PartScores(*figures)


def _scores(counts: np.ndarray) -> np.ndarray:
    """Parts found, summaries, parts `[…,3]` to precision, recall, F1 `[…,3]`; NaN for 0 / 0."""
    found, summaries, parts = np.moveaxis(counts, -1, 0)
    wanted = np.stack([summaries, parts, (summaries + parts) / 2], axis=-1)
    return np.divide(found[..., None], wanted, out=np.full(wanted.shape, np.nan), where=wanted > 0)
