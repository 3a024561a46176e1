"""Which summaries of different classes show the same, and how near classes are: from what the classifier sees in the
members' crops.

Shapes: S summaries of C classes, D features, k components.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from sklearn.decomposition import IncrementalPCA

COMPONENTS = 32
AT_ONCE = 512
SHARED = 0.5
"""Likeness from which two summaries of different classes count as the same part."""


@dataclass(frozen=True)
class Nearest:
    """For each of S summaries its most similar one of another class: its number `[S]` int64, −1 without other classes,
    and their likeness `[S]` float64, −1 to 1."""

    at: np.ndarray
    likeness: np.ndarray


def coordinates(batches: Callable[[], Iterable[np.ndarray]], components: int = COMPONENTS) -> np.ndarray:
    """Principal components `[S,k]` float32 of summaries, the mean of all at 0; k is at most S and D.

    Holds a few hundred rows of D and all of k. Of up to `AT_ONCE` summaries the components are exact.

    Args:
        batches: gives the features `[n,D]` in the same batches each time that it is called; it is called twice.
        components: at most.
    """
    model, done = None, []
    for rows in _even(batches()):
        model = model or IncrementalPCA(min(components, *rows.shape))
        if len(rows) >= model.n_components:
            model.partial_fit(rows)
    if model is None:
        return np.zeros((0, 0), np.float32)
    for rows in _even(batches()):
        done.append(model.transform(rows).astype(np.float32))
    return np.concatenate(done)


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


def nearest(places: np.ndarray, classes: np.ndarray) -> Nearest:
    """The most similar summary of another class, by the cosine of `places` `[S,k]`; of equals the first.

    Args:
        classes: `[S]`, of each summary.
    """
    lengths = np.linalg.norm(places, axis=1, keepdims=True)
    units = places / np.where(lengths > 0, lengths, 1)
    at, likeness = np.full(len(places), -1, np.int64), np.full(len(places), np.nan)
    for start in range(0, len(units), AT_ONCE):
        rows = slice(start, start + AT_ONCE)
        found = (units[rows] @ units.T).astype(np.float64)
        found[classes[rows, None] == classes[None]] = -np.inf
        best = found.argmax(axis=1)
        value = found[np.arange(len(best)), best]
        there = np.isfinite(value)
        at[rows], likeness[rows] = np.where(there, best, -1), np.where(there, value, np.nan)
    return Nearest(at, likeness)


@dataclass(frozen=True)
class SharedEvidence:
    """The class that shares most of a class's evidence: its number, and the share in 0..1 of what the class's summaries
    hold that is in summaries of which the other class has the like."""

    other: int
    share: float


def shared_evidence(
    places: np.ndarray, classes: np.ndarray, evidence: np.ndarray, count: int, least: float = SHARED
) -> list[SharedEvidence | None]:
    """For each of `count` classes the nearest class; None where a class has no summary, or shares none.

    A summary is shared with another class where one of that class's is like it, at least `least`. Of classes that share
    as much the one with the most similar summary counts.

    Args:
        places: `[S,k]`.
        classes: `[S]`, numbers from 0 to `count` − 1.
        evidence: `[S]` ≥ 0, what each summary holds of its class's evidence.
    """
    lengths = np.linalg.norm(places, axis=1, keepdims=True)
    units = places / np.where(lengths > 0, lengths, 1)
    found: list[SharedEvidence | None] = []
    for number in range(count):
        own = np.flatnonzero(classes == number)
        total = float(evidence[own].sum())
        if not len(own) or total <= 0:
            found.append(None)
            continue
        likeness = units[own] @ units.T
        # The best of each class, for each of this class's summaries.
        best = np.full((count, len(own)), -np.inf)
        np.maximum.at(best, classes, likeness.T)
        best[number] = -np.inf
        shares = ((best >= least) * evidence[own]).sum(axis=1) / total
        other = max(range(count), key=lambda at: (shares[at], best[at].max(), -at))
        found.append(SharedEvidence(other, float(shares[other])) if shares[other] > 0 else None)
    return found
