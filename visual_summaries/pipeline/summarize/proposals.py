"""Object proposals by selective search (Uijlings et al., "Selective search for object recognition", IJCV 2013)."""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from cv2 import ximgproc
from torchvision.ops import nms

REFERENCE_SIDE = 224.0
"""Side in pixels of the analyzed image that pixel settings refer to."""

SEGMENTATION_SIGMA = 0.8

COLOR_SPACES = ("hsv", "lab", "normalized", "hue", "intensity")
"""HSV; Lab; normalized red and green with intensity; hue; intensity."""

STRATEGIES = ("all", "shape", "fill", "size")
"""What makes segments merge: color, fill, texture and size; fill, texture and size; fill; size."""


@dataclass(frozen=True)
class Search:
    """Which segmentations of an image its boxes come from: every color space × scale × strategy.

    Attributes:
        spaces: of `COLOR_SPACES`.
        scales: Felzenszwalb's k; also the smallest segment in pixels of the image that is segmented.
        strategies: of `STRATEGIES`.
        side: longer side in pixels to which a larger image is reduced before it is segmented; None: never.
        overlap: of boxes whose intersection over union is above this, one stays. 1: all stay.
    """

    spaces: tuple[str, ...] = COLOR_SPACES
    scales: tuple[int, ...] = (50, 100, 150, 300)
    strategies: tuple[str, ...] = STRATEGIES
    side: int | None = None
    overlap: float = 1.0


PUBLISHED = Search()
"""As the authors of the visual summaries configured it: 80 hierarchies of segments an image."""

FAST = Search(spaces=("hsv", "lab", "normalized"), scales=(25, 50, 100), side=160, overlap=0.8)
"""Chosen by `benchmarks/proposal_cost.py`."""


def selective_search(
    image: np.ndarray,
    seed: int,
    limit: int | None = 500,
    minimum_side: float = 20.0,
    border: float = 0.98,
    search: Search = PUBLISHED,
) -> np.ndarray:
    """Boxes that may hold an object or a part of one, in a reproducible random order.

    The order that OpenCV returns depends on libc's unseeded random numbers, so it is discarded: the boxes
    are sorted by their coordinates, permuted by a generator of their own, and then truncated.

    Args:
        image: uint8 [H, W, 3], RGB.
        seed: seed of this image's permutation (not negative).
        limit: at most so many boxes are returned; None: all.
        minimum_side: smallest width and height, in pixels of a 224-px image; scaled by max(H, W) / 224.
        border: share of width and height that is the image's center. A box with some sides inside the center
            and some outside it is dropped: it is an object cut by the border, or the border itself.
        search: which segmentations the boxes come from.

    Returns:
        float32 [M, 4] with x0, y0, x1, y1 in pixels of `image`, half-open, without duplicates, M <= limit.
        M is 0 only if the image is smaller than the minimum side. An image without structure has one box,
        the whole image.

    Raises:
        ValueError: `image` is not uint8 [H, W, 3] or is empty.
    """
    _check_image(image)
    height, width = image.shape[:2]
    boxes = _all_boxes(image, search)
    smallest = minimum_side * max(height, width) / REFERENCE_SIDE
    sides = boxes[:, 2:] - boxes[:, :2]
    boxes = boxes[(sides >= smallest).all(axis=1)]
    boxes = boxes[keeps_border_rule(boxes, width, height, border)]
    boxes = np.unique(boxes, axis=0)
    boxes = boxes[np.random.default_rng(seed).permutation(len(boxes))]
    if search.overlap < 1:
        boxes = boxes[distinct(boxes, search.overlap)]
    return boxes[:limit].astype(np.float32)


def distinct(boxes: np.ndarray, overlap: float) -> np.ndarray:
    """Which boxes stay, bool `[M]`, when of any two with more intersection over union than `overlap` the first does.

    A box that has had to go makes no other go. Boxes `[M,4]` in pixels, half-open, none of them empty.
    """
    places = torch.from_numpy(np.asarray(boxes, dtype=np.float64))
    falling = torch.arange(len(places), 0, -1, dtype=torch.float64)
    stays = np.zeros(len(places), dtype=bool)
    stays[nms(places, falling, overlap).numpy()] = True
    return stays


def with_surroundings(on_mask: np.ndarray, limit: int, share: float = 0.5) -> np.ndarray:
    """Which proposals of an image are matched: those on its mask and, as their context, others.

    A share of the places is for those on the mask, the rest for the others; places that one kind leaves free go to
    the other. Of each kind the first are taken.

    Args:
        on_mask: `[M]` bool.
        limit: places.
        share: of the places that are for proposals on the mask.

    Returns:
        int64 `[min(M, limit)]`, ascending.
    """
    on, off = np.flatnonzero(on_mask), np.flatnonzero(~np.asarray(on_mask))
    taken = min(len(on), max(round(share * limit), limit - len(off)))
    return np.sort(np.concatenate([on[:taken], off[: limit - taken]]))


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


def _in_color_space(image: np.ndarray, space: str) -> np.ndarray:
    """uint8 `[H,W,3]` or `[H,W]`, each channel over the full 0..255."""
    if space == "lab":
        return cv2.cvtColor(image, cv2.COLOR_RGB2Lab)
    if space in ("hsv", "hue"):
        hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
        return hsv if space == "hsv" else np.ascontiguousarray(hsv[..., 0])
    intensity = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    if space == "intensity":
        return intensity
    total = image.sum(axis=2, keepdims=True, dtype=np.float32)
    # Black has no chromaticity: it gets gray's, one third each.
    normalized = np.where(total > 0, image * (255.0 / np.maximum(total, 1.0)), 85.0)
    normalized[..., 2] = intensity
    return np.rint(normalized).astype(np.uint8)


def _merge_strategy(name: str) -> ximgproc.segmentation.SelectiveSearchSegmentationStrategy:
    """A strategy with a state of its own."""
    parts = ximgproc.segmentation
    if name == "fill":
        return parts.createSelectiveSearchSegmentationStrategyFill()
    if name == "size":
        return parts.createSelectiveSearchSegmentationStrategySize()
    together = [
        parts.createSelectiveSearchSegmentationStrategyFill(),
        parts.createSelectiveSearchSegmentationStrategyTexture(),
        parts.createSelectiveSearchSegmentationStrategySize(),
    ]
    if name == "all":
        together.insert(0, parts.createSelectiveSearchSegmentationStrategyColor())
    return parts.createSelectiveSearchSegmentationStrategyMultiple(*together)


def _all_boxes(image: np.ndarray, how: Search) -> np.ndarray:
    """`[M,4]`: every box of every color space, segmentation and merge strategy, in OpenCV's order."""
    full = np.array([image.shape[1], image.shape[0]] * 2)
    if how.side is not None and max(image.shape[:2]) > how.side:
        shrunk = full[:2] * how.side / max(image.shape[:2])
        image = cv2.resize(image, np.maximum(1, np.rint(shrunk)).astype(int).tolist(), interpolation=cv2.INTER_AREA)
    # A new object and new strategies per image: a used one returns the boxes of the image before.
    search = ximgproc.segmentation.createSelectiveSearchSegmentation()
    search.setBaseImage(image)
    for space in how.spaces:
        search.addImage(_in_color_space(image, space))
    for scale in how.scales:
        search.addGraphSegmentation(
            ximgproc.segmentation.createGraphSegmentation(SEGMENTATION_SIGMA, float(scale), scale)
        )
    for strategy in how.strategies:
        search.addStrategy(_merge_strategy(strategy))
    threads = cv2.getNumThreads()
    # Workers run one per core; OpenCV's own threads would only get in each other's way.
    cv2.setNumThreads(1)
    try:
        rectangles = search.process()
    finally:
        cv2.setNumThreads(threads)
    rectangles = np.asarray(rectangles, dtype=np.int32).reshape(-1, 4)
    corners = np.concatenate([rectangles[:, :2], rectangles[:, :2] + rectangles[:, 2:]], axis=1)
    if image.shape[1] == full[0] and image.shape[0] == full[1]:
        return corners
    return corners * (full / np.array([image.shape[1], image.shape[0]] * 2))
