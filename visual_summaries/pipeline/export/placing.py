"""From the analyzed square back to the photograph: masks, boxes and outlines.

The classifier sees a square of S × S pixels, which shows a rectangle of the photograph (`Preprocessing.analyzed_box`)
enlarged or reduced. A pixel of the photograph gets the value of the pixel of the square that its center falls in; what
lies outside the rectangle was not seen and is no part of any region.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pycocotools import mask as coco_mask

View = tuple[float, float, float, float]


@dataclass(frozen=True)
class PlacedMask:
    """A mask on a photograph.

    segmentation: COCO's compressed run lengths: size (height, width) and counts, as text.
    box: x, y, width, height of the tightest box around it, pixels.
    area: number of its pixels.
    """

    segmentation: dict[str, object]
    box: tuple[int, int, int, int]
    area: int


def placed_mask(mask: np.ndarray, view: View, height: int, width: int) -> PlacedMask | None:
    """A mask of the analyzed square on the photograph; None where no center of a pixel falls into it.

    Args:
        mask: bool [S, S].
        view: left, top, right, bottom of the square in the photograph, edges of pixels.
        height, width: of the photograph, pixels.
    """
    side = mask.shape[0]
    rows, columns = seen_pixels(height, view[1], view[3], side), seen_pixels(width, view[0], view[2], side)
    if len(rows[1]) == 0 or len(columns[1]) == 0:
        return None
    # The same pixels down each column of the square, as high as on the photograph: where runs start and end.
    tall = mask[rows[1]].astype(np.int8)
    edges = np.diff(tall, axis=0, prepend=0, append=0).T
    start_column, start_row = np.nonzero(edges == 1)
    end_row = np.nonzero(edges == -1)[1]
    first = np.searchsorted(start_column, np.arange(side))
    count = np.bincount(start_column, minlength=side)
    # Then each column as often as the photograph shows it.
    repeats = count[columns[1]]
    run = np.arange(repeats.sum()) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    run += np.repeat(first[columns[1]], repeats)
    x = columns[0] + np.repeat(np.arange(len(columns[1])), repeats)
    top, bottom = start_row[run] + rows[0], end_row[run] + rows[0]
    if len(x) == 0:
        return None
    # From run lengths, because a mask as large as the photograph may not fit into memory. Runs are those of the whole
    # photograph, column by column: one that ends where the next begins goes on into the next column.
    edges, times = np.unique(np.concatenate([x * height + top, x * height + bottom]), return_counts=True)
    counts = np.diff(edges[times == 1], prepend=0, append=height * width)
    # The first run is one of zeros, if need be of length 0; the last one may be of ones.
    counts = counts[:-1] if counts[-1] == 0 else counts
    found = coco_mask.frPyObjects({"size": [height, width], "counts": counts.tolist()}, height, width)
    return PlacedMask(
        {"size": [height, width], "counts": found["counts"].decode("ascii")},
        tuple(int(value) for value in coco_mask.toBbox(found)),
        int(coco_mask.area(found)),
    )


def seen_pixels(size: int, low: float, high: float, side: int) -> tuple[int, np.ndarray]:
    """Along one axis: the first pixel of the photograph whose center the square shows, and where each one is in it.

    Returns:
        (first, int64 [n]): pixel first + i of the photograph lies in pixel [i] of the square, 0 … side − 1.
    """
    place = np.floor((np.arange(size) + 0.5 - low) * side / (high - low)).astype(np.int64)
    inside = np.flatnonzero((place >= 0) & (place < side))
    return (int(inside[0]) if len(inside) else 0), place[inside]


def placed_points(points: Sequence[float], view: View, side: int) -> list[float]:
    """Points x, y, x, y, … of the analyzed square in pixels of the photograph, to a hundredth."""
    left, top, right, bottom = view
    places = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    scale = np.array([right - left, bottom - top]) / side
    return np.round(places * scale + [left, top], 2).ravel().tolist()


def polygon_area(points: Sequence[float]) -> float:
    """Area of a simple polygon x, y, x, y, …"""
    x, y = np.asarray(points, dtype=np.float64).reshape(-1, 2).T
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)
