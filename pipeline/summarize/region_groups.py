"""Candidate parts from the salient regions themselves, grouped by what the classifier sees in them.

Shapes: N images, H by W pixels, G by G cells, D components, R regions of all images.
"""

import numpy as np
from sklearn.cluster import KMeans

from pipeline.summarize.candidates import Candidate, candidate_of_cells, cell_shares
from pipeline.summarize.regions import salient_regions

RESTARTS = 4


def class_regions(masks: np.ndarray, minimum_area: float = 0.01) -> tuple[np.ndarray, np.ndarray]:
    """The connected salient regions of all images.

    Args:
        masks: `[N,H,W]` bool.
        minimum_area: share of the image's pixels; smaller regions are left out.

    Returns:
        The regions' images `[R]` int64, rising, and their pixels `[R,H,W]` bool.
    """
    images, regions = [], []
    for image, mask in enumerate(masks):
        for region in salient_regions(mask.astype(np.float32), 0.5, minimum_area):
            images.append(image)
            regions.append(region.mask)
    return np.array(images, dtype=np.int64), np.array(regions, dtype=bool).reshape(-1, *masks.shape[1:])


def region_groups(
    features: np.ndarray,
    masks: np.ndarray,
    granularities: tuple[int, ...] = (1, 2, 3, 4),
    minimum_area: float = 0.01,
    seed: int = 0,
    weights: np.ndarray | None = None,
) -> list[Candidate]:
    """Groups of regions with like features; of an image's regions in a group the one nearest to its middle.

    A region's features are the mean of its cells', weighted by how much of each cell it fills, scaled to unit length.

    Args:
        features: `[N,G,G,D]` of unit length.
        masks: `[N,H,W]` bool.
        granularities: numbers of groups.
        minimum_area: as for `class_regions`.
        seed: of k-means.
        weights: `[N]` of the images, 1 by default.

    Returns:
        One candidate for each group of each granularity, `regions:<k>`. None where there are fewer regions.
    """
    images, regions = class_regions(masks, minimum_area)
    if not len(images):
        return []
    grid = features.shape[1]
    filled = cell_shares(regions, grid)
    pooled = np.stack([np.tensordot(share, features[image], 2) for image, share in zip(images, filled, strict=True)])
    pooled /= np.maximum(np.linalg.norm(pooled, axis=1, keepdims=True), 1e-9)
    counted = None if weights is None else np.asarray(weights, dtype=np.float64)[images]
    found = []
    for k in granularities:
        if k > len(images):
            continue
        means = KMeans(k, n_init=RESTARTS, random_state=seed).fit(pooled, sample_weight=counted)
        nearness = np.einsum("rd,rd->r", pooled, means.cluster_centers_[means.labels_])
        for group in range(k):
            cells = np.zeros((len(masks), grid, grid), dtype=bool)
            own = np.zeros_like(masks)
            for image in np.unique(images[means.labels_ == group]):
                members = np.flatnonzero((images == image) & (means.labels_ == group))
                nearest = members[np.argmax(nearness[members])]
                # A region thinner than half a cell still has the cells that it fills most.
                cells[image] = filled[nearest] >= min(0.5, float(filled[nearest].max()))
                own[image] = regions[nearest]
            found.append(candidate_of_cells(f"regions:{k}", cells, own, minimum=1))
    return found
