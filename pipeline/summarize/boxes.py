"""Geometry of boxes x0, y0, x1, y1 in pixels."""

import numpy as np
import torch
from torch import Tensor

MAXIMUM_ASPECT_CHANGE = 2.0


def box_overlap(boxes: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes `[n,4]` with boxes `[n,4]`, pair by pair: `[n]`; half-open pixels."""
    low, high = np.maximum(boxes[:, :2], truth[:, :2]), np.minimum(boxes[:, 2:], truth[:, 2:])
    intersection = np.clip(high - low, 0, None).prod(axis=1)
    areas = [np.clip(values[:, 2:] - values[:, :2], 0, None).prod(axis=1) for values in (boxes, truth)]
    union = areas[0] + areas[1] - intersection
    return np.divide(intersection, union, out=np.zeros(len(boxes)), where=union > 0)


def centers_and_halves(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Centers and half extents (x, y), float64 [..., M, 2]."""
    boxes = boxes.to(torch.float64)
    return (boxes[..., :2] + boxes[..., 2:]) / 2, (boxes[..., 2:] - boxes[..., :2]) / 2


def aspects_agree(boxes_a: Tensor, boxes_b: Tensor) -> Tensor:
    """Whether width / height of two boxes differ by less than a factor of 2.

    Args:
        boxes_a: [..., M1, 4].
        boxes_b: [..., M2, 4]; boxes of no extent (padding) agree with none.

    Returns:
        bool [..., M1, M2].
    """
    _, half_a = centers_and_halves(boxes_a)
    _, half_b = centers_and_halves(boxes_b)
    aspect_a, aspect_b = half_a[..., 0] / half_a[..., 1], half_b[..., 0] / half_b[..., 1]
    # Powers of two scale exactly: no quotient of every pair is needed. Comparisons with NaN are false.
    low, high = aspect_a / MAXIMUM_ASPECT_CHANGE, aspect_a * MAXIMUM_ASPECT_CHANGE
    within = aspect_b[..., None, :] < high[..., :, None]
    return within.logical_and_(aspect_b[..., None, :] > low[..., :, None])


def overlapping(boxes: Tensor, thickness: float = 0.0) -> Tensor:
    """Which boxes [M, 4] share area, bool [M, M], each extended by `thickness`; a box always overlaps itself."""
    boxes = boxes.to(torch.float64)
    reaches = boxes[:, None, :2].unbind(-1), (boxes[None, :, 2:] + thickness).unbind(-1)
    x, y = (low < high for low, high in zip(*reaches, strict=True))
    overlaps = x & x.T & y & y.T
    return overlaps.fill_diagonal_(True)
