"""Do the members of a candidate show the same thing? Judged after laying each on each, against the class's own chance.

A member's box is cut into cells, as many for all members of a candidate and about as fine as the grid that the features
lie on; so a large candidate is compared in as much detail as a small one, and loses if its parts move relative to each
other. The cells of two members are compared place by place. Chance is the same figure for the same shapes laid on
random salient places of the same images: a class whose salient places all look alike gives no credit for likeness.

Shapes: N images of the class, m members, G by G cells, D components of a cell's features, r by s cells of a cut.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from visual_summaries.pipeline.summarize.candidates import Candidate
from visual_summaries.pipeline.summarize.cell_features import with_context

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
        std: its standard deviation over the draws.
        members: `[m]` float64, mean likeness of each member with the others; NaN for a photograph that counts as
            another one's copy.
        mirrored: `[m]` bool, whether the member was laid on the others as its mirror image.
    """

    value: float
    chance: float
    std: float
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
        return (self.value - self.chance) / max(self.std, 1e-3)


def candidate_coherence(
    candidate: Candidate,
    features: "np.ndarray | SmoothMaps",
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
        features: `[N,G,G,D]` of unit length, or `SmoothMaps` of them, which several candidates can share.
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
    maps = features if isinstance(features, SmoothMaps) else SmoothMaps(features)
    own, random = _all_laid(candidate, maps, shares, np.random.default_rng(seed), draws)
    coherence = _judged(own, random, counting, mirror)
    odd = coherence.members < coherence.chance
    if drop_odd and odd.any() and (counting & ~odd).sum() >= 2:
        left = [laid[~odd] for laid in random]
        candidate, coherence = candidate.rows(~odd), _judged(own[~odd], left, counting[~odd], mirror)
    return candidate, coherence


def _judged(own: np.ndarray, random: Sequence[np.ndarray], counting: np.ndarray, mirror: bool) -> Coherence:
    members, mirrored = np.full(len(own), np.nan), np.zeros(len(own), dtype=bool)
    value, members[counting], mirrored[counting] = likeness_of(own[counting], mirror)
    by_chance = np.array([likeness_of(laid[counting], mirror)[0] for laid in random], dtype=own.dtype)
    return Coherence(value, float(by_chance.mean()), float(by_chance.std()), members, mirrored)


def _all_laid(
    candidate: Candidate, maps: "SmoothMaps", shares: np.ndarray, generator: np.random.Generator, draws: int
) -> tuple[np.ndarray, list[np.ndarray]]:
    """The members cut alike `[m,r,s,D]`, and for each draw the same shapes on random salient places."""
    windows = [_window(segment) for segment in candidate.segments]
    sizes = np.array([(rows.stop - rows.start, columns.stop - columns.start) for rows, columns in windows])
    typical = np.median(sizes, axis=0)
    cut = np.clip(np.rint(typical), COARSEST, FINEST).astype(int)
    filled = np.stack(
        [
            _resampling(height, cut[0]) @ segment[window].astype(np.float32) @ _resampling(width, cut[1]).T
            for segment, window, (height, width) in zip(candidate.segments, windows, sizes, strict=True)
        ]
    )
    corners = np.empty((1 + draws, len(candidate), 2), dtype=np.int64)
    corners[0] = [(rows.start, columns.start) for rows, columns in windows]
    corners[1:] = _random_corners(shares[candidate.images], sizes, draws, generator)
    # The middles of the cut's cells, each standing for what is around it.
    rows, columns = (
        (corners[..., axis, None] + (np.arange(cut[axis]) + 0.5) * sizes[:, None, axis] / cut[axis]).astype(np.int64)
        for axis in (0, 1)
    )
    width = max(1, round(float((typical / cut).mean())))
    own, *random = (
        maps.cells(width, candidate.images, *places) * filled[..., None] for places in zip(rows, columns, strict=True)
    )
    return own, random


class SmoothMaps:
    """Features averaged over squares of several widths, each made when it is first needed."""

    def __init__(self, features: np.ndarray) -> None:
        """`features` are `[N,G,G,D]` of unit length."""
        self._made = {1: features}
        self._images: np.ndarray | None = None

    def of_images(self, images: np.ndarray) -> "SmoothMaps":
        """Those of some images, numbers `[n]`; what is made for one is there for the other, and is held once."""
        own = SmoothMaps.__new__(SmoothMaps)
        own._made = self._made
        own._images = images if self._images is None else self._images[images]
        return own

    def at_width(self, width: int) -> np.ndarray:
        """Means over `width` by `width` cells, scaled to unit length: `[N,G,G,D]`."""
        whole = self._whole(width)
        return whole if self._images is None else whole[self._images]

    def cells(self, width: int, images: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Of the same some cells: `[m,r,s,D]` for m images, rows `[m,r]` and columns `[m,s]` of each."""
        images = images if self._images is None else self._images[images]
        return self._whole(width)[images[:, None, None], rows[:, :, None], columns[:, None, :]]

    def _whole(self, width: int) -> np.ndarray:
        if width not in self._made:
            self._made[width] = with_context(self._made[1], width)
        return self._made[width]


def likeness_of(laid: np.ndarray, mirror: bool) -> tuple[float, np.ndarray, np.ndarray]:
    """Mean likeness of members that are cut alike, in time linear in their number.

    The likeness of two members is the scalar product of their cells' features, place by place, over the mean of their
    squared lengths. Each member may be mirrored. With a member's even and odd part under mirroring, e and o, the
    product of two is e·e' + o·o' where they are oriented alike and e·e' − o·o' where not; the sum over all pairs never
    falls when all members are turned at once to agree with the sum of the odd parts as they were turned before.

    Args:
        laid: `[m,r,s,D]`, m at least 2: the features of each cell times its share of the member's segment.
        mirror: whether members may be mirrored.

    Returns:
        The mean over pairs, each member's mean with the others `[m]`, and which are mirrored `[m]` bool.
    """
    count = len(laid)
    lengths = np.einsum("mrsd,mrsd->m", laid, laid)
    turned = np.ones(count, dtype=laid.dtype)
    if not mirror:
        even, odd = laid.reshape(count, -1), laid[..., :0].reshape(count, 0)
    else:
        half = laid.shape[2] // 2
        left, right = laid[:, :, :half], laid[:, :, ::-1][:, :, :half]
        middle = laid[:, :, half : laid.shape[2] - half]
        root = np.sqrt(2).astype(laid.dtype)
        even = np.concatenate([(left + right) / root, middle], axis=2).reshape(count, -1)
        odd = ((left - right) / root).reshape(count, -1)
        turned = _turned(odd)
    even_sum, odd_sum = even.sum(axis=0), np.einsum("m,mk->k", turned, odd)
    products = np.einsum("mk,k->m", even, even_sum) + turned * np.einsum("mk,k->m", odd, odd_sum) - lengths
    likeness = products / (count - 1) / np.maximum((lengths + lengths.mean()) / 2, TINY)
    value = products.sum() / (count - 1) / np.maximum(lengths.sum(), TINY)
    return float(value), likeness, turned < 0


def _turned(odd: np.ndarray) -> np.ndarray:
    """Signs `[m]`, from those along the direction in which the odd parts `[m,k]` spread most."""
    direction = odd[np.linalg.norm(odd, axis=1).argmax()]
    for _ in range(ROUNDS):
        direction = np.einsum("m,mk->k", np.einsum("mk,k->m", odd, direction), odd)
        direction /= np.maximum(np.linalg.norm(direction, axis=0, keepdims=True), TINY)
    turned = np.where(np.einsum("mk,k->m", odd, direction) < 0, -1, 1).astype(odd.dtype)
    for _ in range(ROUNDS):
        before = turned
        total = np.einsum("m,mk->k", turned, odd)
        turned = np.where(np.einsum("mk,k->m", odd, total) < 0, -1, 1).astype(odd.dtype)
        if (turned == before).all():
            break
    return turned


def _window(segment: np.ndarray) -> tuple[slice, slice]:
    rows, columns = (np.flatnonzero(segment.any(axis=axis)) for axis in (1, 0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _random_corners(shares: np.ndarray, sizes: np.ndarray, draws: int, generator: np.random.Generator) -> np.ndarray:
    """First row and column `[draws,m,2]` of windows `[m,2]` around random salient cells, shifted into the image."""
    count, grid = shares.shape[:2]
    cumulated = shares.reshape(count, -1).astype(np.float64).cumsum(axis=1)
    # An image without a salient cell is drawn from evenly.
    empty = cumulated[:, -1] <= 0
    cumulated[empty] = np.arange(1, cumulated.shape[1] + 1)
    thrown = generator.random((draws, count)) * cumulated[:, -1]
    pairs = zip(cumulated, thrown.T, strict=True)
    at = np.stack([np.searchsorted(own, values, side="right") for own, values in pairs], axis=1)
    places = np.stack(np.divmod(np.minimum(at, cumulated.shape[1] - 1), shares.shape[2]), axis=-1)
    return np.clip(places - sizes // 2, 0, np.array([grid, shares.shape[2]]) - sizes)


def _resampling(source: int, target: int) -> np.ndarray:
    """`[target,source]` float32, rows sum to 1: the mean of what each of the new cells covers of the old ones."""
    edges = np.arange(target + 1) * source / target
    cells = np.arange(source)
    covered = np.minimum(edges[1:, None], cells + 1) - np.maximum(edges[:-1, None], cells)
    return (np.clip(covered, 0, None) * target / source).astype(np.float32)
