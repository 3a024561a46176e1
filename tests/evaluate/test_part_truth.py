"""Parts found by hand, against a search through all assignments, and against scikit-learn's scores."""

from itertools import permutations

import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support

from visual_summaries.pipeline.evaluate.part_truth import FoundParts, found_parts, part_overlaps, part_scores

NOWHERE = [np.nan] * 4


def test_overlaps_by_hand() -> None:
    """Two parts in four images: the head is hidden in one, the tail in three."""
    truth = np.array(
        [
            [[0, 0, 10, 10], [50, 50, 60, 60]],
            [[0, 0, 10, 10], NOWHERE],
            [[20, 0, 30, 10], NOWHERE],
            [NOWHERE, NOWHERE],
        ]
    )
    head = np.array([[0, 0, 10, 10], [0, 0, 10, 8], [20, 0, 30, 5], [0, 0, 9, 9]], np.float32)
    tail = np.array([[50, 50, 60, 60]], np.float32)
    found = part_overlaps([np.arange(4), np.array([0]), np.array([0, 2])], [head, tail, head[[0, 2]]], truth)
    # Of 1, .8, .5 and, hidden, 0 the median is .65.
    np.testing.assert_allclose(found, [[0.65, 0], [0, 1], [0.75, 0]])
    assert part_overlaps([], [], truth).shape == (0, 2)
    with pytest.raises(ValueError, match="an image and a box"):
        part_overlaps([np.arange(3)], [head], truth)


def test_each_part_counts_once_and_each_summary_for_one_part() -> None:
    # Three summaries are the head, one of them also the tail; the wing is none.
    overlaps = np.array([[0.9, 0.0, 0.1], [0.7, 0.0, 0.0], [0.95, 0.5, 0.3], [0.0, 0.49, 0.4]])
    found = found_parts(overlaps)
    assert found.summary_of.tolist() == [0, 2, -1]
    assert (found.found, found.parts, found.summaries) == (2, 3, 4)
    assert found_parts(overlaps, 0.3).summary_of.tolist() == [0, 2, 3]
    # Two parts count for more than one that is found exactly.
    assert found_parts(np.array([[1, 0.3], [0.3, 0]]), 0.3).summary_of.tolist() == [1, 0]
    # One summary around both parts is one part.
    assert found_parts(np.array([[0.6, 0.55]])).summary_of.tolist() == [0, -1]
    assert found_parts(np.zeros((0, 2))).summary_of.tolist() == [-1, -1]
    assert found_parts(np.zeros((3, 0))).summaries == 3


@pytest.mark.parametrize("seed", range(20))
def test_no_assignment_finds_more(seed: int) -> None:
    generator = np.random.default_rng(seed)
    overlaps = generator.random((5, 4)) * (generator.random((5, 4)) < 0.4)
    best = max(
        (len(enough), sum(enough))
        for order in permutations(range(5), 4)
        for enough in [[overlaps[s, p] for p, s in enumerate(order) if overlaps[s, p] >= 0.5]]
    )
    found = found_parts(overlaps)
    own = [(summary, part) for part, summary in enumerate(found.summary_of) if summary >= 0]
    assert len({summary for summary, _ in own}) == len(own)
    assert (found.found, sum(overlaps[one] for one in own)) == pytest.approx(best)


def test_scores_are_those_of_scikit_learn() -> None:
    """A found part is a true positive, any other summary a false one, any other part a missed one."""
    classes = [FoundParts(np.array([0, 1, -1]), 3), FoundParts(np.array([-1]), 2), FoundParts(np.array([4]), 9)]
    truth, told = [], []
    for one in classes:
        truth += [1] * one.parts + [0] * (one.summaries - one.found)
        told += [1] * one.found + [0] * (one.parts - one.found) + [1] * (one.summaries - one.found)
    precision, recall, f1, _ = precision_recall_fscore_support(truth, told, average="binary")
    scores = part_scores(classes)
    assert (scores.precision.value, scores.recall.value, scores.f1.value) == pytest.approx((precision, recall, f1))
    assert (precision, recall, f1) == pytest.approx((3 / 14, 3 / 5, 6 / 19))


def test_interval_draws_classes() -> None:
    """Of two classes a quarter of the draws takes one twice: the interval's ends are the classes' own scores."""
    classes = [FoundParts(np.array([0, 1]), 2), FoundParts(np.array([0, -1, -1, -1]), 10)]
    scores = part_scores(classes)
    for figure, own in ((scores.precision, (0.1, 1)), (scores.recall, (0.25, 1)), (scores.f1, (2 / 14, 1))):
        assert (figure.low, figure.high) == pytest.approx(own)
    many = part_scores(classes * 50, seed=1)
    assert many.f1.value == scores.f1.value and 0 < many.f1.high - many.f1.low < 0.2
    assert many.f1.low < many.f1.value < many.f1.high
    assert part_scores(classes * 50, seed=1) == many


def test_what_is_not_defined_is_nan() -> None:
    silent = part_scores([FoundParts(np.array([-1, -1]), 0)])
    assert np.isnan(silent.precision.value) and silent.recall.value == silent.f1.value == 0
    assert np.isnan([silent.f1.low, silent.f1.high]).all()
    assert all(np.isnan(figure.value) for figure in vars(part_scores([])).values())
    # A class without summaries leaves those draws out that hold no summary at all.
    some = part_scores([FoundParts(np.array([-1]), 0), FoundParts(np.array([0]), 1)])
    assert some.precision == part_scores([FoundParts(np.array([0]), 1)] * 2).precision
    assert (some.recall.low, some.recall.high) == (0, 1)
