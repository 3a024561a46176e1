"""Clusters of a class's salient parts by affinity propagation (visual summaries paper §3.2; Frey and Dueck,
Science 315, 2007; specification summaries.md §6)."""

import warnings
from dataclasses import dataclass

import numpy as np
from sklearn.cluster import affinity_propagation as dense_affinity_propagation
from sklearn.exceptions import ConvergenceWarning


@dataclass(frozen=True)
class Clustering:
    """Which point stands for which.

    Attributes:
        exemplar: `[n]` int64, for each point the number of its cluster's exemplar.
        preference: the preference used, on the scale of the similarities given to the algorithm.
        net_similarity: sum of the similarities of points to their exemplars and of the exemplars' preferences.
        converged: whether the exemplars were stable for the required number of steps.
        iterations: message-passing steps.
    """

    exemplar: np.ndarray
    preference: float
    net_similarity: float
    converged: bool
    iterations: int


def cluster_scores(
    scores: np.ndarray,
    preference_factor: float = 1.3,
    damping: float = 0.9,
    maximum_iterations: int = 1000,
    stable_iterations: int = 100,
    seed: int = 0,
) -> Clustering:
    """Cluster parts by matching scores `[n,n]`, any n including 0.

    Similarities are S = C − max(C) and the preference is `preference_factor` · median(S), over all entries of
    C, the blocks of self matches included: they set the maximum and with it the number of clusters.
    """
    if len(scores) == 0:
        return Clustering(np.zeros(0, dtype=np.int64), 0.0, 0.0, True, 0)
    similarity = scores.astype(np.float64) - scores.max()
    preference = preference_factor * float(np.median(similarity))
    return affinity_propagation(
        similarity, preference, damping, maximum_iterations, stable_iterations, seed
    )


def affinity_propagation(
    similarity: np.ndarray,
    preference: float,
    damping: float = 0.9,
    maximum_iterations: int = 1000,
    stable_iterations: int = 100,
    seed: int = 0,
) -> Clustering:
    """Affinity propagation on similarities `[n,n]` float64; the diagonal is not read.

    −inf means "never": it is replaced by a finite value so low that no solution can profit from it, and a point
    that would still end up with such an exemplar stands for itself. Ties are broken by tiny noise from a
    generator with `seed`.

    Raises:
        ValueError: a similarity is NaN.
    """
    count = len(similarity)
    similarity = similarity.astype(np.float64)
    np.fill_diagonal(similarity, preference)
    never = np.isneginf(similarity)
    largest = np.abs(similarity).max(where=~never, initial=0.0)
    similarity[never] = -(2.0 * largest + 1.0) * count
    off_diagonal = similarity[~np.eye(count, dtype=bool)]
    if count < 2 or np.all(off_diagonal == off_diagonal[0]):
        exemplar, iterations, converged = _trivial(count, off_diagonal, preference), 0, True
    else:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            centers, labels, iterations = dense_affinity_propagation(
                similarity,
                preference=preference,
                damping=damping,
                max_iter=maximum_iterations,
                convergence_iter=stable_iterations,
                return_n_iter=True,
                random_state=seed,
            )
        # The number of iterations does not tell: convergence may come with the very last one.
        converged = not any(issubclass(warning.category, ConvergenceWarning) for warning in caught)
        # Without any exemplar after all iterations every point stands for itself.
        exemplar = np.arange(count) if len(centers) == 0 else np.asarray(centers)[labels]
    points = np.arange(count)
    exemplar = np.where(never[points, exemplar], points, exemplar)
    net = float(similarity[points, exemplar].sum())
    return Clustering(exemplar.astype(np.int64), preference, net, converged, int(iterations))


def _trivial(count: int, off_diagonal: np.ndarray, preference: float) -> np.ndarray:
    """All similarities equal: one cluster if joining is worth more than standing alone, else singletons."""
    if count > 1 and off_diagonal[0] > preference:
        return np.zeros(count, dtype=np.int64)
    return np.arange(count)
