"""Lengths in pixels: as published at 224 px, and the same share of an image at every other size."""

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest
import scipy.ndimage
import torch
from torch import Tensor
from torch.nn import functional

from visual_summaries.pipeline.explain.crisp import PRESETS, CrispMasks, CrispSettings
from visual_summaries.pipeline.explain.interface import Explainer
from visual_summaries.pipeline.explain.lengths import pixels
from visual_summaries.pipeline.explain.lime import Lime, superpixels
from visual_summaries.pipeline.explain.meaningful import MeaningfulPerturbation, ThresholdedPerturbation
from visual_summaries.pipeline.explain.occlusion import Occlusion
from visual_summaries.pipeline.explain.perturbation import PERTURBATIONS

SIDES = (32, 96, 384, 512)


def test_a_length_is_a_share_of_the_shorter_side() -> None:
    for published in (1, 3.0, 5, 10.0, 11, 16, 32):
        assert pixels(published, 224, 224) == pixels(published, 224, 448) == published
    assert pixels(32, 448, 448) == 64 and pixels(32, 512, 112) == 16
    assert pixels(3.0, 32, 32) == pytest.approx(3 / 7)
    assert pixels(3.0, 32, 32, least=1) == 1
    assert pixels(0.0, 32, 32, least=1) == 0


def photograph_like(side: int) -> Tensor:
    """Colors whose contrast is spread over all lengths, as a photograph's is: `[1,3,side,side]`."""
    generator = torch.Generator().manual_seed(1)
    frequencies = torch.fft.fftfreq(896)
    distance = torch.hypot(frequencies[:, None], frequencies).clamp_min(1 / 896)
    white = torch.randn(3, 896, 896, generator=generator)
    image = torch.fft.ifft2(torch.fft.fft2(white) / distance).real
    image = (0.5 + 0.15 * (image - image.mean()) / image.std()).clamp(0, 1)
    return functional.interpolate(image[None], size=(side, side), mode="bilinear", antialias=True)


def removed(name: str, image: Tensor) -> Tensor:
    perturbation = PERTURBATIONS[name]
    return perturbation.apply(perturbation.prepare(image), torch.zeros_like(image[:, :1]))


def contrast_left(name: str, image: Tensor) -> float:
    """Share of the contrast within tiles of a quarter of the side that is left when everything is removed."""
    tile = image.shape[-1] // 4
    deviations = [
        picture.unfold(2, tile, tile).unfold(3, tile, tile).std(dim=(4, 5)).mean()
        for picture in (removed(name, image), image)
    ]
    return float(deviations[0] / deviations[1])


def test_what_is_removed_at_224_px_is_as_published() -> None:
    """OpenCV's Gaussian of 11×11 pixels, and SciPy's of σ = 10, both with σ = 10."""
    image = photograph_like(224)
    pixels_last = image[0].permute(1, 2, 0).numpy()
    torch.testing.assert_close(
        removed("authors", image)[0].permute(1, 2, 0),
        torch.from_numpy(cv2.GaussianBlur(pixels_last, (11, 11), 10)),
        rtol=0,
        atol=2e-6,
    )
    expected = scipy.ndimage.gaussian_filter(image[0].numpy(), (0, 10, 10), mode="mirror", radius=(0, 40, 40))
    np.testing.assert_allclose(removed("paper", image)[0].numpy(), expected, atol=2e-6)


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_a_picture_loses_as_much_contrast_at_every_size(name: str) -> None:
    image = photograph_like(224)
    published = contrast_left(name, image)
    for side in (192, 256, 299, 384, 448, 512):
        large = functional.interpolate(image, size=(side, side), mode="bicubic", antialias=True).clamp(0, 1)
        assert contrast_left(name, large) == pytest.approx(published, rel=0.04), side


def test_a_small_picture_loses_as_much_contrast_too() -> None:
    """The authors' kernel would be 1.6 pixels at 32 px, and remove next to nothing."""
    published = contrast_left("authors", photograph_like(224))
    for side in (32, 48, 64, 80, 96):
        assert contrast_left("authors", photograph_like(side)) == pytest.approx(published, abs=0.1), side


class Planted:
    """Class 1 by the contrast of what, at a 32nd of the side, is a field of random colors in a gray image."""

    def __init__(self) -> None:
        self.baseline = torch.full((3,), 0.5)

    def logits(self, images: Tensor) -> Tensor:
        small = functional.adaptive_avg_pool2d(images, 32)
        contrast = (small.diff(dim=2).square().mean(dim=(1, 2, 3)) + small.diff(dim=3).square().mean(dim=(1, 2, 3))) / 2
        return torch.stack([torch.zeros_like(contrast), 240 * contrast - 6], dim=1)


def planted(side: int) -> tuple[Tensor, Tensor]:
    """An image `[1,3,side,side]` with a field of random colors, and where that is, `[side,side]` bool."""
    small = torch.full((1, 3, 32, 32), 0.5)
    small[:, :, 6:16, 18:28] = torch.rand(1, 3, 10, 10, generator=torch.Generator().manual_seed(4)).round()
    field = torch.zeros(1, 1, 32, 32)
    field[:, :, 6:16, 18:28] = 1
    return tuple(functional.interpolate(values, size=(side, side), mode="nearest") for values in (small, field))


def few_steps(preset: str) -> CrispSettings:
    settings = PRESETS[preset]
    return replace(settings, rough=replace(settings.rough, iterations=25), crisp=replace(settings.crisp, iterations=15))


MAKERS: dict[str, Callable[[], Explainer]] = {
    "crisp, fast": lambda: CrispMasks("fast"),
    "crisp, authors": lambda: CrispMasks(few_steps("authors")),
    "crisp, paper": lambda: CrispMasks(few_steps("paper")),
    "meaningful perturbation": lambda: MeaningfulPerturbation(few_steps("authors")),
    "thresholded perturbation": lambda: ThresholdedPerturbation(few_steps("authors")),
    "occlusion": Occlusion,
    "lime": lambda: Lime(samples=60),
}


def explained(name: str, side: int) -> tuple[Tensor, Tensor]:
    """The map of the planted field and where the field is, both on 32 by 32 cells."""
    image, field = planted(side)
    found = MAKERS[name]().explain(Planted(), image, torch.tensor([1]), [torch.Generator().manual_seed(0)])
    assert found.score_before > 0.99
    if found.score_after is not None:
        assert found.score_after < 0.5 * found.score_before
    return tuple(functional.adaptive_avg_pool2d(values, 32)[0, 0] for values in (found.saliency, field))


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("name", MAKERS)
def test_a_planted_field_is_found_at_every_size(name: str, side: int) -> None:
    saliency, field = explained(name, side)
    field = field > 0.5
    # A window or superpixel reaches beyond the field.
    around = functional.max_pool2d(field[None, None].float(), 9, 1, 4)[0, 0] > 0.5
    row, column = divmod(int(saliency.argmax()), 32)
    assert around[row, column]
    assert saliency[field].mean() > 0.15
    assert saliency[field].mean() > 4 * saliency[~around].mean()


def test_windows_have_the_same_places_at_every_size() -> None:
    """An image of twice the size has the map of twice the size: window and stride are the same shares of it."""
    image, _ = planted(224)
    small = Occlusion().explain(Planted(), image, torch.tensor([1]))
    large = functional.interpolate(image, scale_factor=2, mode="nearest")
    found = Occlusion().explain(Planted(), large, torch.tensor([1]))
    expected = functional.interpolate(small.saliency, scale_factor=2, mode="nearest")
    torch.testing.assert_close(found.saliency, expected, rtol=1e-3, atol=1e-4)
    assert small.iterations.tolist() == found.iterations.tolist() == [13 * 13 + 1] == [Occlusion().passes]


@pytest.mark.parametrize("side", (2, 8, 32, 33, 96, 100, 299, 331, 384, 512))
@pytest.mark.parametrize(("window", "stride"), [(32, 16), (17, 17), (1, 1), (223, 5)])
def test_windows_leave_no_pixel_out_and_are_no_more_than_counted(window: int, stride: int, side: int) -> None:
    """By a loop over the places of Captum's windows, which end with the image."""
    explainer = Occlusion(window, stride)
    width, step = explainer._lengths((side, side))
    assert 1 <= step <= width < side
    hidden, windows, start = np.zeros(side, dtype=bool), 0, 0
    while not hidden[-1]:
        hidden[start : start + width] = True
        start, windows = start + step, windows + 1
    assert hidden.all() and explainer._windows((side, side)) == windows**2
    if (window, stride) == (32, 16):
        assert windows**2 < explainer.passes


@pytest.mark.parametrize("side", (32, 96, 224, 384))
def test_as_many_superpixels_at_every_size(side: int) -> None:
    """Seven by seven squares where nothing tells pixels from each other; they begin at whole pixels, so that at 32 px
    six of 5 px stand for seven of 4.6."""
    labels = superpixels(torch.full((3, side, side), 0.5), pixels(32, side, side))
    assert labels.shape == (side, side) and len(labels.unique()) == (36 if side == 32 else 49)


def test_lengths_that_hide_everything_are_refused() -> None:
    with pytest.raises(ValueError, match="whole image of 224 px"):
        Occlusion(window=224)
    with pytest.raises(ValueError, match="whole image of 224 px"):
        Lime(superpixel=150)
