"""Does a map explain the network or only the picture? Cascading randomization of the network's weights (Adebayo et al.,
"Sanity checks for saliency maps", NeurIPS 2018, §3.1): the map of a network that has forgotten what it learned must
lose its likeness to the original's.

Shapes: B maps, H by W pixels.
"""

import copy
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from visual_summaries.pipeline.summarize.ssim import mean_ssim


def layers_from_output(module: nn.Module) -> list[str]:
    """Names of the submodules with parameters of their own, the last first ("" is the module itself).

    The order is that in which they were registered, reversed: the forward order of torchvision's networks. A network
    that registers its layers in another order needs its own list.
    """
    return [name for name, layer in module.named_modules() if any(True for _ in layer.parameters(recurse=False))][::-1]


def cascading_randomization(
    module: nn.Module, seed: int = 0, layers: Sequence[str] | None = None
) -> Iterator[tuple[str, nn.Module]]:
    """Copies of a network with ever more of its layers randomized, from the output back: (last layer's name, copy).

    Every tensor of weights or biases is drawn anew from a normal distribution around zero with the root mean square of
    its trained values as standard deviation, so that activations keep about their size where an initialization would
    change it. (The trained mean is not kept: a negative one would silence all rectified units at once.) A tensor of
    zeros stays. Running statistics and other buffers stay as they are. The network given is never changed, nor is
    torch's global random state; each copy is independent of the next.

    Args:
        module: any network, in any mode, on any device.
        seed: the same seed draws the same values on every device.
        layers: names of submodules in the order in which they are to be randomized, each with all parameters of its
            own, not of its submodules; default: `layers_from_output`.

    Raises:
        AttributeError: the network has no such submodule.
    """
    generator = torch.Generator().manual_seed(seed)
    current = module
    for name in layers_from_output(module) if layers is None else layers:
        current = copy.deepcopy(current)
        for parameter in current.get_submodule(name).parameters(recurse=False):
            _draw_anew(parameter, generator)
        yield name, current


@torch.no_grad()
def _draw_anew(parameter: nn.Parameter, generator: torch.Generator) -> None:
    size = parameter.detach().cpu().double().square().mean().sqrt()
    parameter.copy_(size * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))


def rank_correlations(maps: Tensor, others: Tensor) -> Tensor:
    """Spearman's rank correlation of each map with its other, `[B]` float64 in [−1,1]; equal values share their mean
    rank.

    NaN where one of the two is constant. Signs count: for maps of absolute values, give those.

    Args:
        maps, others: `[B,…]` of the same shape, finite.

    Raises:
        ValueError: shapes differ, or values are not finite.
    """
    _check(maps, others)
    pairs = zip(*(values.flatten(1).double().cpu().numpy() for values in (maps, others)), strict=True)
    found = [float("nan") if np.ptp(a) == 0 or np.ptp(b) == 0 else spearmanr(a, b).statistic for a, b in pairs]
    return torch.tensor(found, dtype=torch.float64, device=maps.device)


def structural_similarities(maps: Tensor, others: Tensor) -> Tensor:
    """Mean SSIM of each map with its other, `[B]` float64 in [−1,1], each scaled to 0..1 by its own range first.

    A constant map counts as zeros; the rest is as `mean_ssim` says.

    Args:
        maps, others: `[B,H,W]` of the same shape, finite, sides at least 11.

    Raises:
        ValueError: other shapes, or values are not finite.
    """
    _check(maps, others)
    one, other = (_scaled(values).cpu().numpy() for values in (maps, others))
    return torch.from_numpy(mean_ssim(one, other, data_range=1)).to(maps.device)


def _scaled(maps: Tensor) -> Tensor:
    maps = maps.double()
    low, high = maps.amin(dim=(1, 2), keepdim=True), maps.amax(dim=(1, 2), keepdim=True)
    return (maps - low) / torch.where(high > low, high - low, 1.0)


def _check(maps: Tensor, others: Tensor) -> None:
    if maps.shape != others.shape or maps.ndim < 2:
        raise ValueError(f"maps must be [B,…] and of one shape, got {tuple(maps.shape)} and {tuple(others.shape)}")
    if not (maps.isfinite().all() and others.isfinite().all()):
        raise ValueError("maps must be finite")
