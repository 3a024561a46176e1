import math

import numpy as np
import pytest

from visual_summaries.pipeline.evaluate.stability import (
    adjusted_rand_index,
    again_share,
    matched_share,
    matched_summaries,
    member_overlap,
)

BOX = np.array([0.0, 0.0, 12.0, 12.0])


def shifted(by: float) -> np.ndarray:
    return BOX + [by, 0, by, 0]


def test_overlap_counts_images_that_show_the_same_part() -> None:
    first = {"a": BOX, "b": BOX, "c": BOX}
    # IoU of boxes 12 wide, `by` apart: (12 - by) / (12 + by); a third apart it is exactly a half.
    second = {"a": shifted(4), "b": shifted(4.1), "d": BOX}
    assert member_overlap(first, second) == pytest.approx(1 / 4)
    assert member_overlap(first, second, least=0.4) == pytest.approx(2 / 4)
    assert member_overlap(first, first) == 1
    assert member_overlap(first, {"x": BOX}) == 0


def test_summaries_are_matched_one_to_one_for_the_largest_overlap() -> None:
    one = {name: BOX for name in "abcd"}
    two = {name: BOX for name in "abcdefg"}
    other = {name: shifted(50) for name in "abcd"}
    # `one` overlaps itself more than `two`, and `two` fits nothing else well enough.
    assert matched_summaries([two, one], [one, other]) == [(1, 0)]
    assert matched_share([two, one], [one, other]) == pytest.approx(2 / 4)
    assert matched_share([one, other, two], [two, one, other]) == 1
    assert matched_share([one], []) == 0
    assert math.isnan(matched_share([], []))


def test_rand_index_by_hand() -> None:
    # Contingency [[2, 1], [0, 2]]: pairs together in both 2, by rows 4, by columns 4, of 10.
    first = {"p": 0, "q": 0, "r": 0, "s": 1, "t": 1, "only here": 5}
    second = {"p": 7, "q": 7, "r": 3, "s": 3, "t": 3}
    expected = (2 - 4 * 4 / 10) / ((4 + 4) / 2 - 4 * 4 / 10)
    assert adjusted_rand_index(first, second) == pytest.approx(expected)
    assert adjusted_rand_index(second, second) == 1
    assert math.isnan(adjusted_rand_index({"p": 0}, second))


def test_found_again_looks_at_common_images_alone() -> None:
    one = {name: BOX for name in "abcd"}
    # In half of the common images the same part, though it has many more images.
    more = {"d": shifted(4), "c": BOX, "b": shifted(50), "a": shifted(50), **{name: BOX for name in "efghij"}}
    assert matched_share([one], [more]) == 0 and again_share([one], [more]) == 1
    less = more | {"d": shifted(4.1)}
    assert again_share([one], [less]) == 0
    # Each of the first is sought; what else there is does not matter, and two may be found in one.
    other = {name: shifted(50) for name in "abcd"}
    assert again_share([one, other, less], [one, shifted_all(other, 100), one]) == pytest.approx(1 / 3)
    assert again_share([one, dict(list(one.items())[:3])], [one]) == 1
    assert again_share([one], []) == 0 and math.isnan(again_share([], [one]))


def shifted_all(members: dict[str, np.ndarray], by: float) -> dict[str, np.ndarray]:
    return {name: box + [by, 0, by, 0] for name, box in members.items()}
