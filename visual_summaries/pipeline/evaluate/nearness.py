"""Which summaries of different classes show the same, and how near classes are: from what the classifier sees in the
members' crops.

A summary is the mean of its members' features, each of length 1, so that the scalar product of two summaries is the
mean cosine of their members. Likeness puts it between what any two classes' summaries have in common, 0, and what the
members of one summary have in common, 1.

Shapes: S summaries of C classes, D features, k components.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from sklearn.decomposition import IncrementalPCA

COMPONENTS = 32
AT_ONCE = 512
SHARED = 0.5
"""Likeness from which two summaries of different classes count as the same part: nearer to members of one summary than
to summaries of any two classes."""


@dataclass(frozen=True)
class Described:
    """Summaries in a few numbers each, of which their scalar products follow.

    Attributes:
        places: `[S,k]` float64, principal components, the mean of all summaries at 0; k is at most S and D.
        along: `[S]` float64; places_a · places_b + along_a + along_b is the scalar product of the summaries a and b,
            but for what components that are left out hold.
        squares: `[S]` float64, the scalar product of each with itself.
    """

    places: np.ndarray
    along: np.ndarray
    squares: np.ndarray


def described(batches: Callable[[], Iterable[np.ndarray]], components: int = COMPONENTS) -> Described:
    """Summaries by their principal components. Holds a few hundred rows of D; of up to `AT_ONCE` summaries the
    components are exact.

    Args:
        batches: gives the features `[n,D]` in the same batches each time that it is called; it is called twice.
        components: k at most.
    """
    model = None
    for rows in _even(batches()):
        model = model or IncrementalPCA(min(components, *rows.shape))
        if len(rows) >= model.n_components:
            model.partial_fit(rows)
    if model is None:
        return Described(np.zeros((0, 0)), np.zeros(0), np.zeros(0))
    places, along, squares = [], [], []
    for rows in _even(batches()):
        places.append(model.transform(rows))
        along.append(rows @ model.mean_ - model.mean_ @ model.mean_ / 2)
        squares.append((rows * rows).sum(axis=1))
    return Described(*map(np.concatenate, (places, along, squares)))


def _even(batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The same rows, `AT_ONCE` at a time."""
    waiting: list[np.ndarray] = []
    for batch in batches:
        waiting += [batch.astype(np.float64)] if len(batch) else []
        while sum(map(len, waiting)) >= AT_ONCE:
            rows = np.concatenate(waiting)
            yield rows[:AT_ONCE]
            waiting = [rows[AT_ONCE:]]
    if sum(map(len, waiting)):
        yield np.concatenate(waiting)


class Likeness:
    """Likeness of each two of S summaries, some rows at a time."""

    def __init__(self, summaries: Described, classes: np.ndarray, members: np.ndarray) -> None:
        """Of summaries of `classes` `[S]`, numbers from 0, with `members` `[S]` ≥ 1."""
        self._of, self._classes = summaries, np.asarray(classes)
        members = np.asarray(members, dtype=np.float64)
        # Without the products of members with themselves, which are 1.
        self._within = np.where(members > 1, (members * summaries.squares - 1) / np.maximum(members - 1, 1), np.nan)
        known = self._within[np.isfinite(self._within)]
        self._within = np.where(np.isfinite(self._within), self._within, known.mean() if len(known) else 1.0)
        self._between = self._mean_between()

    def _mean_between(self) -> float:
        """Mean product of two summaries of different classes; NaN without any."""
        total, pairs = self._sums(np.zeros(len(self._classes), int))
        inside, own = self._sums(self._classes)
        return (total - inside) / (pairs - own) if pairs > own else float("nan")

    def _sums(self, groups: np.ndarray) -> tuple[float, float]:
        """Sum and number of products of all ordered pairs of one group."""
        if not len(groups):
            return 0.0, 0.0
        count = np.bincount(groups)
        sums = np.zeros((len(count), self._of.places.shape[1]))
        np.add.at(sums, groups, self._of.places)
        along = np.bincount(groups, self._of.along)
        return float((sums * sums).sum() + 2 * (count * along).sum()), float((count.astype(float) ** 2).sum())

    def rows(self, rows: slice | np.ndarray) -> np.ndarray:
        """Likeness −1..1 of summaries `rows` with all: `[r,S]` float64; −∞ with those of their own class."""
        of = self._of
        products = of.places[rows] @ of.places.T + of.along[rows, None] + of.along
        within = (self._within[rows, None] + self._within) / 2
        span = within - self._between
        # Members that have no more in common than classes have show nothing that could be shared.
        found = np.where(span > 1e-6, (products - self._between) / np.where(span > 1e-6, span, 1), 0.0).clip(-1, 1)
        return np.where(self._classes[rows, None] == self._classes, -np.inf, found)


@dataclass(frozen=True)
class Nearest:
    """For each of S summaries its most similar one of another class: its number `[S]` int64, −1 without other classes,
    and their likeness `[S]` float64, −1 to 1, NaN without."""

    at: np.ndarray
    likeness: np.ndarray


def nearest(likeness: Likeness, count: int) -> Nearest:
    """The most similar summary of another class for each of `count` summaries; of equals the first."""
    at, value = np.full(count, -1, np.int64), np.full(count, np.nan)
    for start in range(0, count, AT_ONCE):
        rows = slice(start, start + AT_ONCE)
        found = likeness.rows(rows)
        best = found.argmax(axis=1)
        highest = found[np.arange(len(best)), best]
        there = np.isfinite(highest)
        at[rows], value[rows] = np.where(there, best, -1), np.where(there, highest, np.nan)
    return Nearest(at, value)


@dataclass(frozen=True)
class SharedEvidence:
    """The class that shares most of a class's evidence: its number, and the share in 0..1 of what the class's summaries
    hold that is in summaries of which the other class has the like."""

    other: int
    share: float


def shared_evidence(
    likeness: Likeness, classes: np.ndarray, evidence: np.ndarray, count: int, least: float = SHARED
) -> list[SharedEvidence | None]:
    """For each of `count` classes the nearest class; None where a class has no summary, or shares none.

    A summary is shared with another class where one of that class's is like it, at least `least`. Of classes that share
    as much the one with the most similar summary counts.

    Args:
        classes: `[S]`, numbers from 0 to `count` − 1.
        evidence: `[S]` ≥ 0, what each summary holds of its class's evidence.
    """
    found: list[SharedEvidence | None] = []
    for number in range(count):
        own = np.flatnonzero(classes == number)
        total = float(evidence[own].sum())
        if not len(own) or total <= 0:
            found.append(None)
            continue
        # The best of each class, for each of this class's summaries.
        best = np.full((count, len(own)), -np.inf)
        np.maximum.at(best, classes, likeness.rows(own).T)
        shares = ((best >= least) * evidence[own]).sum(axis=1) / total
        other = max(range(count), key=lambda at: (shares[at], best[at].max(), -at))
        found.append(SharedEvidence(other, float(shares[other])) if shares[other] > 0 else None)
    return found
