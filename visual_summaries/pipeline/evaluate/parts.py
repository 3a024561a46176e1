"""Do the summaries find parts that are known? For data whose parts have boxes, as the demo set's."""

import numpy as np

from visual_summaries.pipeline.summarize.boxes import box_overlap


def part_overlap(member_boxes: np.ndarray, part_boxes: np.ndarray) -> float:
    """How well one summary is one part: median over members of the overlap of member and part box.

    Args:
        member_boxes: `[m,4]` boxes of the summary's members.
        part_boxes: `[m,4]` the part's true box in each member's image; NaN where it is not visible, which
            counts as overlap 0.
    """
    visible = ~np.isnan(part_boxes).any(axis=1)
    overlaps = np.zeros(len(member_boxes))
    overlaps[visible] = box_overlap(member_boxes[visible], part_boxes[visible])
    return float(np.median(overlaps)) if len(overlaps) else 0.0


def analyzed_boxes(boxes: np.ndarray, view: tuple[float, float, float, float], side: int) -> np.ndarray:
    """Boxes `[n,4]` in pixels of a photograph to pixels of the analyzed square, clipped to it.

    Args:
        view: left, top, right, bottom of what the classifier sees, in pixels of the photograph.
        side: side of the analyzed square in pixels.
    """
    return np.clip(analyzed_places(boxes.reshape(-1, 2), view, side).reshape(-1, 4), 0, side)


def analyzed_places(places: np.ndarray, view: tuple[float, float, float, float], side: int) -> np.ndarray:
    """Places x, y `[n,2]` in pixels of a photograph to pixels of the analyzed square, also outside it.

    `view` and `side` as for `analyzed_boxes`.
    """
    left, top, right, bottom = view
    return (places - np.array([left, top])) * np.array([side / (right - left), side / (bottom - top)])
