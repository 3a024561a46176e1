"""Networks small enough to know what FGVis must find, and images for them."""

import torch
from torch import Tensor, nn

MEAN, STD = (0.2, 0.5, 0.4), (0.5, 0.25, 0.2)


class Normalizing:
    """A network behind a normalization with a mean and a standard deviation."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module.double().eval().requires_grad_(False)
        self.baseline = torch.tensor(MEAN, dtype=torch.float64)
        self.scale = torch.tensor(STD, dtype=torch.float64).view(3, 1, 1)

    def logits(self, images: Tensor) -> Tensor:
        return self.module((images - self.baseline.view(3, 1, 1)) / self.scale)


class Weighted(nn.Module):
    """Two logits of an image: 0 and the sum of `weights` `[3,H,W]` times the image."""

    def __init__(self, weights: Tensor, bias: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("weights", weights)
        self.bias = bias

    def forward(self, images: Tensor) -> Tensor:
        total = (images * self.weights).sum(dim=(1, 2, 3)) + self.bias
        return torch.stack([torch.zeros_like(total), total], dim=1)


def small_network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, stride=2, padding=1),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(8 * 16, 4),
    )
    for parameter in network.parameters():
        parameter.data.mul_(2.5)
    return network


def noise(batch: int, side: int = 8) -> Tensor:
    return torch.rand(batch, 3, side, side, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
