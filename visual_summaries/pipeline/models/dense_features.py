"""What a classifier sees at each place of an image: the activations of its middle layers on one common grid.

The layers are found by their stride, for any network whose layers have spatial maps, or named. Early layers see small
patterns and know where they are, late ones know what a place belongs to; two together describe a part.

Shapes: B images, C channels of a layer, h by w its map, G by G the common grid.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from visual_summaries.pipeline.models.classifier import Classifier, ClassifierError
from visual_summaries.pipeline.models.spatial import read_as_map

STRIDES = (16, 8)
GRID = 28


@dataclass(frozen=True)
class DenseLayer:
    """A layer with a map of the image.

    Attributes:
        name: qualified name of the submodule whose output it is.
        shape: channels, height and width of the map, for the image that it was found with.
        stride: pixels of the image to a cell of the map, to the next power of two.
    """

    name: str
    shape: tuple[int, int, int]
    stride: int


@torch.no_grad()
def find_dense_layers(
    module: nn.Module, image: Tensor, strides: Sequence[int] = STRIDES, names: Sequence[str] = ()
) -> tuple[DenseLayer, ...]:
    """The last layer of each stride, found by following one image through the network; or the layers that are named.

    Of a network's nested submodules the outermost count, whole blocks and not the layers inside the next block that
    still have the stride of this one: MobileNetV2's `features.13` and `features.6`, ResNet's `layer3` and `layer2`. A
    network that never becomes as coarse as the largest stride has all strides divided by the same power of two.

    Maps may have their channels first, or last as a Swin transformer's do, or be tokens in the order of the rows,
    whatever tokens come before them, as a vision transformer's are. A network with one stride only, like that one, has
    no finer layer: of its longest series of blocks those at three quarters and at half of the depth are taken instead.

    Args:
        module: a network in evaluation mode.
        image: `[1,3,H,W]`, as the network takes it.
        strides: powers of two, pixels to a cell.
        names: submodules to take instead; their outputs must be spatial.

    Returns:
        One layer for each stride, in that order, or for each name.

    Raises:
        ClassifierError: no such submodule, its output is not spatial, or the network has no layer of a stride (a
            multilayer perceptron).
    """
    layers = dict(module.named_modules())
    if unknown := [name for name in names if not name or name not in layers]:
        raise ClassifierError(f"the network has no layer {unknown[0]!r}; see module.named_modules()")
    found: dict[str, DenseLayer] = {}

    def note(name: str, output: Any) -> None:
        values = _as_map(output, image.shape[2:])
        if values is not None:
            ratio = image.shape[2] / values.shape[2]
            found[name] = DenseLayer(name, tuple(values.shape[1:]), 2 ** max(0, round(math.log2(ratio))))

    handles = [
        layer.register_forward_hook(lambda _layer, _inputs, output, name=name: note(name, output))
        for name, layer in layers.items()
        if name
    ]
    try:
        module(image)
    finally:
        for handle in handles:
            handle.remove()
    if names:
        if missing := [name for name in names if name not in found]:
            raise ClassifierError(f"the layer {missing[0]!r} gives no spatial map [1, C, h, w]; name another")
        return tuple(found[name] for name in names)
    coarsest = max((layer.stride for layer in found.values()), default=0)
    divisor = max(1, max(strides) // max(1, coarsest))
    chosen = [_last_of_stride(list(found.values()), stride // divisor) for stride in strides]
    if None in chosen:
        return _of_one_stride(list(found.values()), strides, next(own for own in strides if own // divisor))
    return tuple(chosen)


def _last_of_stride(found: Sequence[DenseLayer], stride: int) -> DenseLayer | None:
    of_stride = [layer for layer in found if layer.stride == stride]
    outermost = min((layer.name.count(".") for layer in of_stride), default=0)
    return next((layer for layer in reversed(of_stride) if layer.name.count(".") == outermost), None)


def _of_one_stride(found: Sequence[DenseLayer], strides: Sequence[int], wanted: int) -> tuple[DenseLayer, ...]:
    """Layers of a network that has one stride only, the coarser the stride the later."""
    series: dict[tuple[str, tuple[int, int, int]], list[DenseLayer]] = {}
    for layer in found:
        series.setdefault((layer.name.rpartition(".")[0], layer.shape), []).append(layer)
    longest = max(series.values(), key=len, default=[])
    if len(longest) < 2 * len(strides):
        raise ClassifierError(
            f"the network has no layer with a cell to every {wanted} pixels, so its features cannot be laid on the "
            "image; name layers with a spatial map"
        )
    order = sorted(range(len(strides)), key=lambda at: -strides[at])
    places = {at: (len(longest) * (3 - rank)) // 4 - 1 if rank < 3 else 0 for rank, at in enumerate(order)}
    return tuple(longest[places[at]] for at in range(len(strides)))


def _as_map(output: Any, size: Sequence[int]) -> Tensor | None:
    """A layer's output on images of `size` (height, width) as a map `[B,C,h,w]`, h, w > 1; None where it is none."""
    reading = read_as_map(output, size)
    return None if reading is None or min(reading.grid) < 2 else reading.as_map(output)


def layers_of(classifier: Classifier, names: Sequence[str] = ()) -> tuple[DenseLayer, ...]:
    """The layers that describe the places of a classifier's images, as `find_dense_layers` finds them.

    Raises:
        ClassifierError: see there.
    """
    image = torch.zeros(1, 3, classifier.input_size, classifier.input_size, device=classifier.device)
    return find_dense_layers(classifier.module, classifier.normalized(image), names=names)


@torch.no_grad()
def dense_features(
    classifier: Classifier,
    images: Tensor,
    layers: Sequence[DenseLayer],
    grid: int = GRID,
    mirrored: bool = False,
) -> tuple[Tensor, ...]:
    """The layers' activations on a common grid, each map enlarged or reduced bilinearly.

    Args:
        classifier: whose network has the layers.
        images: `[B,3,S,S]` float in [0,1].
        layers: as `find_dense_layers` gives them.
        grid: cells to a side, G.
        mirrored: take the mean with the mirrored image's activations, laid back. A place and its mirror image then
            have the same features, for a second pass.

    Returns:
        For each layer `[B,C,G,G]` float32, on the images' device, before any standardization.

    Raises:
        ClassifierError: the network does not call a layer, or its map is not spatial.
    """
    maps = _captured(classifier, images, layers)
    if mirrored:
        others = _captured(classifier, images.flip(-1), layers)
        maps = [(first + second.flip(-1)) / 2 for first, second in zip(maps, others, strict=True)]
    size = (grid, grid)
    return tuple(
        values
        if values.shape[2:] == size
        else functional.interpolate(values, size=size, mode="bilinear", align_corners=False, antialias=True)
        for values in maps
    )


def _captured(classifier: Classifier, images: Tensor, layers: Sequence[DenseLayer]) -> list[Tensor]:
    maps: dict[str, Tensor] = {}

    def capture(name: str, output: Any) -> None:
        # A copy: the nonlinearity that follows may work in place.
        values = _as_map(output, images.shape[2:])
        if values is not None:
            maps[name] = values.detach().float().clone()

    modules = dict(classifier.module.named_modules())
    handles = []
    try:
        for layer in layers:
            if layer.name not in modules:
                raise ClassifierError(f"{classifier.name} has no layer {layer.name!r}")
            hook = modules[layer.name].register_forward_hook(
                lambda _layer, _inputs, output, name=layer.name: capture(name, output)
            )
            handles.append(hook)
        classifier.module(classifier.normalized(images))
    finally:
        for handle in handles:
            handle.remove()
    for layer in layers:
        if layer.name not in maps:
            raise ClassifierError(f"{classifier.name}: the layer {layer.name!r} gives no spatial map; name another")
    return [maps[layer.name] for layer in layers]
