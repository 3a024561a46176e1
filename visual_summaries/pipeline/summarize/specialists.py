"""Specialists: a linear support vector machine per summary (visual summaries paper §4.4).

How they are brought together with the network: `pipeline.summarize.mixtures`.

Shapes: N images, D features, S specialized classes.
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


class SpecializedClasses:
    """The machines of S specialized classes, laid together once to judge many images."""

    def __init__(self, machines: Sequence[Sequence[Specialist]]) -> None:
        """`machines`: for each of the S classes, its specialists, at least one.

        Raises:
            ValueError: a class has none.
        """
        if not all(machines):
            raise ValueError("a class without specialists is not specialized")
        every = [machine for own in machines for machine in own]
        if every:
            self._weights = np.stack([machine.coefficients for machine in every]).T
            self._offsets = np.array([machine.intercept for machine in every])
            self._starts = np.cumsum([0, *(len(own) for own in machines[:-1])])
        self._count = len(machines)

    def decisions(self, features: np.ndarray) -> np.ndarray:
        """A class's highest decision value of its machines, `[N,S]` float64, for images with features `[N,D]`."""
        if not self._count:
            return np.zeros((len(features), 0))
        each = normalized(features) @ self._weights + self._offsets
        return np.maximum.reduceat(each, self._starts, axis=1)
