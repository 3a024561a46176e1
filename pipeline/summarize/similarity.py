"""The class similarity matrix: matching all image pairs of a class and pruning its proposals
(visual summaries paper §3.2; specification summaries.md §5).

Shapes: M proposals of an image, n proposals of the class that survive both prunings.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

STRENGTH_SCORES = 100


@dataclass(frozen=True)
class ImageProposals:
    """Proposals of one image as matching needs them.

    Attributes:
        boxes: `[M,4]` float32, pixels of the analyzed image.
        features: `[M,D]` float32, whitened.
        on_mask: `[M]` bool, whether the proposal lies on the salient mask.
    """

    boxes: Tensor
    features: Tensor
    on_mask: np.ndarray


@dataclass(frozen=True)
class ClassSimilarity:
    """Scores among the proposals of a class that survive both prunings.

    Attributes:
        image: `[n]` int64, number of the image of each surviving proposal.
        proposal: `[n]` int64, its number within the image; sorted by image, then proposal.
        scores: `[n,n]` float32, matching confidence; the blocks of self matches are included.
        on_mask: per image, the numbers of all proposals on the mask.
        strengths: per image, float32, the mean of the best scores of those proposals against other images.
        redundant: per image, bool, which of those proposals the second pruning left out.
        self_scores: per image, float32, score of each of those proposals with itself.
    """

    image: np.ndarray
    proposal: np.ndarray
    scores: np.ndarray
    on_mask: list[np.ndarray]
    strengths: list[np.ndarray]
    redundant: list[np.ndarray]
    self_scores: list[np.ndarray]


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
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    intersection = np.clip(high - low, 0, None).prod(axis=2)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    smaller, larger = np.minimum(area[:, None], area), np.maximum(area[:, None], area)
    compete = (intersection >= overlap * smaller) & (larger < area_ratio * smaller)
    kept = np.zeros(len(boxes), dtype=bool)
    for candidate in np.argsort(-strengths, kind="stable"):
        kept[candidate] = not (compete[candidate] & kept).any()
    return kept


class BestScores:
    """Running best scores of each of M proposals, whatever the order in which images come."""

    def __init__(self, count: int, keep: int = STRENGTH_SCORES) -> None:
        self._best = torch.zeros(count, 0)
        self._keep = keep

    def add(self, scores: Tensor) -> None:
        """Scores `[M,N]` against the proposals of one more image."""
        merged = torch.cat([self._best, scores], dim=1)
        self._best = merged.topk(min(self._keep, merged.shape[1]), dim=1).values

    def mean(self) -> np.ndarray:
        """Mean of the best scores, `[M]` float32; 0 without any."""
        if self._best.shape[1] == 0:
            return np.zeros(len(self._best), dtype=np.float32)
        return self._best.mean(dim=1).numpy()


def class_similarity(
    images: Sequence[ImageProposals],
    match: Callable[[ImageProposals, ImageProposals], Tensor],
    overlap: float = 0.5,
    area_ratio: float = 2.0,
    progress: Callable[[], None] = lambda: None,
) -> ClassSimilarity:
    """Match all pairs i ≤ j, self pairs included, and prune.

    All proposals take part in matching, as context; only scores among those on the mask are kept. The
    transpose of a pair's scores serves the opposite pair. Redundant proposals are removed at the end, by
    their strength: the mean of their 100 best scores against all proposals of other images.

    Args:
        match: scores `[M_a,M_b]` of two images; called for each of the N(N+1)/2 pairs, except where neither
            image has a proposal on its mask.
        progress: called once per pair.
    """
    on_mask = [np.flatnonzero(image.on_mask) for image in images]
    best = [BestScores(len(indices)) for indices in on_mask]
    blocks: dict[tuple[int, int], np.ndarray] = {}
    for a, image_a in enumerate(images):
        for b in range(a, len(images)):
            if len(on_mask[a]) or len(on_mask[b]):
                scores = match(image_a, images[b])
                if a != b:
                    best[a].add(scores[on_mask[a]])
                    best[b].add(scores[:, on_mask[b]].T)
                blocks[a, b] = scores[on_mask[a]][:, on_mask[b]].numpy().astype(np.float32)
            progress()
    strengths = [scores.mean() for scores in best]
    stays = [
        non_redundant(image.boxes.numpy()[indices], strength, overlap, area_ratio)
        for image, indices, strength in zip(images, on_mask, strengths, strict=True)
    ]
    counts = [int(keep.sum()) for keep in stays]
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(int)
    matrix = np.zeros((starts[-1], starts[-1]), dtype=np.float32)
    for (a, b), block in blocks.items():
        kept = block[stays[a]][:, stays[b]]
        matrix[starts[a] : starts[a + 1], starts[b] : starts[b + 1]] = kept
        if a != b:
            matrix[starts[b] : starts[b + 1], starts[a] : starts[a + 1]] = kept.T
    return ClassSimilarity(
        image=np.repeat(np.arange(len(images)), counts),
        proposal=np.concatenate(
            [indices[keep] for indices, keep in zip(on_mask, stays, strict=True)] or [np.zeros(0, int)]
        ),
        scores=matrix,
        on_mask=on_mask,
        strengths=strengths,
        redundant=[~keep for keep in stays],
        self_scores=[
            np.diagonal(blocks[a, a]).copy() if (a, a) in blocks else np.zeros(0, np.float32)
            for a in range(len(images))
        ],
    )
