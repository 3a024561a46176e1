"""A proposal described by what the classifier sees in it: the features of its cells, pooled.

The other descriptor of a proposal beside `hog`. Nothing needs to be stored for each proposal: the features of an
image's cells hold it all, and pooling them takes milliseconds.

Shapes: M boxes, G by G cells of the grid that the features lie on, D components, s by s parts of a box.
"""

import numpy as np

PARTS = 4
"""Parts of a box along each side, s."""

TINY = 1e-6


def conv_descriptors(
    features: np.ndarray, boxes: np.ndarray, size: tuple[float, float], parts: int = PARTS
) -> np.ndarray:
    """Descriptors of boxes whose scalar product, where positive, is their similarity.

    Each box is divided into s by s equal parts; a part has the mean of the features over its area, a cell that lies in
    it partly counting with the share that does (He et al., "Spatial pyramid pooling", ECCV 2014, with exact areas in
    place of whole cells). All parts together are scaled to unit length, so that the product of two descriptors is
    their cosine: 1 for a box with itself.

    Args:
        features: floating `[G,G,D]`, as `cell_features.Basis.apply_maps` gives them: around the mean of the class.
        boxes: `[M,4]` x0, y0, x1, y1 in pixels, half-open; what lies outside the image does not count.
        size: height and width of the image in pixels.
        parts: s.

    Returns:
        float32 `[M,s·s·D]`, part by part in the order of rows, of unit length; zeros where the features are.

    Raises:
        ValueError: shapes do not fit, or a box has no extent inside the image.
    """
    features = np.asarray(features, dtype=np.float32)
    boxes = np.asarray(boxes, dtype=np.float64)
    if features.ndim != 3 or boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"features must be [G,G,D] and boxes [M,4], got {features.shape} and {boxes.shape}")
    height, width = size
    grid = features.shape[:2]
    rows = _shares(boxes[:, 1::2] * grid[0] / height, grid[0], parts)
    columns = _shares(boxes[:, ::2] * grid[1] / width, grid[1], parts)
    # Rows first: one product for all boxes; then each box has its own columns.
    bands = rows.reshape(-1, grid[0]) @ features.reshape(grid[0], -1)
    bands = bands.reshape(len(boxes), parts, grid[1], features.shape[2])
    pooled = (columns[:, None] @ bands).reshape(len(boxes), parts * parts * features.shape[2])
    return pooled / np.maximum(np.linalg.norm(pooled, axis=1, keepdims=True), TINY)


def _shares(intervals: np.ndarray, cells: int, parts: int) -> np.ndarray:
    """Share of each part's length that lies in each cell, `[M,s,cells]` float32; intervals `[M,2]` in cells."""
    low, high = np.clip(intervals, 0, cells).T
    length = high - low
    if not (length > 0).all():
        raise ValueError("every box needs an extent inside the image")
    edges = low[:, None] + length[:, None] * np.arange(parts + 1) / parts
    cell = np.arange(cells)
    inside = np.minimum(edges[:, 1:, None], cell + 1) - np.maximum(edges[:, :-1, None], cell)
    return (np.clip(inside, 0, None) * (parts / length[:, None, None])).astype(np.float32)
