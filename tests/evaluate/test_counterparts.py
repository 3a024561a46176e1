"""Whether another network looks where a summary is: against a loop over pixels on drawn masks."""

import numpy as np
import pytest

from visual_summaries.pipeline.evaluate.counterparts import in_other_square, in_photograph, looked_at
from visual_summaries.pipeline.models.preprocessing import Preprocessing


def drawn(seed: int, count: int, side: int = 12) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [generator.random((side, side)) < generator.random() for _ in range(count)]


def test_looking_there_is_counted_as_a_loop_counts_it() -> None:
    members, salient = drawn(0, 40), drawn(1, 40)
    members[3][:] = False
    looked, area = 0, 0.0
    for part, seen in zip(members, salient, strict=True):
        pixels = [(y, x) for y in range(12) for x in range(12) if part[y, x]]
        covered = [place for place in pixels if seen[place]]
        looked += bool(pixels) and 2 * len(covered) >= len(pixels)
        area += sum(seen[y, x] for y in range(12) for x in range(12)) / 144
    found = looked_at(members, salient)
    assert 5 < looked < 35
    assert (found.photographs, found.looked, found.chance) == (40, looked, pytest.approx(area / 40))
    assert found.elsewhere == (looked < 20)
    nothing = looked_at([], [])
    assert nothing.photographs == 0 and np.isnan(nothing.chance) and not nothing.elsewhere


def test_half_of_the_photographs_is_looking_there() -> None:
    everything, nothing = np.ones((4, 4), bool), np.zeros((4, 4), bool)
    assert not looked_at([everything] * 2, [everything, nothing]).elsewhere
    assert looked_at([everything] * 3, [everything, nothing, nothing]).elsewhere


# What two networks may be given of the same photograph: the middle, more of the middle, or all of it squeezed.
WAYS = [
    Preprocessing(resize_side=32, crop_side=24),
    Preprocessing(resize_side=20, crop_side=20),
    Preprocessing(resize_side=30, crop_side=30, squash=True),
]


@pytest.mark.parametrize("one", WAYS)
@pytest.mark.parametrize("other", WAYS)
def test_a_mask_is_found_again_in_another_networks_square(one: Preprocessing, other: Preprocessing) -> None:
    height, width = 60, 90
    view, there = one.analyzed_box(height, width), other.analyzed_box(height, width)
    mask = np.random.default_rng(2).random((one.crop_side, one.crop_side)) < 0.5
    found = in_other_square(mask, view, there, other.crop_side)
    expected = np.zeros((other.crop_side, other.crop_side), bool)
    for y in range(other.crop_side):
        for x in range(other.crop_side):
            # Where the pixel's center is in the photograph, and in the first square.
            across = there[0] + (x + 0.5) / other.crop_side * (there[2] - there[0])
            down = there[1] + (y + 0.5) / other.crop_side * (there[3] - there[1])
            column = (across - view[0]) / (view[2] - view[0]) * one.crop_side
            row = (down - view[1]) / (view[3] - view[1]) * one.crop_side
            if 0 <= column < one.crop_side and 0 <= row < one.crop_side:
                expected[y, x] = mask[int(row), int(column)]
    assert expected.any()
    assert (found == expected).mean() > 0.99
    assert one is not other or (found == mask).all()


def test_a_box_lies_where_its_square_lies_in_the_photograph() -> None:
    # A square of 24 pixels shows 48 of the photograph's, from the 10th and 20th on.
    box = in_photograph(np.array([0, 6, 24, 12]), (10.0, 20.0, 58.0, 68.0), 24)
    assert box.tolist() == [10.0, 32.0, 58.0, 44.0]
