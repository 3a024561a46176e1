"""Gaussian blurs as small matrices: exact at the borders, the same code on every device.

Shapes: B images, C channels, H by W pixels, L blur levels.
"""

import functools
import math

import torch
from torch import Tensor
from torch.nn import functional


def gaussian_matrix(
    size: int,
    sigma: float,
    radius: int | None = None,
    padding: str = "mirror",
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Matrix `[size,size]` that blurs a vector of `size` pixels with a truncated, normalized Gaussian.

    Args:
        sigma: standard deviation in pixels; 0 gives the identity.
        radius: taps on each side; `None` takes 4 sigma, rounded.
        padding: `mirror` (…c b | a b c…, as OpenCV's default) or `edge` (a a | a b c).
    """
    if sigma <= 0:
        return torch.eye(size, device=device, dtype=dtype)
    radius = round(4 * sigma) if radius is None else radius
    offsets = torch.arange(-radius, radius + 1)
    weights = torch.exp(-0.5 * (offsets.double() / sigma) ** 2)
    weights /= weights.sum()
    source = torch.arange(size)[:, None] + offsets[None, :]
    if padding == "mirror" and size > 1:
        period = 2 * (size - 1)
        source = source.remainder(period)
        source = torch.minimum(source, period - source)
    elif padding in ("edge", "mirror"):
        source = source.clamp(0, size - 1)
    else:
        raise ValueError(f"padding must be 'mirror' or 'edge', got {padding!r}")
    matrix = torch.zeros(size, size, dtype=torch.float64)
    matrix.scatter_add_(1, source, weights.expand_as(source).contiguous())
    return matrix.to(device=device, dtype=dtype)


def bilinear_matrix(cells: int, size: int) -> Tensor:
    """Matrix `[size,cells]` float64 that enlarges a vector of `cells` values to `size` pixels, bilinearly."""
    identity = torch.eye(cells, dtype=torch.float64)[None]
    return functional.interpolate(identity, size=size, mode="linear", align_corners=False)[0].T


def gaussian_blur(images: Tensor, sigma: float, radius: int | None = None, padding: str = "mirror") -> Tensor:
    """Blur `[…,H,W]` float images with one Gaussian of `sigma` pixels, separably."""
    height, width = images.shape[-2:]
    options = {"device": images.device, "dtype": images.dtype}
    rows = gaussian_matrix(height, sigma, radius, padding, **options)
    columns = gaussian_matrix(width, sigma, radius, padding, **options)
    return rows @ images @ columns.T


# Shares of the widest blur that the pyramid holds: denser near zero, where an image changes fastest.
LEVELS = (0.0, 0.035, 0.06, 0.085, 0.12, 0.16, 0.21, 0.27, 0.34, 0.44, 0.56, 0.7, 0.85, 1.0)


def blur_pyramid(images: Tensor, maximum_sigma: float) -> Tensor:
    """Copies of `images` `[B,C,H,W]` blurred at each of `LEVELS`, in shares of `maximum_sigma`: `[B,L,C,H,W]`."""
    return torch.stack([gaussian_blur(images, maximum_sigma * level) for level in LEVELS], dim=1)


@functools.cache
def _levels(device: torch.device, dtype: torch.dtype) -> Tensor:
    # Once per device: a copy to a GPU at every step would wait for it.
    return torch.tensor(LEVELS, device=device, dtype=dtype)


def varying_blur(pyramid: Tensor, amount: Tensor) -> Tensor:
    """A Gaussian blur whose width differs from pixel to pixel, `[B,C,H,W]`, differentiable in `amount`.

    The paper's Φ (visual summaries, below eq. 1): each output pixel u is the Gaussian mean of the image with
    standard deviation `maximum_sigma · amount(u)`, here interpolated linearly in sigma between the levels of
    `pyramid` `[B,L,C,H,W]`. `amount` is `[B,1,H,W]` in [0,1].
    """
    channels = pyramid.shape[2]
    levels = _levels(amount.device, amount.dtype)
    lower = (torch.bucketize(amount.detach(), levels, right=True) - 1).clamp(0, len(LEVELS) - 2)
    share = (amount - levels[lower]) / (levels[lower + 1] - levels[lower])
    index = lower[:, :, None].expand(-1, -1, channels, -1, -1)
    below = pyramid.gather(1, index).squeeze(1)
    above = pyramid.gather(1, index + 1).squeeze(1)
    return below + share * (above - below)


def inscribed_disc(size: int, *, device: torch.device | str | None = None) -> Tensor:
    """Boolean `[size,size]`, true inside the largest disc that fits the square."""
    center = (size - 1) / 2
    axis = torch.arange(size, device=device) - center
    return torch.hypot(axis[:, None], axis[None, :]) <= math.floor(size / 2)
