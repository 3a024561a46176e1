"""Photographs that are one photograph: copies, mirrored or re-encoded, of which a class may count only one.

Shapes: N images, G by G cells, D components.
"""

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

ALIKE = 0.9
BLOCKS = 7
COMPONENTS = 32


def photograph_groups(features: np.ndarray, alike: float = ALIKE, seed: int = 0) -> np.ndarray:
    """Number of each image's group `[N]` int64, from 0, in the order of the first image of each.

    Two images are one photograph if the mean scalar product of their features, place by place, or of one with the
    mirror image of the other, is at least `alike`; groups are the connected components. Candidates for a pair are found
    in few components of the images' descriptions by a search tree, not by comparing all pairs.

    Args:
        features: `[N,G,G,D]` of unit length, of the whole image.
        alike: mean scalar product, in −1..1.
        seed: of the components.
    """
    count = len(features)
    if count < 2:
        return np.zeros(count, dtype=np.int64)
    blocks = _blocks(np.asarray(features, dtype=np.float32))
    plain, mirrored = blocks.reshape(count, -1), blocks[:, :, ::-1].reshape(count, -1)
    middle = plain.mean(axis=0)
    components = min(COMPONENTS, count - 1, plain.shape[1])
    reduced = PCA(components, svd_solver="randomized", random_state=seed).fit(plain - middle)
    # Two vectors of unit length with scalar product p are √(2 − 2p) apart, and no farther in fewer dimensions.
    radius = np.sqrt(2 - 2 * alike)
    tree = NearestNeighbors(radius=radius, algorithm="kd_tree").fit(reduced.transform(plain - middle))
    pairs = set()
    for flip, others in ((False, plain), (True, mirrored)):
        near = tree.radius_neighbors(reduced.transform(others - middle), return_distance=False)
        for first, found in enumerate(near):
            close = (int(second) for second in found if second != first)
            pairs |= {(first, second) for second in close if _likeness(features, first, second, flip) >= alike}
    if not pairs:
        return np.arange(count)
    rows, columns = np.array(sorted(pairs)).T
    _, labels = connected_components(coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(count, count)), False)
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse].astype(np.int64)


def representatives(groups: np.ndarray) -> np.ndarray:
    """The first image of each group: `[N]` bool."""
    _, first = np.unique(groups, return_index=True)
    chosen = np.zeros(len(groups), dtype=bool)
    chosen[first] = True
    return chosen


def photograph_weights(groups: np.ndarray) -> np.ndarray:
    """Weight of each image `[N]` float64, with which every photograph counts once: 1 / size of its group."""
    _, inverse, counts = np.unique(groups, return_inverse=True, return_counts=True)
    return 1 / counts[inverse]


def _likeness(features: np.ndarray, first: int, second: int, mirrored: bool) -> float:
    one = features[first][:, ::-1] if mirrored else features[first]
    return float(np.einsum("ijd,ijd->ij", one, features[second]).mean())


def _blocks(features: np.ndarray) -> np.ndarray:
    """Means over about `BLOCKS` by `BLOCKS` blocks, the whole scaled to unit length: `[N,b,b,D]`."""
    step = max(1, features.shape[1] // BLOCKS)
    side = features.shape[1] // step * step
    margin = (features.shape[1] - side) // 2
    inner = features[:, margin : margin + side, margin : margin + side]
    blocks = inner.reshape(len(features), side // step, step, side // step, step, -1).mean(axis=(2, 4))
    length = np.linalg.norm(blocks.reshape(len(blocks), -1), axis=1)
    return blocks / np.maximum(length, 1e-9)[:, None, None, None]
