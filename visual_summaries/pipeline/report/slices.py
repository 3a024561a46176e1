"""Slices of a volume through the center of a segment, the foremost segments outlined, as pictures."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from visual_summaries.pipeline.report.pictures import PAPER, color_map

# By rank: told apart in gray and by the color-blind, on black and on white (M. Okabe and K. Ito, 2008).
COLORS = ((213, 94, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (204, 121, 167))
SIDE = 300
GAP = 6
OUTLINE = 3
MAP_GRAY = 0.4
# Shares of the voxels that the grays begin and end at: one bright vessel must not make a brain black.
DARKEST, BRIGHTEST = 0.01, 0.995


def sections(
    volume: np.ndarray,
    labels: np.ndarray,
    segments: Sequence[int],
    relative: Sequence[float],
    all_segments: Sequence[int],
    center: Sequence[float],
    affine: np.ndarray | None = None,
) -> np.ndarray:
    """Three sections through a point; above with the foremost segments outlined, below with every segment's score.

    Args:
        volume: float `[D,H,W]`.
        labels: int64 `[D,H,W]`, the atlas.
        segments: labels of at most five segments, the foremost first, outlined and numbered.
        relative: scores of `all_segments` in [0,1].
        all_segments: labels of the atlas's segments, ascending.
        center: the point, in voxels; rounded to one inside.
        affine: `[4,4]`, where it is known: voxels are drawn as wide as they are, and sections as one lies or stands,
            up and front at the top. Else rows are the earlier axis, columns the later one.

    Returns:
        uint8 `[H',W',3]`.
    """
    gray = _gray(volume)
    table = np.zeros(len(all_segments) + 1)
    table[1:] = relative
    places = np.zeros(labels.shape, dtype=np.int64)
    inside = labels != 0
    places[inside] = np.searchsorted(np.asarray(all_segments), labels[inside]) + 1
    sides = np.ones(3) if affine is None else np.linalg.norm(affine[:3, :3], axis=0)
    scale = SIDE / max(size * side for size, side in zip(volume.shape, sides, strict=True))
    rows: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for axis in (2, 1, 0):
        at = int(np.clip(round(float(center[axis])), 0, volume.shape[axis] - 1))
        others = [one for one in range(3) if one != axis]
        size = tuple(max(1, round(volume.shape[one] * sides[one] * scale)) for one in others)
        cut = [_enlarged(np.take(one, at, axis), size, affine is not None) for one in (gray, labels, places)]
        rows[0].append(_outlined(cut[0], cut[1], segments))
        rows[1].append(_colored(cut[0], table[cut[2]]))
    return _sheet([_sheet(row, 1) for row in rows], 0)


def _gray(volume: np.ndarray) -> np.ndarray:
    low, high = np.quantile(volume, (DARKEST, BRIGHTEST))
    if high <= low:
        low, high = volume.min(), max(volume.max(), volume.min() + 1e-12)
    return np.rint(np.clip((volume - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def _enlarged(section: np.ndarray, size: tuple[int, int], upright: bool) -> np.ndarray:
    """A section `[rows,columns]` brought to `size`, each voxel a rectangle; `upright`: the later axis upward."""
    rows, columns = (np.arange(wanted) * have // wanted for wanted, have in zip(size, section.shape, strict=True))
    large = section[np.ix_(rows, columns)]
    return large.T[::-1] if upright else large


def _outlined(gray: np.ndarray, labels: np.ndarray, segments: Sequence[int]) -> np.ndarray:
    picture = np.repeat(gray[..., None], 3, axis=2)
    for segment, color in reversed(list(zip(segments, COLORS, strict=False))):
        mask = labels == segment
        picture[mask & ~_shrunk(mask)] = color
    canvas = Image.fromarray(picture)
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(18)
    for number, segment in enumerate(segments, start=1):
        rows, columns = np.nonzero(labels == segment)
        if len(rows):
            # The voxel of it that is nearest to its middle: the middle itself may lie in another segment.
            middle = np.hypot(rows - rows.mean(), columns - columns.mean()).argmin()
            place = (int(columns[middle]), int(rows[middle]))
            draw.text(place, str(number), fill=PAPER, font=font, anchor="mm", stroke_width=3, stroke_fill=(0, 0, 0))
    return np.asarray(canvas)


def _shrunk(mask: np.ndarray) -> np.ndarray:
    """The mask without a rim of `OUTLINE` pixels; what lies at the picture's edge has its rim there."""
    inner = np.pad(mask, OUTLINE)
    for _ in range(OUTLINE):
        around = np.pad(inner, 1)
        inner = inner & around[:-2, 1:-1] & around[2:, 1:-1] & around[1:-1, :-2] & around[1:-1, 2:]
    return inner[OUTLINE:-OUTLINE, OUTLINE:-OUTLINE]


def _colored(gray: np.ndarray, scores: np.ndarray) -> np.ndarray:
    colors = color_map()[np.rint(np.clip(scores, 0, 1) * 255).astype(np.uint8)]
    return np.rint(MAP_GRAY * gray[..., None] + (1 - MAP_GRAY) * colors).astype(np.uint8)


def _sheet(pictures: Sequence[np.ndarray], axis: int) -> np.ndarray:
    """Pictures beside (`axis` 1) or below (0) each other, on paper white."""
    across = 1 - axis
    extent = max(picture.shape[across] for picture in pictures)
    padded = []
    for number, picture in enumerate(pictures):
        missing = [(0, 0), (0, 0), (0, 0)]
        missing[across] = (0, extent - picture.shape[across])
        missing[axis] = (GAP if number else 0, 0)
        padded.append(np.pad(picture, missing, constant_values=255))
    return np.concatenate(padded, axis=axis)
