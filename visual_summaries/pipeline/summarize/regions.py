"""Connected salient regions of an image."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage


@dataclass(frozen=True)
class Region:
    """One connected salient region.

    index: place in the image's list of regions, from 0, the largest first.
    box: float32 [4], x0, y0, x1, y1 in pixels, half-open: the tightest box around the region.
    area: number of pixels.
    mask: bool [H, W], true inside the region.
    """

    index: int
    box: np.ndarray
    area: int
    mask: np.ndarray


def salient_pixels(
    saliency: np.ndarray, threshold: float = 0.5, smoothing: float = 0.0, share: float | None = None
) -> np.ndarray:
    """Which pixels count as salient; with `smoothing` and `share` also for maps of fine lines or soft blobs.

    Args:
        saliency: floating [H, W] in 0..1.
        threshold: pixels above this are salient (a pixel that equals it is not).
        smoothing: standard deviation of a Gaussian that the map is blurred with before, pixels; 0 for none.
        share: instead of `threshold`, the share of pixels that is salient, the highest first. Fewer where the
            rest of the map is 0 or where pixels at the cut are equal; more where the highest are equal and more than
            that, as on the plateau of an enlarged class activation map. In a map without differences none is.

    Returns:
        bool [H, W].
    """
    if smoothing:
        saliency = ndimage.gaussian_filter(saliency, smoothing, mode="nearest", truncate=3.0)
    if share is None or not saliency.size:
        return saliency > threshold
    highest = saliency.max()
    salient = saliency > max(0.0, np.quantile(saliency, 1 - share))
    return salient if salient.any() or highest == saliency.min() else saliency == highest


def salient_regions(
    saliency: np.ndarray, threshold: float = 0.5, minimum_area: float = 0.01
) -> list[Region]:
    """8-connected regions in which saliency exceeds a threshold.

    Args:
        saliency: floating [H, W] in 0..1.
        threshold: pixels above this are salient (a pixel that equals it is not).
        minimum_area: regions with a smaller share of the image's pixels are dropped, in 0..1.

    Returns:
        The regions by area, the largest first; of equally large ones the one whose first pixel, row by row,
        comes first. Empty if nothing is salient.

    Raises:
        ValueError: `saliency` is not a floating [H, W] map or holds values that are not finite.
    """
    saliency = np.asarray(saliency)
    if saliency.ndim != 2 or not np.issubdtype(saliency.dtype, np.floating):
        raise ValueError(f"saliency must be a floating [H, W] map; got {saliency.dtype} {saliency.shape}")
    if not np.isfinite(saliency).all():
        raise ValueError("saliency holds values that are not finite; look at the explainer that made the map")
    if saliency.size == 0:
        return []
    salient = (saliency > threshold).astype(np.uint8)
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(salient, connectivity=8, ltype=cv2.CV_32S)
    areas = statistics[:, cv2.CC_STAT_AREA]
    present, first_pixels = np.unique(labels, return_index=True)
    kept = [
        (-int(areas[label]), int(first), int(label))
        for label, first in zip(present, first_pixels, strict=True)
        if label > 0 and areas[label] >= minimum_area * saliency.size
    ]
    regions = []
    for index, (negative_area, _, label) in enumerate(sorted(kept)):
        left, top, width, height = statistics[label, : cv2.CC_STAT_AREA]
        box = np.array([left, top, left + width, top + height], dtype=np.float32)
        regions.append(Region(index, box, -negative_area, labels == label))
    return regions


def encode_run_length(mask: np.ndarray) -> np.ndarray:
    """Run lengths of a mask, row by row, alternately of false and true pixels.

    The first count is of false pixels: 0 if the first pixel is true. The counts sum to the number of pixels.

    Args:
        mask: bool [H, W].

    Returns:
        int32 [runs].

    Raises:
        ValueError: `mask` is not bool [H, W].
    """
    mask = np.asarray(mask)
    if mask.ndim != 2 or mask.dtype != np.bool_:
        raise ValueError(f"a mask must be bool [H, W]; got {mask.dtype} {mask.shape}")
    flat = mask.ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    counts = np.diff(np.concatenate([[0], changes, [flat.size]]))
    starts_true = flat.size > 0 and bool(flat[0])
    return np.concatenate([[0], counts] if starts_true else [counts]).astype(np.int32)


def decode_run_length(counts: Sequence[int] | np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Mask of run lengths as `encode_run_length` makes them.

    Args:
        counts: lengths of the runs, row by row, of false and true pixels in turn, starting with false.
        shape: (H, W).

    Returns:
        bool [H, W].

    Raises:
        ValueError: a count is negative, or the counts do not sum to H * W.
    """
    counts = np.asarray(counts, dtype=np.int64)
    height, width = shape
    if (counts < 0).any() or counts.sum() != height * width:
        raise ValueError(
            f"run lengths sum to {counts.sum()}, a mask of {height} x {width} needs {height * width} "
            "and no negative ones: they belong to another shape or are damaged"
        )
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(height, width)
