import numpy as np
import pytest
from scipy.ndimage import binary_dilation
from skimage.measure import label

from visual_summaries.pipeline.summarize.candidates import (
    Candidate,
    box_of_cells,
    candidate_of_boxes,
    candidate_of_cells,
    cell_shares,
    largest_pieces,
)


@pytest.mark.parametrize(("height", "width", "grid"), [(24, 24, 8), (24, 36, 12), (25, 17, 7), (5, 6, 8)])
def test_shares_of_cells_equal_the_areas_counted_finely(height: int, width: int, grid: int) -> None:
    masks = np.random.default_rng(0).random((3, height, width)) < 0.4
    fine = masks.repeat(grid, axis=1).repeat(grid, axis=2).astype(float)
    expected = fine.reshape(3, grid, height, grid, width).mean(axis=(2, 4))
    np.testing.assert_allclose(cell_shares(masks, grid), expected, atol=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_largest_pieces_equal_scikit_image(seed: int) -> None:
    random = np.random.default_rng(seed)
    cells, weights = random.random((5, 12, 12)) < 0.4, random.random((5, 12, 12))
    cells[2] = False
    for found, one, weight in zip(largest_pieces(cells, weights), cells, weights, strict=True):
        labels = label(one, connectivity=2)
        sums = [weight[labels == value].sum() for value in range(1, labels.max() + 1)]
        np.testing.assert_array_equal(found, labels == 1 + int(np.argmax(sums)) if sums else one)


@pytest.mark.parametrize("gap", [2, 4])
def test_pieces_across_a_gap_equal_those_of_scipys_dilation(gap: int) -> None:
    random = np.random.default_rng(gap)
    cells, weights = random.random((6, 12, 9)) < 0.08, random.random((6, 12, 9))
    cells[3, 0, [0, -1]] = cells[3, -1, [0, -1]] = True
    for found, one, weight in zip(largest_pieces(cells, weights, gap), cells, weights, strict=True):
        labels = label(binary_dilation(one, np.ones((3, 3)), gap // 2), connectivity=2)
        sums = [weight[one & (labels == value)].sum() for value in range(1, labels.max() + 1)]
        np.testing.assert_array_equal(found, one & (labels == 1 + int(np.argmax(sums))))


def test_boxes_are_tight_around_the_salient_pixels_of_the_cells() -> None:
    segment = np.zeros((5, 5), dtype=bool)
    segment[1:3, 2] = True
    mask = np.zeros((20, 30), dtype=bool)
    assert box_of_cells(segment, mask).tolist() == [12, 4, 18, 12]
    mask[6:8, 13:29] = True
    assert box_of_cells(segment, mask).tolist() == [13, 6, 18, 8]
    # More cells than pixels: the box is that of the cells.
    assert box_of_cells(segment, np.ones((2, 2), bool)).shape == (4,)


def test_candidates_of_cells_and_of_boxes() -> None:
    cells = np.zeros((3, 4, 4), dtype=bool)
    cells[0, 0, 0] = cells[2, 1:3, 1:3] = True
    masks = np.ones((3, 8, 8), dtype=bool)
    found = candidate_of_cells("x", cells, masks)
    assert (found.images.tolist(), found.boxes.tolist()) == ([2], [[2, 2, 6, 6]])
    boxes = np.array([[0, 0, 4, 4], [4, 4, 8, 8], [2, 0, 6, 8]])
    found = candidate_of_boxes("clusters", [5, 1, 5], boxes, (8, 8), 4)
    assert found.images.tolist() == [1, 5]
    assert found.boxes.tolist() == [[4, 4, 8, 8], [0, 0, 4, 4]]
    assert [np.argwhere(segment).tolist() for segment in found.segments] == [
        [[2, 2], [2, 3], [3, 2], [3, 3]],
        [[0, 0], [0, 1], [1, 0], [1, 1]],
    ]


def test_one_member_an_image() -> None:
    boxes, segments = np.zeros((2, 4), np.float32), np.zeros((2, 3, 3), bool)
    with pytest.raises(ValueError, match="at most one member"):
        Candidate("x", np.array([4, 4]), boxes, segments)
    with pytest.raises(ValueError, match="boxes"):
        Candidate("x", np.array([1, 2, 3]), boxes, segments)


def test_pieces_across_a_gap_are_one() -> None:
    cells = np.zeros((7, 9), dtype=bool)
    cells[1, [0, 3]] = cells[1, [6, 7, 8]] = True
    cells[5, :3] = True
    np.testing.assert_array_equal(largest_pieces(cells[None], gap=2)[0], cells & (np.arange(7) == 1)[:, None])
    assert np.argwhere(largest_pieces(cells[None])[0]).tolist() == [[1, 6], [1, 7], [1, 8]]


def test_of_equally_large_pieces_the_first_counts() -> None:
    cells = np.zeros((2, 5, 5), dtype=bool)
    cells[0, 4, :2] = cells[0, 0, 3:] = cells[1, 2, 2] = True
    assert np.argwhere(largest_pieces(cells)).tolist() == [[0, 0, 3], [0, 0, 4], [1, 2, 2]]
