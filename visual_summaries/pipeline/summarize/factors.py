"""Parts from the classifier's own features: the salient cells of a class in k groups, in each image the largest
connected piece of a group.

After deep feature factorization (Collins et al., "Deep Feature Factorization for Concept Discovery", ECCV 2018), which
factorizes the maps of a class; here the salient cells only, with k-means on unit vectors, so that a factor is a part of
the evidence. Linear in the images: no pairs, no proposals.

Shapes: N images, G by G cells, D components.
"""

import numpy as np
from sklearn.cluster import KMeans

from visual_summaries.pipeline.summarize.candidates import largest_pieces

LEAST_SALIENT = 0.25
MOST_CELLS = 4000
PATCHES, RESTARTS = 150, 3


def factor_labels(
    features: np.ndarray,
    shares: np.ndarray,
    granularities: tuple[int, ...],
    seed: int = 0,
    weights: np.ndarray | None = None,
) -> list[np.ndarray]:
    """The factor of each salient cell, for each number of factors: `[N,G,G]` int64, −1 where a cell is not salient.

    k-means depends on where it starts. So the cells are first put together in many small patches, which are cheap to
    group from many starts; the best of these groupings is where k-means of all cells begins.

    Args:
        features: `[N,G,G,D]` of unit length.
        shares: `[N,G,G]` share of each cell's pixels that is salient; a cell with at least a quarter is.
        granularities: numbers of factors; fewer where there are fewer salient cells.
        seed: of the starts.
        weights: `[N]` of the images, 1 by default; every image weighs the same however many salient cells it has.
    """
    salient = shares >= LEAST_SALIENT
    found = [np.full(salient.shape, -1, dtype=np.int64) for _ in granularities]
    image, row, column = np.nonzero(salient)
    if not len(image):
        return found
    counts = np.maximum(salient.sum(axis=(1, 2)), 1)
    cell_weights = (np.ones(len(salient)) if weights is None else np.asarray(weights, dtype=np.float64)) / counts
    cells = features[image, row, column].astype(np.float32)
    seen = np.unique(np.linspace(0, len(cells) - 1, min(len(cells), MOST_CELLS)).round().astype(np.int64))
    sample, weight = cells[seen], cell_weights[image[seen]] * len(seen)
    means = KMeans(min(PATCHES, len(seen)), n_init=1, max_iter=10, random_state=seed)
    patches = means.fit(sample, sample_weight=weight)
    masses = np.bincount(patches.labels_, weight, len(patches.cluster_centers_))
    for labels, k in zip(found, granularities, strict=True):
        k = min(k, len(masses))
        starts = KMeans(k, n_init=RESTARTS, max_iter=30, random_state=seed)
        starts.fit(patches.cluster_centers_, sample_weight=masses)
        means = KMeans(k, init=starts.cluster_centers_, n_init=1, max_iter=20, tol=1e-3)
        means.fit(sample, sample_weight=weight)
        labels[image, row, column] = means.predict(cells)
    return found


def factor_cells(
    features: np.ndarray,
    shares: np.ndarray,
    granularities: tuple[int, ...] = (4, 6, 8),
    seed: int = 0,
    weights: np.ndarray | None = None,
    minimum: int = 3,
    gap: int = 0,
) -> list[np.ndarray]:
    """The cells of the factors of several granularities, in each image one piece.

    Args:
        features, shares, seed, weights: as for `factor_labels`.
        granularities: numbers of factors.
        minimum: cells of the smallest piece that counts.
        gap: cells that two pieces may lie apart and still be one (`candidates.largest_pieces`).

    Returns:
        `[N,G,G]` bool for each factor of each granularity that has a cell.
    """
    found = []
    for k, labels in zip(granularities, factor_labels(features, shares, granularities, seed, weights), strict=True):
        for factor in range(k):
            cells = largest_pieces(labels == factor, shares, gap)
            cells &= (cells.sum(axis=(1, 2)) >= minimum)[:, None, None]
            if cells.any():
                found.append(cells)
    return found
