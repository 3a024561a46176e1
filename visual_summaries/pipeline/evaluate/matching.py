"""How many proposals find their true counterpart in another image: the keypoint protocol of proposal flow.

Ham, Cho, Schmid & Ponce, "Proposal flow", CVPR 2016, §5. The keypoints of two images define a warp from A to B; a
proposal of A that lies on the object is matched correctly if its best match in B covers its warped box. Shapes: M
proposals of A, n of B, m active ones of A, k keypoints. Places (x, y) and half-open boxes (x0, y0, x1, y1) are in
pixels of their own image, counted from its top left corner.
"""

import numpy as np
from scipy.interpolate import RBFInterpolator

from visual_summaries.pipeline.summarize.boxes import intersections

ACTIVE_SHARE = 0.75
"""More than this share of an active proposal's area lies in the keypoints' bounding box."""


def warped_points(points: np.ndarray, keypoints_a: np.ndarray, keypoints_b: np.ndarray) -> np.ndarray:
    """Places in B of places in A, by the thin-plate spline that maps each keypoint of A exactly to B's.

    Args:
        points: `[p,2]`, in A.
        keypoints_a, keypoints_b: `[k,2]`, at least 3, in the same order.

    Returns:
        `[p,2]` float64; it may lie outside B.

    Raises:
        ValueError: fewer than 3 keypoints, or not equally many.
        numpy.linalg.LinAlgError: keypoints of A coincide or lie on one line.
    """
    spline = RBFInterpolator(keypoints_a, keypoints_b, smoothing=0.0, kernel="thin_plate_spline", degree=1)
    return spline(points)


def true_regions(
    boxes: np.ndarray, keypoints_a: np.ndarray, keypoints_b: np.ndarray, size_b: tuple[float, float]
) -> np.ndarray:
    """The box in B that each proposal of A should be matched with.

    The four corners are warped; the left side is the mean x of the two leftmost of them, and so on. This is what the
    authors' published program does. The corners' bounding box, the other reading of the paper, is larger than the
    warped region wherever the warp turns or shears.

    Args:
        boxes: `[M,4]` proposals of A.
        keypoints_a, keypoints_b: `[k,2]`, see `warped_points`.
        size_b: (width, height) of B; the regions are cut at its border.

    Returns:
        `[M,4]` float64; a region that lies outside B is empty.

    Raises:
        As `warped_points`.
    """
    corners = np.asarray(boxes, np.float64)[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 2)
    warped = warped_points(corners, keypoints_a, keypoints_b).reshape(-1, 4, 2)
    warped = np.sort(np.clip(warped, 0, size_b), axis=1)
    return np.concatenate([warped[:, :2].mean(axis=1), warped[:, 2:].mean(axis=1)], axis=1)


def active_proposals(boxes: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
    """Whether a proposal lies on the object, so that it takes part in the evaluation.

    More than 75 % of its own area lies in the keypoints' bounding box, and at least one keypoint lies in it, its
    border included.

    Args:
        boxes: `[M,4]`, not empty.
        keypoints: `[k,2]`, at least 1, of the same image.

    Returns:
        `[M]` bool.
    """
    boxes, keypoints = np.asarray(boxes, np.float64), np.asarray(keypoints, np.float64)
    around = np.concatenate([keypoints.min(axis=0), keypoints.max(axis=0)])
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    on_object = intersections(boxes, around[None])[:, 0] > ACTIVE_SHARE * areas
    holds = (boxes[:, None, :2] <= keypoints) & (keypoints <= boxes[:, None, 2:])
    return on_object & holds.all(axis=2).any(axis=1)


def matched_overlaps(scores: np.ndarray, overlaps: np.ndarray) -> np.ndarray:
    """Overlap of each active proposal's best match with its true region.

    Args:
        scores: `[m,n]`, not negative: the active proposals' rows of the matching scores. Of equal scores the first
            counts. A row of zeros has no match.
        overlaps: `[m,n]`, of each proposal's true region with each proposal of B (`summarize.boxes.box_overlaps`).

    Returns:
        `[m]` in 0..1, 0 without a match. `overlaps.max(axis=1)` is what the best possible matching would get.
    """
    if not scores.shape[1]:
        return np.zeros(len(scores))
    best = scores.argmax(axis=1)[:, None]
    found = np.take_along_axis(scores, best, axis=1) > 0
    return np.where(found, np.take_along_axis(overlaps, best, axis=1), 0.0)[:, 0]


def correct_shares(overlaps: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """PCR, the probability of correct regions: for each threshold the share of overlaps `[m]` above it.

    The paper plots it against 1 − threshold. NaN without active proposals.
    """
    above = np.asarray(overlaps)[:, None] > np.asarray(thresholds)
    return above.mean(axis=0) if len(above) else np.full(above.shape[1], np.nan)


def area_under_correct_shares(overlaps: np.ndarray) -> float:
    """Area under PCR over all thresholds in 0..1, exactly: the mean of the overlaps `[m]`.

    A proposal counts at the thresholds below its overlap, thus contributes an interval of that very length. NaN
    without active proposals.
    """
    return float(np.mean(overlaps)) if len(overlaps) else float("nan")
