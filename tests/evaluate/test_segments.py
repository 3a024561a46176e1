"""Ranks and means of segments, by hand."""

import numpy as np
import pytest

from visual_summaries.pipeline.evaluate.intervals import mean_interval
from visual_summaries.pipeline.evaluate.segments import ranks, segment_means


def test_equal_scores_share_their_place_and_zeros_alone_have_none() -> None:
    assert ranks(np.array([0.2, 0.9, 0.2, 0.0, 0.5])) == [3, 1, 3, 5, 2]
    assert ranks(np.zeros(3)) == [None] * 3 and ranks(np.zeros(0)) == []


def test_means_by_hand() -> None:
    scores = np.array([[0.1, 0.5, 0.0], [0.3, 0.1, 0.0], [0.2, 0.9, 0.0], [0.0, 0.0, 0.0]])
    found = segment_means(scores, seed=3)
    assert found.score == pytest.approx([0.15, 0.375, 0]) and found.relative == pytest.approx([0.4, 1, 0])
    # In the last scan, where no light shows the class, nothing is first.
    assert found.first == [1, 2, 0] and found.ranks == [2, 1, 3]
    assert tuple(found.intervals[1]) == mean_interval(scores[:, 1], 3)[1:]
    assert found.intervals[1, 0] < 0.375 < found.intervals[1, 1]


def test_one_scan_has_no_interval_and_none_has_no_mean() -> None:
    found = segment_means(np.array([[0.5, 0.0]]))
    assert np.isnan(found.intervals).all() and found.score.tolist() == [0.5, 0.0]
    with pytest.raises(ValueError, match="at least one scan"):
        segment_means(np.zeros((0, 4)))
    assert segment_means(np.zeros((2, 2))).relative.tolist() == [0.0, 0.0]
