"""Blurs against OpenCV, SciPy and a Gaussian evaluated pixel by pixel."""

import cv2
import numpy as np
import pytest
import scipy.ndimage
import torch

from visual_summaries.pipeline.explain.blur import (
    blur_pyramid,
    gaussian_blur,
    gaussian_matrix,
    inscribed_disc,
    varying_blur,
)


def test_authors_blur_is_opencvs() -> None:
    image = np.random.default_rng(0).random((37, 52, 3), dtype=np.float32)
    expected = cv2.GaussianBlur(image, (11, 11), 10)
    blurred = gaussian_blur(torch.from_numpy(image).permute(2, 0, 1), sigma=10.0, radius=5)
    assert np.abs(blurred.permute(1, 2, 0).numpy() - expected).max() < 1e-5


@pytest.mark.parametrize("size", [1, 3, 28, 65])
def test_mask_blur_is_scipys(size: int) -> None:
    values = np.random.default_rng(size).random(size)
    expected = scipy.ndimage.gaussian_filter1d(values, 5.0, mode="nearest", truncate=4.0)
    matrix = gaussian_matrix(size, 5.0, padding="edge", dtype=torch.float64)
    np.testing.assert_allclose(matrix.numpy() @ values, expected, atol=1e-12)


def test_unknown_padding_is_refused() -> None:
    with pytest.raises(ValueError, match="mirror"):
        gaussian_matrix(5, 1.0, padding="zeros")


def test_varying_blur_against_a_gaussian_at_every_pixel() -> None:
    """Bound of the pyramid's interpolation error, on white noise (the worst case) and on a smooth image."""
    side, maximum = 40, 10.0
    generator = np.random.default_rng(1)
    noise = generator.random((side, side))
    smooth = scipy.ndimage.gaussian_filter(noise, 2.0)
    smooth = (smooth - smooth.min()) / np.ptp(smooth)
    amount = generator.random((side, side))
    for image, bound in ((noise, 0.05), (smooth, 0.01)):
        expected = np.empty_like(image)
        for row in range(side):
            for column in range(side):
                sigma = maximum * amount[row, column]
                vertical = gaussian_matrix(side, sigma, dtype=torch.float64)[row].numpy()
                horizontal = gaussian_matrix(side, sigma, dtype=torch.float64)[column].numpy()
                expected[row, column] = vertical @ image @ horizontal
        blurred = varying_blur(
            blur_pyramid(torch.from_numpy(image)[None, None], maximum), torch.from_numpy(amount)[None, None]
        )
        assert np.abs(blurred[0, 0].numpy() - expected).max() < bound


def test_varying_blur_is_exact_at_its_ends_and_has_a_gradient() -> None:
    image = torch.rand(1, 3, 24, 24, dtype=torch.float64)
    amount = torch.full((1, 1, 24, 24), 0.5, dtype=torch.float64, requires_grad=True)
    pyramid = blur_pyramid(image, 10.0)
    torch.testing.assert_close(varying_blur(pyramid, torch.zeros_like(amount)), image)
    torch.testing.assert_close(varying_blur(pyramid, torch.ones_like(amount)), gaussian_blur(image, 10.0))
    assert torch.autograd.gradcheck(lambda values: varying_blur(pyramid, values), (amount,), atol=1e-6)


def test_disc_touches_the_sides_and_leaves_the_corners() -> None:
    disc = inscribed_disc(28)
    assert disc[0, 13] and disc[13, 0] and disc[27, 14] and not disc[0, 0] and not disc[27, 27]
    assert abs(disc.float().mean().item() - np.pi / 4) < 0.03
