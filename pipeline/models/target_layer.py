"""The layer whose activations a class activation map is made of, found by following one image through the network."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from pipeline.models.classifier import ClassifierError

PASSING = (nn.AdaptiveAvgPool2d, nn.Dropout, nn.Dropout2d, nn.Identity)


@dataclass(frozen=True)
class TargetLayer:
    """Where the last spatial map is.

    Attributes:
        name: qualified name of the submodule whose output it is.
        shape: channels, height and width of the map.
        logits_layer: qualified name of the fully connected or convolutional layer that gives the logits.
    """

    name: str
    shape: tuple[int, int, int]
    logits_layer: str


@torch.no_grad()
def find_target_layer(module: nn.Module, image: Tensor, name: str | None = None) -> TargetLayer:
    """The last submodule with a spatial output before the layer that gives the logits, or the one that is named.

    Args:
        module: a network in evaluation mode.
        image: `[1,3,H,W]`, as the network takes it.
        name: a submodule; its output must be spatial.

    Raises:
        ClassifierError: no such submodule, its output is not spatial, the network has no spatial map (a multilayer
            perceptron), or works on tokens (a transformer).
    """
    layers = dict(module.named_modules())
    if name is not None and name not in layers:
        raise ClassifierError(f"the network has no layer {name!r}; see module.named_modules()")
    outputs: list[tuple[str, Tensor]] = []
    handles = [
        layer.register_forward_hook(lambda _layer, _inputs, output, path=path: outputs.append((path, output)))
        for path, layer in layers.items()
        if path
    ]
    try:
        logits = module(image)
    finally:
        for handle in handles:
            handle.remove()
    classes = getattr(logits, "logits", logits).shape[-1]
    last = next((at for at in reversed(range(len(outputs))) if _gives(layers[outputs[at][0]], classes)), None)
    if last is None:
        raise ClassifierError(f"no fully connected or convolutional layer gives the {classes} logits of the network")
    before = outputs[:last]
    logits_layer = outputs[last][0]
    if name is not None:
        found = next((output for path, output in reversed(outputs) if path == name), None)
        if found is None or not _is_spatial(found):
            what = "is never called" if found is None else f"gives {_shape(found)}"
            raise ClassifierError(f"the layer {name!r} {what}; a class activation map needs a spatial map [1, C, h, w]")
        return TargetLayer(name, tuple(found.shape[1:]), logits_layer)
    # These pass on what they get, or means of it; the layer before them is the better one.
    spatial = [
        at
        for at, (path, output) in enumerate(before)
        if _is_spatial(output) and not isinstance(layers[path], PASSING)
    ]
    if not spatial:
        raise ClassifierError(
            "the network has no layer with a spatial map (it seems to be a multilayer perceptron), so there is no "
            "class activation map: take another explainer"
        )
    tokens = next((path for path, output in before[spatial[-1] + 1 :] if _is_tokens(output)), None)
    if tokens is not None:
        raise ClassifierError(
            f"the network works on tokens (the layer {tokens!r}; it seems to be a transformer), so there is no class "
            "activation map: take another explainer, or name a layer with a spatial map"
        )
    path, output = before[spatial[-1]]
    return TargetLayer(path, tuple(output.shape[1:]), logits_layer)


def as_input(module: nn.Module, images: Tensor) -> Tensor:
    """Images in the number format of the network's parameters, to follow them through it."""
    parameter = next(module.parameters(), None)
    return images if parameter is None else images.to(parameter.dtype)


@contextmanager
def starting_at(module: nn.Module, name: str) -> Iterator[list[Tensor]]:
    """Let gradients of forward passes begin at the output of the submodule `name`: nothing before it is recorded.

    Yields:
        An empty list, to which every forward pass within the context appends that output, which requires a gradient.
    """
    found: list[Tensor] = []

    def cut(_layer: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        with torch.enable_grad():
            start = output.detach().requires_grad_()
            found.append(start)
            # A copy for the layers that follow, which may work in place.
            return start.clone()

    handle = module.get_submodule(name).register_forward_hook(cut)
    try:
        yield found
    finally:
        handle.remove()


@torch.no_grad()
def layer_output(module: nn.Module, name: str, image: Tensor) -> Tensor:
    """What the submodule `name` gives for `image` `[1,3,H,W]`, at its last call."""
    with starting_at(module, name) as starts:
        module(image)
    return starts[-1].detach()


def _gives(layer: nn.Module, classes: int) -> bool:
    outputs = {nn.Linear: "out_features"}.get(type(layer), "out_channels")
    return isinstance(layer, nn.Linear | _ConvNd) and getattr(layer, outputs) == classes


def _is_spatial(output: Any) -> bool:
    return isinstance(output, Tensor) and output.ndim == 4 and output.shape[2] * output.shape[3] > 1


def _is_tokens(output: Any) -> bool:
    return isinstance(output, Tensor) and output.ndim == 3 and output.shape[1] > 1


def _shape(output: Any) -> str:
    return str(list(output.shape)) if isinstance(output, Tensor) else type(output).__name__
