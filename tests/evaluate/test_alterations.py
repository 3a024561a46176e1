"""Pictures without their frames and in balanced colors, against loops, Pillow and figures by hand."""

import numpy as np
import pytest
import torch
from PIL import Image

from visual_summaries.pipeline.evaluate.alterations import (
    ALTERATIONS,
    altered,
    cut_off_frame,
    leveled_colors,
    mirrored_frame,
    ring_width,
)


def pictures(height: int, width: int, count: int = 2) -> torch.Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(height + width))


def mirrored(place: int, ring: int, side: int) -> int:
    """Walk inward from the inside's edge as many pixels as a place lies outside of it."""
    first, last = ring, side - ring - 1
    while not first <= place <= last:
        place = 2 * first - place if place < first else 2 * last - place
    return place


@pytest.mark.parametrize(("height", "width", "ring"), [(32, 32, 2), (48, 20, 1), (9, 9, 1)])
def test_the_frame_is_its_inside_mirrored_outward(height: int, width: int, ring: int) -> None:
    before = pictures(height, width)
    after = mirrored_frame(before)
    assert ring_width(before) == ring and after.shape == before.shape
    for y in range(height):
        for x in range(width):
            expected = before[:, :, mirrored(y, ring, height), mirrored(x, ring, width)]
            assert torch.equal(after[:, :, y, x], expected), (y, x)


def test_the_frame_is_cut_off_and_the_inside_enlarged_as_pillow_does_it() -> None:
    before = pictures(40, 40, 1)
    after, ring = cut_off_frame(before)[0], 2
    assert ring_width(before) == ring
    for own, channel in zip(after, before[0], strict=True):
        inside = Image.fromarray(channel[ring:-ring, ring:-ring].numpy())
        enlarged = np.asarray(inside.resize((40, 40), Image.Resampling.BICUBIC))
        assert np.abs(own.numpy() - enlarged.clip(0, 1)).max() < 1e-4


@pytest.mark.parametrize("name", ["frame mirrored", "frame cut off"])
def test_nothing_of_a_frame_is_left(name: str) -> None:
    one, other = pictures(224, 224), pictures(224, 224)
    one[..., :14, :], one[..., -14:, :], one[..., :14], one[..., -14:] = 1, 1, 1, 1
    assert not torch.equal(one, other) and torch.equal(altered(one, name), altered(other, name))
    other[..., 15, 15] = 1 - other[..., 15, 15]
    assert not torch.equal(altered(one, name), altered(other, name))


def test_channels_are_stretched_from_half_a_percent_to_half_a_percent() -> None:
    # Of 400 pixels 2 may become black and 2 white: with 0, 0, 0.2, …, 0.6, 1, 1 these are 0.2 and 0.6.
    values = torch.cat([torch.zeros(2), torch.linspace(0.2, 0.6, 396), torch.ones(2)])
    shuffled = values[torch.randperm(400, generator=torch.Generator().manual_seed(1))]
    before = torch.stack([shuffled, shuffled * 0.5, torch.full((400,), 0.3)]).reshape(1, 3, 20, 20)
    after = leveled_colors(before)
    expected = ((before[0, 0] - 0.2) / 0.4).clamp(0, 1)
    assert torch.allclose(after[0, 0], expected, atol=1e-5)
    # A darker channel comes out as light, and one without contrast is left alone.
    assert torch.allclose(after[0, 1], expected, atol=1e-5) and torch.equal(after[0, 2], before[0, 2])


def test_a_cast_is_taken_away() -> None:
    before = pictures(32, 32)
    cast = before * torch.tensor([0.8, 0.6, 0.3]).view(1, 3, 1, 1) + torch.tensor([0.2, 0.1, 0.0]).view(1, 3, 1, 1)
    assert torch.allclose(leveled_colors(cast), leveled_colors(before), atol=1e-5)


@pytest.mark.parametrize("name", ALTERATIONS)
@pytest.mark.parametrize("side", [1, 2, 3])
def test_a_picture_of_few_pixels_is_no_reason_to_fail(name: str, side: int) -> None:
    after = altered(pictures(side, side), name)
    assert after.shape == (2, 3, side, side) and bool(((after >= 0) & (after <= 1)).all())
