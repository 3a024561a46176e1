"""Edges of images, what Feature CAM makes its feature images of. Shapes: B images, H by W pixels."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.models.pidinet import load_pidinet

EdgeDetector = Callable[[Tensor], Tensor]
"""Images `[B,3,H,W]` float in [0,1] to edges `[B,1,H,W]` in [0,1], larger = a stronger edge."""

SOBEL = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])


def sobel(images: Tensor) -> Tensor:
    """Length of the Sobel gradient of the mean color, divided by each image's largest; 0 for an image of one color."""
    gray = functional.pad(images.mean(dim=1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    kernels = torch.stack([SOBEL, SOBEL.T])[:, None].to(images)
    lengths = functional.conv2d(gray, kernels).square().sum(dim=1, keepdim=True).sqrt()
    largest = lengths.amax(dim=(1, 2, 3), keepdim=True)
    # A few roundings of a constant image are no edges.
    return torch.where(largest > 1e-5, lengths / largest, 0)


def edge_detector(weights: str | Path | None = None, device: torch.device | str = "cpu") -> EdgeDetector:
    """PiDiNet with weights of a file, or Sobel's operator without one.

    Raises:
        ClassifierError: the file cannot be read or does not fit.
    """
    return sobel if weights is None else load_pidinet(weights).to(device)
