"""Do the members of a summary belong together more than random images of their class? μ_S against μ_R (visual summaries
§4.2, Fig. 4), by tags or in a feature space.

Shapes: n items of a class (the members of all its summaries, or its images), T tags, D features, S summaries.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Coherence:
    """Mean pairwise distances of one class.

    Attributes:
        within: `[S]` float64, of each summary's members; NaN for fewer than two.
        random: `[S,draws]` float64, of random subsets as large as each summary; NaN for fewer than two.
    """

    within: np.ndarray
    random: np.ndarray

    @property
    def summaries(self) -> float:
        """μ_S, mean over the summaries with two members or more; lower is more coherent. NaN without any."""
        known = self.within[~np.isnan(self.within)]
        return float(known.mean()) if len(known) else float("nan")

    @property
    def chance(self) -> float:
        """μ_R, mean over the same summaries and all draws. NaN without any."""
        known = self.random[~np.isnan(self.within)]
        return float(known.mean()) if known.size else float("nan")


def jaccard_distances(tags: np.ndarray) -> np.ndarray:
    """1 − |A ∩ B| / |A ∪ B| of all pairs of tag sets: `[n,n]` float64 in [0,1]; 0 for two empty sets.

    Args:
        tags: `[n,T]` bool, which item has which tag.

    Raises:
        ValueError: not bool `[n,T]`.
    """
    tags = np.asarray(tags)
    if tags.ndim != 2 or tags.dtype != bool:
        raise ValueError(f"tags must be bool [n,T], got {tags.dtype} {tags.shape}")
    # Whole numbers below 2^53: exact, and a matrix product of floats is much faster than one of integers.
    values = tags.astype(np.float64)
    common, sizes = values @ values.T, values.sum(axis=1)
    union = sizes[:, None] + sizes - common
    return 1 - np.divide(common, union, out=np.ones_like(common), where=union > 0)


def cosine_distances(features: np.ndarray) -> np.ndarray:
    """1 − cosine of all pairs of features `[n,D]`: `[n,n]` float64 in [0,2].

    Raises:
        ValueError: not finite `[n,D]`, or a row is zero.
    """
    features = np.asarray(features, dtype=np.float64)
    if features.ndim != 2 or not np.isfinite(features).all() or not features.any(axis=1).all():
        raise ValueError(f"features must be finite [n,D] without a row of zeros, got {features.shape}")
    features = features / np.linalg.norm(features, axis=1, keepdims=True)
    distances = np.clip(1 - features @ features.T, 0, 2)
    np.fill_diagonal(distances, 0)
    return distances


def mean_pair_distance(distances: np.ndarray, subsets: np.ndarray) -> np.ndarray:
    """Mean distance over the pairs of each subset: `[…]` float64; NaN for subsets of fewer than two items.

    Args:
        distances: `[n,n]`, symmetric.
        subsets: `[…,k]` int64, rows of `distances`.
    """
    first, second = np.triu_indices(subsets.shape[-1], 1)
    if not len(first):
        return np.full(subsets.shape[:-1], np.nan)
    return distances[subsets[..., first], subsets[..., second]].mean(axis=-1)


def coherence(
    distances: np.ndarray,
    summaries: Sequence[np.ndarray],
    images: np.ndarray | None = None,
    seed: int = 0,
    draws: int = 100,
) -> Coherence:
    """Mean pairwise distance within each summary of a class, and within random subsets of the class of the same size.

    The paper draws one subset for each summary; the mean of several is the same figure with less noise.

    Args:
        distances: `[n,n]` of all items of the class, such as `jaccard_distances` or `cosine_distances`.
        summaries: for each summary the rows `[k]` int64 of its members.
        images: `[n]`, image of each item: a random subset then holds at most one item of an image, as a summary does,
            every image being as likely and every item of an image being as likely. Default: every item is an image.
        seed: of the random subsets.
        draws: random subsets for each summary, at least 1.

    Raises:
        ValueError: shapes do not fit, or a summary has more members than the class has images.
    """
    distances = np.asarray(distances)
    count = len(distances)
    images = np.arange(count) if images is None else np.asarray(images)
    if distances.shape != (count, count) or images.shape != (count,) or draws < 1:
        raise ValueError(f"distances must be [n,n] and images [n]: {distances.shape}, {images.shape}; draws {draws}")
    generator = np.random.default_rng(seed)
    order = np.argsort(images, kind="stable")
    _, starts, sizes = np.unique(images[order], return_index=True, return_counts=True)
    within, random = np.full(len(summaries), np.nan), np.full((len(summaries), draws), np.nan)
    for number, members in enumerate(summaries):
        if len(members) > len(starts):
            raise ValueError(f"summary {number} has {len(members)} members, the class {len(starts)} images")
        within[number] = mean_pair_distance(distances, np.asarray(members, dtype=np.int64))
        chosen = generator.random((draws, len(starts))).argsort(axis=1)[:, : len(members)]
        item = starts[chosen] + (generator.random(chosen.shape) * sizes[chosen]).astype(np.int64)
        random[number] = mean_pair_distance(distances, order[item])
    return Coherence(within, random)
