"""Edges of images, of which Feature CAM makes its feature images. Shapes: B images, H by W pixels."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from visual_summaries.pipeline.models.hed import Hed
from visual_summaries.pipeline.models.pidinet import PiDiNet
from visual_summaries.pipeline.models.weights import fit_weights, read_weights

EdgeDetector = Callable[[Tensor], Tensor]
"""Images `[B,3,H,W]` float in [0,1] to edges `[B,1,H,W]` in [0,1], larger = a stronger edge."""

SOBEL = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])


def sobel(images: Tensor) -> Tensor:
    """Length of the Sobel gradient of the mean color, divided by each image's largest; 0 for an image of one color."""
    gray = functional.pad(images.mean(dim=1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    kernels = torch.stack([SOBEL, SOBEL.T])[:, None].to(images)
    lengths = functional.conv2d(gray, kernels).square().sum(dim=1, keepdim=True).sqrt()
    largest = lengths.amax(dim=(1, 2, 3), keepdim=True)
    # The rounding errors of a constant image are not edges.
    return torch.where(largest > 1e-5, lengths / largest, 0)


def edge_detector(weights: Path | None = None) -> EdgeDetector:
    """PiDiNet or HED with the weights of a file, in evaluation mode and frozen, or Sobel's operator without one.

    The names of the weights tell which of the two it is. HED's may begin with "module", as they are published, or
    "net".

    Raises:
        ClassifierError: the file cannot be read or fits neither.
    """
    if weights is None:
        return sobel
    state = read_weights(weights)
    if any(name.startswith(("moduleVgg", "netVgg")) for name in state):
        state = {name.replace("module", "net", 1): values for name, values in state.items()}
        network, kind = Hed(), "HED"
    else:
        network, kind = PiDiNet(), "PiDiNet (converted)"
    fit_weights(network, state, weights, kind)
    return network.eval().requires_grad_(False)
