"""The fewest candidates that account for the evidence of a class.

The value of a set of candidates is the share of the class's salient pixels that it accounts for, each pixel counted
with the coherence of the most coherent candidate that holds it, less what its candidates hold that is not salient, less
a fixed price for each candidate. So a whole object, whose members fit worse on each other than those of its parts,
gives way to its parts as soon as they are worth their number; where parts fit no better than the whole, the whole
stays. Maximized greedily, as facility location is (Nemhauser, Wolsey and Fisher, "An analysis of approximations for
maximizing submodular set functions", 1978); then candidates that share most of their places are reduced to one side of
the conflict.

Shapes: N images, G by G cells, K candidates.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from visual_summaries.pipeline.summarize.candidates import Candidate

PRICE = 0.02
CONFLICT = 0.5
EXTENTS = (1.0, 0.75, 0.5, 0.35)


@dataclass(frozen=True)
class Cover:
    """The chosen candidates, the most valuable first.

    Attributes:
        chosen: positions among the candidates.
        gains: what each adds to the value of those before it, before its price.
        coverages: share of all salient pixels in each one's members, in 0..1.
        added: share that each adds to those before it.
        total: share of the salient pixels in any of them.
        unaccounted: `[N,G,G]` float32, salient share of each cell that no chosen candidate holds.
    """

    chosen: list[int]
    gains: list[float]
    coverages: list[float]
    added: list[float]
    total: float
    unaccounted: np.ndarray


class CoverProblem:
    """What candidates hold, laid flat over the cells of all images."""

    def __init__(
        self,
        candidates: Sequence[Candidate],
        coherence: Sequence[float],
        shares: np.ndarray,
        weights: np.ndarray | None = None,
        price: float = PRICE,
        waste: float = 1.0,
    ) -> None:
        """
        Args:
            candidates: K of them.
            coherence: of each, 0..1; what a pixel that it accounts for is worth.
            shares: `[N,G,G]` share of each cell's pixels that is salient.
            weights: `[N]` of the images, 1 by default.
            price: of a candidate, as a share of all salient pixels.
            waste: what a pixel that is not salient costs, against one that is.
        """
        image_weights = np.ones(len(shares)) if weights is None else np.asarray(weights, dtype=np.float64)
        salient = shares.astype(np.float64) * image_weights[:, None, None]
        self.shares = shares
        self.total = float(salient.sum())
        self.evidence = (salient / max(self.total, 1e-12)).ravel()
        self.coherence = np.asarray(coherence, dtype=np.float64)
        self.price = price
        cells = shares[0].size if len(shares) else 0
        idle = ((1 - shares) * image_weights[:, None, None]).ravel() / max(self.total, 1e-12)
        self.places = [
            np.flatnonzero(candidate.segments) % max(cells, 1)
            + np.repeat(candidate.images, candidate.segments.sum(axis=(1, 2))) * cells
            for candidate in candidates
        ]
        self.costs = self.coherence * waste * np.array([idle[places].sum() for places in self.places])

    def value(self, chosen: Sequence[int]) -> float:
        """Of a set of candidates: worth of what it accounts for less its costs and prices."""
        worth = np.zeros_like(self.evidence)
        for one in chosen:
            worth[self.places[one]] = np.maximum(worth[self.places[one]], self.coherence[one])
        return float((worth * self.evidence).sum() - sum(self.costs[one] + self.price for one in chosen))

    def gain(self, one: int, worth: np.ndarray) -> float:
        """What a candidate adds, before its price, where pixels are already worth `worth` (flat)."""
        places = self.places[one]
        better = np.clip(self.coherence[one] - worth[places], 0, None)
        return float((better * self.evidence[places]).sum() - self.costs[one])

    def extent(self, one: int) -> float:
        """Mean share of its images' salient pixels that a candidate holds: near 1 for a whole object."""
        cells = self.shares[0].size
        images = np.unique(self.places[one] // cells)
        own = np.bincount(self.places[one] // cells, self.evidence[self.places[one]], len(self.shares))[images]
        return float(np.mean(own / np.maximum(self.evidence.reshape(-1, cells).sum(axis=1)[images], 1e-12)))

    def overlap(self, first: int, second: int) -> float:
        """Shared evidence of two candidates as a share of what the smaller holds, in the images that both are in."""
        cells = self.shares[0].size
        a, b = self.places[first], self.places[second]
        common = np.intersect1d(a // cells, b // cells)
        a, b = a[np.isin(a // cells, common)], b[np.isin(b // cells, common)]
        shared = self.evidence[np.intersect1d(a, b, assume_unique=True)].sum()
        least = min(self.evidence[a].sum(), self.evidence[b].sum())
        return float(shared / least) if least > 0 else 0.0

    def coverage(self, one: int) -> float:
        """Share of all salient pixels that a candidate holds."""
        return float(self.evidence[self.places[one]].sum())


def greedy(problem: CoverProblem, allowed: Sequence[int], chosen: Sequence[int] = ()) -> list[int]:
    """`chosen` and, one by one, the allowed candidate that adds the most, as long as it adds more than its price.

    Of candidates that add the same the first is taken.
    """
    chosen = list(chosen)
    worth = np.zeros_like(problem.evidence)
    for one in chosen:
        worth[problem.places[one]] = np.maximum(worth[problem.places[one]], problem.coherence[one])
    left = [one for one in allowed if one not in chosen]
    while left:
        gains = [problem.gain(one, worth) for one in left]
        best = int(np.argmax(gains))
        if gains[best] <= problem.price:
            break
        one = left.pop(best)
        chosen.append(one)
        worth[problem.places[one]] = np.maximum(worth[problem.places[one]], problem.coherence[one])
    return chosen


def fewest(problem: CoverProblem, allowed: Sequence[int] | None = None, conflict: float = CONFLICT) -> Cover:
    """Choose candidates, no two of which hold mostly the same places.

    A greedy choice that begins with a whole object seldom comes back from it, since no single part is worth as much; so
    the choice is made several times, first among all candidates, then among ever smaller ones, and the most valuable
    set is kept.

    Args:
        problem: the candidates.
        allowed: those that may be chosen; default all.
        conflict: overlap (`CoverProblem.overlap`) from which two candidates exclude each other.
    """
    allowed = list(range(len(problem.places)) if allowed is None else allowed)
    conflicts = {one: set() for one in allowed}
    for at, one in enumerate(allowed):
        for other in allowed[at + 1 :]:
            if problem.overlap(one, other) >= conflict:
                conflicts[one].add(other)
                conflicts[other].add(one)
    extents = {one: problem.extent(one) for one in allowed}
    best: list[int] = []
    for most in EXTENTS:
        start = greedy(problem, [one for one in allowed if extents[one] <= most])
        found = _settled(problem, start, allowed, conflicts)
        best = found if problem.value(found) > problem.value(best) else best
    return _told(problem, best)


def _settled(
    problem: CoverProblem, chosen: list[int], allowed: Sequence[int], conflicts: dict[int, set[int]]
) -> list[int]:
    """A chosen set without conflicts and without what is not worth its price, filled up with what is."""
    while True:
        chosen = _without_idle(problem, _without_conflicts(problem, chosen, conflicts))
        free = [one for one in allowed if not conflicts[one] & set(chosen)]
        more = greedy(problem, free, chosen)
        if len(more) == len(chosen):
            return chosen
        chosen = more


def _without_conflicts(problem: CoverProblem, chosen: list[int], conflicts: dict[int, set[int]]) -> list[int]:
    """Drop, of the candidate with the most conflicts, it or all that it conflicts with, whichever costs less."""
    chosen = list(chosen)
    while True:
        of_chosen = {one: conflicts[one] & set(chosen) for one in chosen}
        most = max(chosen, key=lambda one: (len(of_chosen[one]), problem.coverage(one)), default=None)
        if most is None or not of_chosen[most]:
            return chosen
        without = [one for one in chosen if one != most]
        alone = [one for one in chosen if one not in of_chosen[most]]
        chosen = without if problem.value(without) >= problem.value(alone) else alone


def _without_idle(problem: CoverProblem, chosen: list[int]) -> list[int]:
    """Drop candidates, the idlest first, without which the set is worth more."""
    chosen = list(chosen)
    while chosen:
        values = [problem.value([other for other in chosen if other != one]) for one in chosen]
        best = int(np.argmax(values))
        if values[best] < problem.value(chosen):
            return chosen
        chosen.pop(best)
    return chosen


def _told(problem: CoverProblem, chosen: list[int]) -> Cover:
    """The chosen set in the order in which they add the most."""
    worth, held = np.zeros_like(problem.evidence), np.zeros(len(problem.evidence), dtype=bool)
    order, gains, added = [], [], []
    left = list(chosen)
    while left:
        values = [problem.gain(one, worth) for one in left]
        one = left.pop(int(np.argmax(values)))
        places = problem.places[one]
        order.append(one)
        gains.append(max(values))
        added.append(float(problem.evidence[places[~held[places]]].sum()))
        worth[places] = np.maximum(worth[places], problem.coherence[one])
        held[places] = True
    unaccounted = np.where(held.reshape(problem.shares.shape), 0, problem.shares).astype(np.float32)
    coverages = [problem.coverage(one) for one in order]
    return Cover(order, gains, coverages, added, float(problem.evidence[held].sum()), unaccounted)
