"""Does a map point at the object, or at the part? The measures of GLAS's experiments ("Salient Explanation for
Fine-Grained Classification", §IV).

Shapes: H by W pixels, n boxes. A place (x, y) counts pixels from the image's top left edge, so that the middle of the
first pixel is (0.5, 0.5).
"""

from collections.abc import Iterable

import numpy as np
import scipy.ndimage

# A box smaller than this share of the image is a small object (Table 3, PT-small).
SMALL = 0.25


def localization_point(saliency: np.ndarray, share: float = 0.95) -> tuple[float, float]:
    """(x, y) of the centroid of the largest connected blob where the map exceeds `share` of its largest value.

    The pointing game's protocol `glas` (§IV-B). Pixels touch at edges, not at corners; of equally large blobs the first
    counts, and of a constant map the middle of the image.

    Args:
        saliency: `[H,W]`, finite, at least 0.

    Raises:
        ValueError: not such a map.
    """
    if saliency.ndim != 2 or not saliency.size or not np.isfinite(saliency).all() or saliency.min() < 0:
        raise ValueError(f"a map must be finite, at least 0 and [H,W], got {saliency.shape}")
    largest = saliency.max()
    if largest == saliency.min():
        return saliency.shape[1] / 2, saliency.shape[0] / 2
    blobs, count = scipy.ndimage.label(saliency > share * largest)
    if not count:
        blobs, count = scipy.ndimage.label(saliency == largest)
    biggest = 1 + int(np.argmax(np.bincount(blobs.ravel())[1:]))
    row, column = scipy.ndimage.center_of_mass(blobs == biggest)
    return float(column) + 0.5, float(row) + 0.5


def maximum_point(saliency: np.ndarray) -> tuple[float, float]:
    """(x, y) of the map's `[H,W]` largest value; the mean place if several pixels have it."""
    rows, columns = np.nonzero(saliency == saliency.max())
    return float(columns.mean()) + 0.5, float(rows.mean()) + 0.5


def inside(point: tuple[float, float], boxes: np.ndarray) -> bool:
    """Whether a place lies in one of the boxes `[n,4]` x0, y0, x1, y1: a hit of the pointing game."""
    x, y = point
    return bool(((boxes[:, 0] <= x) & (x <= boxes[:, 2]) & (boxes[:, 1] <= y) & (y <= boxes[:, 3])).any())


def is_small(boxes: np.ndarray, height: int, width: int) -> bool:
    """Whether the boxes `[n,4]` together cover less than a quarter of the image, overlaps counted once."""
    return box_mask(boxes, height, width).mean() < SMALL


def box_mask(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """Pixels `[H,W]` bool whose middle lies in one of the boxes `[n,4]`."""
    y, x = np.arange(height)[:, None, None] + 0.5, np.arange(width)[None, :, None] + 0.5
    x0, y0, x1, y1 = boxes.T
    return ((x0 <= x) & (x < x1) & (y0 <= y) & (y < y1)).any(axis=2)


def overlap_above(saliency: np.ndarray, truth: np.ndarray, threshold: float) -> float:
    """Intersection over union of the pixels `[H,W]` with saliency above `threshold` and the true ones (Table 4)."""
    salient = saliency > threshold
    union = (salient | truth).sum()
    return float((salient & truth).sum() / union) if union else 0.0


def landmark_distance(point: tuple[float, float], landmarks: Iterable[tuple[float, float]]) -> float:
    """Pixels from a place to the nearest of a part's landmarks (Table 1); infinite if there is none."""
    return min((float(np.hypot(x - point[0], y - point[1])) for x, y in landmarks), default=np.inf)
