"""Two runs' summaries of the same class: whether the other network looks where a summary is."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

View = tuple[float, float, float, float]
"""Where an analyzed square lies in its photograph: left, top, right, bottom in pixels of the photograph."""

COVERED = 0.5
"""Share of a member's pixels that must be salient to the other network, that it counts as looking there."""


@dataclass(frozen=True)
class Looked:
    """How often another network looks where a summary is.

    Attributes:
        there: for each photograph with a member of the summary and a map of the other network, whether at least half of
            the member's pixels are salient to the other network.
        chance: share of the photographs' squares that is salient to it, mean, 0..1; NaN without photographs. What a
            part would be covered by if the other network looked anywhere.
    """

    there: tuple[bool, ...]
    chance: float

    @property
    def photographs(self) -> int:
        return len(self.there)

    @property
    def looked(self) -> int:
        """Photographs in which it looks there."""
        return sum(self.there)

    @property
    def elsewhere(self) -> bool:
        """Whether the other network looks there in less than half of the photographs; false without any."""
        return 2 * self.looked < self.photographs


def looked_at(members: Sequence[np.ndarray], salient: Sequence[np.ndarray]) -> Looked:
    """How often another network looks where a summary is.

    Args:
        members: pixels of the summary's member in each photograph, bool `[S,S]`.
        salient: what is salient to the other network in the same squares, bool `[S,S]`.
    """
    there, shares = [], []
    for part, seen in zip(members, salient, strict=True):
        pixels = int(part.sum())
        there.append(pixels > 0 and bool((part & seen).sum() >= COVERED * pixels))
        shares.append(seen.mean())
    return Looked(tuple(there), float(np.mean(shares)) if shares else float("nan"))


def in_other_square(mask: np.ndarray, view: View, other: View, side: int) -> np.ndarray:
    """A mask of one network's square as another network's square shows it: bool `[side,side]`.

    A pixel gets the value of the pixel that its center falls into; what the first square does not show is false.

    Args:
        mask: bool `[S,S]`.
        view, other: where the mask's square, and the other, lie in the photograph.
        side: of the other, pixels.
    """
    rows, rows_there = _places(view[1], view[3], len(mask), other[1], other[3], side)
    columns, columns_there = _places(view[0], view[2], mask.shape[1], other[0], other[2], side)
    found = mask[np.ix_(rows, columns)]
    return found & rows_there[:, None] & columns_there


def in_photograph(box: np.ndarray, view: View, side: int) -> np.ndarray:
    """A box `[4]` x0, y0, x1, y1 of a square of `side` pixels in pixels of its photograph."""
    left, top, right, bottom = view
    scale = np.array([right - left, bottom - top] * 2) / side
    return np.asarray(box, np.float64) * scale + [left, top, left, top]


def _places(
    low: float, high: float, size: int, other_low: float, other_high: float, side: int
) -> tuple[np.ndarray, np.ndarray]:
    """Along one axis: for each of `side` pixels the mask's pixel that its center falls into, and whether one does."""
    centers = other_low + (np.arange(side) + 0.5) * (other_high - other_low) / side
    places = np.floor((centers - low) * size / (high - low)).astype(np.int64)
    return places.clip(0, size - 1), (places >= 0) & (places < size)
