"""Preprocessing against torchvision's own preset, and its geometry against pictures whose pixels say where "
"they are."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import Inception_V3_Weights, Swin_T_Weights

from visual_summaries.pipeline.models.preprocessing import Preprocessing


def random_image(height: int, width: int) -> np.ndarray:
    """Noise over a smooth picture: details that a wrong interpolation would change."""
    generator = np.random.default_rng(height * 10_000 + width)
    vertical, horizontal = np.mgrid[0:height, 0:width]
    smooth = np.stack([vertical * 200 / height, horizontal * 200 / width, (vertical + horizontal) % 200], axis=2)
    return (smooth + generator.integers(0, 55, (height, width, 3))).astype(np.uint8)


@pytest.mark.parametrize("size", [(300, 400), (500, 231), (224, 224), (100, 90), (31, 257)])
@pytest.mark.parametrize("weights", [Inception_V3_Weights.IMAGENET1K_V1, Swin_T_Weights.IMAGENET1K_V1])
def test_matches_torchvision_preset_on_a_pillow_image(size: tuple[int, int], weights: object) -> None:
    """The published way to prepare an image: Pillow resizes it. Only its fixed-point rounding may differ."""
    image = random_image(*size)
    preprocessing = Preprocessing.from_torchvision(weights)
    analyzed = preprocessing.analyzed_image(image)
    mean, std = (torch.tensor(values)[:, None, None] for values in (preprocessing.mean, preprocessing.std))
    expected = (weights.transforms()(Image.fromarray(image)) * std + mean) * 255
    difference = (analyzed - expected).abs()
    assert analyzed.dtype == torch.uint8
    assert difference.max() < 2.01
    assert (difference > 0.01).float().mean() < 0.02


@pytest.mark.parametrize("size", [(1, 1), (1, 20_000), (20_000, 1), (2, 30_001), (3, 7), (5000, 5)])
@pytest.mark.parametrize("squash", [False, True])
def test_extreme_images(size: tuple[int, int], squash: bool) -> None:
    """A single color must come out as that color, in the right shape."""
    color = torch.tensor([200, 100, 50], dtype=torch.uint8)
    analyzed = Preprocessing(squash=squash).analyzed_image(color.expand(*size, 3))
    assert analyzed.shape == (3, 224, 224)
    assert (analyzed == color[:, None, None]).all()


@pytest.mark.parametrize("size", [(300, 400), (231, 230), (700, 240)])
def test_a_margin_is_what_lies_beside(size: tuple[int, int]) -> None:
    image = random_image(*size)
    # A larger crop of the same picture, as far as it reaches.
    expected = Preprocessing(256, 236).analyzed_image(image)
    assert torch.equal(Preprocessing(256, 224).analyzed_image(image, margin=6), expected)
    plain = Preprocessing(64, 64).analyzed_image(image)
    wide = Preprocessing(64, 64).analyzed_image(image, margin=3)
    assert torch.equal(wide[:, 3:-3, 3:-3], plain)
    shorter = 1 if size[0] < size[1] else 2
    ends = wide.movedim(shorter, 0)
    assert torch.equal(ends[:3], ends[4:7].flip(0)) and torch.equal(ends[-3:], ends[-7:-4].flip(0))
    squashed = Preprocessing(64, 64, squash=True).analyzed_image(image)
    mirrored = np.pad(squashed.numpy(), ((0, 0), (2, 2), (2, 2)), mode="reflect")
    found = Preprocessing(64, 64, squash=True).analyzed_image(image, margin=2)
    np.testing.assert_array_equal(found.numpy(), mirrored)


def test_long_image_shows_its_middle() -> None:
    line = np.zeros((1, 20_001, 3), np.uint8)
    line[0, 10_000] = 255
    analyzed = Preprocessing(resize_side=224).analyzed_image(line)
    bright = analyzed[0, 0].float()
    center = (bright * torch.arange(224)).sum() / bright.sum()
    assert center.item() == pytest.approx(111.5, abs=1.0)


@pytest.mark.parametrize("size", [(300, 400), (700, 250), (20, 2000), (1501, 16)])
@pytest.mark.parametrize("squash", [False, True])
def test_analyzed_box_is_what_the_analyzed_image_shows(size: tuple[int, int], squash: bool) -> None:
    """In a picture whose brightness is its coordinate, the analyzed image must run over the box's "
    "coordinates."""
    preprocessing = Preprocessing(squash=squash)
    height, width = size
    box = preprocessing.analyzed_box(height, width)
    for axis, (low, high) in enumerate(((box[1], box[3]), (box[0], box[2]))):
        # The coordinate over the box's range only, so that 8 bits resolve it.
        start, stop = max(low - 2, 0), min(high + 2, size[axis])
        ramp = np.clip((np.arange(size[axis]) + 0.5 - start) / (stop - start), 0, 1) * 255
        image = np.broadcast_to(
            (ramp[:, None] if axis == 0 else ramp[None, :])[..., None].round().astype(np.uint8), (*size, 3)
        )
        shown = preprocessing.analyzed_image(image.copy())[0].float().mean(dim=1 - axis)
        seen = start + shown / 255 * (stop - start)
        expected = low + (torch.arange(224) + 0.5) * (high - low) / 224
        tolerance = 0.02 * (stop - start)
        assert (seen - expected)[20:-20].abs().max() < tolerance


def test_read_only_array_and_original_untouched() -> None:
    image = random_image(50, 60)
    image.flags.writeable = False
    before = image.copy()
    assert Preprocessing(64, 32).analyzed_image(image).shape == (3, 32, 32)
    assert (image == before).all()


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"resize_side": 200}, "crop_side 224"),
        ({"crop_side": 0}, "at least 1"),
        ({"std": (1, 0, 1)}, "positive"),
        ({"mean": (1, 2)}, "there are 2 and 3"),
        ({"interpolation": "cubic"}, "bicubic"),
    ],
)
def test_impossible_settings(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Preprocessing(**settings)


@pytest.mark.parametrize("shape", [(10, 10), (3, 10, 10), (0, 5, 3), (4, 4, 4)])
def test_refuses_other_arrays(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="uint8"):
        Preprocessing().analyzed_image(np.zeros(shape, np.uint8))
    with pytest.raises(ValueError, match="uint8"):
        Preprocessing().analyzed_image(np.zeros((8, 8, 3), np.float32))
