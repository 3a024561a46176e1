"""MobileNetV2 with its last block free: the inverted residual, the convolution after it and the head are fitted.

What the block gets of each picture is computed once (`shortcut_networks.features` of the network `FREE`), as for the
frozen networks; block and head are then fitted to it together, starting from the ImageNet block and from the head that
fits its frozen features. Batch norms stay as they are.

Shapes: n pictures, c channels at h by w places before the block, C features before the head, K classes.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

# The last inverted residual of torchvision's `features`, and the convolution after it.
FIRST = 17
# Chosen before any run was seen.
EPOCHS, BATCH, LEARNING_RATE, DECAY = 8, 32, 1e-4, 1e-4


class LastBlock:
    """The end of a `MobileNetV2` and a head, as a classifier of what the block gets, `[n,c,h,w]` float32."""

    def __init__(self, network: nn.Module, weight: np.ndarray, bias: np.ndarray) -> None:
        """`network` is changed; weight `[K,C]` and bias `[K]` are those of the head to start from."""
        network.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(weight.shape[1], len(weight)))
        with torch.no_grad():
            network.classifier[1].weight.copy_(torch.from_numpy(weight))
            network.classifier[1].bias.copy_(torch.from_numpy(bias))
        self.network = network.eval()

    def logits(self, values: Tensor) -> Tensor:
        return self.network.classifier(pooled(self.network, values))

    def fit(self, values: np.ndarray, labels: np.ndarray, seed: int = 0) -> "LastBlock":
        """Fit block and head by cross-entropy, every picture once an epoch; `values` `[n,c,h,w]`, labels `[n]`."""
        parameters = [
            parameter
            for part in (*self.network.features[FIRST:], self.network.classifier)
            for module in part.modules()
            if not isinstance(module, nn.BatchNorm2d)
            for parameter in module.parameters(recurse=False)
        ]
        chance = torch.Generator().manual_seed(seed)
        update = torch.optim.Adam(parameters, LEARNING_RATE, weight_decay=DECAY)
        for _ in range(EPOCHS):
            for numbers in torch.randperm(len(values), generator=chance).split(BATCH):
                own, wanted = torch.from_numpy(values[numbers.numpy()]), torch.from_numpy(labels[numbers.numpy()])
                loss = functional.cross_entropy(self.logits(own), wanted)
                update.zero_grad()
                loss.backward()
                update.step()
        return self

    @torch.no_grad()
    def predict_proba(self, values: np.ndarray) -> np.ndarray:
        """Scores `[n,K]`."""
        parts = torch.from_numpy(values).split(64)
        return torch.cat([self.logits(part).softmax(dim=1) for part in parts]).numpy()


def before_block(network: nn.Module) -> nn.Module:
    """What the last block gets: `[B,3,S,S]` → `[B,c,h,w]`."""
    return network.features[:FIRST].eval()


def pooled(network: nn.Module, values: Tensor) -> Tensor:
    """What the head gets `[n,C]` of what the block gets."""
    return network.features[FIRST:](values).mean(dim=(2, 3))


def fit_last_block(
    network: nn.Module, given: Mapping[str, np.ndarray], examples: Sequence[Any], start: Callable[..., Any]
) -> LastBlock:
    """Block and head for examples (`shortcut_networks.Example`).

    Args:
        network: the ImageNet network; it is changed.
        given: `CLEAN` or mark → what the block gets of each photograph.
        examples: training pictures.
        start: features `[n,C]` and labels `[n]` → the fitted head to start from, a `LogisticRegression`.
    """
    values = np.stack([given[one.kind][one.photograph] for one in examples])
    labels = np.array([one.label for one in examples])
    with torch.no_grad():
        frozen = torch.cat([pooled(network.eval(), part) for part in torch.from_numpy(values).split(64)]).numpy()
    head = start(frozen, labels)
    return LastBlock(network, head.coef_.astype(np.float32), head.intercept_.astype(np.float32)).fit(values, labels)
