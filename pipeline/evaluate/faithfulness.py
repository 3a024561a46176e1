"""Does the score fall where the map says the evidence is? The deletion metric of Petsiuk et al. ("RISE", 2018, §4.1),
as FGVis uses it (§5.1, Table 2).

Shapes: B images, H by W pixels, T steps.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.explain.interface import LogitsFunction, reference_color, target_scores, validate_batch

# The published protocol: 8 rows of 224 pixels at a time, of a square of 224.
STEPS = 28


@dataclass(frozen=True)
class DeletionCurve:
    """The target's score while the image is deleted.

    Attributes:
        deleted: `[T+1]` float64, share of pixels deleted, from 0 to 1.
        scores: `[B,T+1]` float64, softmax score of the target.
    """

    deleted: Tensor
    scores: Tensor

    @property
    def area(self) -> Tensor:
        """Area under the curve by the trapezoid rule, `[B]` float64 in [0,1]: the deletion metric, lower is better."""
        return torch.trapezoid(self.scores, self.deleted, dim=1)


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
        classifier: with `reference`, the color in [0,1] that it normalizes to zero.
        images: `[B,3,H,W]` float in [0,1].
        maps: `[B,H,W]`, `[B,1,H,W]` or `[B,3,H,W]`, larger = more salient; pixels are ranked by the mean over colors.
        targets: `[B]` int64; the metric is defined for the class predicted for the image.
        pixels_per_step: pixels deleted between two scores; default: 1/28 of the image, 8 rows of a square of 224.
        batch_size: images in one forward pass, whatever B and T.
        seed: of the order among equal saliencies, the same for every image.

    Raises:
        ValueError: shapes, dtypes or ranges do not fit, a map is not finite, or the classifier has no reference.
    """
    validate_batch(images, targets)
    count, _, height, width = images.shape
    pixels = height * width
    step = pixels_per_step or math.ceil(pixels / STEPS)
    if step < 1 or batch_size < 1:
        raise ValueError("pixels_per_step and batch_size must be at least 1")
    ranks = deletion_order(maps, (count, height, width), seed)
    reference = reference_color(classifier, images)
    levels = torch.tensor([min(k * step, pixels) for k in range(math.ceil(pixels / step) + 1)], device=images.device)
    scores = torch.empty(count * len(levels), dtype=torch.float64, device=images.device)
    for start in range(0, len(scores), batch_size):
        pair = torch.arange(start, min(start + batch_size, len(scores)), device=images.device)
        row, level = pair // len(levels), levels[pair % len(levels)]
        deleted = (ranks[row] < level[:, None]).view(-1, 1, height, width)
        scores[pair] = target_scores(classifier, torch.where(deleted, reference, images[row]), targets[row]).double()
    return DeletionCurve(levels.double() / pixels, scores.view(count, -1))


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
