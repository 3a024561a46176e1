"""Structural similarity (Wang, Bovik, Sheikh & Simoncelli, "Image quality assessment: from error visibility to
structural similarity", IEEE TIP 13, 2004, §III-B and III-C) of many pairs of pictures, by scikit-image.

Shapes: B pairs, H by W pixels.
"""

import numpy as np
from skimage.metrics import structural_similarity

_SIGMA = 1.5
_RADIUS = 5
SMALLEST_SIDE = 2 * _RADIUS + 1
"""Pixels of a window's side."""


def mean_ssim(pictures: np.ndarray, others: np.ndarray, data_range: float) -> np.ndarray:
    """Mean SSIM of each gray picture with its other: `[B]` float64 in −1..1.

    Gaussian windows with σ = 1.5, no sample covariance, mean over the pixels whose window fits.

    Args:
        pictures, others: `[B,H,W]` of the same shape, sides at least 11, float64.
        data_range: largest possible value minus the smallest.

    Raises:
        ValueError: sides less than 11, or shapes differ.
    """
    if pictures.ndim != 3 or min(pictures.shape[1:]) < SMALLEST_SIDE or pictures.shape != others.shape:
        raise ValueError(
            f"pictures must be [B,H,W] and of one shape, with sides of at least {SMALLEST_SIDE}, got {pictures.shape} "
            f"and {others.shape}"
        )
    if not len(pictures):
        return np.zeros(0)
    width = pictures.shape[2]
    # All pairs in one call, one below the other: the windows that reach over a seam are left out of the means anyway.
    _, similarity = structural_similarity(
        pictures.reshape(-1, width),
        others.reshape(-1, width),
        gaussian_weights=True,
        sigma=_SIGMA,
        use_sample_covariance=False,
        data_range=data_range,
        full=True,
    )
    inside = similarity.reshape(pictures.shape)[:, _RADIUS:-_RADIUS, _RADIUS:-_RADIUS]
    return inside.mean(axis=(1, 2))
