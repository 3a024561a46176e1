"""Proposal flow in plain numpy, pair by pair, straight from its formulas: what `matching.py` is timed against.

Ham, Cho, Schmid & Ponce, "Proposal flow", CVPR 2016, §3.
"""

import numpy as np
from scipy import ndimage


def appearance(features_a: np.ndarray, features_b: np.ndarray) -> np.ndarray:
    """W = max(0, A Bᵀ) of whitened descriptors, float32 `[M1,M2]`."""
    return np.maximum(features_a @ features_b.T, 0)


def naive(similarity: np.ndarray, boxes_a: np.ndarray, boxes_b: np.ndarray) -> np.ndarray:
    """Appearance where the aspect ratios agree within a factor of 2, else 0."""
    _, half_a = centers_and_halves(boxes_a)
    _, half_b = centers_and_halves(boxes_b)
    change = (half_b[:, 0] / half_b[:, 1])[None] / (half_a[:, 0] / half_a[:, 1])[:, None]
    return np.where((change < 2) & (change > 0.5), similarity, 0)


def local_offsets(scores: np.ndarray, boxes_a: np.ndarray, boxes_b: np.ndarray) -> np.ndarray:
    """Local offset matching on a frozen table: row by row, a reweighted median of the neighbors' votes."""
    center_a, half_a = centers_and_halves(boxes_a)
    center_b, half_b = centers_and_halves(boxes_b)
    area_a, area_b = half_a.prod(axis=1), half_b.prod(axis=1)
    confidence, best = scores.max(axis=1).astype(np.float64), scores.argmax(axis=1)
    votes = np.column_stack([center_a - center_b[best], area_a / area_b[best]])
    low = np.maximum(boxes_a[:, None, :2], boxes_a[None, :, :2])
    high = np.minimum(boxes_a[:, None, 2:], boxes_a[None, :, 2:])
    overlaps = (high > low).all(axis=2)
    total = confidence.sum()
    result = np.zeros_like(scores)
    for row in range(len(scores)):
        voters = overlaps[row] & (confidence > 0)
        if not voters.any():
            continue
        mine = votes[voters]
        # Measured from the start of the steps, so that votes exactly there do not leave it to rounding.
        mine, median = mine - 1, np.zeros(3)
        for _ in range(20):
            weights = 1 / (np.abs(mine - median) + np.finfo(float).eps)
            median = (mine * weights).sum(axis=0) / weights.sum(axis=0)
        median += 1
        distance = np.sqrt(((center_a[row] - center_b - median[:2]) ** 2).sum(axis=1))
        ratio = np.abs(area_a[row] / area_b - median[2])
        support = confidence[voters].sum() / total
        result[row] = scores[row] * np.exp(-0.05 * distance - 0.3 * ratio) * support
    return result


def hough(
    scores: np.ndarray, boxes_a: np.ndarray, boxes_b: np.ndarray, size_a: tuple, size_b: tuple
) -> np.ndarray:
    """Probabilistic Hough matching: row by row, the best pair of each bin votes."""
    center_a, half_a = centers_and_halves(boxes_a)
    center_b, half_b = centers_and_halves(boxes_b)
    width, height = 2 * size_b[0], 2 * size_b[1]
    cell = max(np.sqrt(width * height / 8000), 5)
    shape = (round(height / cell), round(width / cell), 20)
    corner = (np.asarray(size_a) - center_a) / half_a
    predicted = half_b[None] * corner[:, None] + center_b[None]
    growth = np.log2(half_b.prod(axis=1)[None] / half_a.prod(axis=1)[:, None])
    edges = [np.linspace(0, height, shape[0] + 1), np.linspace(0, width, shape[1] + 1), np.linspace(-4, 4, 21)]
    bins, valid = np.zeros(growth.shape, dtype=np.int64), np.ones(growth.shape, dtype=bool)
    for values, edge in zip((predicted[..., 1], predicted[..., 0], growth), edges, strict=True):
        place = np.searchsorted(edge, values, side="right") - 1
        valid &= (place >= 0) & (place < len(edge) - 1)
        bins = bins * (len(edge) - 1) + place
    votes = np.zeros(np.prod(shape))
    for row in range(len(scores)):
        inside = valid[row] & (scores[row] > 0)
        best = np.zeros(len(votes))
        np.maximum.at(best, bins[row, inside], scores[row, inside])
        votes += best
    votes = votes.reshape(shape)
    kernel = np.exp(-0.5 * (np.arange(-2, 3) / (5 / 2 / 2.354)) ** 2)
    for axis in range(3):
        votes = ndimage.correlate1d(votes, kernel / kernel.sum(), axis=axis, mode="constant")
    return np.where(valid, scores * votes.ravel()[np.where(valid, bins, 0)], 0)


def centers_and_halves(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centers and half extents (x, y), float64 `[M,2]`."""
    boxes = boxes.astype(np.float64)
    return (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
