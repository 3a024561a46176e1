"""Superpixels: k-means on color and place, each pixel choosing among the centers around it (SLIC, Achanta et al.).

Shapes: B images, H by W pixels, R by C centers.
"""

import itertools

import torch
from torch import Tensor
from torch.nn import functional

ITERATIONS = 10
# Difference in color, in [0,1], that weighs as much as a distance of one superpixel's side.
COMPACTNESS = 0.1


def superpixels(images: Tensor, side: float) -> Tensor:
    """Labels `[B,1,H,W]` int64 of the superpixels of `images` `[B,3,H,W]` float in [0,1], from 0 in every image.

    `side`: of the squares that the superpixels start from, in pixels, whole or not. A label may be in several pieces,
    and none is unused. Colors are compared in RGB.
    """
    count, _, height, width = images.shape
    rows, columns = (max(1, round(size / side)) for size in (height, width))
    options = {"device": images.device, "dtype": images.dtype}
    y, x = torch.meshgrid(torch.arange(height, **options), torch.arange(width, **options), indexing="ij")
    place = torch.stack([y, x]) * (COMPACTNESS / side)
    features = torch.cat([images, place.expand(count, 2, height, width)], dim=1)
    centers = functional.adaptive_avg_pool2d(features, (rows, columns)).flatten(2)
    row, column = (y * rows / height).long(), (x * columns / width).long()
    around = torch.stack(
        [
            (row + down).clamp(0, rows - 1) * columns + (column + right).clamp(0, columns - 1)
            for down, right in itertools.product((-1, 0, 1), repeat=2)
        ]
    )
    for _ in range(ITERATIONS):
        distances = torch.stack(
            [(features - centers[:, :, candidate]).square().sum(dim=1) for candidate in around], dim=1
        )
        chosen = distances.argmin(dim=1, keepdim=True)
        labels = around.expand(count, -1, -1, -1).gather(1, chosen).flatten(2)
        sums = torch.zeros_like(centers).scatter_add_(2, labels.expand_as(features.flatten(2)), features.flatten(2))
        sizes = torch.zeros_like(centers[:, :1]).scatter_add_(2, labels, torch.ones_like(features.flatten(2)[:, :1]))
        centers = torch.where(sizes > 0, sums / sizes, centers)
    used = torch.zeros(count, rows * columns, dtype=torch.int64, device=images.device)
    used.scatter_(1, labels[:, 0], 1)
    return (used.cumsum(dim=1) - 1).gather(1, labels[:, 0]).view(count, 1, height, width)
