"""Does the score fall where the map says the evidence is? Deletion and insertion of Petsiuk et al. ("RISE", 2018, §4.1;
deletion also in FGVis, §5.1, Table 2), and the score drop of visual summaries (§4.1, Table 2).

Shapes: B images, H by W pixels, T steps.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from visual_summaries.pipeline.explain.blur import gaussian_matrix
from visual_summaries.pipeline.explain.interface import LogitsFunction, baseline_color, target_scores, validate_batch

# The published protocol: 8 rows of 224 pixels at a time, of a square of 224.
STEPS = 28
# The blur that insertion starts from: 11 pixels wide.
BLUR_SIGMA = 5.0
BLUR_RADIUS = 5


@dataclass(frozen=True)
class DeletionCurve:
    """The target's score while the image is deleted.

    Attributes:
        deleted: `[T+1]` float64, share of pixels deleted, from 0 to 1.
        scores: `[B,T+1]` float64, score of the target.
    """

    deleted: Tensor
    scores: Tensor

    @property
    def area(self) -> Tensor:
        """Area under the curve by the trapezoid rule, `[B]` float64 in [0,1]: the deletion metric, lower is better."""
        return torch.trapezoid(self.scores, self.deleted, dim=1)


@dataclass(frozen=True)
class InsertionCurve:
    """The target's score while the image is shown.

    Attributes:
        inserted: `[T+1]` float64, share of pixels shown, from 0 to 1.
        scores: `[B,T+1]` float64, score of the target.
    """

    inserted: Tensor
    scores: Tensor

    @property
    def area(self) -> Tensor:
        """Area under the curve by the trapezoid rule, `[B]` float64: the insertion metric, higher is better."""
        return torch.trapezoid(self.scores, self.inserted, dim=1)


@torch.no_grad()
def deletion_curve(
    classifier: LogitsFunction,
    images: Tensor,
    maps: Tensor,
    targets: Tensor,
    pixels_per_step: int | None = None,
    batch_size: int = 16,
    seed: int = 0,
) -> DeletionCurve:
    """Replace pixels by the data mean, the most salient first, and watch the target's score.

    Args:
        classifier: with `baseline`, the color in [0,1] that it normalizes to zero.
        images: `[B,3,H,W]` float in [0,1].
        maps: `[B,H,W]`, `[B,1,H,W]` or `[B,3,H,W]`, larger = more salient; pixels are ranked by the mean over colors.
        targets: `[B]` int64; the metric is defined for the class predicted for the image.
        pixels_per_step: pixels deleted between two scores; default: 1/28 of the image, 8 rows of a square of 224.
        batch_size: images in one forward pass, whatever B and T.
        seed: of the order among equal saliencies, the same for every image.

    Raises:
        ValueError: shapes, dtypes or ranges do not fit, a map is not finite, or the classifier has no baseline.
    """
    validate_batch(images, targets)
    deleted = baseline_color(classifier, images).expand_as(images)
    return DeletionCurve(*_curve(classifier, images, deleted, maps, targets, pixels_per_step, batch_size, seed))


@torch.no_grad()
def insertion_curve(
    classifier: LogitsFunction,
    images: Tensor,
    maps: Tensor,
    targets: Tensor,
    pixels_per_step: int | None = None,
    batch_size: int = 16,
    seed: int = 0,
) -> InsertionCurve:
    """Show the pixels of a blurred image sharp, the most salient first, and watch the target's score.

    Arguments and errors as `deletion_curve`, whose ranking and steps it shares; the start is `insertion_start`.
    """
    validate_batch(images, targets)
    start = insertion_start(images, baseline_color(classifier, images))
    return InsertionCurve(*_curve(classifier, start, images, maps, targets, pixels_per_step, batch_size, seed))


def insertion_start(images: Tensor, baseline: Tensor) -> Tensor:
    """The images `[B,3,H,W]` blurred by a Gaussian of 11×11 pixels with σ = 5, normalized to sum 1: where insertion
    begins.

    Beyond the border lies `baseline` `[3,1,1]`, as in the published program, which pads the normalized image with
    zeros. (Its kernel is an impulse blurred on a reflecting square of 11 pixels, thus flatter than a Gaussian.)
    """
    options = {"device": images.device, "dtype": images.dtype}
    rows, columns = (
        gaussian_matrix(side + 2 * BLUR_RADIUS, BLUR_SIGMA, BLUR_RADIUS, "edge", **options)[
            BLUR_RADIUS:-BLUR_RADIUS, BLUR_RADIUS:-BLUR_RADIUS
        ]
        for side in images.shape[-2:]
    )
    return rows @ (images - baseline) @ columns.T + baseline


def _curve(
    classifier: LogitsFunction,
    before: Tensor,
    after: Tensor,
    maps: Tensor,
    targets: Tensor,
    pixels_per_step: int | None,
    batch_size: int,
    seed: int,
) -> tuple[Tensor, Tensor]:
    """Shares `[T+1]` of pixels taken from `after` instead of `before`, both `[B,3,H,W]`, and scores `[B,T+1]`."""
    count, _, height, width = before.shape
    pixels = height * width
    step = pixels_per_step or math.ceil(pixels / STEPS)
    if step < 1 or batch_size < 1:
        raise ValueError("pixels_per_step and batch_size must be at least 1")
    ranks = deletion_order(maps, (count, height, width), seed)
    levels = torch.tensor([min(k * step, pixels) for k in range(math.ceil(pixels / step) + 1)], device=before.device)
    scores = torch.empty(count * len(levels), dtype=torch.float64, device=before.device)
    for start in range(0, len(scores), batch_size):
        pair = torch.arange(start, min(start + batch_size, len(scores)), device=before.device)
        row, level = pair // len(levels), levels[pair % len(levels)]
        changed = (ranks[row] < level[:, None]).view(-1, 1, height, width)
        scores[pair] = target_scores(classifier, torch.where(changed, after[row], before[row]), targets[row]).double()
    return levels.double() / pixels, scores.view(count, -1)


def score_drops(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Relative drop (p0 − p1) / p0 of each image's score, `[n]` float64, at most 1, negative where the score rose.

    Args:
        before: `[n]` scores p0 on the images, in (0,1].
        after: `[n]` scores p1 on the images blurred by their maps, in [0,1].

    Raises:
        ValueError: other shapes or ranges.
    """
    before, after = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    if before.ndim != 1 or before.shape != after.shape:
        raise ValueError(f"scores must be [n] and as many before as after, got {before.shape} and {after.shape}")
    if not ((before > 0) & (before <= 1) & (after >= 0) & (after <= 1)).all():
        raise ValueError("scores before must lie in (0, 1], scores after in [0, 1]")
    return (before - after) / before


def score_drop_summary(before: np.ndarray, after: np.ndarray) -> tuple[float, float]:
    """Mean and variance of the relative score drops (visual summaries, Table 2); NaN without images.

    The variance is the images' own, divided by n. Arguments and errors as `score_drops`.
    """
    drops = score_drops(before, after)
    return (float(drops.mean()), float(drops.var())) if len(drops) else (float("nan"), float("nan"))


def deletion_order(maps: Tensor, shape: tuple[int, int, int], seed: int = 0) -> Tensor:
    """Rank of each pixel, `[B,H·W]` int64, 0 the most salient; equal saliencies in a seeded random order.

    Raises:
        ValueError: `maps` is not `[B,H,W]`, `[B,1,H,W]` or `[B,3,H,W]` for `shape` (B, H, W), or is not finite.
    """
    saliency = maps.double().mean(dim=1) if maps.ndim == 4 and maps.shape[1] in (1, 3) else maps.double()
    if saliency.shape != shape or not saliency.isfinite().all():
        raise ValueError(f"maps must be finite and [B,H,W] or [B,C,H,W] for {shape}, got {tuple(maps.shape)}")
    saliency = saliency.flatten(1)
    shuffled = torch.randperm(saliency.shape[1], generator=torch.Generator().manual_seed(seed)).to(maps.device)
    order = shuffled[saliency[:, shuffled].argsort(dim=1, descending=True, stable=True)]
    places = torch.arange(order.shape[1], device=maps.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, places)
