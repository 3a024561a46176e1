"""Do the members of a candidate show the same thing? Judged after laying each on each, against the class's own chance.

A member's box is cut into cells, as many for all members of a candidate and about as fine as the grid that the features
lie on; so a large candidate is compared in as fine a detail as a small one, and pays if its parts move against each
other. The cells of two members are compared place by place. Chance is the same figure for the same shapes laid on
random salient places of the same images: a class whose salient places all look alike gives no credit for likeness.

Shapes: N images of the class, m members, G by G cells, D components of a cell's features, r by s cells of a cut.
"""

from dataclasses import dataclass

import numpy as np

from pipeline.summarize.candidates import Candidate

COARSEST, FINEST = 3, 6
DRAWS = 12
ROUNDS = 4
TINY = 1e-9


@dataclass(frozen=True)
class Coherence:
    """How alike a candidate's members are.

    Attributes:
        value: mean likeness of two members, in −1..1: 1 where features and shapes are the same; NaN for one member.
        chance: mean of the same over draws of random salient places.
        deviation: its standard deviation over the draws.
        members: `[m]` float64, mean likeness of each member with the others; NaN for a photograph that counts as
            another one's copy.
        mirrored: `[m]` bool, whether the member was laid on the others as its mirror image.
    """

    value: float
    chance: float
    deviation: float
    members: np.ndarray
    mirrored: np.ndarray

    @property
    def excess(self) -> float:
        """Likeness above chance as a share of what is possible, 0 at chance or below, 1 for identical members."""
        if not np.isfinite(self.value):
            return 0.0
        return max(0.0, (self.value - self.chance) / max(1 - self.chance, TINY))

    @property
    def score(self) -> float:
        """Standard deviations above chance (z); NaN for one member."""
        return (self.value - self.chance) / max(self.deviation, 1e-3)


def candidate_coherence(
    candidate: Candidate,
    features: np.ndarray,
    shares: np.ndarray,
    seed: int = 0,
    representative: np.ndarray | None = None,
    mirror: bool = True,
    draws: int = DRAWS,
    drop_odd: bool = False,
) -> tuple[Candidate, Coherence]:
    """Likeness of a candidate's members, and what random salient places of the same shapes reach.

    Args:
        candidate: with m members.
        features: `[N,G,G,D]` of unit length.
        shares: `[N,G,G]` share of each cell's pixels that is salient.
        seed: of the random places.
        representative: `[N]` bool; images that count. The others are copies of one that does.
        mirror: also lay a member's mirror image on the others, and take what fits better; chance may do so too.
        draws: of a random place for each member.
        drop_odd: leave out members that are less like the others than random places are, and judge again.

    Returns:
        The candidate, with the members that are left, and its coherence.
    """
    counting = np.ones(len(candidate), bool) if representative is None else representative[candidate.images]
    if counting.sum() < 2:
        unknown = np.full(len(candidate), np.nan)
        return candidate, Coherence(np.nan, np.nan, np.nan, unknown, np.zeros(len(candidate), dtype=bool))
    own, random = _all_laid(candidate, features, shares, np.random.default_rng(seed), draws)
    coherence = _judged(own, random, counting, mirror)
    odd = coherence.members < coherence.chance
    if drop_odd and odd.any() and (counting & ~odd).sum() >= 2:
        candidate, coherence = candidate.rows(~odd), _judged(own[~odd], random[:, ~odd], counting[~odd], mirror)
    return candidate, coherence


def _judged(own: np.ndarray, random: np.ndarray, counting: np.ndarray, mirror: bool) -> Coherence:
    members, mirrored = np.full(len(own), np.nan), np.zeros(len(own), dtype=bool)
    value, members[counting], mirrored[counting] = likeness_of(own[counting], mirror)
    chance = np.array([likeness_of(drawn[counting], mirror)[0] for drawn in random])
    return Coherence(value, float(chance.mean()), float(chance.std()), members, mirrored)


def _all_laid(
    candidate: Candidate, features: np.ndarray, shares: np.ndarray, generator: np.random.Generator, draws: int
) -> tuple[np.ndarray, np.ndarray]:
    """The members cut alike `[m,r,s,D]`, and the same shapes on random salient places `[draws,m,r,s,D]`."""
    windows = [_window(segment) for segment in candidate.segments]
    sizes = np.array([(rows.stop - rows.start, columns.stop - columns.start) for rows, columns in windows])
    cut = tuple(np.clip(np.rint(np.median(sizes, axis=0)), COARSEST, FINEST).astype(int))
    laid = []
    for image, segment, (rows, columns), size in zip(candidate.images, candidate.segments, windows, sizes, strict=True):
        corners = np.array([[rows.start, columns.start], *_random_corners(shares[image], size, draws, generator)])
        laid.append(_laid(features[image], segment[rows, columns], corners, cut))
    together = np.stack(laid, axis=1)
    return together[0], together[1:]


def likeness_of(laid: np.ndarray, mirror: bool) -> tuple[float, np.ndarray, np.ndarray]:
    """Mean likeness of members that are cut alike, in time linear in their number.

    The likeness of two members is the scalar product of their cells' features, place by place, over the mean of their
    squared lengths. Each member may be mirrored, the orientations being chosen one after the other to agree with the
    sum of all others.

    Args:
        laid: `[m,r,s,D]`, m at least 2: the features of each cell times its share of the member's segment.
        mirror: whether members may be mirrored.

    Returns:
        The mean over pairs, each member's mean with the others `[m]`, and which are mirrored `[m]` bool.
    """
    count = len(laid)
    plain = laid.reshape(count, -1)
    flipped = laid[:, :, ::-1].reshape(count, -1)
    flips = np.zeros(count, dtype=bool)
    total = plain.sum(axis=0)
    for _ in range(ROUNDS if mirror else 0):
        before = flips.copy()
        for at in range(count):
            rest = total - (flipped if flips[at] else plain)[at]
            flips[at] = flipped[at] @ rest > plain[at] @ rest
            total = rest + (flipped if flips[at] else plain)[at]
        if (flips == before).all():
            break
    placed = np.where(flips[:, None], flipped, plain)
    total, lengths = placed.sum(axis=0), np.square(placed).sum(axis=1)
    products = placed @ total - lengths
    mean = lengths.mean()
    likeness = products / (count - 1) / np.maximum((lengths + mean) / 2, TINY)
    return float(products.sum() / (count - 1) / max(lengths.sum(), TINY)), likeness, flips


def _window(segment: np.ndarray) -> tuple[slice, slice]:
    rows, columns = (np.flatnonzero(segment.any(axis=axis)) for axis in (1, 0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _random_corners(
    share: np.ndarray, size: np.ndarray, draws: int, generator: np.random.Generator
) -> np.ndarray:
    """First row and column `[draws,2]` of windows around random salient cells, shifted into the image."""
    weights = share.ravel().astype(np.float64)
    weights = weights / weights.sum() if weights.sum() > 0 else np.full(weights.size, 1 / weights.size)
    places = np.stack(np.divmod(generator.choice(weights.size, draws, p=weights), share.shape[1]), axis=1)
    return np.clip(places - size // 2, 0, np.array(share.shape) - size)


def _laid(features: np.ndarray, shape: np.ndarray, corners: np.ndarray, cut: tuple[int, int]) -> np.ndarray:
    """A segment of this shape (in its window) laid on several places and cut: `[corners,r,s,D]`."""
    height, width = shape.shape
    rows, columns = _resampling(height, cut[0]), _resampling(width, cut[1])
    into = np.einsum("rh,sw->rshw", rows, columns).reshape(cut[0] * cut[1], -1) * shape.ravel()
    windows = np.stack([features[y : y + height, x : x + width].reshape(height * width, -1) for y, x in corners])
    values = into @ windows
    lengths = np.linalg.norm(values, axis=-1, keepdims=True)
    values *= into.sum(axis=1)[:, None] / np.maximum(lengths, TINY)
    return values.reshape(len(corners), *cut, -1)


def _resampling(source: int, target: int) -> np.ndarray:
    """`[target,source]` float32, rows sum to 1: the mean of what each of the new cells covers of the old ones."""
    edges = np.arange(target + 1) * source / target
    cells = np.arange(source)
    covered = np.minimum(edges[1:, None], cells + 1) - np.maximum(edges[:-1, None], cells)
    return (np.clip(covered, 0, None) * target / source).astype(np.float32)
