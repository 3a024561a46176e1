"""Is what a candidate shows seen only where the class's evidence is? A summary of background looks like the rest of the
background, of which the mask holds this piece in one image and that in another.

Shapes: N images, G by G cells, D components.
"""

import numpy as np

from pipeline.summarize.candidates import Candidate

QUERIES, IMAGES = 200, 40


def specificity(
    candidate: Candidate, features: np.ndarray, shares: np.ndarray, weights: np.ndarray | None = None
) -> float:
    """How much more often the places that look like a candidate's are salient than any place, 0 for as often or less, 1
    for always.

    For each of the candidate's cells (a sample of them) the cell of another image whose features are nearest is sought,
    salient or not, among all cells of a sample of the class's images. So parts of many colors are compared cell by
    cell.

    Args:
        candidate: with at least one member.
        features: `[N,G,G,D]` of unit length.
        shares: `[N,G,G]` share of each cell's pixels that is salient.
        weights: `[N]` of the images, 1 by default; images of a weight below 1, copies, are not searched.
    """
    places = np.argwhere(candidate.segments)
    chosen = places[_spread(len(places), QUERIES)]
    numbers = candidate.images[chosen[:, 0]]
    queries = features[numbers, chosen[:, 1], chosen[:, 2]]
    bank = _spread(len(features), IMAGES)
    count, cells = len(bank), shares[0].size
    likeness = (queries @ features[bank].reshape(count * cells, -1).T).reshape(len(queries), count, cells)
    likeness[numbers[:, None] == bank[None]] = -np.inf
    if weights is not None:
        likeness[:, np.asarray(weights)[bank] < 1] = -np.inf
    salient = shares[bank].reshape(-1).astype(np.float64)
    rate = float(salient[likeness.reshape(len(queries), -1).argmax(axis=1)].mean())
    base = float(salient.mean())
    # Where all is salient, nothing can tell.
    return min(1.0, max(0.0, (rate - base) / (1 - base))) if base < 1 - 1e-6 else 1.0


def _spread(count: int, most: int) -> np.ndarray:
    """At most `most` of the numbers below `count`, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))
