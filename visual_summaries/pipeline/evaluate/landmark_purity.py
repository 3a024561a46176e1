"""Does a summary show one named part? The landmark nearest to each member's middle, against random salient boxes.

Unlike the entropy of the landmarks inside the boxes (`purity.part_purity`), every member counts once, however large its
box is, and one without a landmark inside counts too.

Shapes: m members, one to an image, L landmarks of K kinds, H by W pixels of the analyzed image. A place (x, y) counts
pixels from the image's top left edge; boxes are half-open x0, y0, x1, y1.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from visual_summaries.pipeline.evaluate.purity import random_boxes

LEAST_MEMBERS = 3
_SIDE = re.compile(r"^(left|right)[\s_-]+", re.IGNORECASE)


@dataclass(frozen=True)
class LandmarkPurity:
    """One summary's figures.

    Attributes:
        counts: `[K]` int64, members to which a landmark of each kind is nearest; those without any landmark in their
            image are not counted.
        purity: share of the most common kind, 1/K to 1; NaN for fewer than `LEAST_MEMBERS` counted members, of which
            any would look pure.
        random_purity: mean of the same over draws of random salient boxes; NaN likewise.
    """

    counts: np.ndarray
    purity: float
    random_purity: float

    @property
    def gain(self) -> float:
        """By how much the summary is purer than random boxes."""
        return self.purity - self.random_purity


def without_sides(names: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Kinds of landmarks, left and right taken as one, in order of their first landmark; and the kind `[L]` of each.

    "left wing", "right_wing" and "wing" are of the kind "wing".
    """
    bare = [_SIDE.sub("", name) for name in names]
    kinds = list(dict.fromkeys(bare))
    return kinds, np.array([kinds.index(name) for name in bare], dtype=np.int64)


def nearest_kinds(boxes: np.ndarray, landmarks: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    """Kind of the landmark nearest to the middle of each box: `[…,m]` int64; −1 where no landmark is visible.

    Args:
        boxes: `[…,m,4]`.
        landmarks: `[m,L,2]` places in each member's image; NaN where one is not visible.
        kinds: `[L]` as `without_sides` gives them.
    """
    middles = (boxes[..., None, :2] + boxes[..., None, 2:]) / 2
    distances = np.square(landmarks - middles).sum(axis=-1)
    distances = np.where(np.isnan(distances), np.inf, distances)
    if not len(kinds):
        return np.full(boxes.shape[:-1], -1)
    return np.where(np.isfinite(distances.min(axis=-1)), kinds[distances.argmin(axis=-1)], -1)


def landmark_purity(
    boxes: np.ndarray, landmarks: np.ndarray, kinds: np.ndarray, salient: np.ndarray, seed: int = 0, draws: int = 100
) -> LandmarkPurity:
    """Compare a summary's boxes with random ones of the same sizes around salient pixels of the same images.

    Args:
        boxes: `[m,4]`, at least one, inside the images.
        landmarks: `[m,L,2]` places in each member's image; NaN where one is not visible.
        kinds: `[L]` as `without_sides` gives them.
        salient: `[m,H,W]` bool, salient pixels of each member's image.
        seed, draws: of the random boxes, `draws` for each member (`purity.random_boxes`).

    Raises:
        ValueError: shapes do not fit, or an image has no salient pixel.
    """
    boxes, landmarks = np.asarray(boxes, dtype=np.float64), np.asarray(landmarks, dtype=np.float64)
    if landmarks.shape != (len(boxes), len(kinds), 2) or not len(boxes) == len(salient) > 0:
        raise ValueError(
            f"boxes must be [m,4], landmarks [m,{len(kinds)},2] and salient [m,H,W], got {boxes.shape}, "
            f"{landmarks.shape} and {salient.shape}"
        )
    random = random_boxes(boxes, salient, seed, draws)
    counts = _counts(nearest_kinds(boxes, landmarks, kinds), kinds)
    others = _counts(nearest_kinds(random, landmarks, kinds), kinds)
    number = counts.sum()
    if number < LEAST_MEMBERS:
        return LandmarkPurity(counts, float("nan"), float("nan"))
    return LandmarkPurity(counts, float(counts.max() / number), float(others.max(axis=-1).mean() / number))


def _counts(nearest: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    """How many of the members `[…,m]` are of each kind: `[…,K]` int64."""
    return (nearest[..., None] == np.arange(kinds.max(initial=-1) + 1)).sum(axis=-2)
