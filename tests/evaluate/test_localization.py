"""Localization measures on maps whose answer is known by hand."""

import numpy as np
import pytest

from visual_summaries.pipeline.evaluate.localization import (
    box_mask,
    inside,
    is_small,
    landmark_distance,
    localization_point,
    maximum_point,
    overlap_above,
)


def test_the_largest_blob_counts_and_not_the_largest_value() -> None:
    saliency = np.zeros((20, 30))
    saliency[2, 3] = 1.0
    saliency[10:12, 20:24] = 0.97
    saliency[15:18, 5:15] = 0.94
    assert localization_point(saliency) == (22.0, 11.0)
    assert maximum_point(saliency) == (3.5, 2.5)
    # Scaling changes nothing; a lower share lets the third blob in.
    assert localization_point(saliency * 0.01) == (22.0, 11.0)
    assert localization_point(saliency, share=0.9) == (10.0, 16.5)


def test_blobs_that_touch_at_a_corner_are_two() -> None:
    saliency = np.zeros((10, 10))
    saliency[2:4, 2:4] = 1
    saliency[4, 4:6] = 1
    assert localization_point(saliency) == (3.0, 3.0)
    assert maximum_point(np.array([[0.0, 2.0, 0.0, 2.0]])) == (2.5, 0.5)


def test_maps_that_point_nowhere() -> None:
    assert localization_point(np.full((10, 20), 0.3)) == (10.0, 5.0)
    assert localization_point(np.zeros((4, 4))) == (2.0, 2.0)
    for wrong in (np.full((3, 3), np.nan), np.zeros((1, 3, 3)), np.full((3, 3), -1.0)):
        with pytest.raises(ValueError, match="a map must be"):
            localization_point(wrong)


def test_hits_in_any_box_and_small_objects() -> None:
    boxes = np.array([[2.0, 3.0, 6.0, 8.0], [10.0, 0.0, 12.0, 5.0]])
    assert inside((2.0, 8.0), boxes) and inside((11, 1), boxes)
    assert not inside((6.1, 5), boxes) and not inside((11, 5.5), boxes)
    # 4·5 + 2·5 = 30 of 120 pixels are a quarter: not small.
    assert not is_small(boxes, 10, 12) and is_small(boxes[:1], 10, 12)
    twice = np.concatenate([boxes[:1], boxes[:1]])
    assert is_small(twice, 10, 12)
    assert box_mask(boxes, 10, 12).sum() == 30
    assert box_mask(np.array([[0.4, 0.4, 1.6, 1.4]]), 3, 3).tolist() == [[True, True, False], *[[False] * 3] * 2]


def test_overlap_and_distance() -> None:
    saliency = np.array([[0.9, 0.6], [0.4, 0.0]])
    truth = np.array([[True, False], [True, False]])
    assert overlap_above(saliency, truth, 0.5) == pytest.approx(1 / 3)
    assert overlap_above(saliency, truth, 0.3) == pytest.approx(2 / 3)
    assert overlap_above(np.zeros((2, 2)), np.zeros((2, 2), bool), 0.5) == 0
    assert landmark_distance((3.0, 4.0), [(0.0, 0.0), (3.0, 10.0)]) == 5
    assert landmark_distance((3.0, 4.0), []) == np.inf
