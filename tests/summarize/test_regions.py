import numpy as np
import pytest
from scipy import ndimage
from skimage.measure import label

from visual_summaries.pipeline.summarize.regions import (
    decode_run_length,
    encode_run_length,
    salient_pixels,
    salient_regions,
)


def blobs(seed: int, shape: tuple[int, int] = (60, 80)) -> np.ndarray:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).random(shape), 2)
    return ((noise - noise.min()) / np.ptp(noise)).astype(np.float32)


@pytest.mark.parametrize("seed", range(3))
def test_regions_equal_scikit_image_labels(seed: int) -> None:
    saliency = blobs(seed)
    labels = label(saliency > 0.6, connectivity=2)
    masks = [labels == value for value in range(1, labels.max() + 1)]
    expected = sorted((m for m in masks if m.sum() >= 0.01 * m.size), key=lambda m: (-m.sum(), m.argmax()))
    regions = salient_regions(saliency, threshold=0.6)
    assert len(regions) == len(expected) >= 2
    for index, (region, mask) in enumerate(zip(regions, expected, strict=True)):
        assert region.index == index
        assert region.area == mask.sum()
        np.testing.assert_array_equal(region.mask, mask)
        rows, columns = ndimage.find_objects(mask.astype(int))[0]
        assert region.box.dtype == np.float32
        assert region.box.tolist() == [columns.start, rows.start, columns.stop, rows.stop]


def test_diagonal_neighbors_are_one_region_and_ties_go_row_by_row() -> None:
    saliency = np.zeros((20, 20))
    saliency[12, 3] = saliency[13, 4] = 1.0
    saliency[2, 15] = saliency[2, 16] = 0.9
    saliency[8, 8] = saliency[8, 9] = 0.5
    regions = salient_regions(saliency, minimum_area=0)
    assert [region.box.tolist() for region in regions] == [[15, 2, 17, 3], [3, 12, 5, 14]]


def test_minimum_area_is_inclusive() -> None:
    saliency = np.zeros((10, 20))
    saliency[0, :2] = 1.0
    assert [region.area for region in salient_regions(saliency, minimum_area=0.01)] == [2]
    assert salient_regions(saliency, minimum_area=0.011) == []
    assert salient_regions(np.zeros((0, 4))) == []


def test_saliency_errors() -> None:
    with pytest.raises(ValueError, match="floating"):
        salient_regions(np.zeros((4, 4), np.uint8))
    with pytest.raises(ValueError, match="not finite"):
        salient_regions(np.full((4, 4), np.nan))


def test_run_lengths_of_known_masks() -> None:
    mask = np.array([[False, True, True], [True, False, False]])
    assert encode_run_length(mask).tolist() == [1, 3, 2]
    assert encode_run_length(~mask).tolist() == [0, 1, 3, 2]
    assert encode_run_length(np.ones((2, 2), bool)).tolist() == [0, 4]
    assert encode_run_length(np.zeros((2, 2), bool)).tolist() == [4]
    assert encode_run_length(mask).dtype == np.int32


@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (1, 40), (40, 1), (0, 3)])
def test_run_lengths_round_trip(shape: tuple[int, int]) -> None:
    generator = np.random.default_rng(3)
    for share in (0.0, 0.1, 0.5, 1.0):
        mask = generator.random(shape) < share
        np.testing.assert_array_equal(decode_run_length(encode_run_length(mask), shape), mask)


def test_run_length_errors() -> None:
    with pytest.raises(ValueError, match="another shape"):
        decode_run_length([1, 3, 2], (3, 3))
    with pytest.raises(ValueError, match="negative"):
        decode_run_length([5, -1], (2, 2))
    with pytest.raises(ValueError, match="bool"):
        encode_run_length(np.zeros((2, 2)))


def test_soft_maps_are_cut_by_share() -> None:
    """The highest tenth, fewer where pixels at the cut are equal, none of an empty map."""
    ramp = np.arange(100, dtype=np.float64).reshape(10, 10) / 100
    found = salient_pixels(ramp, share=0.1)
    assert found.sum() == 10 and found[9].all()
    steps = np.repeat([0.0, 0.2, 0.9], [50, 46, 4]).reshape(10, 10)
    assert salient_pixels(steps, share=0.25).sum() == 4
    sparse = np.zeros((10, 10))
    sparse[2, 3] = 0.1
    assert salient_pixels(sparse, share=0.5).sum() == 1
    assert not salient_pixels(np.zeros((10, 10)), share=0.5).any()
    # The plateau of a map that was enlarged from few cells is larger than the share, and all that is salient.
    plateau = np.zeros((10, 10))
    plateau[:5, :5], plateau[5:] = 1.0, 0.3
    assert (salient_pixels(plateau, share=0.1) == (plateau == 1)).all()
    assert not salient_pixels(np.ones((10, 10)), share=0.1).any()
    assert not salient_pixels(np.full((10, 10), 0.5)).any() and salient_pixels(np.full((10, 10), 0.51)).all()


def test_fine_lines_are_joined_by_smoothing() -> None:
    """A grid of single pixels every fourth pixel: dust before, one region after."""
    lines = np.zeros((64, 64))
    lines[16:48:4, 16:48:4] = 1
    assert salient_regions(salient_pixels(lines).astype(np.float64)) == []
    (region,) = salient_regions(salient_pixels(lines, smoothing=4, share=0.2).astype(np.float64))
    assert region.area == pytest.approx(0.2 * 64 * 64, rel=0.02)
    assert (np.abs(region.box - [16, 16, 46, 46]) <= 4).all()
