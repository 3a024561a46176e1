"""Gaussian blurs as small matrices: exact at the borders, the same code on every device.

Shapes: B images, C channels, H by W pixels, L blur levels.
"""

import math

import torch
from torch import Tensor


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


def gaussian_blur(images: Tensor, sigma: float, radius: int | None = None, padding: str = "mirror") -> Tensor:
    """Blur `[…,H,W]` float images with one Gaussian of `sigma` pixels, separably."""
    height, width = images.shape[-2:]
    options = {"device": images.device, "dtype": images.dtype}
    rows = gaussian_matrix(height, sigma, radius, padding, **options)
    columns = gaussian_matrix(width, sigma, radius, padding, **options)
    return rows @ images @ columns.T


class VaryingBlur:
    """A Gaussian blur whose width differs from pixel to pixel, by interpolation in a blur pyramid.

    The paper's Φ (visual summaries, below eq. 1): each output pixel u is the Gaussian mean of the image with
    standard deviation `maximum_sigma · amount(u)`. Blurred copies at fixed widths are interpolated linearly
    in sigma. Widths lie denser near zero, where an image changes fastest.
    """

    LEVELS = (0.0, 0.035, 0.06, 0.085, 0.12, 0.16, 0.21, 0.27, 0.34, 0.44, 0.56, 0.7, 0.85, 1.0)

    def __init__(self, images: Tensor, maximum_sigma: float = 10.0) -> None:
        """Prepare the pyramid of `images` `[B,C,H,W]`; it takes L times their memory."""
        self.levels = torch.tensor(self.LEVELS, device=images.device, dtype=images.dtype)
        self.pyramid = torch.stack(
            [gaussian_blur(images, maximum_sigma * level) for level in self.LEVELS], dim=1
        )

    def __call__(self, amount: Tensor) -> Tensor:
        """Blur by `amount` `[B,1,H,W]` in [0,1], a share of the maximum sigma; gives `[B,C,H,W]`."""
        channels = self.pyramid.shape[2]
        lower = (torch.bucketize(amount.detach(), self.levels, right=True) - 1).clamp(0, len(self.LEVELS) - 2)
        share = (amount - self.levels[lower]) / (self.levels[lower + 1] - self.levels[lower])
        index = lower[:, :, None].expand(-1, -1, channels, -1, -1)
        below = self.pyramid.gather(1, index).squeeze(1)
        above = self.pyramid.gather(1, index + 1).squeeze(1)
        return below + share * (above - below)


def inscribed_disc(size: int, *, device: torch.device | str | None = None) -> Tensor:
    """Boolean `[size,size]`, true inside the largest disc that fits the square."""
    center = (size - 1) / 2
    axis = torch.arange(size, device=device) - center
    return torch.hypot(axis[:, None], axis[None, :]) <= math.floor(size / 2)
