"""Randomization layer by layer, and the likeness of maps against SciPy and scikit-image."""

import copy

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity
from torch import Tensor, nn

from visual_summaries.pipeline.evaluate.sanity import (
    cascading_randomization,
    layers_from_output,
    rank_correlations,
    structural_similarities,
)


def network() -> nn.Module:
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Conv2d(8, 40, 3), nn.Flatten())
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), inner, nn.Linear(40, 50))
    with torch.no_grad():
        module[1].weight.uniform_(0.5, 1.5)
        module[1].running_mean.uniform_(-1, 1)
        module[4].weight.mul_(3).add_(7)
        module[4].weight.requires_grad_(False)
    return module.eval()


def test_from_the_output_back_one_layer_more_each_time() -> None:
    module = network()
    before, state = copy.deepcopy(module.state_dict()), torch.get_rng_state()
    steps = list(cascading_randomization(module))
    assert [name for name, _ in steps] == ["4", "3.0", "1", "0"] == layers_from_output(module)
    for number, (_, changed) in enumerate(steps):
        done = {name for name, _ in steps[: number + 1]}
        for key, values in changed.state_dict().items():
            layer, parameter = key.rsplit(".", 1)
            # The normalization's bias is 0 throughout and stays so.
            expected = layer in done and parameter in ("weight", "bias") and key != "1.bias"
            assert torch.equal(values, before[key]) != expected, key
        assert not changed.training and not changed[4].weight.requires_grad and changed[4].bias.requires_grad
    # What has been drawn stays, and the network given is as it was.
    assert torch.equal(steps[0][1][4].weight, steps[3][1][4].weight)
    assert all(torch.equal(values, before[key]) for key, values in module.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


def test_new_weights_have_the_old_ones_size_and_nothing_else_of_them() -> None:
    module = network()
    old = module[4].weight
    new = next(cascading_randomization(module))[1][4].weight
    size = float(old.square().mean().sqrt())
    assert abs(float(old.mean())) > 6 and abs(float(new.mean())) < 0.1 * size
    assert float(new.square().mean().sqrt()) == pytest.approx(size, rel=0.05)
    assert abs(float(torch.corrcoef(torch.stack([old.flatten(), new.flatten()]))[0, 1])) < 0.1
    single = nn.Linear(1, 1)
    nn.init.constant_(single.weight, 2.0)
    drawn = next(cascading_randomization(single))[1].weight
    assert drawn.item() != 2 and drawn.isfinite().all()


class Scaled(nn.Module):
    """A weight of its own around another layer."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.scale = nn.Linear(4, 4), nn.Parameter(torch.ones(4))


def test_a_layer_around_others_is_only_its_own_parameters() -> None:
    module = Scaled()
    assert layers_from_output(module) == ["inner", ""]
    changed = next(cascading_randomization(module, layers=[""]))[1]
    assert torch.equal(changed.inner.weight, module.inner.weight) and not torch.equal(changed.scale, module.scale)


def test_seed_and_order_are_the_callers() -> None:
    module = network()
    one, same, other = (list(cascading_randomization(module, seed))[-1][1] for seed in (1, 1, 2))
    assert torch.equal(one[0].weight, same[0].weight) and not torch.equal(one[0].weight, other[0].weight)
    names = [name for name, _ in cascading_randomization(module, layers=["0", "4"])]
    assert names == ["0", "4"]
    with pytest.raises(AttributeError):
        next(cascading_randomization(module, layers=["5"]))


def maps(*shape: int, seed: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def mean_ranks(values: np.ndarray) -> np.ndarray:
    """By counting: how many are less, and half of the others that are equal."""
    return (values[:, None] > values).sum(axis=1) + (values[:, None] == values).sum(axis=1) / 2


def test_rank_correlation_is_that_of_counted_ranks() -> None:
    one, other = maps(5, 13, 17, seed=0), maps(5, 13, 17, seed=1)
    one[1], other[2] = (one[1] * 4).round(), (other[2] * 3).round()
    one[3, :10], other[3, :8] = 0, 0
    other[4] = one[4] ** 3
    found = rank_correlations(one, other)
    expected = [
        np.corrcoef(mean_ranks(a.flatten().numpy()), mean_ranks(b.flatten().numpy()))[0, 1]
        for a, b in zip(one, other, strict=True)
    ]
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert float(found[4]) == pytest.approx(1) and rank_correlations(one[4:], -one[4:]) == -1
    # By hand: ranks 1.5 1.5 3 4 and 2 1 4 3.
    by_hand = rank_correlations(torch.tensor([[0.0, 0, 1, 2]]), torch.tensor([[2.0, 1, 4, 3]]))
    assert float(by_hand) == pytest.approx(3.5 / (4.5 * 5) ** 0.5)
    assert rank_correlations(torch.ones(1, 4), by_hand.expand(1, 4).double()).isnan()


def test_structural_similarity_is_that_of_scikit_image() -> None:
    one, other = maps(4, 20, 26, seed=0) * 3 - 1, maps(4, 20, 26, seed=1)
    other[1] = one[1] + 0.5 * other[1]
    other[2] = 5 * one[2] + 2
    other[3] = 0.7
    found = structural_similarities(one, other)
    for a, b, value in zip(one.double().numpy(), other.double().numpy(), found.tolist(), strict=True):
        a, b = (a - a.min()) / np.ptp(a), (b - b.min()) / (np.ptp(b) or 1)
        settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
        assert value == pytest.approx(structural_similarity(a, b, **settings), abs=1e-10)
    assert float(found[2]) == pytest.approx(1) and float(found[1]) > float(found[0])
    assert structural_similarities(one[:0], other[:0]).shape == (0,)


def test_wrong_maps_are_refused() -> None:
    one = maps(2, 12, 12, seed=0)
    for wrong in (one[:1], one * torch.nan):
        with pytest.raises(ValueError, match="maps must be"):
            rank_correlations(one, wrong)
        with pytest.raises(ValueError, match="maps must be"):
            structural_similarities(one, wrong)
    with pytest.raises(ValueError, match="sides"):
        structural_similarities(one[:, :10], one[:, :10])
