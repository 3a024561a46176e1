"""Geometry of boxes x0, y0, x1, y1 in pixels, for the matching of proposals."""

import torch
from torch import Tensor

MAXIMUM_ASPECT_CHANGE = 2.0


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
