"""Is what a candidate shows seen only where the class's evidence is? A summary of background looks like the rest of the
background, of which the mask holds this piece in one image and that in another.

Shapes: N images, G by G cells, D components.
"""

import numpy as np

from visual_summaries.pipeline.summarize.candidates import Candidate

QUERIES, BANK, BLOCK = 64, 12000, 1024


def salience_where_alike(
    features: np.ndarray, shares: np.ndarray, cells: np.ndarray, weights: np.ndarray | None = None
) -> np.ndarray:
    """For cells of a class, how salient the cell of another image is whose features are nearest: `[N,G,G]` float32.

    Made once for a class: of each image's cells as many as `QUERIES`, evenly spread, are compared with at most `BANK`
    cells of the class, salient or not. NaN where no cell was compared.

    Args:
        features: `[N,G,G,D]` of unit length.
        shares: `[N,G,G]` share of each cell's pixels that is salient.
        cells: `[N,G,G]` bool, those of interest.
        weights: `[N]` of the images, 1 by default; images of a weight below 1, copies, are not searched.
    """
    count, size = len(features), shares[0].size
    flat = features.reshape(count * size, -1)
    bank = np.arange(count * size)
    if weights is not None:
        bank = bank[np.asarray(weights)[bank // size] >= 1]
    bank = bank[_spread(len(bank), BANK)]
    asked = [own[_spread(len(own), QUERIES)] + n * size for n, own in enumerate(map(np.flatnonzero, cells))]
    asked = np.concatenate(asked) if asked else np.zeros(0, dtype=np.int64)
    found = np.full(count * size, np.nan, dtype=np.float32)
    salient = shares.reshape(-1)
    if not len(bank):
        return found.reshape(shares.shape)
    owners, known = bank // size, np.ascontiguousarray(flat[bank].T)
    for block in np.split(asked, range(BLOCK, len(asked), BLOCK)):
        likeness = flat[block] @ known
        likeness[(block // size)[:, None] == owners[None]] = -np.inf
        nearest = likeness.argmax(axis=1)
        other = np.isfinite(likeness[np.arange(len(block)), nearest])
        found[block[other]] = salient[bank[nearest[other]]]
    return found.reshape(shares.shape)


def specificity(candidate: Candidate, where_alike: np.ndarray, shares: np.ndarray) -> float:
    """How much more often places that look like a candidate's are salient than places in general: 0 for as often or
    less, 1 for always.

    The comparison is cell by cell, so that it suits parts of many colors as well.

    Args:
        candidate: with at least one member.
        where_alike: `[N,G,G]` as `salience_where_alike` gives it; without a known cell among the candidate's, the
            specificity is 1.
        shares: `[N,G,G]` share of each cell's pixels that is salient.
    """
    own = where_alike[candidate.images][candidate.segments]
    own = own[~np.isnan(own)]
    base = float(shares.mean(dtype=np.float64))
    # Where everything is salient, it cannot be told.
    if not len(own) or base >= 1 - 1e-6:
        return 1.0
    return min(1.0, max(0.0, (float(own.mean(dtype=np.float64)) - base) / (1 - base)))


def _spread(count: int, most: int) -> np.ndarray:
    """At most `most` of the numbers below `count`, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))
