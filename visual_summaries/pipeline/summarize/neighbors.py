"""Which image pairs of a class are matched, and in which order.

All pairs of a small class; beyond that each image with its nearest neighbors by the classifier's features, so that
the cost grows linearly with the class.
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph
from sklearn.neighbors import NearestNeighbors

BLOCK_SIDE = 16


@dataclass(frozen=True)
class PairGraph:
    """Image pairs in the order in which they are best matched.

    Attributes:
        pairs: `[P,2]` int64, a ≤ b; every image with itself is among them.
        similarity: `[P]` float32, cosine of the two images' features, in −1..1.
        component: `[N]` int64, the connected component of each image, numbered by their first images.
        task: `[P]` int64, ascending: which pairs go together.
    """

    pairs: np.ndarray
    similarity: np.ndarray
    component: np.ndarray
    task: np.ndarray


def all_pairs(count: int) -> np.ndarray:
    """All a ≤ b, `[N(N+1)/2,2]` int64."""
    return np.stack(np.triu_indices(count), axis=1).astype(np.int64)


def nearest_pairs(features: np.ndarray, neighbors: int) -> np.ndarray:
    """Pairs of which at least one is among the other's nearest, by the angle between features; and self pairs.

    The search is exact, and in blocks: it never holds all distances.

    Args:
        features: `[N,D]` floating.
        neighbors: how many of the nearest, fewer where there are not so many others.

    Returns:
        `[P,2]` int64, a ≤ b, sorted; N ≤ P ≤ N · (neighbors + 1).

    Raises:
        ValueError: features that are not finite.
    """
    count = len(features)
    itself = np.stack([np.arange(count)] * 2, axis=1)
    wanted = min(neighbors, count - 1)
    if wanted < 1:
        return itself
    search = NearestNeighbors(n_neighbors=wanted, algorithm="brute").fit(_normalized(features))
    found = search.kneighbors(return_distance=False)
    edges = np.stack([np.repeat(np.arange(count), wanted), found.ravel()], axis=1)
    return np.unique(np.concatenate([itself, np.sort(edges, axis=1)]), axis=0).astype(np.int64)


def pair_graph(features: np.ndarray, most_for_all: int, neighbors: int, pairs_per_task: int) -> PairGraph:
    """The pairs of a class to be matched.

    Args:
        features: `[N,D]` floating, the classifier's pooled features of the images.
        most_for_all: up to so many images all pairs are matched.
        neighbors: beyond that, each image's nearest.
        pairs_per_task: pairs that go together; they share images, so that few of these are held at once.

    Raises:
        ValueError: features that are not finite.
    """
    count = len(features)
    pairs = all_pairs(count) if count <= most_for_all else nearest_pairs(features, neighbors)
    graph = sparse.coo_array((np.ones(len(pairs), dtype=np.int8), pairs.T), shape=(count, count)).tocsr()
    _, component = csgraph.connected_components(graph, directed=False)
    # Images that are near in the graph come near each other in this order, and the blocks of it are full.
    rank = np.empty(count, dtype=np.int64)
    rank[csgraph.reverse_cuthill_mckee(graph + graph.T, symmetric_mode=True)] = np.arange(count)
    block = np.sort(rank[pairs] // BLOCK_SIDE, axis=1)
    order = np.lexsort((pairs[:, 1], rank[pairs[:, 0]], block[:, 1], block[:, 0]))
    pairs = pairs[order]
    unit = _normalized(features)
    similarity = np.concatenate(
        [np.einsum("pd,pd->p", *unit[part.T]) for part in np.array_split(pairs, 1 + len(pairs) // 65536)]
    )
    _, first = np.unique(component, return_index=True)
    renumbered = np.argsort(np.argsort(first))[component]
    return PairGraph(pairs, similarity.astype(np.float32), renumbered, np.arange(len(pairs)) // pairs_per_task)


def _normalized(features: np.ndarray) -> np.ndarray:
    features = np.asarray(features, dtype=np.float32)
    if not np.isfinite(features).all():
        raise ValueError("the classifier's features hold values that are not finite: no neighbors can be found")
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), np.finfo(np.float32).tiny)
