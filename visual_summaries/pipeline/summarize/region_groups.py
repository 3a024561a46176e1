"""Parts from the salient regions themselves, grouped by what the classifier sees in them.

Shapes: N images, H by W pixels, G by G cells, D components, R regions of all images.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.cluster import KMeans

from visual_summaries.pipeline.summarize.candidates import cell_shares
from visual_summaries.pipeline.summarize.regions import salient_regions

RESTARTS = 4


def class_regions(masks: np.ndarray, minimum_area: float = 0.01) -> tuple[np.ndarray, np.ndarray]:
    """The connected salient regions of all images.

    Args:
        masks: `[N,H,W]` bool.
        minimum_area: share of the image's pixels; smaller regions are left out.

    Returns:
        The regions' images `[R]` int64, ascending, and their pixels `[R,H,W]` bool.
    """
    images, regions = [], []
    for image, mask in enumerate(masks):
        for region in salient_regions(mask.astype(np.float32), 0.5, minimum_area):
            images.append(image)
            regions.append(region.mask)
    return np.array(images, dtype=np.int64), np.array(regions, dtype=bool).reshape(-1, *masks.shape[1:])


@dataclass(frozen=True)
class PooledRegions:
    """The salient regions of a class with what the classifier sees in each, R of them.

    Attributes:
        images: `[R]` int64, ascending.
        cells: `[R,G,G]` bool, those that the region fills by half, or that it fills most if it is thinner.
        pooled: `[R,D]` features of unit length: the mean of its cells', weighted by how much of each cell it fills.
    """

    images: np.ndarray
    cells: np.ndarray
    pooled: np.ndarray

    @staticmethod
    def of(features: np.ndarray, masks: np.ndarray, minimum_area: float = 0.01) -> "PooledRegions":
        """Regions of masks `[N,H,W]` bool, features `[N,G,G,D]`; `minimum_area` as for `class_regions`."""
        images, regions = class_regions(masks, minimum_area)
        filled = cell_shares(regions, features.shape[1])
        least = np.minimum(0.5, filled.max(axis=(1, 2), initial=0))
        pairs = zip(images, filled, strict=True)
        pooled = np.array([np.tensordot(share, features[image], 2) for image, share in pairs])
        pooled = pooled.reshape(len(images), features.shape[-1])
        pooled /= np.maximum(np.linalg.norm(pooled, axis=1, keepdims=True), 1e-9)
        return PooledRegions(images, filled >= least[:, None, None], pooled)

    def of_images(self, images: np.ndarray) -> "PooledRegions":
        """Those of some images, ascending numbers; a region's image is then its position among these."""
        own = np.isin(self.images, images)
        return PooledRegions(np.searchsorted(images, self.images[own]), self.cells[own], self.pooled[own])


def region_cells(
    regions: PooledRegions,
    count: int,
    granularities: tuple[int, ...] = (1, 2, 3),
    seed: int = 0,
    weights: np.ndarray | None = None,
) -> list[np.ndarray]:
    """Groups of regions with like features; of an image's regions in a group the one nearest to its middle.

    Args:
        regions: of the class.
        count: its images, N.
        granularities: numbers of groups.
        seed: of k-means.
        weights: `[N]` of the images, 1 by default.

    Returns:
        `[N,G,G]` bool for each group of each granularity. None where there are fewer regions.
    """
    counted = None if weights is None else np.asarray(weights, dtype=np.float64)[regions.images]
    found = []
    for k in granularities:
        if k > len(regions.images):
            continue
        means = KMeans(k, n_init=RESTARTS, random_state=seed).fit(regions.pooled, sample_weight=counted)
        nearness = np.einsum("rd,rd->r", regions.pooled, means.cluster_centers_[means.labels_])
        for group in range(k):
            cells = np.zeros((count, *regions.cells.shape[1:]), dtype=bool)
            # Of several in an image the nearest is written last; of equals the first.
            for region in np.lexsort((-np.arange(len(nearness)), nearness)):
                if means.labels_[region] == group:
                    cells[regions.images[region]] = regions.cells[region]
            found.append(cells)
    return found
