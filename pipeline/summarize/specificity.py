"""Is what a candidate shows seen only where the class's evidence is? A summary of background looks like the rest of the
background, of which the mask holds this piece in one image and that in another.

Shapes: N images, G by G cells, D components.
"""

import numpy as np

from pipeline.summarize.candidates import Candidate


def specificity(
    candidate: Candidate, features: np.ndarray, shares: np.ndarray, weights: np.ndarray | None = None
) -> float:
    """How much more often the places that look like a candidate are salient than any place, 0 for as often or less, 1
    for always.

    A place looks like the candidate if its features are at least as near to the mean of the candidate's cells as the
    middle one of these cells is. Counted in the images that have a member, each alike.

    Args:
        candidate: with at least one member.
        features: `[N,G,G,D]` of unit length.
        shares: `[N,G,G]` share of each cell's pixels that is salient.
        weights: `[N]` of the images, 1 by default.
    """
    own = features[candidate.images].astype(np.float32)
    salient = shares[candidate.images].astype(np.float64)
    image_weights = np.ones(len(own)) if weights is None else np.asarray(weights, dtype=np.float64)[candidate.images]
    counts = candidate.segments.sum(axis=(1, 2))
    cells = image_weights / np.maximum(counts, 1)
    middle = np.einsum("m,mijd->d", cells, own * candidate.segments[..., None])
    nearness = own @ (middle / max(float(np.linalg.norm(middle)), 1e-9))
    alike = nearness >= np.median(nearness[candidate.segments])
    placed = image_weights[:, None, None]
    rate = float((salient * alike * placed).sum() / max(float((alike * placed).sum()), 1e-9))
    base = float((salient * placed).sum() / max(float((np.ones_like(salient) * placed).sum()), 1e-9))
    # Where all is salient, nothing can tell.
    return min(1.0, max(0.0, (rate - base) / (1 - base))) if base < 1 - 1e-6 else 1.0
