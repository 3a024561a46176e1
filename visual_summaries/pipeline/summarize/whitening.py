"""Whitened HOG similarity: decorrelation by the statistics of natural images.

Hariharan, Malik & Ramanan, "Discriminative decorrelation for clustering and classification", ECCV 2012, §2 (stationary
background covariance). With mean mu and covariance Sigma of all 8 x 8-cell windows, the appearance similarity of A and
B is max(0, (A - mu) Sigma^-1 (B - mu)^T). With Sigma = L L^T it is the dot product of L^-1 (A - mu) and L^-1 (B - mu),
each computed once per image. With Sigma = U diag(s) U^T it is equally that of diag(s)^-1/2 U^T (A - mu) and
diag(s)^-1/2 U^T (B - mu); here it is enough to keep the components of the largest s, the patterns that natural images
are mostly made of: 64 of 1,984 match as well as all, see `benchmarks/proposal_cost.py`.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import numpy as np
import torch
from scipy import linalg


@dataclass(frozen=True)
class Background:
    """First and second moments of HOG cells of natural images, alike everywhere in the image.

    mean: float64 [channels].
    covariance: float64 [offsets, channels, channels]; [k, p, q] is the covariance of channel p of a cell and
        channel q of the cell that lies offsets[k] away.
    offsets: int64 [offsets, 2], (dx, dy) in cells; of each pair of opposite offsets only one is present.
    """

    mean: torch.Tensor
    covariance: torch.Tensor
    offsets: torch.Tensor


@dataclass(frozen=True)
class Whitener:
    """Maps descriptors to a space in which similarity is a dot product.

    mean: float32 [D], the mean descriptor, D = cells * cells * channels.
    transform: float32 [D, D], lower triangular, L^-1; or [d, D], the rows of diag(s)^-1/2 U^T with the largest s.
    regularization: the multiple of the identity that was added to Sigma.
    """

    mean: torch.Tensor
    transform: torch.Tensor
    regularization: float

    def whiten(self, features: torch.Tensor) -> torch.Tensor:
        """Whitened descriptors: max(0, whiten(A) @ whiten(B).T) is the appearance similarity.

        Args:
            features: floating [..., D], as `hog.describe` returns them.

        Returns:
            [..., D] or [..., d] of the same precision and device as `features`.

        Raises:
            ValueError: D differs from the whitener's.
        """
        if features.shape[-1] != len(self.mean):
            raise ValueError(f"descriptors have {features.shape[-1]} values, the whitener {len(self.mean)}")
        mean, transform = self.mean.to(features), self.transform.to(features)
        return (features - mean) @ transform.T

    def to(self, *args, **keywords) -> "Whitener":
        """The same whitener on another device or in another precision, as `torch.Tensor.to`."""
        return Whitener(
            self.mean.to(*args, **keywords), self.transform.to(*args, **keywords), self.regularization
        )


@lru_cache(maxsize=2)
def natural_whitener(components: int | None = None) -> Whitener:
    """Whitener from `shipped_background`, for windows of 8 × 8 cells; solved once per process, in a second or two.

    `components`: as for `whitening`.
    """
    return whitening(shipped_background(), components=components)


def shipped_background() -> Background:
    """Statistics of natural photographs that come with the program, made by `benchmarks/background_statistics.py`.

    One for all images of all runs: what is known of an image never depends on which others there are.
    """
    with resources.files(__package__).joinpath("background.npz").open("rb") as file, np.load(file) as arrays:
        mean, covariance, offsets = (torch.from_numpy(arrays[name]) for name in ("mean", "covariance", "offsets"))
    return Background(mean.double(), covariance.double(), offsets.long())


def background_statistics(hog_maps: Sequence[torch.Tensor], cells: int = 8) -> Background:
    """Mean and stationary covariance of HOG cells.

    The covariance at an offset is the mean, over all pairs of cells that far apart in one image, of the product
    of their deviations from the overall mean. Cells near the border count in fewer pairs, so that the assembled
    matrix need not be positive definite, the less so the fewer the images: see `whitening`.

    Args:
        hog_maps: floating [h, w, channels] per image (sizes may differ), as `hog.hog_map` returns them.
        cells: side of the window in cells; offsets go up to cells - 1.

    Returns:
        The statistics in float64, with 2 * cells * (cells - 1) + 1 offsets: 113 for 8 cells.

    Raises:
        ValueError: no image is at least `cells` cells wide and high, so that some offset has no pair.
    """
    offsets = [(dx, dy) for dx in range(cells) for dy in range(-cells + 1, cells) if dx > 0 or dy >= 0]
    maps = [one.to(torch.float64) for one in hog_maps if one.numel()]
    if not any(one.shape[0] >= cells and one.shape[1] >= cells for one in maps):
        raise ValueError(
            f"background statistics need an image of at least {cells} x {cells} HOG cells; "
            "use larger images or more of them"
        )
    channels = maps[0].shape[2]
    total = sum(one.sum(dim=(0, 1)) for one in maps)
    mean = total / sum(one.shape[0] * one.shape[1] for one in maps)
    products = mean.new_zeros(len(offsets), channels, channels)
    counts = mean.new_zeros(len(offsets))
    for one in maps:
        centered = one - mean
        height, width = centered.shape[:2]
        for index, (dx, dy) in enumerate(offsets):
            if dx >= width or abs(dy) >= height:
                continue
            first = centered[max(0, -dy) : height - max(0, dy), : width - dx].reshape(-1, channels)
            second = centered[max(0, dy) : height - max(0, -dy), dx:].reshape(-1, channels)
            products[index] += first.T @ second
            counts[index] += len(first)
    covariance = products / counts[:, None, None]
    return Background(mean, covariance, torch.tensor(offsets, dtype=torch.int64, device=mean.device))


def window_covariance(background: Background, cells: int = 8) -> torch.Tensor:
    """Covariance of all values of a window of cells, assembled from the blocks of its offsets.

    Args:
        background: statistics whose offsets cover the window.
        cells: side of the window in cells.

    Returns:
        float64 [D, D] with D = cells * cells * channels, in the order row, column, channel; symmetric.

    Raises:
        ValueError: an offset that the window needs is missing.
    """
    reach = 2 * cells - 1
    channels = len(background.mean)
    device = background.mean.device
    # The block of every offset, the opposite ones transposed, at [dy + cells - 1, dx + cells - 1].
    blocks = background.covariance.new_full((reach, reach, channels, channels), float("nan"))
    inside = (background.offsets.abs() < cells).all(dim=1)
    shifted, covariance = background.offsets[inside], background.covariance[inside]
    blocks[cells - 1 - shifted[:, 1], cells - 1 - shifted[:, 0]] = covariance.transpose(1, 2)
    blocks[cells - 1 + shifted[:, 1], cells - 1 + shifted[:, 0]] = covariance
    if bool(blocks.isnan().any()):
        raise ValueError(f"the background statistics lack offsets of a window of {cells} x {cells} cells")
    place = torch.arange(cells, device=device)
    difference = place[None, :] - place[:, None] + cells - 1
    # [y1, x1, y2, x2, p, q] -> [y1, x1, p, y2, x2, q]
    full = blocks[difference[:, None, :, None], difference[None, :, None, :]].permute(0, 1, 4, 2, 3, 5)
    full = full.reshape(cells * cells * channels, -1)
    return (full + full.T) / 2


def whitening(
    background: Background, cells: int = 8, regularization: float = 0.01, components: int | None = None
) -> Whitener:
    """Whitener for windows of cells.

    Args:
        background: statistics of natural images.
        cells: side of the window in cells.
        regularization: the multiple of the identity to add to Sigma. It is raised by the same amount until
            the Cholesky factorization succeeds; the value used is in the result.
        components: d, how many components to keep, at most D; None keeps all, unrotated.

    Returns:
        The whitener, in float32 (factorized in float64).

    Raises:
        ValueError: offsets are missing, the statistics are not finite, `regularization` is not positive, or
            `components` is not in 1..D.
    """
    if regularization <= 0:
        raise ValueError(f"the regularization must be positive; got {regularization}")
    covariance = window_covariance(background, cells)
    if not bool(torch.isfinite(covariance).all()):
        raise ValueError("the background statistics hold values that are not finite")
    if components is not None and not 1 <= components <= len(covariance):
        raise ValueError(f"components must be in 1..{len(covariance)}, the length of a descriptor; got {components}")
    identity = torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
    for attempt in itertools.count(1):
        used = attempt * regularization
        factor, failed = torch.linalg.cholesky_ex(covariance + used * identity)
        if int(failed) == 0:
            break
    if components is None:
        transform = torch.linalg.solve_triangular(factor, identity, upper=False)
    else:
        count = len(covariance)
        # A few components in a quarter of the time that all take.
        found = linalg.eigh(covariance.numpy(force=True), subset_by_index=[count - components, count - 1])
        variances, directions = (torch.from_numpy(part).to(covariance).flip(-1) for part in found)
        # A component's sign is arbitrary; similarities do not depend on it, stored descriptors do.
        largest = directions.gather(0, directions.abs().argmax(dim=0, keepdim=True))
        transform = (directions * largest.sign() / (variances + used).sqrt()).T.contiguous()
    mean = background.mean.repeat(cells * cells)
    return Whitener(mean.float(), transform.float(), used)
