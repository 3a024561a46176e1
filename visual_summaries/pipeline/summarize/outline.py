"""What a member shows: the outline of its part and the salient regions it belongs to
(visual summaries paper, Fig. 1)."""

import cv2
import numpy as np


def convex_hull(salient: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Convex hull of the salient pixels inside a box.

    Args:
        salient: `[H,W]` bool.
        box: x0, y0, x1, y1, half-open pixels.

    Returns:
        `[n,2]` float32, x and y of the corners around the pixels' outer edges; empty without salient pixels.
    """
    x0, y0, x1, y1 = np.rint(box).astype(int)
    rows, columns = np.nonzero(salient[y0:y1, x0:x1])
    if len(rows) == 0:
        return np.zeros((0, 2), dtype=np.float32)
    corners = np.concatenate(
        [np.stack([columns + dx, rows + dy], axis=1) for dx in (0, 1) for dy in (0, 1)]
    ).astype(np.int32)
    return (cv2.convexHull(corners)[:, 0] + [x0, y0]).astype(np.float32)


def part_pixels(
    salient: np.ndarray, box: np.ndarray, segment: np.ndarray | None = None
) -> np.ndarray:
    """The pixels `[H,W]` bool that a member is made of: the salient ones in its box, and in its cells if it has any.

    Args:
        salient: `[H,W]` bool.
        box: x0, y0, x1, y1, half-open pixels.
        segment: `[G,G]` bool, cells that divide the image evenly.
    """
    x0, y0, x1, y1 = np.rint(box).astype(int)
    inside = np.zeros_like(salient)
    inside[y0:y1, x0:x1] = True
    if segment is not None:
        rows, columns = (((np.arange(side) + 0.5) * len(segment) / side).astype(int) for side in salient.shape)
        inside &= segment[rows][:, columns]
    return inside & salient


def touched_regions(masks: list[np.ndarray], box: np.ndarray) -> list[int]:
    """Positions of the regions, each a mask `[H,W]` bool, with a pixel inside the box."""
    x0, y0, x1, y1 = np.rint(box).astype(int)
    return [number for number, mask in enumerate(masks) if mask[y0:y1, x0:x1].any()]
