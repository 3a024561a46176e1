"""Masks back on their photographs, against a loop over pixels and against pycocotools."""

import tracemalloc

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from visual_summaries.pipeline.export.contents import PlacedRegion
from visual_summaries.pipeline.export.fiftyone import mask_in_box
from visual_summaries.pipeline.export.placing import placed_mask, placed_points, polygon_area, seen_pixels
from visual_summaries.pipeline.models.preprocessing import Preprocessing


def by_loop(mask: np.ndarray, view: tuple[float, float, float, float], height: int, width: int) -> np.ndarray:
    side, (left, top, right, bottom) = len(mask), view
    result = np.zeros((height, width), bool)
    for y in range(height):
        for x in range(width):
            column = int(np.floor((x + 0.5 - left) * side / (right - left)))
            row = int(np.floor((y + 0.5 - top) * side / (bottom - top)))
            if 0 <= column < side and 0 <= row < side:
                result[y, x] = mask[row, column]
    return result


@pytest.mark.parametrize("seed", range(60))
def test_placed_masks_are_those_of_a_loop_in_the_bytes_of_pycocotools(seed: int) -> None:
    random = np.random.default_rng(seed)
    side = int(random.integers(4, 40))
    preprocessing = Preprocessing(side + int(random.integers(0, 9)), side, squash=bool(random.integers(2)))
    height, width = (int(value) for value in random.integers(1, 90, 2))
    mask = random.random((side, side)) < random.choice([0, 0.02, 0.5, 0.95, 1])
    view = preprocessing.analyzed_box(height, width)
    expected = by_loop(mask, view, height, width)
    placed = placed_mask(mask, view, height, width)
    if not expected.any():
        assert placed is None
        return
    assert np.array_equal(coco_mask.decode(placed.segmentation), expected)
    theirs = coco_mask.encode(np.asfortranarray(expected.astype(np.uint8)))
    assert placed.segmentation == {"size": [height, width], "counts": theirs["counts"].decode()}
    assert list(placed.box) == coco_mask.toBbox(theirs).tolist()
    assert placed.area == expected.sum()
    x, y, box_width, box_height = placed.box
    photograph = type("Sized", (), {"view": view, "height": height, "width": width})
    region = PlacedRegion(photograph, 0, placed, mask, None)
    assert np.array_equal(mask_in_box(region), expected[y : y + box_height, x : x + box_width])


def test_a_square_twice_enlarged_by_hand() -> None:
    """A photograph of 6 × 2 pixels of which the square of 4 × 4 shows the middle 2 × 2."""
    mask = np.zeros((4, 4), bool)
    mask[2:, :2] = True
    placed = placed_mask(mask, (2.0, 0.0, 4.0, 2.0), 2, 6)
    assert (placed.box, placed.area) == ((2, 1, 1, 1), 1)
    assert placed_points([0, 2, 2, 4], (2.0, 0.0, 4.0, 2.0), 4) == [2.0, 1.0, 3.0, 2.0]
    first, places = seen_pixels(6, 2.0, 4.0, 4)
    assert (first, places.tolist()) == (2, [1, 3])


def test_large_photographs_cost_no_more_memory_than_their_edges() -> None:
    """30,000 × 20,000 pixels are 600 MB as a mask."""
    mask = np.zeros((224, 224), bool)
    mask[50:100, 50:100] = True
    tracemalloc.start()
    placed = placed_mask(mask, (0.0, 0.0, 30_000.0, 20_000.0), 20_000, 30_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert placed.area == pytest.approx(600_000_000 * (50 / 224) ** 2, rel=0.01)
    assert peak < 150_000_000


def test_area_of_a_triangle() -> None:
    assert polygon_area([0, 0, 4, 0, 0, 3]) == 6
