"""The layer whose activations a class activation map is made of, found by following one image through the network.

All of the image's evidence must go through it: a map in a branch, beside a skip or another branch, is part of what the
network sees at a place. Which layers those are follows from the graph that autograd records. A map need not be what a
submodule gives: a ReLU after an addition may be a function of a network's own forward pass. Steps are therefore
followed one by one, as calls of torch functions.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.overrides import TorchFunctionMode

from visual_summaries.pipeline.models.classifier import ClassifierError
from visual_summaries.pipeline.models.spatial import Reading, read_as_map

# These pass on what they get, or means of it; the layer before them is the better one.
PASSING = (nn.AdaptiveAvgPool2d, nn.Dropout, nn.Dropout2d, nn.Identity, nn.Flatten)
PASSING_FUNCTIONS = frozenset({"adaptive_avg_pool2d", "dropout", "dropout2d", "feature_dropout"})


@dataclass(frozen=True)
class TargetLayer:
    """Where the last spatial map is.

    Attributes:
        name: qualified name of the submodule whose output it is; where it is no submodule's, the torch function that
            gives it.
        shape: channels, height and width of the map.
        logits_layer: qualified name of the fully connected or convolutional layer that gives the logits; None if none
            does.
        reading: how the output is a map.
        step: number of the call of a torch function in the forward pass that gives the map, where no submodule does.
    """

    name: str
    shape: tuple[int, int, int]
    logits_layer: str | None
    reading: Reading
    step: int | None = None


@dataclass(frozen=True)
class _Candidate:
    layer: TargetLayer
    edge: tuple[Any, int]


def find_target_layer(module: nn.Module, image: Tensor, name: str | None = None) -> TargetLayer:
    """The last map of more than one cell, before the layer that gives the logits, through which all evidence goes.

    Maps are the outputs of submodules and of torch functions; tokens in the order of the rows are one as well, with the
    channels last, without the tokens of the class before them. Of tokens, those count that the logits still depend on:
    in a vision transformer whose head sees the class's token alone, what the last block gets.

    Args:
        module: a network in evaluation mode.
        image: `[1,C,H,W]`, as the network takes it.
        name: a submodule to take instead; its output must be a map.

    Raises:
        ClassifierError: no such submodule, its output is no map, or the network has no map (a multilayer perceptron).
    """
    layers = dict(module.named_modules())
    if name is not None and name not in layers:
        raise ClassifierError(f"the network has no layer {name!r}; see module.named_modules()")
    followed = _Followed(module, image.shape[2:])
    with torch.enable_grad():
        start = image.detach().requires_grad_()
        # A copy of the leaf, since the network may change its input in place.
        logits = followed.run(start.clone())
    if name is not None:
        return _told_apart(module, followed.named(name), image)
    candidates = followed.candidates()
    if not candidates:
        raise ClassifierError(
            "the network has no layer with a spatial map (it seems to be a multilayer perceptron), so there is no "
            "class activation map: take another explainer"
        )
    if logits.grad_fn is None:
        return candidates[-1].layer
    whole = [one for one in candidates if one.edge[0] is not None and _separates(one.edge, logits.grad_fn, start)]
    if not whole:
        raise ClassifierError(
            "the network has no layer with a spatial map through which all evidence goes, so there is no class "
            "activation map of all of it: name a layer with explain.cam.layer, or take another explainer"
        )
    chosen = next((one.layer for one in reversed(whole) if _matters(module, one.layer, image)), whole[-1].layer)
    return _told_apart(module, chosen, image)


class _Followed:
    """One forward pass: the maps that submodules and functions give, in the order in which they are there."""

    def __init__(self, module: nn.Module, size: Sequence[int]) -> None:
        self.module, self.size = module, size
        self.paths = {layer: path for path, layer in module.named_modules()}
        self.found: list[_Candidate] = []
        self.outputs: dict[str, Any] = {}
        # Of layers that may give the logits: their names, their outputs' sizes, and the maps found before them.
        self.last_layers: list[tuple[str, int, int]] = []

    def run(self, image: Tensor) -> Tensor:
        begun: list[int] = []
        with ExitStack() as stack:
            for layer, path in self.paths.items():
                if path:
                    before = layer.register_forward_pre_hook(lambda *_: begun.append(len(self.found)))
                    stack.callback(before.remove)
                    after = layer.register_forward_hook(
                        lambda layer, _inputs, output, path=path: self.left(layer, path, output, begun.pop())
                    )
                    stack.callback(after.remove)
            stack.enter_context(_Steps(self.module, self.step).attached())
            output = self.module(image)
        self.logits = getattr(output, "logits", output)
        return self.logits

    def left(self, layer: nn.Module, path: str, output: Any, begun: int) -> None:
        self.outputs[path] = output
        width = _width(layer)
        if width is not None:
            self.last_layers.append((path, width, begun))
        reading = read_as_map(output, self.size)
        if reading is not None and len(output) == 1 and not isinstance(layer, PASSING):
            self.note(path, output, reading, None)

    def step(self, number: int, name: str, output: Tensor) -> Tensor:
        # Not of three dimensions: a function's output may be a map that was made flat, which is no tokens.
        reading = read_as_map(output, self.size)
        if reading is not None and len(output) == 1 and name not in PASSING_FUNCTIONS:
            self.note(name, output, reading, number)
        return output

    def note(self, name: str, output: Tensor, reading: Reading, step: int | None) -> None:
        channels = output.shape[-1] if reading.channels_last else output.shape[1]
        edge = (output.grad_fn, output.output_nr)
        layer = TargetLayer(name, (channels, *reading.grid), None, reading, step)
        if self.found and edge[0] is not None and self.found[-1].edge == edge:
            # The same tensor: the outermost submodule that gives it names it.
            self.found.pop()
        self.found.append(_Candidate(layer, edge))

    def candidates(self) -> list[_Candidate]:
        """The maps before the layer that gives the logits."""
        name, end = self.head()
        return [_Candidate(replace(one.layer, logits_layer=name), one.edge) for one in self.found[:end]]

    def head(self) -> tuple[str | None, int]:
        """The layer that gives the logits, and how many maps are found before it."""
        classes = self.logits.shape[-1]
        for path, width, begun in reversed(self.last_layers):
            if width == classes:
                return path, begun
        return None, len(self.found)

    def named(self, name: str) -> TargetLayer:
        output = self.outputs.get(name)
        reading = read_as_map(output, self.size)
        if reading is None or len(output) != 1:
            shape = str(list(output.shape)) if isinstance(output, Tensor) else type(output).__name__
            what = f"gives {shape}" if name in self.outputs else "is never called"
            raise ClassifierError(f"the layer {name!r} {what}; a class activation map needs a spatial map [1, C, h, w]")
        channels = output.shape[-1] if reading.channels_last else output.shape[1]
        return TargetLayer(name, (channels, *reading.grid), self.head()[0], reading)


def _width(layer: nn.Module) -> int | None:
    if isinstance(layer, nn.Linear):
        return layer.out_features
    return layer.out_channels if isinstance(layer, _ConvNd) else None


def _separates(edge: tuple[Any, int], logits: Any, image: Tensor) -> bool:
    """Whether every way from the logits back to the image leads over an edge of autograd's graph."""
    if logits is edge[0]:
        return True
    waiting, seen = [logits], {logits}
    while waiting:
        for node, number in waiting.pop().next_functions:
            if node is None or (node, number) == edge or node in seen:
                continue
            if getattr(node, "variable", None) is image:
                return False
            seen.add(node)
            waiting.append(node)
    return True


def _matters(module: nn.Module, layer: TargetLayer, image: Tensor) -> bool:
    """Whether what the layer of the logits gets depends on the map, where the image is what it is."""
    seen: list[Tensor] = []
    with ExitStack() as stack:
        if layer.logits_layer is not None:
            head = module.get_submodule(layer.logits_layer)
            hook = head.register_forward_pre_hook(lambda _layer, inputs: seen.append(inputs[0]))
            stack.callback(hook.remove)
        stack.enter_context(torch.enable_grad())
        starts = stack.enter_context(starting_at(module, layer))
        output = module(image)
        values = seen[-1] if seen else getattr(output, "logits", output)
        if not starts or not values.requires_grad:
            return False
        weights = torch.arange(values.numel(), dtype=values.dtype, device=values.device).cos().view(values.shape)
        (gradient,) = torch.autograd.grad((values * weights).sum(), starts[-1], allow_unused=True)
    return gradient is not None and bool(layer.reading.as_map(gradient).any())


@torch.no_grad()
def _told_apart(module: nn.Module, layer: TargetLayer, image: Tensor) -> TargetLayer:
    """The layer with its channels where they are, where as many channels as rows and columns leave that open.

    What changes with the upper left corner of the image lies at the beginning of the rows and columns, and anywhere
    among the channels.
    """
    if layer.reading.tokens or len(set(layer.shape)) > 1:
        return layer
    corner = (..., slice(image.shape[2] // 2), slice(image.shape[3] // 2))
    other = image.clone()
    other[corner] = image.flip(-1, -2)[corner]
    change = (_output(module, layer, other) - _output(module, layer, image)).abs()[0]
    half = layer.shape[0] // 2
    along = [change.movedim(dim, 0).flatten(1).sum(dim=1) for dim in (0, 2)]
    first, last = (float(values[:half].sum() - values[-half:].sum()) for values in along)
    return replace(layer, reading=replace(layer.reading, channels_last=first > last))


class _Steps(TorchFunctionMode):
    """Hands what torch functions give, `[1 or more,…]` of four dimensions, to `seen(number, name, output)`, while the
    network runs; the result replaces it."""

    def __init__(self, module: nn.Module, seen: Callable[[int, str, Tensor], Tensor]) -> None:
        super().__init__()
        self.module, self.seen = module, seen
        self.number, self.running = 0, False

    @contextmanager
    def attached(self) -> Iterator[None]:
        begin = self.module.register_forward_pre_hook(lambda *_: self.switch(True), prepend=True)
        end = self.module.register_forward_hook(lambda *_: self.switch(False), always_call=True)
        try:
            with self:
                yield
        finally:
            begin.remove()
            end.remove()

    def switch(self, running: bool) -> None:
        self.number, self.running = 0, running

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        # Other calls are not counted: hooks may look at a tensor's shape.
        if not self.running or not isinstance(output, Tensor) or output.ndim != 4 or not output.is_floating_point():
            return output
        self.number += 1
        name = getattr(func, "__name__", "").partition(".")[0].strip("_")
        replaced = self.seen(self.number, name, output)
        if replaced is not output and args and output is args[0]:
            # In place: whoever holds the tensor must see what replaces it.
            return output.copy_(replaced)
        return replaced


def network_input(classifier: Any, images: Tensor) -> Tensor:
    """What a classifier gives its network, `module`, for images `[B,3,H,W]` in [0,1]: normalized, in its own format."""
    seen: list[Tensor] = []
    handle = classifier.module.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    try:
        with torch.no_grad():
            classifier.logits(images)
    finally:
        handle.remove()
    return seen[0].detach()


@contextmanager
def starting_at(module: nn.Module, layer: TargetLayer) -> Iterator[list[Tensor]]:
    """Let gradients of forward passes begin at the output of a layer: nothing before it is recorded.

    Yields:
        An empty list, to which every forward pass within the context appends that output, which requires a gradient.
    """
    found: list[Tensor] = []

    def cut(output: Tensor) -> Tensor:
        with torch.enable_grad():
            start = output.detach().clone().requires_grad_()
            found.append(start)
            # A copy for the layers that follow, which may work in place.
            return start.clone()

    with ExitStack() as stack:
        if layer.step is None:
            hook = module.get_submodule(layer.name).register_forward_hook(lambda _layer, _inputs, output: cut(output))
            stack.callback(hook.remove)
        else:
            steps = _Steps(module, lambda number, _name, output: cut(output) if number == layer.step else output)
            stack.enter_context(steps.attached())
        yield found


def layer_output(module: nn.Module, layer: TargetLayer, image: Tensor) -> Tensor:
    """What a layer gives for `image` `[1,C,H,W]`, at its last call, as a map `[1,C',h,w]`."""
    return layer.reading.as_map(_output(module, layer, image))


@torch.no_grad()
def _output(module: nn.Module, layer: TargetLayer, image: Tensor) -> Tensor:
    with starting_at(module, layer) as starts:
        module(image)
    return starts[-1].detach()
