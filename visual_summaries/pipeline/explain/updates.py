"""Update rules of the engine: one step of gradient descent in which every image has its own rate and count."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor


def falling_rates(first: float, final: float, steps: int) -> tuple[float, ...]:
    """Learning rates of `steps` steps that go linearly from `first` to `final`."""
    last = max(1, steps - 1)
    return tuple(first + (final - first) * step / last for step in range(steps))


class UpdateRule(ABC):
    """How a gradient moves a parameter.

    Attributes:
        moments: names of what the rule remembers of each parameter, each of the parameter's shape, 0 at first.
    """

    moments: tuple[str, ...] = ()

    @abstractmethod
    def apply(
        self, parameter: Tensor, gradient: Tensor, moments: Mapping[str, Tensor], rates: Tensor, count: Tensor
    ) -> None:
        """Move `parameter` `[B,…]` and its moments in place.

        Args:
            gradient: `[B,…]`, of what is minimized.
            rates: `[B]` float64, learning rate of each image; where it is 0 the parameter stays as it is.
            count: `[B]` int64, how many steps each image has taken with this one, from 1.
        """


class Adam(UpdateRule):
    """Adam (Kingma and Ba, 2015) as in `torch.optim.Adam`, without weight decay."""

    moments = ("mean", "square")

    def __init__(self, betas: tuple[float, float] = (0.9, 0.999), epsilon: float = 1e-8) -> None:
        self.betas = betas
        self.epsilon = epsilon

    def apply(
        self, parameter: Tensor, gradient: Tensor, moments: Mapping[str, Tensor], rates: Tensor, count: Tensor
    ) -> None:
        mean, square = moments["mean"], moments["square"]
        first, second = self.betas
        mean.lerp_(gradient, 1 - first)
        square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
        per_image = (-1, *[1] * (parameter.ndim - 1))
        scale = (1 - second ** count.double()).sqrt().to(parameter.dtype).view(per_image)
        rate = (-rates / (1 - first ** count.double())).to(parameter.dtype).view(per_image)
        denominator = square.sqrt().div_(scale).add_(self.epsilon)
        parameter.addcmul_(rate, mean / denominator)


class NormalizedGradient(UpdateRule):
    """Gradient descent without momentum; each image's gradient is divided by its largest magnitude (FGVis).

    An image whose gradient is zero everywhere stays as it is.
    """

    def apply(
        self, parameter: Tensor, gradient: Tensor, moments: Mapping[str, Tensor], rates: Tensor, count: Tensor
    ) -> None:
        largest = gradient.flatten(1).abs().amax(dim=1).double()
        steps = torch.where(largest > 0, -rates / largest, 0.0).to(parameter.dtype)
        parameter.addcmul_(steps.view(-1, *[1] * (parameter.ndim - 1)), gradient)
