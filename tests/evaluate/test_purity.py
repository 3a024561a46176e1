"""Purity by hand, and random boxes that are where they may be."""

import numpy as np
import pytest

from visual_summaries.pipeline.evaluate.purity import entropy, landmarks_inside, part_purity, random_boxes

NOWHERE = (np.nan, np.nan)


def test_entropy_by_hand() -> None:
    found = entropy(np.array([[4, 0, 0], [2, 2, 0], [2, 1, 1], [5, 5, 5], [0, 0, 0]]))
    np.testing.assert_allclose(found, [0, 1, 1.5, np.log2(3), np.nan])
    assert not np.signbit(found[0])


def test_landmarks_in_half_open_boxes() -> None:
    boxes = np.array([[2.0, 3, 6, 8], [0, 0, 4, 4]])
    landmarks = np.array([[(2, 3), (6, 5), (5.9, 7.9), NOWHERE], [(2, 3), (3, 4), (2, -1), (3.9, 0)]])
    expected = [[True, False, True, False], [True, False, False, True]]
    assert landmarks_inside(boxes, landmarks).tolist() == expected
    assert landmarks_inside(np.stack([boxes, boxes + 100]), landmarks).tolist() == [expected, [[False] * 4] * 2]


def test_purity_by_hand() -> None:
    """Salient is one pixel in each image: every random box is known."""
    boxes = np.array([[0.0, 0, 4, 4], [0, 0, 4, 4], [0, 0, 4, 4], [0, 0, 4, 4]])
    salient = np.zeros((4, 20, 30), bool)
    salient[:, 10, 15] = True
    # Random boxes reach from (13.5, 8.5) to (17.5, 12.5).
    landmarks = np.array(
        [
            [(1, 1), (14, 9), (16, 10)],
            [(2, 1), (14, 9), (0, 12)],
            [(3, 1), (3, 3), (13, 9)],
            [NOWHERE, (17.5, 9), (18, 8)],
        ]
    )
    found = part_purity(boxes, landmarks, salient, draws=5)
    assert found.counts.tolist() == [3, 1, 0]
    assert found.entropy == pytest.approx(-(0.75 * np.log2(0.75) + 0.25 * np.log2(0.25)))
    assert found.empty == 1 / 4 and found.random_empty == 2 / 4
    assert found.random_entropy == pytest.approx(-(2 * np.log2(2 / 3) + np.log2(1 / 3)) / 3)
    assert found.difference == pytest.approx(found.random_entropy - found.entropy)


def test_without_landmarks_nothing_is_known() -> None:
    salient = np.ones((1, 20, 20), bool)
    nothing = part_purity(np.array([[0, 0, 4, 4]]), np.full((1, 2, 2), np.nan), salient)
    assert np.isnan([nothing.entropy, nothing.random_entropy, nothing.difference]).all()
    assert nothing.empty == nothing.random_empty == 1
    # A draw without a landmark has no entropy, and the mean leaves it out.
    some = part_purity(np.array([[0, 0, 10, 20]]), np.array([[(15.0, 2.0), NOWHERE]]), salient, draws=200)
    assert np.isnan(some.entropy) and some.random_entropy == 0 and 0 < some.random_empty < 1


def test_random_boxes_lie_around_salient_pixels_and_inside_the_image() -> None:
    salient = np.zeros((3, 20, 30), bool)
    salient[0, 5:15, 10] = True
    salient[1, [3, 16], [4, 25]] = True
    salient[2, 0, 0] = salient[2, 19, 29] = True
    boxes = np.array([[3.0, 4, 7, 10], [1, 2, 6, 5], [0, 0, 8, 6]])
    found = random_boxes(boxes, salient, draws=2000)
    assert found.shape == (2000, 3, 4)
    np.testing.assert_allclose(found[..., 2:] - found[..., :2], np.broadcast_to([[4, 6], [5, 3], [8, 6]], (2000, 3, 2)))
    assert (found[..., :2] >= 0).all() and (found[..., 2] <= 30).all() and (found[..., 3] <= 20).all()
    middles = (found[..., :2] + found[..., 2:]) / 2
    places, counts = np.unique(middles[:, 0], axis=0, return_counts=True)
    assert places.tolist() == [[10.5, row + 0.5] for row in range(5, 15)]
    assert counts.min() > 140 and counts.max() < 260
    places, counts = np.unique(middles[:, 1], axis=0, return_counts=True)
    assert places.tolist() == [[4.5, 3.5], [25.5, 16.5]] and counts.min() > 900
    assert {tuple(box) for box in found[:, 2]} == {(0, 0, 8, 6), (22, 14, 30, 20)}
    assert np.array_equal(found, random_boxes(boxes, salient, draws=2000))
    assert not np.array_equal(found, random_boxes(boxes, salient, seed=1, draws=2000))


def test_wrong_input_is_refused() -> None:
    boxes, landmarks, salient = np.array([[0.0, 0, 4, 4]]), np.zeros((1, 2, 2)), np.ones((1, 8, 8), bool)
    with pytest.raises(ValueError, match="salient pixel"):
        part_purity(boxes, landmarks, ~salient)
    with pytest.raises(ValueError, match="larger"):
        part_purity(boxes * 3, landmarks, salient)
    for count, marks in ((1, landmarks[:0]), (0, landmarks[:0]), (1, landmarks[0])):
        with pytest.raises(ValueError, match="landmarks"):
            part_purity(boxes[:count], marks, salient[:count])
