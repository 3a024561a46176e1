"""Networks of closed form, by `module:function`: how much red and how much green there is, told by different heads."""

from typing import Any

import torch
from torch import nn

PREPROCESSING = {"resize_side": 64, "crop_side": 64, "mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}
# Of the mean of what is red or green beyond gray, an image with a patch of 24 px has 0.25 or so.
RED, GREEN = (30.0, -3.0), (30.0, -3.0)


def network(weights: list[list[float]], *end: nn.Module) -> tuple[nn.Module, dict[str, Any]]:
    """`weights`: of each output the one of red, the one of green, and the bias."""
    layers = nn.Sequential(
        nn.Conv2d(3, 2, 1),
        nn.ReLU(),
        nn.AvgPool2d(4),
        nn.Conv2d(2, 2, 1),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Conv2d(2, 2, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(2, len(weights)),
        *end,
    )
    beyond_gray = torch.tensor([[1.0, -0.5, -0.5], [-0.5, 1.0, -0.5]])
    for at, values in ((0, beyond_gray), (3, torch.eye(2)), (6, torch.eye(2))):
        layers[at].weight.data = values[:, :, None, None].clone()
        layers[at].bias.data.zero_()
    layers[10].weight.data = torch.tensor([row[:2] for row in weights])
    layers[10].bias.data = torch.tensor([row[2] for row in weights])
    return layers, PREPROCESSING


def apart():  # noqa: ANN201
    """Is there red? Is there green? Two sigmoids."""
    return network([[RED[0], 0.0, RED[1]], [0.0, GREEN[0], GREEN[1]]], nn.Sigmoid())


def apart_logits():  # noqa: ANN201
    return network([[RED[0], 0.0, RED[1]], [0.0, GREEN[0], GREEN[1]]])


def one():  # noqa: ANN201
    """Is it green rather than red? One logit."""
    return network([[-8.0, 8.0, 0.5]])


def two():  # noqa: ANN201
    """The same as two logits."""
    return network([[4.0, -4.0, -0.25], [-4.0, 4.0, 0.25]])
