"""Folding keeps the function, the submodules and what they give; what cannot be folded is left as it is."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from visual_summaries.pipeline.models.batch_norms import fold_batch_norms


def unsettled(module: nn.Module) -> nn.Module:
    """The network with batch norms far from the identity, in double precision."""
    torch.manual_seed(3)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d) and layer.running_mean is not None:
            layer.running_mean.normal_(0, 0.3)
            layer.running_var.uniform_(0.3, 3)
        if isinstance(layer, nn.BatchNorm2d) and layer.affine:
            with torch.no_grad():
                layer.weight.uniform_(-0.4, 1.6)
                layer.bias.normal_(0, 0.2)
    return module.double().eval()


class Block(nn.Module):
    """As in the ResNets for CIFAR: what is added to the skip becomes no module's output before the ReLU, a function."""

    def __init__(self, channels: int, wider: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, wider, 3, 2, 1, bias=False), nn.BatchNorm2d(wider)
        self.conv2, self.bn2 = nn.Conv2d(wider, wider, 3, 1, 1), nn.BatchNorm2d(wider, affine=False)
        self.shortcut = nn.Sequential(nn.Conv2d(channels, wider, 1, 2, bias=False), nn.BatchNorm2d(wider))

    def forward(self, values: Tensor) -> Tensor:
        inner = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(values)))))
        return functional.relu(inner + self.shortcut(values))


def outputs(module: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """What each submodule gives."""
    found: dict[str, Tensor] = {}
    handles = [
        layer.register_forward_hook(lambda _layer, _inputs, output, name=name: found.update({name: output.clone()}))
        for name, layer in module.named_modules()
    ]
    module(images)
    for handle in handles:
        handle.remove()
    return found


def test_every_submodule_gives_what_it_gave_but_a_convolution_what_its_batch_norm_gave() -> None:
    torch.manual_seed(0)
    module = unsettled(nn.Sequential(Block(3, 6), Block(6, 4), nn.Flatten(), nn.Linear(64, 5)))
    state = {name: values.clone() for name, values in module.state_dict().items()}
    images = torch.randn(3, 3, 16, 16, dtype=torch.float64)
    before = outputs(module, images)
    folded, count = fold_batch_norms(module)
    after = outputs(folded, images)
    assert count == 6 and after.keys() == before.keys()
    norm_of = {"conv1": "bn1", "conv2": "bn2", "shortcut.0": "shortcut.1"}
    for name, found in after.items():
        block, _, layer = name.partition(".")
        wanted = before[f"{block}.{norm_of[layer]}" if layer in norm_of else name]
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)
    assert not torch.allclose(after["0.conv2"], before["0.conv2"], atol=0.1)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in folded.modules())
    # The network itself is as it was.
    assert module.state_dict().keys() == state.keys()
    assert all(torch.equal(values, state[name]) for name, values in module.state_dict().items())


class Layers(nn.Module):
    """A convolution and a batch norm, `forward` as given."""

    def __init__(self, forward: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.convolution, self.norm, self.given = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), forward

    def forward(self, images: Tensor) -> Tensor:
        return self.given(self, images)


def changed(change: Callable[[nn.Module], object]) -> nn.Module:
    layers = Layers(lambda own, images: own.norm(own.convolution(images)))
    change(layers)
    return layers


class Doubled(nn.Conv2d):
    def forward(self, images: Tensor) -> Tensor:
        return 2 * super().forward(images)


LEFT = {
    "given to something else too": Layers(lambda own, x: (lambda y: own.norm(y) + y)(own.convolution(x))),
    "convolution called twice": Layers(lambda own, x: own.norm(own.convolution(own.convolution(x)))),
    "batch norm called twice": Layers(lambda own, x: own.norm(own.norm(own.convolution(x)))),
    "batch norm first": Layers(lambda own, x: own.convolution(own.norm(x))),
    "something between": Layers(lambda own, x: own.norm(own.convolution(x).relu())),
    "own convolution": changed(lambda own: setattr(own, "convolution", Doubled(3, 3, 3))),
    "weights made anew": changed(lambda own: parametrizations.weight_norm(own.convolution)),
    "weights made anew by a hook": changed(lambda own: nn.utils.spectral_norm(own.convolution)),
    "statistics of the batch": changed(lambda own: setattr(own, "norm", nn.BatchNorm2d(3, track_running_stats=False))),
}


@pytest.mark.filterwarnings("ignore:.*spectral_norm.*:FutureWarning")
@pytest.mark.parametrize("name", LEFT)
def test_what_is_no_pair_of_its_own_is_left(name: str) -> None:
    module = unsettled(LEFT[name])
    folded, count = fold_batch_norms(module)
    images = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    assert count == 0
    torch.testing.assert_close(folded(images), module(images))


def test_a_batch_norm_of_two_names_goes_at_both() -> None:
    layers = Layers(lambda own, images: own.alias(own.convolution(images)))
    layers.alias = layers.norm
    module = unsettled(layers)
    folded, count = fold_batch_norms(module)
    images = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    assert count == 1
    torch.testing.assert_close(folded(images), module(images), rtol=1e-6, atol=1e-6)
