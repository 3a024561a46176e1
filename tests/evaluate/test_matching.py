"""The keypoint protocol of proposal flow on cases whose answer is known by hand."""

import numpy as np
import pytest

from visual_summaries.pipeline.evaluate.matching import (
    active_proposals,
    area_under_correct_shares,
    correct_shares,
    matched_overlaps,
    true_regions,
    warped_points,
)
from visual_summaries.pipeline.summarize.boxes import box_overlaps

KEYPOINTS = np.array([[10.0, 20.0], [50.0, 25.0], [30.0, 60.0], [12.0, 55.0], [48.0, 48.0]])
LARGE = (1000.0, 1000.0)


def test_the_spline_meets_the_keypoints_and_bends_between_them() -> None:
    bent = KEYPOINTS[::-1] * [0.5, 2.0] + np.random.default_rng(0).normal(0, 5, KEYPOINTS.shape)
    np.testing.assert_allclose(warped_points(KEYPOINTS, KEYPOINTS, bent), bent, atol=1e-9)
    # An affine map takes middles to middles; this warp is none.
    middle = (KEYPOINTS[0] + KEYPOINTS[1]) / 2
    assert np.abs(warped_points(middle[None], KEYPOINTS, bent)[0] - (bent[0] + bent[1]) / 2).max() > 1


def test_four_keypoints_of_a_square_bend_as_the_textbook_plate() -> None:
    # Bookstein, "Principal warps", 1989: the corners of a square raised and lowered in turn. With U = r² log r the
    # height is c·(U(|x−1|) + U(|x+1|) − 2·U(√(x²+1))) on the x axis, and c follows from its value 2·log 2 at a corner.
    square = np.array([[-1.0, 0.0], [0.0, -1.0], [1.0, 0.0], [0.0, 1.0]])
    raised = square + np.array([[0, 0.25], [0, -0.25], [0, 0.25], [0, -0.25]])
    warped = warped_points(np.array([[0.0, 0.0], [2.0, 0.0]]), square, raised)
    height = 9 * np.log(3) - 5 * np.log(5)
    np.testing.assert_allclose(warped, [[0, 0], [2, 0.25 * height / (2 * np.log(2))]], atol=1e-9)


def test_moved_and_scaled_keypoints_move_and_scale_the_boxes() -> None:
    boxes = np.array([[10.0, 20.0, 30.0, 60.0], [0.0, 0.0, 5.0, 5.0]], np.float32)
    moved = KEYPOINTS * [2.0, 0.5] + [7.0, 3.0]
    regions = true_regions(boxes, KEYPOINTS, moved, LARGE)
    np.testing.assert_allclose(regions, [[27, 13, 67, 33], [7, 3, 17, 5.5]], atol=1e-9)
    others = np.array([[27.0, 13, 67, 33], [47, 13, 87, 33], [27, 13, 47, 23], [90, 90, 95, 95]])
    overlaps = box_overlaps(regions, others)
    np.testing.assert_allclose(overlaps[0], [1, 1 / 3, 1 / 4, 0], atol=1e-9)
    np.testing.assert_allclose(overlaps[1], 0, atol=1e-9)


def test_a_turned_box_gets_the_mean_of_its_outer_corners() -> None:
    # (x, y) goes to (x + y, y − x): the corners of the unit square to (0, 0), (1, −1), (2, 0), (1, 1).
    turned = np.stack([KEYPOINTS.sum(axis=1), KEYPOINTS[:, 1] - KEYPOINTS[:, 0]], axis=1) + [0, 100]
    region = true_regions(np.array([[0.0, 0.0, 1.0, 1.0]]), KEYPOINTS, turned, LARGE)
    np.testing.assert_allclose(region, [[0.5, 99.5, 1.5, 100.5]], atol=1e-9)
    # Mirrored keypoints: the left side stays the smaller coordinate.
    mirrored = [100.0, 0.0] + KEYPOINTS * [-1.0, 1.0]
    region = true_regions(np.array([[10.0, 20.0, 30.0, 50.0]]), KEYPOINTS, mirrored, LARGE)
    np.testing.assert_allclose(region, [[70, 20, 90, 50]], atol=1e-9)


def test_regions_are_cut_at_the_border_of_b() -> None:
    boxes = np.array([[10.0, 20.0, 30.0, 60.0], [50.0, 50.0, 60.0, 60.0]])
    regions = true_regions(boxes, KEYPOINTS, KEYPOINTS - [15.0, 0.0], (12.0, 40.0))
    np.testing.assert_allclose(regions, [[0, 20, 12, 40], [12, 40, 12, 40]], atol=1e-9)
    np.testing.assert_allclose(box_overlaps(regions[1:], regions), 0, atol=1e-9)


def test_what_is_active_at_the_borders_of_both_rules() -> None:
    keypoints = np.array([[0.0, 0.0], [40.0, 40.0], [20.0, 10.0]])
    boxes = {
        "three quarters inside are not more than three quarters": ([10, 0, 50, 40], False),
        "a little more than three quarters": ([9, 0, 49, 40], True),
        "all inside, but without a keypoint": ([1, 20, 39, 39], False),
        "a keypoint on its left side": ([20, 5, 30, 15], True),
        "a keypoint on its lower right corner": ([15, 5, 20, 10], True),
        "a keypoint just beyond its corner": ([15, 5, 19.9, 10], False),
        "x of one keypoint and y of another": ([15, 35, 30, 41], False),
        "larger than the object": ([-10, -10, 50, 50], False),
        "the object itself": ([0, 0, 40, 40], True),
    }
    found = active_proposals(np.array([box for box, _ in boxes.values()], np.float32), keypoints)
    assert dict(zip(boxes, found.tolist(), strict=True)) == {name: active for name, (_, active) in boxes.items()}


def test_a_proposal_without_match_has_no_overlap() -> None:
    overlaps = np.array([[0.9, 0.1, 0.3], [0.9, 0.8, 0.7], [0.2, 0.5, 0.5], [0.4, 0.6, 0.6]])
    scores = np.array([[1.0, 2.0, 0.5], [0.0, 0.0, 0.0], [0.0, 0.0, 1e-30], [0.0, 3.0, 3.0]], np.float32)
    assert matched_overlaps(scores, overlaps).tolist() == [0.1, 0.0, 0.5, 0.6]
    assert overlaps.max(axis=1).tolist() == [0.9, 0.9, 0.5, 0.6]
    assert matched_overlaps(np.zeros((2, 0)), np.zeros((2, 0))).tolist() == [0, 0]


def test_the_area_under_the_shares_is_the_mean_overlap() -> None:
    overlaps = np.array([0.0, 0.25, 0.5, 1.0])
    assert correct_shares(overlaps, np.array([0.0, 0.25, 0.4, 0.99, 1.0])).tolist() == [0.75, 0.5, 0.5, 0.25, 0]
    assert area_under_correct_shares(overlaps) == 0.4375
    overlaps = np.random.default_rng(0).beta(2, 3, size=200)
    middles = (np.arange(10_000) + 0.5) / 10_000
    assert area_under_correct_shares(overlaps) == pytest.approx(correct_shares(overlaps, middles).mean(), abs=1e-4)
    assert area_under_correct_shares(overlaps) != pytest.approx(correct_shares(overlaps, middles**2).mean(), abs=1e-2)
    assert np.isnan(area_under_correct_shares(overlaps[:0])) and np.isnan(correct_shares(overlaps[:0], middles)).all()


def test_keypoints_that_define_no_warp() -> None:
    for keypoints in (KEYPOINTS[:2], np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])):
        with pytest.raises((ValueError, np.linalg.LinAlgError)):
            warped_points(KEYPOINTS, keypoints, keypoints)
    with pytest.raises(ValueError):
        warped_points(KEYPOINTS, KEYPOINTS, KEYPOINTS[:4])
