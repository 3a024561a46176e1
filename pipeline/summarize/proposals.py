"""Object proposals by selective search (specification summaries.md §2; Uijlings et al., IJCV 2013)."""

import cv2
import numpy as np
from cv2 import ximgproc

REFERENCE_SIDE = 224.0
"""Side in pixels of the analyzed image that pixel settings refer to."""

SEGMENTATION_SCALES = (50, 100, 150, 300)
"""Felzenszwalb's k; also the smallest segment in pixels."""

SEGMENTATION_SIGMA = 0.8


def selective_search(
    image: np.ndarray,
    seed: int,
    limit: int = 500,
    minimum_side: float = 20.0,
    border: float = 0.98,
) -> np.ndarray:
    """Boxes that may hold an object or a part of one, in a reproducible random order.

    The order that OpenCV returns depends on libc's unseeded random numbers, so it is discarded: the boxes
    are sorted by their coordinates, permuted by a generator of their own, and then truncated.

    Args:
        image: uint8 [H, W, 3], RGB.
        seed: seed of this image's permutation (not negative).
        limit: at most so many boxes are returned.
        minimum_side: smallest width and height, in pixels of a 224-px image; scaled by max(H, W) / 224.
        border: share of width and height that is the image's center. A box with some sides inside the center
            and some outside it is dropped: it is an object cut by the border, or the border itself.

    Returns:
        float32 [M, 4] with x0, y0, x1, y1 in pixels of `image`, half-open, without duplicates, M <= limit.
        M is 0 only if the image is smaller than the minimum side. An image without structure has one box,
        the whole image.

    Raises:
        ValueError: `image` is not uint8 [H, W, 3] or is empty.
    """
    _check_image(image)
    height, width = image.shape[:2]
    boxes = _all_boxes(image)
    smallest = minimum_side * max(height, width) / REFERENCE_SIDE
    sides = boxes[:, 2:] - boxes[:, :2]
    boxes = boxes[(sides >= smallest).all(axis=1)]
    boxes = boxes[keeps_border_rule(boxes, width, height, border)]
    boxes = np.unique(boxes, axis=0)
    order = np.random.default_rng(seed).permutation(len(boxes))
    return boxes[order[:limit]].astype(np.float32)


def keeps_border_rule(boxes: np.ndarray, width: int, height: int, border: float = 0.98) -> np.ndarray:
    """Whether all four sides of a box lie inside the image's center, or all four outside it.

    Args:
        boxes: [M, 4], x0, y0, x1, y1 in pixels, half-open.
        width, height: size of the image in pixels.
        border: share of width and height that is the center, in 0..1.

    Returns:
        bool [M].
    """
    margin = (1.0 - border) / 2.0
    low = np.array([width * margin, height * margin])
    high = np.array([width, height]) - low
    inside = np.concatenate([boxes[:, :2] >= low, boxes[:, 2:] <= high], axis=1)
    return inside.all(axis=1) | ~inside.any(axis=1)


def _check_image(image: np.ndarray) -> None:
    if not isinstance(image, np.ndarray) or image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        shape = getattr(image, "shape", type(image).__name__)
        raise ValueError(
            f"selective search needs an RGB image, uint8 [H, W, 3]; got {shape} of "
            f"{getattr(image, 'dtype', 'no dtype')}: convert it to 8-bit RGB first"
        )
    if image.size == 0:
        raise ValueError(f"selective search needs an image with pixels; got shape {image.shape}")


def _color_spaces(image: np.ndarray) -> list[np.ndarray]:
    """HSV, Lab, normalized red and green with intensity, hue, intensity: uint8, each over the full 0..255."""
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
    intensity = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    total = image.sum(axis=2, keepdims=True, dtype=np.float32)
    # Black has no chromaticity: it gets gray's, one third each.
    normalized = np.where(total > 0, image * (255.0 / np.maximum(total, 1.0)), 85.0)
    normalized[..., 2] = intensity
    return [
        hsv,
        cv2.cvtColor(image, cv2.COLOR_RGB2Lab),
        np.rint(normalized).astype(np.uint8),
        np.ascontiguousarray(hsv[..., 0]),
        intensity,
    ]


def _merge_strategies() -> list:
    """Color+fill+texture+size, fill+texture+size, fill, size: each with its own state."""
    parts = ximgproc.segmentation
    color = parts.createSelectiveSearchSegmentationStrategyColor
    fill = parts.createSelectiveSearchSegmentationStrategyFill
    texture = parts.createSelectiveSearchSegmentationStrategyTexture
    size = parts.createSelectiveSearchSegmentationStrategySize
    combine = parts.createSelectiveSearchSegmentationStrategyMultiple
    return [combine(color(), fill(), texture(), size()), combine(fill(), texture(), size()), fill(), size()]


def _all_boxes(image: np.ndarray) -> np.ndarray:
    """int32 [M, 4]: every box of every color space, segmentation and merge strategy, in OpenCV's order."""
    # A new object and new strategies per image: a used one returns the boxes of the image before.
    search = ximgproc.segmentation.createSelectiveSearchSegmentation()
    search.setBaseImage(image)
    for space in _color_spaces(image):
        search.addImage(space)
    for scale in SEGMENTATION_SCALES:
        search.addGraphSegmentation(
            ximgproc.segmentation.createGraphSegmentation(SEGMENTATION_SIGMA, float(scale), scale)
        )
    for strategy in _merge_strategies():
        search.addStrategy(strategy)
    threads = cv2.getNumThreads()
    # Workers run one per core; OpenCV's own threads would only get in each other's way.
    cv2.setNumThreads(1)
    try:
        rectangles = search.process()
    finally:
        cv2.setNumThreads(threads)
    rectangles = np.asarray(rectangles, dtype=np.int32).reshape(-1, 4)
    return np.concatenate([rectangles[:, :2], rectangles[:, :2] + rectangles[:, 2:]], axis=1)
