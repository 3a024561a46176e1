"""Does a map explain the network or only the picture? Cascading randomization of the network's weights (Adebayo et al.,
"Sanity checks for saliency maps", NeurIPS 2018, §3.1): the map of a network that has forgotten what it learned must
lose its likeness to the original's.

Shapes: B maps, H by W pixels.
"""

import copy
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from pipeline.explain.blur import gaussian_matrix

# Wang et al., IEEE TIP 13, 2004: windows of 11 pixels.
SMALLEST_SIDE = 11
_SIGMA = 1.5
_RADIUS = 5


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
    ranks, other_ranks = (_centered_ranks(values.flatten(1)) for values in (maps, others))
    norms = ranks.square().sum(dim=1) * other_ranks.square().sum(dim=1)
    return ((ranks * other_ranks).sum(dim=1) / norms.sqrt()).clamp(-1, 1)


def _centered_ranks(values: Tensor) -> Tensor:
    """Ranks `[B,N]` float64, ties averaged, minus their mean."""
    values = values.contiguous()
    ordered = values.sort(dim=1).values
    below = torch.searchsorted(ordered, values)
    up_to = torch.searchsorted(ordered, values, right=True)
    return (below + up_to - values.shape[1]).double() / 2


def structural_similarities(maps: Tensor, others: Tensor) -> Tensor:
    """Mean SSIM of each map with its other, `[B]` float64 in [−1,1], each scaled to 0..1 by its own range first.

    Gaussian windows with σ = 1.5, no sample covariance, mean over pixels whose window fits. A constant map counts as
    zeros.

    Args:
        maps, others: `[B,H,W]` of the same shape, finite, sides at least 11.

    Raises:
        ValueError: other shapes, or values are not finite.
    """
    _check(maps, others)
    if maps.ndim != 3 or min(maps.shape[1:]) < SMALLEST_SIDE:
        raise ValueError(f"maps must be [B,H,W] with sides of at least {SMALLEST_SIDE}, got {tuple(maps.shape)}")
    rows, columns = (
        gaussian_matrix(side, _SIGMA, _RADIUS, device=maps.device, dtype=torch.float64)[_RADIUS:-_RADIUS]
        for side in maps.shape[1:]
    )

    def local_mean(values: Tensor) -> Tensor:
        return rows @ values @ columns.T

    one, other = _scaled(maps), _scaled(others)
    mean, other_mean = local_mean(one), local_mean(other)
    variances = local_mean(one * one + other * other) - mean.square() - other_mean.square()
    covariance = local_mean(one * other) - mean * other_mean
    stabilizer_mean, stabilizer_variance = 0.01**2, 0.03**2
    similarity = (2 * mean * other_mean + stabilizer_mean) * (2 * covariance + stabilizer_variance)
    similarity /= (mean.square() + other_mean.square() + stabilizer_mean) * (variances + stabilizer_variance)
    return similarity.mean(dim=(1, 2))


def _scaled(maps: Tensor) -> Tensor:
    maps = maps.double()
    low, high = maps.amin(dim=(1, 2), keepdim=True), maps.amax(dim=(1, 2), keepdim=True)
    return (maps - low) / torch.where(high > low, high - low, 1.0)


def _check(maps: Tensor, others: Tensor) -> None:
    if maps.shape != others.shape or maps.ndim < 2:
        raise ValueError(f"maps must be [B,…] and of one shape, got {tuple(maps.shape)} and {tuple(others.shape)}")
    if not (maps.isfinite().all() and others.isfinite().all()):
        raise ValueError("maps must be finite")
