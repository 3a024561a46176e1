"""The similarity of a class's parts: from the scores of its image pairs to those among the proposals that stay
(visual summaries paper §3.2).

Shapes: M proposals of an image, K of them on its mask, n proposals of the class that survive both prunings.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from visual_summaries.pipeline.summarize.boxes import intersections

STRENGTH_SCORES = 100


@dataclass(frozen=True)
class ImageProposals:
    """Proposals of one image as matching needs them.

    Attributes:
        boxes: `[M,4]` float32, pixels of the analyzed image.
        features: `[M,D]` floating, whitened.
        on_mask: `[M]` bool, whether the proposal lies on the salient mask.
    """

    boxes: Tensor
    features: Tensor
    on_mask: np.ndarray


@dataclass(frozen=True)
class Survivors:
    """What becomes of an image's K proposals on the mask.

    Attributes:
        on_mask: `[K]` int64, their numbers.
        strengths: `[K]` float32, the mean of the best scores against other images.
        kept: `[K]` bool, false for the redundant ones.
    """

    on_mask: np.ndarray
    strengths: np.ndarray
    kept: np.ndarray


@dataclass(frozen=True)
class Edges:
    """Positive scores among the n surviving proposals of a class, E of them; all others are 0.

    Attributes:
        first, second: `[E]` int64, numbers 0..n−1; each in both orders, and each proposal with itself.
        scores: `[E]` float32.
    """

    first: np.ndarray
    second: np.ndarray
    scores: np.ndarray

    def dense(self, count: int) -> np.ndarray:
        """The matrix `[count,count]` float32."""
        matrix = np.zeros((count, count), dtype=np.float32)
        matrix[self.first, self.second] = self.scores
        return matrix


def salient_shares(boxes: np.ndarray, salient: np.ndarray) -> np.ndarray:
    """Share of each box's own area that is salient.

    Args:
        boxes: `[M,4]`, half-open pixels, rounded to whole pixels here.
        salient: `[H,W]` bool.

    Returns:
        `[M]` float64 in 0..1; 0 for an empty box.
    """
    height, width = salient.shape
    sums = np.pad(salient.cumsum(axis=0, dtype=np.int64).cumsum(axis=1), ((1, 0), (1, 0)))
    x0, x1 = (np.clip(np.rint(boxes[:, column]).astype(int), 0, width) for column in (0, 2))
    y0, y1 = (np.clip(np.rint(boxes[:, column]).astype(int), 0, height) for column in (1, 3))
    inside = sums[y1, x1] - sums[y0, x1] - sums[y1, x0] + sums[y0, x0]
    area = (x1 - x0) * (y1 - y0)
    return np.divide(inside, area, out=np.zeros(len(boxes)), where=area > 0)


def non_redundant(
    boxes: np.ndarray, strengths: np.ndarray, overlap: float = 0.5, area_ratio: float = 2.0
) -> np.ndarray:
    """Which proposals of one image stay when similar boxes compete: a suppression in order of strength.

    Two boxes compete when intersection / smaller area ≥ `overlap` and larger / smaller area < `area_ratio`.

    Args:
        boxes: `[M,4]` half-open pixels.
        strengths: `[M]`, the higher wins; ties go to the lower number.

    Returns:
        `[M]` bool.
    """
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    smaller, larger = np.minimum(area[:, None], area), np.maximum(area[:, None], area)
    compete = (intersections(boxes, boxes) >= overlap * smaller) & (larger < area_ratio * smaller)
    kept = np.zeros(len(boxes), dtype=bool)
    for candidate in np.argsort(-strengths, kind="stable"):
        kept[candidate] = not (compete[candidate] & kept).any()
    return kept


class BestScores:
    """Running best scores of each of K proposals, whatever the order in which images come."""

    def __init__(self, count: int, keep: int = STRENGTH_SCORES) -> None:
        self._best = torch.zeros(count, 0)
        self._keep = keep

    def add(self, scores: Tensor) -> None:
        """Scores `[K,N]` against the proposals of more images, or what is left of them in `values`."""
        merged = torch.cat([self._best.to(scores), scores], dim=1)
        self._best = merged.topk(min(self._keep, merged.shape[1]), dim=1).values

    @property
    def values(self) -> Tensor:
        """`[K, at most keep]`, descending."""
        return self._best

    @property
    def threshold(self) -> Tensor:
        """`[K]`: a score that is not above it changes nothing; 0 as long as there are too few."""
        if self._best.shape[1] < self._keep:
            return self._best.new_zeros(len(self._best))
        return self._best[:, -1]

    def mean(self) -> np.ndarray:
        """Mean of the best scores, `[K]` float32; 0 without any."""
        if self._best.shape[1] == 0:
            return np.zeros(len(self._best), dtype=np.float32)
        return self._best.mean(dim=1).cpu().numpy()


def survivors(
    boxes: np.ndarray,
    on_mask: np.ndarray,
    best: BestScores,
    overlap: float = 0.5,
    area_ratio: float = 2.0,
) -> Survivors:
    """Prune an image's redundant proposals by their strength against other images.

    Args:
        boxes: `[M,4]` of all proposals.
        on_mask: `[M]` bool.
        best: of the K on the mask, once all pairs of the image have been matched.
        overlap, area_ratio: as in `non_redundant`.
    """
    numbers = np.flatnonzero(on_mask)
    strengths = best.mean()
    return Survivors(numbers, strengths, non_redundant(boxes[numbers], strengths, overlap, area_ratio))


def class_edges(
    blocks: Iterable[tuple[int, int, np.ndarray]], images: Mapping[int, Survivors] | Sequence[Survivors]
) -> tuple[Edges, np.ndarray]:
    """Scores among the proposals that stay.

    Args:
        blocks: (a, b, scores `[K_a,K_b]`) of image pairs a ≤ b among the proposals on the masks, each pair once.
            The transpose serves the opposite pair. Pairs that are not there were not matched: their scores are 0.
        images: by number 0..N−1.

    Returns:
        The edges, in no particular order, and `[N+1]` int64, where each image's proposals start among the n.
    """
    counts = [int(images[number].kept.sum()) for number in range(len(images))]
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    among_kept = ((a, b, block[images[a].kept][:, images[b].kept]) for a, b, block in blocks)
    return block_edges(among_kept, starts), starts


def block_edges(blocks: Iterable[tuple[int, int, np.ndarray]], starts: np.ndarray) -> Edges:
    """Positive scores of image pairs as edges, both ways; a self pair's block holds both already.

    Args:
        blocks: (a, b, scores `[n_a,n_b]`) among the n proposals.
        starts: where each image's proposals start among the n.
    """
    found = [Edges(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))]
    for a, b, block in blocks:
        row, column = np.nonzero(block > 0)
        values, row, column = block[row, column].astype(np.float32), row + starts[a], column + starts[b]
        found.append(Edges(row, column, values))
        if a != b:
            found.append(Edges(column, row, values))
    return joined_edges(found)


def joined_edges(several: Sequence[Edges]) -> Edges:
    """All edges of at least one set."""
    names = ("first", "second", "scores")
    return Edges(*(np.concatenate([getattr(edges, name) for edges in several]) for name in names))
