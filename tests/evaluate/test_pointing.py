"""The pointing game, protocol torchray, with boxes on the border of the tolerance."""

import numpy as np
import pytest
import torch
from torch import Tensor

from visual_summaries.pipeline.evaluate.localization import box_mask
from visual_summaries.pipeline.evaluate.pointing import (
    mean_class_accuracy,
    near_objects,
    small_objects,
    torchray_hits,
    torchray_points,
)


def objects(*boxes: tuple[float, float, float, float]) -> Tensor:
    """One box for each of the images of 60×80."""
    return torch.stack([torch.from_numpy(box_mask(np.array([box]), 60, 80)) for box in boxes])


def test_the_maximum_of_the_resized_map() -> None:
    maps = torch.zeros(3, 20, 40)
    maps[0, 4, 7], maps[1, 0, 39] = 1, 2
    maps[2, 5, 1] = maps[2, 4, 30] = 1
    # Three times as high and as wide: the middle of a pixel's nine keeps its value.
    assert torchray_points(maps, (60, 120)).tolist() == [[22.5, 13.5], [118.5, 0.5], [91.5, 13.5]]
    assert torchray_points(maps, (20, 40)).tolist() == [[7.5, 4.5], [39.5, 0.5], [30.5, 4.5]]
    assert torchray_points(torch.zeros(1, 4, 4), (9, 9)).tolist() == [[0.5, 0.5]]


def test_bilinear_resizing_moves_the_maximum_towards_the_larger_neighbor() -> None:
    maps = torch.tensor([[[0.0, 0.9, 1.0, 0.0]]])
    # Middles of 8 pixels lie at ±1/4 of the 4: 0.975 left of the maximum, 0.75 right of it.
    assert torchray_points(maps, (1, 8)).tolist() == [[4.5, 0.5]]
    assert torchray_points(maps.flip(2), (1, 8)).tolist() == [[3.5, 0.5]]


@pytest.mark.parametrize(
    "box, hit",
    [
        ((35, 10, 40, 30), False),  # first column 35: 15 pixels right of column 20
        ((34, 10, 40, 30), True),
        ((34.6, 10, 40, 30), False),  # the middle of column 34 is not in the box
        ((0, 10, 6, 30), False),  # last column 5
        ((0, 10, 7, 30), True),
        ((10, 35, 30, 40), False),  # first row 35
        ((10, 34, 30, 40), True),
        ((29, 32, 40, 40), False),  # 9 and 12 pixels away: 15
        ((29, 31, 40, 40), True),
        ((28, 32, 40, 40), True),
        ((15, 15, 25, 25), True),
    ],
)
def test_fifteen_pixels_are_a_miss(box: tuple[float, float, float, float], hit: bool) -> None:
    maps = torch.zeros(1, 60, 80)
    maps[0, 20, 20] = 1
    assert torchray_hits(maps, objects(box)).tolist() == [hit]


def test_a_batch_is_its_images() -> None:
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(12, 7, 9, generator=generator)
    masks = torch.rand(12, 60, 80, generator=generator) < 0.002
    points, hits = torchray_points(maps, (60, 80)), torchray_hits(maps, masks)
    for (x, y), mask, hit in zip(points.tolist(), masks, hits.tolist(), strict=True):
        distances = [np.hypot(c + 0.5 - x, r + 0.5 - y) for r, c in mask.nonzero().tolist()]
        assert hit == (min(distances) < 15)
    assert 0 < hits.sum() < 12
    assert not near_objects(points, torch.zeros_like(masks)).any()
    assert near_objects(points, masks, tolerance=200).all()


def test_accuracy_is_the_mean_over_classes() -> None:
    hits = np.array([True, True, False, True, False, False])
    classes = np.array([7, 7, 7, 7, 2, 2])
    assert mean_class_accuracy(hits, classes) == pytest.approx((3 / 4 + 0) / 2)
    small = np.array([True, False, True, False, False, False])
    assert mean_class_accuracy(hits, classes, small) == 0.5
    assert np.isnan(mean_class_accuracy(hits, classes, np.zeros(6, bool)))
    with pytest.raises(ValueError, match="must be"):
        mean_class_accuracy(hits, classes[:5])


def test_small_is_less_than_a_quarter() -> None:
    # 30·40 of 60·80 pixels are a quarter.
    assert small_objects(objects((0, 0, 40, 30), (0, 0, 40, 29), (5, 5, 79, 59))).tolist() == [False, True, False]


def test_wrong_input_is_refused() -> None:
    for wrong in (torch.zeros(1, 1, 4, 4), torch.full((1, 4, 4), torch.nan), torch.zeros(1, 0, 4)):
        with pytest.raises(ValueError, match="maps"):
            torchray_points(wrong, (8, 8))
    with pytest.raises(ValueError, match="objects"):
        near_objects(torch.zeros(1, 2), torch.zeros(1, 4, 4))
    with pytest.raises(ValueError, match="objects"):
        near_objects(torch.zeros(2, 2), torch.zeros(1, 4, 4, dtype=torch.bool))
