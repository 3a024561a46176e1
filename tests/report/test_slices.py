"""Sections of a volume: which segment is where, in which color, how large, which way up."""

import numpy as np
import pytest

from visual_summaries.pipeline.report.pictures import color_map
from visual_summaries.pipeline.report.slices import COLORS, GAP, MAP_GRAY, OUTLINE, SIDE, sections

SHAPE = (6, 6, 6)
# Two segments: below and above the middle of the last axis.
LABELS = np.where(np.indices(SHAPE)[2] < 3, 4, 9)
VOLUME = np.full(SHAPE, 0.5)
VOLUME[0] = 0.0
VOLUME[5] = 1.0


def drawn(affine: np.ndarray | None = None, segments: tuple[int, ...] = (9,)) -> np.ndarray:
    return sections(VOLUME, LABELS, segments, [0.0, 1.0], [4, 9], (2.5, 2.5, 4.0), affine)


def test_segments_are_outlined_and_colored_where_they_are() -> None:
    picture = drawn()
    assert picture.shape == (2 * SIDE + GAP, 3 * SIDE + 2 * GAP, 3) and picture.dtype == np.uint8
    outlined = (picture[:SIDE] == COLORS[0]).all(axis=2)
    # Of the second section rows are the first axis, columns the last one: the segment is its right half.
    second = outlined[:, SIDE + GAP : 2 * SIDE + GAP]
    assert not second[:, : SIDE // 2].any()
    assert second[0, SIDE // 2 :].all() and second[-1, SIDE // 2 :].all()
    assert second[:, -OUTLINE:].all() and second[:, SIDE // 2 : SIDE // 2 + OUTLINE].all()
    assert not second[20:100, SIDE // 2 + OUTLINE : -OUTLINE].any()
    # Below, its color is that of the largest score; the other one's that of none. The gray beneath is 1 at the end.
    lower = picture[SIDE + GAP :, SIDE + GAP : 2 * SIDE + GAP]
    for column, score in ((10, 0), (SIDE - 10, 255)):
        expected = MAP_GRAY * 255 + (1 - MAP_GRAY) * color_map()[score]
        assert np.abs(lower[SIDE - 10, column] - expected).max() <= 1
    # The first section, through the last axis at 4, is within the segment.
    assert np.abs(picture[SIDE + GAP + 10, 10] - (1 - MAP_GRAY) * color_map()[255]).max() <= 1


def test_voxels_are_as_wide_as_they_are_and_up_is_up() -> None:
    picture = drawn(np.diag([1.0, 1.0, 2.0, 1.0]))
    half = SIDE // 2
    assert picture.shape[:2] == (2 * SIDE + GAP, 3 * half + 2 * GAP)
    outlined = (picture[:SIDE] == COLORS[0]).all(axis=2)[:, half + GAP : 2 * half + GAP]
    assert outlined[:half].any() and not outlined[half:].any()
    # The end of the first axis, which is bright, is to the right.
    assert picture[SIDE - 10, 2 * half + GAP - 5].min() > 240 and picture[SIDE - 10, half + GAP + 5].max() < 15


def test_the_foremost_outline_lies_above_and_numbers_are_white() -> None:
    both = drawn(segments=(4, 9))
    second = both[:SIDE, SIDE + GAP : 2 * SIDE + GAP]
    assert (second[0, : SIDE // 2] == COLORS[0]).all() and (second[0, SIDE // 2 :] == COLORS[1]).all()
    assert (second[100:200, 20:130] == 255).all(axis=2).any()


@pytest.mark.parametrize("volume", [np.zeros(SHAPE), np.eye(6)[None].repeat(6, axis=0) * 1e6])
def test_flat_and_nearly_flat_volumes_are_drawn(volume: np.ndarray) -> None:
    picture = sections(volume, LABELS, [9], [0.0, 1.0], [4, 9], (0, 0, 5.9))
    assert picture.shape == (2 * SIDE + GAP, 3 * SIDE + 2 * GAP, 3)
