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


def linear_case(seed: int) -> tuple[Normalizing, Tensor, Tensor]:
    """Classifier, image `[1,3,8,8]`, and what each mask element contributes to the log odds of class 1, 5 in all."""
    generator = torch.Generator().manual_seed(seed)
    # Some strong evidence and much weak evidence, as in a photograph.
    evidence = torch.rand(3, 8, 8, generator=generator, dtype=torch.float64).pow(6) - 0.01
    evidence *= 12 / evidence.sum()
    normalized = torch.full((3, 8, 8), 0.1, dtype=torch.float64)
    classifier = Normalizing(Weighted(evidence / normalized, bias=-7.0))
    image = classifier.baseline.view(3, 1, 1) + classifier.scale * normalized
    return classifier, image[None], evidence


def sparsest_deletion(evidence: Tensor, needed: float) -> float:
    """Least ‖1 − m‖₁ that takes `needed` off the log odds: the strongest evidence first, the last of it in part."""
    strongest = evidence.flatten().sort(descending=True).values
    taken = strongest.cumsum(0)
    whole = int((taken < needed).sum())
    before = float(taken[whole - 1]) if whole else 0.0
    return whole + (needed - before) / float(strongest[whole])
