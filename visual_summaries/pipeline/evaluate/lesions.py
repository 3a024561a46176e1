"""Does a map find the lesions? Image-level sensitivity of a weakly supervised detector (FGVis §5.2, Table 3, after
Gondal et al., ICIP 2017).

The paper asks for an overlap of 25 % or 50 % "between proposed regions and ground truth" and says that a fine mask
covers little of a coarse annotation; overlap is therefore read as the share of an annotated region's pixels that is
detected. A lesion type is detected in an image if at least one of its regions there is.

Shapes: B images, R annotated regions of one lesion type in an image at most, H by W pixels.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

OVERLAPS = (0.25, 0.5)
"""Of Table 3."""


def region_overlaps(detected: Tensor, regions: Tensor) -> Tensor:
    """Share of each annotated region that is detected, `[B,R]` float64 in [0,1]; NaN for a region without pixels.

    Args:
        detected: `[B,H,W]` bool, what the detector proposes: a thresholded map.
        regions: `[B,R,H,W]` bool; images with fewer regions are filled up with empty ones.

    Raises:
        ValueError: shapes or dtypes do not fit.
    """
    shapes_fit = detected.ndim == 3 and regions.ndim == 4 and regions[:, :0].sum(dim=1).shape == detected.shape
    if not shapes_fit or {detected.dtype, regions.dtype} != {torch.bool}:
        raise ValueError(
            f"detected must be bool [B,H,W] and regions bool [B,R,H,W], got {detected.dtype} {tuple(detected.shape)} "
            f"and {regions.dtype} {tuple(regions.shape)}"
        )
    areas = regions.sum(dim=(2, 3)).double()
    return (regions & detected[:, None]).sum(dim=(2, 3)) / areas


def image_sensitivities(overlaps: np.ndarray, least: Sequence[float] = OVERLAPS) -> tuple[np.ndarray, int]:
    """Share of the images with the lesion type in which it is detected, for each required overlap: `[len(least)]`
    float64 in 0..1, and the number of those images. NaN without such images.

    Args:
        overlaps: `[B,R]` of `region_overlaps`, for one lesion type; an image with NaN alone does not have it.
        least: overlaps that suffice, in (0,1]; one that equals it suffices.

    Raises:
        ValueError: `overlaps` is not `[B,R]` or `least` not in (0,1].
    """
    overlaps, least = np.asarray(overlaps, dtype=np.float64), np.asarray(least, dtype=np.float64)
    if overlaps.ndim != 2 or not ((least > 0) & (least <= 1)).all():
        raise ValueError(f"overlaps must be [B,R] and least in (0, 1], got {overlaps.shape} and {least}")
    present = ~np.isnan(overlaps).all(axis=1)
    detected = (overlaps[present, :, None] >= least).any(axis=1)
    return (detected.mean(axis=0) if len(detected) else np.full(len(least), np.nan)), int(present.sum())
