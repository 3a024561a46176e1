import numpy as np
import pytest

from visual_summaries.pipeline.evaluate.parts import analyzed_boxes, box_overlap, part_overlap

NOWHERE = [np.nan] * 4


def test_overlap_by_hand() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10], [3, 3, 3, 3]], dtype=np.float32)
    truth = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [10, 0, 20, 10], [2, 2, 4, 7], [3, 3, 3, 3]], dtype=np.float32)
    np.testing.assert_allclose(box_overlap(boxes, truth), [1, 50 / 150, 0, 10 / 100, 0])
    assert box_overlap(boxes[:0], truth[:0]).shape == (0,)


def test_overlap_equals_counting_pixels() -> None:
    generator = np.random.default_rng(0)
    boxes, truth = (np.sort(generator.integers(0, 13, (60, 2, 2)), axis=1).reshape(60, 4) for _ in range(2))
    for a, b, overlap in zip(boxes, truth, box_overlap(boxes, truth), strict=True):
        covered = np.zeros((2, 13, 13), dtype=bool)
        for layer, (x0, y0, x1, y1) in zip(covered, (a, b), strict=True):
            layer[y0:y1, x0:x1] = True
        assert overlap == pytest.approx((covered[0] & covered[1]).sum() / max((covered[0] | covered[1]).sum(), 1))


def test_part_overlap_is_the_median_over_members() -> None:
    members = np.array([[0, 0, 10, 10]] * 5, dtype=np.float32)
    parts = np.array([[0, 0, 10, 10], [0, 0, 10, 5], [0, 0, 10, 2], NOWHERE, [0, 0, 10, 8]])
    assert part_overlap(members, parts) == pytest.approx(0.5)
    assert part_overlap(members[:4], parts[:4]) == pytest.approx((0.5 + 0.2) / 2)


def test_part_that_is_hidden_from_most_members_is_not_found() -> None:
    members = np.array([[0, 0, 10, 10]] * 3, dtype=np.float32)
    assert part_overlap(members, np.array([[0, 0, 10, 10], NOWHERE, NOWHERE])) == 0
    assert part_overlap(members[:1], np.array([NOWHERE])) == 0
    assert part_overlap(np.zeros((0, 4)), np.zeros((0, 4))) == 0


def test_analyzed_boxes_equal_a_loop() -> None:
    generator = np.random.default_rng(0)
    boxes = np.sort(generator.uniform(-20, 420, (50, 2, 2)), axis=1).reshape(50, 4)
    left, top, right, bottom = view = (62.5, 10.0, 362.5, 260.0)
    for box, result in zip(boxes, analyzed_boxes(boxes, view, 224), strict=True):
        expected = []
        for number, value in enumerate(box):
            start, end = (left, right) if number in (0, 2) else (top, bottom)
            expected.append(min(max((value - start) / (end - start) * 224, 0), 224))
        np.testing.assert_allclose(result, expected, atol=1e-9)


def test_analyzed_boxes_by_hand() -> None:
    view = (100.0, 50.0, 300.0, 150.0)
    boxes = np.array([[100, 50, 300, 150], [150, 75, 200, 100], [0, 0, 150, 75], [0, 0, 90, 40], NOWHERE])
    expected = [[0, 0, 50, 50], [12.5, 12.5, 25, 25], [0, 0, 12.5, 12.5], [0, 0, 0, 0], NOWHERE]
    np.testing.assert_allclose(analyzed_boxes(boxes, view, 50), expected)
