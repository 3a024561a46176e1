"""Specialists: a linear support vector machine per summary, and their fusion with the network
(visual summaries paper §4.4).

Shapes: N images, D features, K classes of the network, S specialized classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.svm import LinearSVC


@dataclass(frozen=True)
class Specialist:
    """A trained linear machine: decision(x) = x · coefficients + intercept on L2-normalized features."""

    coefficients: np.ndarray
    intercept: float
    fit_accuracy: float


def normalized(features: np.ndarray) -> np.ndarray:
    """Features `[N,D]` at unit length, float32; a zero vector stays zero."""
    features = features.astype(np.float32)
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.where(lengths > 0, lengths, 1)


def train_specialist(
    positives: np.ndarray, negatives: np.ndarray, regularization: float = 1.0, seed: int = 0
) -> Specialist:
    """Fit a class-balanced linear machine on features `[P,D]` of a summary and `[Q,D]` of everything else.

    Raises:
        ValueError: no positives or no negatives.
    """
    if len(positives) == 0 or len(negatives) == 0:
        raise ValueError(f"{len(positives)} positive and {len(negatives)} negative images: both are needed")
    features = normalized(np.concatenate([positives, negatives]))
    truth = np.concatenate([np.ones(len(positives), int), np.zeros(len(negatives), int)])
    machine = LinearSVC(C=regularization, class_weight="balanced", random_state=seed, max_iter=10_000)
    machine.fit(features, truth)
    right = machine.predict(features) == truth
    accuracy = (right[truth == 1].mean() + right[truth == 0].mean()) / 2
    return Specialist(machine.coef_[0].astype(np.float32), float(machine.intercept_[0]), float(accuracy))


class ScoredClasses:
    """The machines of S specialized classes, laid together once to score many images."""

    def __init__(self, machines: Sequence[Sequence[Specialist]]) -> None:
        """`machines`: for each of the S classes, its specialists."""
        self._count = len(machines)
        self._filled = np.array([column for column, own in enumerate(machines) if own], dtype=int)
        every = [machine for own in machines for machine in own]
        if every:
            self._weights = np.stack([machine.coefficients for machine in every]).T
            self._offsets = np.array([machine.intercept for machine in every])
            lengths = [len(machines[column]) for column in self._filled]
            self._starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(int)

    def scores(self, features: np.ndarray) -> np.ndarray:
        """Scores `[N,S]` of images with features `[N,D]`: see `class_scores`."""
        if not len(self._filled):
            return np.full((len(features), self._count), 1 / max(self._count, 1))
        decisions = np.full((len(features), self._count), np.nan)
        each = normalized(features) @ self._weights + self._offsets
        decisions[:, self._filled] = np.maximum.reduceat(each, self._starts, axis=1)
        lowest = np.nanmin(decisions, axis=1, keepdims=True)
        decisions = np.where(np.isnan(decisions), lowest, decisions)
        exponentials = np.exp(decisions - decisions.max(axis=1, keepdims=True))
        return exponentials / exponentials.sum(axis=1, keepdims=True)


def class_scores(features: np.ndarray, machines: Sequence[Sequence[Specialist]]) -> np.ndarray:
    """Scores of the specialized classes, `[N,S]`, positive, each row of sum 1.

    A class's score is its machines' highest decision value; the softmax makes the scores of an image sum to
    one, as in the paper, though decision values may be negative. A class without machines gets the lowest
    decision value of its image; if none has any, all get the same score.

    Args:
        features: `[N,D]`.
        machines: for each of the S classes, its specialists.
    """
    return ScoredClasses(machines).scores(features)


def fuse(probabilities: np.ndarray, scores: np.ndarray, classes: np.ndarray, alpha: float) -> np.ndarray:
    """Convex sum of network and specialists: p'_c = α·p_c + (1−α)·s_c·Σ_S p for the specialized classes.

    Only the probability mass of the specialized set is redistributed; the other classes keep theirs.

    Args:
        probabilities: `[N,K]` softmax of the network.
        scores: `[N,S]` from `class_scores`.
        classes: `[S]` class indices of the specialized set, distinct.
        alpha: weight of the network in 0..1.
    """
    fused = probabilities.astype(np.float64)
    own = fused[:, classes]
    fused[:, classes] = alpha * own + (1 - alpha) * scores * own.sum(axis=1, keepdims=True)
    return fused


def right_by_alpha(
    probabilities: np.ndarray, scores: np.ndarray, classes: np.ndarray, truth: np.ndarray, steps: int = 20
) -> np.ndarray:
    """How many images are classified rightly with each weight α = 1, …, 0: int64 `[steps+1]`; sums over batches."""
    return np.array(
        [
            (fuse(probabilities, scores, classes, alpha).argmax(axis=1) == truth).sum()
            for alpha in np.linspace(1, 0, steps + 1)
        ]
    )


def best_alpha(right: np.ndarray) -> float:
    """The weight α with most right, of what `right_by_alpha` counted; of equals the highest, nearest the network."""
    return float(np.linspace(1, 0, len(right))[int(np.argmax(right))])


def choose_alpha(
    probabilities: np.ndarray, scores: np.ndarray, classes: np.ndarray, truth: np.ndarray, steps: int = 20
) -> float:
    """The weight α with the best accuracy on held-out images."""
    return best_alpha(right_by_alpha(probabilities, scores, classes, truth, steps))
