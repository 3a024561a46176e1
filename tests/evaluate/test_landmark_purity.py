"""The purity of landmarks by hand, against a loop, and where random boxes are known."""

from collections import Counter

import numpy as np
import pytest

from visual_summaries.pipeline.evaluate.landmark_purity import landmark_purity, nearest_kinds, without_sides
from visual_summaries.pipeline.evaluate.purity import random_boxes

NOWHERE = (np.nan, np.nan)


def test_left_and_right_are_one_kind() -> None:
    kinds, of = without_sides(["left wing", "beak", "Right wing", "wing", "leftover", "right_leg", "left-leg"])
    assert kinds == ["wing", "beak", "leftover", "leg"]
    assert of.tolist() == [0, 1, 0, 0, 2, 3, 3]
    assert without_sides([])[0] == []


def test_purity_by_hand() -> None:
    """Salient is one pixel, around which every random box lies."""
    kinds, of = without_sides(["left eye", "right eye", "tail"])
    boxes = np.array([[0.0, 0, 8, 8]] * 5)
    salient = np.zeros((5, 40, 60), bool)
    salient[:, 30, 50] = True
    landmarks = np.array(
        [
            # The middle of the box is at (4, 4), the random one's at (50.5, 30.5).
            [(4, 7), (50, 30), (30, 20)],
            [NOWHERE, (3, 4), (50, 30)],
            [(50, 20), (0, 0), (40, 30)],
            [(0, 0), (10, 10), (7, 4)],
            [NOWHERE, NOWHERE, NOWHERE],
        ]
    )
    found = landmark_purity(boxes, landmarks, of, salient, draws=7)
    assert kinds == ["eye", "tail"] and found.counts.tolist() == [3, 1]
    assert found.purity == 3 / 4
    # Around the random middle: eye, tail, eye (10.5 px away, the tail 10.51), eye.
    assert found.random_purity == 3 / 4 and found.gain == 0
    few = landmark_purity(boxes[2:], landmarks[2:], of, salient[2:])
    assert few.counts.tolist() == [1, 1] and np.isnan([few.purity, few.random_purity, few.gain]).all()


def test_figures_equal_a_loop() -> None:
    generator = np.random.default_rng(0)
    names = ["left eye", "right eye", "beak", "left leg", "right leg"]
    kinds, of = without_sides(names)
    landmarks = generator.uniform(0, 40, (12, 5, 2))
    landmarks[generator.random((12, 5)) < 0.4] = np.nan
    corners = generator.uniform(0, 30, (12, 2))
    boxes = np.concatenate([corners, corners + generator.uniform(2, 10, (12, 2))], axis=1)
    salient = generator.random((12, 40, 40)) < 0.1

    def purity(own: np.ndarray) -> tuple[float, Counter]:
        nearest = []
        for (x0, y0, x1, y1), places in zip(own, landmarks, strict=True):
            distances = {
                name: np.hypot(x - (x0 + x1) / 2, y - (y0 + y1) / 2)
                for name, (x, y) in zip(names, places, strict=True)
                if x == x
            }
            if distances:
                nearest.append(min(distances, key=distances.get).split()[-1])
        counts = Counter(nearest)
        return max(counts.values()) / len(nearest), counts

    found = landmark_purity(boxes, landmarks, of, salient, seed=3, draws=25)
    expected, counts = purity(boxes)
    assert {kind: int(count) for kind, count in zip(kinds, found.counts, strict=True) if count} == counts
    assert found.purity == pytest.approx(expected)
    random = np.mean([purity(own)[0] for own in random_boxes(boxes, salient, 3, 25)])
    assert (found.random_purity, found.gain) == pytest.approx((random, expected - random))
    assert found.random_purity != landmark_purity(boxes, landmarks, of, salient, seed=4, draws=25).random_purity


def test_boxes_on_one_part_are_pure_and_random_ones_are_not() -> None:
    """Four landmarks in the corners: random boxes are on each a quarter of the time."""
    corners = np.array([(10, 10), (50, 10), (10, 50), (50, 50)], float)
    landmarks = np.repeat(corners[None], 40, axis=0)
    boxes = np.tile([45.0, 5, 56, 14], (40, 1))
    found = landmark_purity(boxes, landmarks, np.arange(4), np.ones((40, 60, 60), bool), draws=200)
    assert found.purity == 1
    # The largest of four counts of 40 draws with chances of a quarter each: 13.4 on average.
    largest = np.random.default_rng(0).multinomial(40, [0.25] * 4, 20000).max(axis=1).mean() / 40
    assert found.random_purity == pytest.approx(largest, abs=0.015)


def test_wrong_input_is_refused() -> None:
    boxes, landmarks, salient = np.array([[0.0, 0, 4, 4]]), np.zeros((1, 2, 2)), np.ones((1, 8, 8), bool)
    with pytest.raises(ValueError, match="salient pixel"):
        landmark_purity(boxes, landmarks, np.arange(2), ~salient)
    with pytest.raises(ValueError, match="landmarks"):
        landmark_purity(boxes, landmarks, np.arange(3), salient)
    with pytest.raises(ValueError, match="landmarks"):
        landmark_purity(boxes[:0], landmarks[:0], np.arange(2), salient[:0])
    assert nearest_kinds(boxes, landmarks[:, :0], np.arange(0)).tolist() == [-1]
