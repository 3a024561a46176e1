"""Clusters of a class's salient parts by affinity propagation (visual summaries paper §3.2; Frey and Dueck,
Science 315, 2007).

Shapes: n parts, e pairs of parts with a score.
"""

import warnings
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from sklearn.cluster import affinity_propagation as dense_affinity_propagation
from sklearn.exceptions import ConvergenceWarning

from visual_summaries.pipeline.summarize.sparse_affinity import (
    Clustering,
    edge_indices,
    sorted_edges,
    sparse_affinity_propagation,
)


def cluster_edges(
    rows: np.ndarray,
    columns: np.ndarray,
    scores: np.ndarray,
    count: int,
    preference_factor: float = 1.3,
    damping: float = 0.9,
    maximum_iterations: int = 1000,
    stable_iterations: int = 100,
    seed: int = 0,
    dense_limit: int = 2000,
    progress: Callable[[], None] = lambda: None,
) -> Clustering:
    """Cluster `count` parts by the matching scores of some pairs, all others being 0.

    Similarities are S = C − max(C) and the preference is `preference_factor` · median(S), over all entries of the
    `[n,n]` matrix C of scores, as in `cluster_scores`; the preference and the net similarity of the result are on the
    scale of S. Up to `dense_limit` parts scikit-learn's algorithm works on the whole matrix, beyond it the sparse one
    on the edges; both optimize the same net similarity. A part that has score 0 with its exemplar belongs nowhere:
    it is noise, its exemplar −1.

    Args:
        rows, columns: `[e]` integers in [0, count): part `rows[j]` matches part `columns[j]`, itself included, with
            `scores[j]`. Scores count in this direction only: give symmetric ones both ways.
        scores: `[e]` real, finite, not negative.
        progress: called after each step of the sparse algorithm.

    Raises:
        ValueError: arrays of different lengths; an index out of range; a pair given twice; a score NaN, infinite or
            negative.
    """
    rows, columns = edge_indices(rows, columns, count)
    scores = np.asarray(scores)
    if scores.shape != rows.shape:
        raise ValueError(f"{len(rows)} pairs, but scores of shape {scores.shape}")
    for wrong, name in ((np.isnan(scores), "NaN"), (np.isinf(scores), "infinite"), (scores < 0, "negative")):
        if wrong.any():
            raise ValueError(f"a score is {name}")
    if count == 0:
        return Clustering(np.zeros(0, dtype=np.int64), 0.0, 0.0, True, 0)
    if not scores.all():
        matched = scores > 0
        rows, columns, scores = rows[matched], columns[matched], scores[matched]
    largest = float(scores.max(initial=0))
    preference = preference_factor * _median_similarity(scores, count, largest)
    settings = (damping, maximum_iterations, stable_iterations, seed)
    if count > dense_limit:
        above = preference + largest
        result = sparse_affinity_propagation(rows, columns, scores, count, above, 0.0, *settings, progress)
        return replace(result, preference=preference, net_similarity=result.net_similarity - count * largest)
    sorted_edges(rows, columns, count)
    matrix, points = np.zeros((count, count)), np.arange(count)
    matrix[rows, columns] = scores
    result = affinity_propagation(matrix - largest, preference, *settings)
    nowhere = (result.exemplar != points) & (matrix[points, result.exemplar] == 0)
    return replace(result, exemplar=np.where(nowhere, -1, result.exemplar))


def _median_similarity(scores: np.ndarray, count: int, largest: float) -> float:
    """Median of C − `largest` over all count² entries of C, of which `scores`, all positive, are not 0."""
    zeros = count**2 - len(scores)
    middle = np.array([(count**2 - 1) // 2, count**2 // 2]) - zeros
    inside = middle[middle >= 0]
    values = np.zeros(2)
    if len(inside):
        values[middle >= 0] = np.partition(scores, inside)[inside]
    return float(np.mean(values - largest))


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
