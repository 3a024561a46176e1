"""Candidate parts of a class: what a summary may become, wherever it comes from.

Shapes: N images of the class, m of them with a member, H by W pixels of the analyzed image, G by G cells of the grid
that its features lie on.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

# Eight neighbors in the same image, none in another.
_IN_IMAGE = np.zeros((3, 3, 3), dtype=bool)
_IN_IMAGE[1] = True


@dataclass(frozen=True)
class Candidate:
    """The same part in several images of a class, at most once in each.

    Attributes:
        source: where it comes from ("factors", "regions", "proposals"), for people and tables.
        images: `[m]` int64, ascending: the members' images, by their number in the class.
        boxes: `[m,4]` float32 x0, y0, x1, y1 in pixels, half-open.
        segments: `[m,G,G]` bool, the cells that belong to the part.
    """

    source: str
    images: np.ndarray
    boxes: np.ndarray
    segments: np.ndarray

    def __post_init__(self) -> None:
        count = len(self.images)
        if self.boxes.shape != (count, 4) or self.segments.ndim != 3 or len(self.segments) != count:
            raise ValueError(
                f"{count} members need boxes [{count},4] and segments [{count},G,G], got {self.boxes.shape} and "
                f"{self.segments.shape}"
            )
        if count and (np.diff(self.images) <= 0).any():
            raise ValueError("a candidate has at most one member in an image, the images in ascending order")

    def __len__(self) -> int:
        return len(self.images)

    def rows(self, chosen: np.ndarray) -> "Candidate":
        """Some of the members: `chosen` is bool `[m]`, or ascending positions."""
        return Candidate(self.source, self.images[chosen], self.boxes[chosen], self.segments[chosen])


def cell_shares(masks: np.ndarray, grid: int) -> np.ndarray:
    """Share of each cell's pixels that is salient: masks `[N,H,W]` bool → `[N,G,G]` float32 in 0..1.

    A pixel on the border of two cells counts for each with the share of it that lies there.
    """
    count, height, width = masks.shape
    if height % grid == 0 and width % grid == 0:
        cells = masks.reshape(count, grid, height // grid, grid, width // grid)
        return cells.mean(axis=(2, 4), dtype=np.float32)
    rows, columns = _overlaps(height, grid), _overlaps(width, grid)
    return np.array([rows @ mask.astype(np.float32) @ columns.T for mask in masks]).reshape(count, grid, grid)


def _overlaps(side: int, grid: int) -> np.ndarray:
    """`[G,side]` float32: share of each cell's length that each pixel covers."""
    edges = np.arange(grid + 1) * side / grid
    pixels = np.arange(side)
    low = np.maximum(edges[:-1, None], pixels)
    high = np.minimum(edges[1:, None], pixels + 1)
    return (np.clip(high - low, 0, None) * grid / side).astype(np.float32)


def cells_in_box(box: np.ndarray, side: tuple[int, int], grid: int) -> np.ndarray:
    """Which cells `[G,G]` bool have their middle in a box of an image of `side` (height, width) pixels."""
    rows, columns = ((np.arange(grid) + 0.5) * length / grid for length in side)
    x0, y0, x1, y1 = np.asarray(box, dtype=np.float64)
    return ((rows >= y0) & (rows < y1))[:, None] & ((columns >= x0) & (columns < x1))


def box_of_cells(segment: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The tightest box `[4]` float32 around the salient pixels in some cells; around the cells where there are none.

    Args:
        segment: `[G,G]` bool, at least one cell.
        mask: `[H,W]` bool, salient pixels of the image.
    """
    height, width = mask.shape
    grid = segment.shape[0]
    rows, columns = (np.flatnonzero(segment.any(axis=axis)) for axis in (1, 0))
    # The cell that each pixel's middle lies in; only pixels of the segment's own rows and columns matter.
    cell_row, cell_column = (
        np.minimum((np.arange(side) + 0.5) * grid / side, grid - 1).astype(int) for side in mask.shape
    )
    y, x = (
        np.flatnonzero((cell >= used[0]) & (cell <= used[-1]))
        for cell, used in ((cell_row, rows), (cell_column, columns))
    )
    covered = segment[cell_row[y][:, None], cell_column[x]]
    if not covered.any():
        edges = (columns[0] / grid * width, rows[0] / grid * height)
        return np.array([*edges, columns[-1] * width / grid + 1, rows[-1] * height / grid + 1], dtype=np.float32)
    inside = covered & mask[y[0] : y[-1] + 1, x[0] : x[-1] + 1]
    inside = inside if inside.any() else covered
    rows, columns = y[inside.any(axis=1)], x[inside.any(axis=0)]
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], dtype=np.float32)


def largest_pieces(cells: np.ndarray, weights: np.ndarray | None = None, gap: int = 0) -> np.ndarray:
    """In each image the heaviest 8-connected piece of its cells `[N,G,G]` bool; of equally heavy ones the first, row by
    row; nothing where there are no cells.

    `weights` `[N,G,G]` are the cells' weights, 1 by default. Pieces that lie up to `gap` cells apart, an even number,
    count as one.
    """
    grown = _grown(cells, gap // 2)
    labels, count = ndimage.label(grown, structure=_IN_IMAGE)
    if not count:
        return np.zeros_like(cells)
    image = np.nonzero(cells)[0]
    own = labels[cells]
    sums = np.bincount(own, None if weights is None else weights[cells], count + 1)
    images = np.zeros(count + 1, dtype=np.int64)
    images[own] = image
    # From the lightest to the heaviest, the first of equals last: what is written last to an image stays.
    order = np.lexsort((-np.arange(1, count + 1), sums[1:])) + 1
    heaviest = np.zeros(len(cells), dtype=np.int64)
    heaviest[images[order]] = order
    return cells & (labels == heaviest[:, None, None])


def _grown(cells: np.ndarray, times: int) -> np.ndarray:
    """Cells `[N,G,G]` bool with so many rings of neighbors: SciPy's dilation takes eight times as long."""
    for _ in range(times):
        above, below = cells[:, :-1], cells[:, 1:]
        tall = cells.copy()
        tall[:, 1:] |= above
        tall[:, :-1] |= below
        cells = tall.copy()
        cells[:, :, 1:] |= tall[:, :, :-1]
        cells[:, :, :-1] |= tall[:, :, 1:]
    return cells


def candidate_of_cells(
    source: str, cells: Sequence[np.ndarray] | np.ndarray, masks: np.ndarray, minimum: int = 2
) -> Candidate:
    """A candidate of each image's cells `[N,G,G]` bool; images with fewer than `minimum` cells have no member."""
    images = np.array([n for n, one in enumerate(cells) if one.sum() >= minimum], dtype=np.int64)
    grid = np.shape(cells)[-1]
    boxes = np.array([box_of_cells(cells[n], masks[n]) for n in images], dtype=np.float32).reshape(-1, 4)
    segments = np.array([cells[n] for n in images], dtype=bool).reshape(-1, grid, grid)
    return Candidate(source, images, boxes, segments)


def candidate_of_boxes(
    source: str, images: Sequence[int] | np.ndarray, boxes: np.ndarray, side: tuple[int, int], grid: int
) -> Candidate:
    """A candidate of boxes, as the clusters of proposals are: its segments are whole boxes, salient or not.

    Of several boxes in an image the first is the member.

    Args:
        images: `[m]` number of each box's image, in any order.
        boxes: `[m,4]` pixels.
        side: height and width of the images in pixels.
        grid: cells to a side.
    """
    images = np.asarray(images, dtype=np.int64)
    numbers, first = np.unique(images, return_index=True)
    boxes = np.asarray(boxes, dtype=np.float32).reshape(-1, 4)[first]
    segments = np.array([cells_in_box(box, side, grid) for box in boxes], dtype=bool).reshape(-1, grid, grid)
    return Candidate(source, numbers, boxes, segments)
