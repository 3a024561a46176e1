"""Geometry of boxes x0, y0, x1, y1 in pixels."""

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import box_iou

MAXIMUM_ASPECT_CHANGE = 2.0


def box_overlap(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes `[n,4]` with boxes `[n,4]`, pair by pair: `[n]` float64 in 0..1.

    Boxes are half-open, of any number type; 0 of two empty ones.
    """
    # A batch of one by one, not all pairs.
    return box_overlaps(boxes[:, None], others[:, None])[:, 0, 0]


def box_overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of every box `[…,m,4]` with every other `[…,n,4]`: `[…,m,n]`, as `box_overlap`."""
    found = box_iou(*(torch.from_numpy(np.asarray(values, dtype=np.float64)) for values in (boxes, others)))
    # For two empty boxes it is 0 / 0.
    return found.nan_to_num_(0.0).numpy()


def intersections(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Common area of every box `[m,4]` with every other `[n,4]`: `[m,n]`, of the boxes' own number type."""
    low = np.maximum(boxes[:, None, :2], others[:, :2])
    high = np.minimum(boxes[:, None, 2:], others[:, 2:])
    return (high - low).clip(min=0).prod(axis=2)


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
