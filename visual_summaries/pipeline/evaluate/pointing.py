"""Does a map's maximum lie on the object? The pointing game, protocol `torchray` (Zhang et al., "Top-down neural
attention by excitation backprop", IJCV 2018, §4.1, as Fong, Patrick & Vedaldi's TorchRay, 2019, counts it).

Protocol `glas` is `localization.localization_point` and `localization.inside`. Shapes: B images, H by W pixels of the
original image, n answers. A place (x, y) counts pixels from the image's top left edge, so that the middle of the first
pixel is (0.5, 0.5).
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from visual_summaries.pipeline.evaluate.localization import SMALL

TOLERANCE = 15.0
"""Pixels of the original image."""


def torchray_points(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Places (x, y) `[B,2]` float64 of the maps' maxima after they are resized bilinearly to the original images.

    Of equal maxima the first counts, row by row. Where the classifier saw a crop of the image, `size` is the crop's in
    pixels of the original, and its left and top edge is to be added to the places.

    Args:
        maps: `[B,h,w]` float, finite, at least one pixel.
        size: (H, W) of the original images.

    Raises:
        ValueError: not such maps.
    """
    if maps.ndim != 3 or not maps[:1].numel() or not maps.isfinite().all():
        raise ValueError(f"maps must be finite and [B,h,w], got {tuple(maps.shape)}")
    resized = functional.interpolate(maps[:, None].double(), size=size, mode="bilinear", align_corners=False)
    best = resized.flatten(1).argmax(dim=1)
    return torch.stack([best % size[1], best // size[1]], dim=1).double() + 0.5


def near_objects(points: Tensor, objects: Tensor, tolerance: float = TOLERANCE) -> Tensor:
    """Whether the middle of an object pixel is strictly closer to the place than `tolerance` pixels, `[B]` bool.

    Args:
        points: `[B,2]` x, y.
        objects: `[B,H,W]` bool, the pixels of the class; from boxes, by `localization.box_mask`.

    Raises:
        ValueError: shapes or dtypes do not fit.
    """
    if objects.ndim != 3 or objects.dtype != torch.bool or points.shape != (len(objects), 2):
        raise ValueError(
            f"objects must be bool [B,H,W] and points [B,2], got {objects.dtype} {tuple(objects.shape)} and "
            f"{tuple(points.shape)}"
        )
    _, height, width = objects.shape
    x, y = points.to(device=objects.device, dtype=torch.float64).unbind(dim=1)
    across = (torch.arange(width, device=objects.device) + 0.5 - x[:, None]).square()
    down = (torch.arange(height, device=objects.device) + 0.5 - y[:, None]).square()
    near = across[:, None, :] + down[:, :, None] < tolerance**2
    return (near & objects).flatten(1).any(dim=1)


def torchray_hits(maps: Tensor, objects: Tensor, tolerance: float = TOLERANCE) -> Tensor:
    """Hits of the pointing game, `[B]` bool: `near_objects` of `torchray_points`, with their errors.

    Args:
        maps: `[B,h,w]` float, finite, of whole images.
        objects: `[B,H,W]` bool, the pixels of the explained class in the original images.
    """
    return near_objects(torchray_points(maps, tuple(objects.shape[-2:])), objects, tolerance)


def small_objects(objects: Tensor) -> Tensor:
    """Whether the object pixels `[B,H,W]` bool are less than a quarter of the image, `[B]` bool."""
    return objects.flatten(1).double().mean(dim=1) < SMALL


def mean_class_accuracy(hits: np.ndarray, classes: np.ndarray, chosen: np.ndarray | None = None) -> float:
    """Mean over classes of the share of hits, in 0..1; a class without answers does not count; NaN without any.

    Args:
        hits: `[n]` bool.
        classes: `[n]`, class of each answer.
        chosen: `[n]` bool, the answers that count, for instance those of small objects; default: all.

    Raises:
        ValueError: lengths differ.
    """
    hits, classes = np.asarray(hits, dtype=bool), np.asarray(classes)
    chosen = np.ones(len(hits), dtype=bool) if chosen is None else np.asarray(chosen, dtype=bool)
    if not hits.shape == classes.shape == chosen.shape or hits.ndim != 1:
        raise ValueError(f"hits, classes and chosen must be [n], got {hits.shape}, {classes.shape}, {chosen.shape}")
    if not chosen.any():
        return float("nan")
    _, number = np.unique(classes[chosen], return_inverse=True)
    return float((np.bincount(number, weights=hits[chosen]) / np.bincount(number)).mean())
