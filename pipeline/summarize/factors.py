"""Candidate parts from the classifier's own features: the salient cells of a class in k groups, in each image the
largest connected piece of a group.

After deep feature factorization (Collins et al., "Deep Feature Factorization for Concept Discovery", ECCV 2018), which
factorizes the maps of a class; here the salient cells only, with k-means on unit vectors, so that a factor is a part of
the evidence. Linear in the images: no pairs, no proposals.

Shapes: N images, G by G cells, D components.
"""

import numpy as np
from sklearn.cluster import KMeans

from pipeline.summarize.candidates import Candidate, candidate_of_cells, largest_piece

LEAST_SALIENT = 0.5
MOST_CELLS = 20000
RESTARTS = 4


def factor_labels(
    features: np.ndarray, shares: np.ndarray, k: int, seed: int = 0, weights: np.ndarray | None = None
) -> np.ndarray:
    """The factor of each salient cell: `[N,G,G]` int64, −1 where a cell is not salient.

    Args:
        features: `[N,G,G,D]` of unit length.
        shares: `[N,G,G]` share of each cell's pixels that is salient; a cell with at least half is.
        k: factors; fewer where there are fewer salient cells.
        seed: of k-means, and of the sample of cells that it sees in a large class.
        weights: `[N]` of the images, 1 by default; every image weighs the same however many salient cells it has.
    """
    salient = shares >= LEAST_SALIENT
    labels = np.full(salient.shape, -1, dtype=np.int64)
    image, row, column = np.nonzero(salient)
    if not len(image):
        return labels
    counts = np.maximum(salient.sum(axis=(1, 2)), 1)
    cell_weights = (np.ones(len(salient)) if weights is None else np.asarray(weights, dtype=np.float64)) / counts
    cells = features[image, row, column].astype(np.float32)
    seen = np.arange(len(cells))
    if len(cells) > MOST_CELLS:
        seen = np.sort(np.random.default_rng(seed).choice(len(cells), MOST_CELLS, replace=False))
    means = KMeans(min(k, len(seen)), n_init=RESTARTS, random_state=seed)
    means.fit(cells[seen], sample_weight=cell_weights[image[seen]] * len(seen))
    labels[image, row, column] = means.predict(cells)
    return labels


def factors(
    features: np.ndarray,
    shares: np.ndarray,
    masks: np.ndarray,
    granularities: tuple[int, ...] = (4, 6, 8),
    seed: int = 0,
    weights: np.ndarray | None = None,
    minimum: int = 3,
) -> list[Candidate]:
    """Candidates of several numbers of factors.

    Args:
        features, shares, seed, weights: as for `factor_labels`.
        masks: `[N,H,W]` bool, salient pixels, for the boxes.
        granularities: numbers of factors.
        minimum: cells of the smallest piece that is a member.

    Returns:
        One candidate for each factor of each granularity, `factors:<k>`, without those that have no member.
    """
    found = []
    for k in granularities:
        labels = factor_labels(features, shares, k, seed, weights)
        for factor in range(k):
            cells = np.array([largest_piece(own == factor, share) for own, share in zip(labels, shares, strict=True)])
            candidate = candidate_of_cells(f"factors:{k}", cells, masks, minimum)
            if len(candidate):
                found.append(candidate)
    return found
