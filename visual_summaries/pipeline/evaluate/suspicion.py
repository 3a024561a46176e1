"""Does a visual summary show what its class is, or something that is the same in all photographs by accident: a mark in
a corner, a frame, the watermark of a source?

Four questions about where a summary's members lie, each with what chance would give. A sign counts where it holds for
most members, at least twice as often as by chance, and so rarely by chance that thousands of summaries can be asked.

Shapes: n members, one a photograph. Places x, y and boxes x0, y0, x1, y1 are shares of the analyzed square's side, 0 to
1 from its upper left corner.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binom, hypergeom

from visual_summaries.pipeline.evaluate.intervals import wilson_interval

CORNERS = ("upper left corner", "upper right corner", "lower left corner", "lower right corner")
BORDERS = ("left border", "upper border", "right border", "lower border")
CORNER = 0.25
"""Side of a corner; its area, what chance has at least, is a sixteenth."""
BAND = 0.25
"""Breadth of a border."""
TOUCHES = 0.02
NEAR = 0.06
"""Members so near to one place lie in the same place."""
LEAST_SHARE = 0.75
TIMES_CHANCE = 2.0
LEVEL = 0.001
LEAST_OF_A_SIZE = 4


@dataclass(frozen=True)
class Sign:
    """What is suspicious about a summary.

    Attributes:
        kind: corner, border, same place, outside or source.
        where: name of the corner or border, or the photographs' size; else empty.
        count, of: members for which it holds, of all that were asked; of `source`, photographs of the size that show
            the summary, of all of the size.
        chance: expected share of members, 0..1; of `source`, share of the other photographs that show it.
        p: probability of this much or more by chance, after all corners, borders or sizes that were tried.
    """

    kind: str
    where: str
    count: int
    of: int
    chance: float
    p: float

    @property
    def share(self) -> float:
        """`count` of `of`, 0..1."""
        return self.count / self.of


def in_corners(boxes: np.ndarray) -> np.ndarray:
    """Whether the middle of each box `[n,4]` lies in each of `CORNERS`: `[n,4]` bool."""
    x, y = _centers(boxes).T
    left, right, upper, lower = x < CORNER, x > 1 - CORNER, y < CORNER, y > 1 - CORNER
    return np.stack([upper & left, upper & right, lower & left, lower & right], axis=1)


def at_borders(boxes: np.ndarray) -> np.ndarray:
    """Whether each box `[n,4]` touches each of `BORDERS` and reaches no further in than a border is broad: `[n,4]`."""
    x0, y0, x1, y1 = boxes.T
    outer, inner = np.stack([x0, y0, 1 - x1, 1 - y1]), np.stack([x1, y1, 1 - x0, 1 - y0])
    return ((outer <= TOUCHES) & (inner <= BAND)).T


def corner_sign(boxes: np.ndarray, others: np.ndarray) -> Sign | None:
    """A corner in which most members lie.

    Args:
        boxes: `[n,4]` of the members.
        others: `[m,4]` of salient regions of the class that no member touches, which tell what chance is.
    """
    return _most_often("corner", CORNERS, in_corners(boxes), in_corners(others), CORNER**2)


def border_sign(boxes: np.ndarray, others: np.ndarray) -> Sign | None:
    """A border at which most members lie; arguments as for `corner_sign`."""
    return _most_often("border", BORDERS, at_borders(boxes), at_borders(others), BAND)


def _most_often(
    kind: str, names: Sequence[str], held: np.ndarray, by_others: np.ndarray, least_chance: float
) -> Sign | None:
    if not len(held):
        return None
    counts = held.sum(axis=0)
    # Laplace's rule: a few regions alone do not show that something never happens.
    chances = np.maximum((by_others.sum(axis=0) + 1) / (len(by_others) + len(names)), least_chance)
    tails = np.minimum(1, len(names) * binom.sf(counts - 1, len(held), chances))
    at = int(np.argmin(tails))
    return _suspicious(Sign(kind, names[at], int(counts[at]), len(held), float(chances[at]), float(tails[at])))


def same_place_sign(
    boxes: np.ndarray, others: Sequence[np.ndarray], draws: int = 1999, seed: int = 0
) -> Sign | None:
    """Whether most members lie in the same place of their photographs, however their content moves.

    The place is the median of the members' middles. By chance, a member of its size lies where another salient region
    of its photograph does, or, where there is none, anywhere.

    Args:
        boxes: `[n,4]` of the members.
        others: for each member, `[m,4]` of its photograph's salient regions that it does not touch.
        draws: of places by chance.
        seed: of the draws.
    """
    if not len(boxes):
        return None
    count = _together(_centers(boxes)[None])[0]
    half = (boxes[:, 2:] - boxes[:, :2]) / 2
    generator = np.random.default_rng(seed)
    places = half + generator.random((draws, len(boxes), 2)) * (1 - 2 * half)
    for member, regions in enumerate(others):
        if len(regions):
            drawn = _centers(regions)[generator.integers(len(regions), size=draws)]
            places[:, member] = np.clip(drawn, half[member], 1 - half[member])
    by_chance = _together(places)
    p = (1 + int((by_chance >= count).sum())) / (1 + draws)
    return _suspicious(Sign("same place", "", int(count), len(boxes), float(by_chance.mean()) / len(boxes), p))


def _together(places: np.ndarray) -> np.ndarray:
    """How many of places `[d,n,2]` lie `NEAR` the median of each draw: `[d]`."""
    distances = np.linalg.norm(places - np.median(places, axis=1, keepdims=True), axis=2)
    return (distances <= NEAR).sum(axis=1)


def outside_sign(boxes: np.ndarray, objects: Sequence[np.ndarray]) -> Sign | None:
    """Whether most members lie outside the objects: their middles in none of the boxes.

    Args:
        boxes: `[n,4]` of the members whose photographs' objects are known.
        objects: for each, `[m,4]`, where the objects are; chance is the share of the square beside them.
    """
    if not len(boxes):
        return None
    centers = _centers(boxes)
    count = sum(not _inside(centers[[at]], own)[0] for at, own in enumerate(objects))
    grid = (np.mgrid[:32, :32].reshape(2, -1).T + 0.5) / 32
    chance = float(np.mean([1 - _inside(grid, own).mean() for own in objects]))
    low, _ = wilson_interval(count, len(boxes))
    # Outside is where the class is not, however much of the photograph that is: chance excuses nothing.
    p = float(binom.sf(count - 1, len(boxes), 0.5))
    return Sign("outside", "", count, len(boxes), chance, p) if low > 0.5 else None


def _inside(places: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Whether each of places `[k,2]` lies in any of boxes `[m,4]`: `[k]` bool."""
    places = places[:, None]
    return ((boxes[:, :2] <= places) & (places < boxes[:, 2:])).all(axis=2).any(axis=1)


def source_sign(sizes: Sequence[Hashable], shown: np.ndarray) -> Sign | None:
    """A size in pixels whose photographs, probably of one source, show the summary and others do not.

    Fisher's exact test, one-sided, for each size that several photographs have.

    Args:
        sizes: of the n explained photographs of the class.
        shown: `[n]` bool, whether each has a member.
    """
    shown = np.asarray(shown, dtype=bool)
    kinds: dict[Hashable, list[int]] = {}
    for at, size in enumerate(sizes):
        kinds.setdefault(size, []).append(at)
    tried = {size: own for size, own in kinds.items() if LEAST_OF_A_SIZE <= len(own) < len(shown)}
    found = []
    for size, own in tried.items():
        count = int(shown[own].sum())
        p = min(1.0, len(tried) * float(hypergeom.sf(count - 1, len(shown), int(shown.sum()), len(own))))
        chance = (int(shown.sum()) - count) / (len(shown) - len(own))
        found.append(Sign("source", str(size), count, len(own), chance, p))
    return _suspicious(min(found, key=lambda sign: sign.p)) if found else None


def _suspicious(sign: Sign) -> Sign | None:
    enough = sign.share >= max(LEAST_SHARE, TIMES_CHANCE * sign.chance)
    return sign if enough and sign.p <= LEVEL else None


def _centers(boxes: np.ndarray) -> np.ndarray:
    return boxes.reshape(-1, 2, 2).mean(axis=1)
