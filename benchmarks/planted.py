"""Networks of many architectures in which only one corner of a picture can matter, without any training.

A picture of the class "texture" has a black and white checkerboard in its upper left part, one of the class "plain"
the gray that is that board's mean; all else is faint noise, and the network sees none of it: it begins with a layer
that lets nothing but the contrast of the corner pass. Otherwise it is the architecture as it is, with its random
weights and without biases. Its batch norms take the scale of pictures whose corners are partly hidden, dimmed or noisy,
and the first layer behind its last map is fitted to how much of the texture such a picture shows; where that layer is
given the means of a map, the map's cells at the corner are to say it, and all others nothing, as deep networks carry
what they see far. An explanation that points elsewhere is wrong.

Shapes: B pictures of S by S pixels.
"""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.overrides import TorchFunctionMode

from visual_summaries.pipeline.models.classifier import Classifier
from visual_summaries.pipeline.models.preprocessing import Preprocessing
from visual_summaries.pipeline.models.recognition import recognized_head

NAMES = ("plain", "texture")
# Side and place of the texture, shares of the picture's side.
BOARD, PLACE = 0.25, 0.125
NOISE = 0.02
# Side of the square that contrast is against, pixels.
AROUND = 4
# In a corner, as methods add it.
MOST_NOISE = 0.2
# What the logit of a picture's own class is, on average; the other's is its negative.
LOGIT = 3.0
# Of the fit, share of the mean variance.
RIDGE = 1e-3


@dataclass(frozen=True)
class Planted:
    """A classifier and where its evidence is.

    Attributes:
        classifier: of the two classes `NAMES`.
        pictures: `[B,3,S,S]` in [0,1], of the class "texture".
        inside: `[S,S]` bool, the texture.
    """

    classifier: Classifier
    pictures: Tensor
    inside: Tensor


class OnlyCorner(nn.Module):
    """Nothing of a normalized image but the contrast of the pixels of `inside` `[S,S]`; the rest is zero.

    Contrast, so that a corner in the dark is as plain as a gray one: what a random network would make of black,
    nobody knows.
    """

    def __init__(self, inside: Tensor) -> None:
        super().__init__()
        self.register_buffer("inside", inside[None, None].float())

    def forward(self, images: Tensor) -> Tensor:
        around = self._sum(images * self.inside) / self._sum(self.inside).clamp(min=1)
        return (images - around) * self.inside

    def _sum(self, images: Tensor) -> Tensor:
        side = images.shape[-1]
        sums = nn.functional.avg_pool2d(images, AROUND, 1, AROUND // 2, divisor_override=1)
        return sums[..., :side, :side]


def pictures(count: int, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures `[count,3,S,S]`, how much of the texture each shows `[count]`, and where it is, `[S,S]` bool.

    Every fourth shows all of it, every fourth nothing of it; in the others it is dimmed, noisy, and hidden in places by
    gray, black or white.
    """
    generator = torch.Generator().manual_seed(7)
    first, size = round(PLACE * side), round(BOARD * side)
    place = torch.arange(size) // max(1, side // 64)
    board = ((place[:, None] + place[None]) % 2).float()
    inside = torch.zeros(side, side, dtype=torch.bool)
    inside[first : first + size, first : first + size] = True
    drawn = 0.5 + NOISE * torch.randn(count, 3, side, side, generator=generator)
    shown = torch.empty(count)
    for number in range(count):
        amount, ground = (1.0 - number % 4 / 2, 0.5) if number % 2 == 0 else _random(generator)
        contrast = amount if number % 2 == 0 else float(torch.rand((), generator=generator))
        hidden = torch.zeros(size, size, dtype=torch.bool)
        if number % 2:
            # A block of cells, as methods hide them.
            cells = torch.rand(4, 4, generator=generator) < amount
            hidden = nn.functional.interpolate(cells[None, None].float(), (size, size))[0, 0] > 0
        corner = (0.5 + contrast * (board - 0.5)).masked_fill(hidden, ground)
        if number % 2:
            noise = torch.randn(3, size, size, generator=generator)
            corner = corner + MOST_NOISE * float(torch.rand((), generator=generator)) * noise
        drawn[number, :, first : first + size, first : first + size] = corner
        shown[number] = contrast * float((~hidden).float().mean())
    return drawn.clamp(0, 1), shown, inside


def _random(generator: torch.Generator) -> tuple[float, float]:
    share = float(torch.rand((), generator=generator))
    ground = float(torch.tensor([0.5, 0.5, 0.0, 1.0])[torch.randint(4, (), generator=generator)])
    return share, ground


def plant(module: nn.Module, side: int, count: int = 64, name: str = "planted") -> Planted:
    """Give `module`, a network with two logits, weights of which only the corner can make use.

    Raises:
        ValueError: the network does not end in a fully connected or convolutional layer with two outputs and a bias,
            or cannot tell the pictures apart.
    """
    drawn, shown, inside = pictures(count, side)
    module = nn.Sequential(OnlyCorner(inside), module)
    preprocessing = Preprocessing(resize_side=side, crop_side=side, mean=(0.5,) * 3, std=(0.25,) * 3)
    normalized = (drawn - 0.5) / 0.25
    _settle(module, normalized)
    head = _head(module, normalized[:1])
    if not head or _outputs(head[-1]) != len(NAMES) or any(layer.bias is None for layer in head):
        raise ValueError(f"{name} does not end in layers with a bias that give {len(NAMES)} logits")
    seen, cells = _seen(module, head[0], normalized)
    if cells is None:
        direction = _fitted(seen, shown, offset=True)
    else:
        height, width = cells.shape[2:]
        here = nn.functional.adaptive_avg_pool2d(inside[None, None].float(), (height, width)).flatten()
        wanted = shown[:, None] * here / here.mean()
        # Without an offset: cells that are to say nothing must come to 0, or the map has another ground.
        direction = _fitted(cells.flatten(2).transpose(1, 2).flatten(0, 1), wanted.flatten(), offset=False)
    classifier = Classifier(module, preprocessing, NAMES, name=name)
    full, empty = drawn[0:8:4], drawn[2:8:4]
    high, low = (float((seen[first:8:4] @ direction).mean()) for first in (0, 2))
    direction, low = direction / (high - low), low / (high - low)
    # Between the layers of a head is a nonlinearity: straight where it gets what ReLUs pass, or very little.
    for values in ((4.0, 10.0), (-0.2, 0.2)):
        _set(head, direction, low, values)
        with torch.no_grad():
            scores = classifier.logits(torch.cat([full, empty])).softmax(1)[:, 1]
        if scores[: len(full)].min() > 0.7 and scores[len(full) :].max() < 0.3:
            return Planted(classifier, full, inside)
    raise ValueError(f"{name} cannot tell texture from gray: scores {[round(float(score), 2) for score in scores]}")


def with_head(planted: Planted, kind: str) -> Planted:
    """The same network with another head: `one logit`, `probabilities` or `sigmoids`, to be recognized as such."""
    module, side = planted.classifier.module, planted.pictures.shape[-1]
    if kind == "one logit":
        module = copy.deepcopy(module)
        name, layer = [(name, one) for name, one in module.named_modules() if _outputs(one) == len(NAMES)][-1]
        single = nn.Linear(layer.in_features, 1)
        # Of one logit z the score is the softmax of −z/2 and z/2.
        single.weight.data, single.bias.data = 2 * layer.weight.data[1:], 2 * layer.bias.data[1:]
        module.set_submodule(name, single)
    else:
        module = nn.Sequential(module, nn.Softmax(1) if kind == "probabilities" else nn.Sigmoid())
    module = module.eval().requires_grad_(False)
    head = recognized_head(module, side)
    classifier = Classifier(module, planted.classifier.preprocessing, NAMES, name=kind, head=head)
    return Planted(classifier, planted.pictures, planted.inside)


def _fitted(seen: Tensor, wanted: Tensor, offset: bool) -> Tensor:
    """Weights `[D]` with which inputs `[N,D]` come to about `wanted` `[N]`, by ridge regression; without `offset` none
    is negative."""
    if offset:
        seen, wanted = seen - seen.mean(0), wanted - wanted.mean()
    inputs = seen.double()
    products = inputs.T @ inputs
    products += RIDGE * products.trace() / min(seen.shape) * torch.eye(len(products))
    towards = inputs.T @ wanted.double()
    return (torch.linalg.solve(products, towards) if offset else _not_negative(products, towards)).float()


def _not_negative(products: Tensor, towards: Tensor, steps: int = 3000) -> Tensor:
    """x ≥ 0 that minimizes x·products·x / 2 − towards·x, by accelerated projected gradients.

    With weights of both signs Grad-CAM++, which leaves the negative ones out, would be right to show other cells.
    """
    rate = 1 / float(torch.linalg.eigvalsh(products)[-1])
    found = momentum = torch.zeros_like(towards)
    for step in range(1, steps + 1):
        after = (momentum - rate * (products @ momentum - towards)).clamp(min=0)
        momentum, found = after + (step - 1) / (step + 2) * (after - found), after
    return found


@torch.no_grad()
def _set(head: list[nn.Module], direction: Tensor, low: float, values: tuple[float, float]) -> None:
    """Let one unit of each layer carry the evidence, `values` for the two classes, and nothing else speak.

    `direction` `[D]` · input − `low` is 0 for plain pictures and 1 for those with texture.
    """
    for layer in head:
        layer.weight.zero_()
        layer.bias.zero_()
        last = layer is head[-1]
        least, most = (-LOGIT, LOGIT) if last else values
        unit = 1 if last else 0
        # The places of a flattened map count alike.
        places = layer.weight[0].numel() // len(direction)
        layer.weight[unit] = (direction.repeat_interleave(places) / places * (most - least)).view_as(layer.weight[0])
        layer.bias[unit] = least - low * (most - least)
        if last:
            layer.weight[0], layer.bias[0] = -layer.weight[1], -layer.bias[1]
        direction, low = torch.eye(1, len(layer.weight))[0] / (most - least), least / (most - least)


@torch.no_grad()
def _settle(module: nn.Module, images: Tensor) -> None:
    """Let the network add nothing of its own to even gray, and batch norms divide by the scale of these images.

    Otherwise deep random networks overflow, or see nothing; and methods that take positive evidence alone
    (Grad-CAM++) would show what positive and negative weights make of the gray elsewhere.
    """
    for name, parameter in module.named_parameters():
        if name.endswith("bias"):
            parameter.zero_()

    def measure(layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        layer.running_mean.zero_()
        places = [axis for axis in range(given[0].ndim) if axis != 1]
        layer.running_var.copy_(given[0].square().mean(dim=places).clamp(min=1e-12))

    module.eval()
    norms = [layer for layer in module.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    handles = [layer.register_forward_pre_hook(measure) for layer in norms]
    try:
        module(images)
    finally:
        for handle in handles:
            handle.remove()


def _outputs(layer: nn.Module) -> int | None:
    if isinstance(layer, nn.Linear):
        return layer.out_features
    return layer.out_channels if isinstance(layer, _ConvNd) and layer.kernel_size == (1, 1) else None


@torch.no_grad()
def _head(module: nn.Module, image: Tensor) -> list[nn.Module]:
    """The fully connected layers, or the one convolution, behind the last map or the last tokens, in order."""
    called: list[nn.Module] = []

    def note(layer: nn.Module, _inputs: object, output: Tensor) -> None:
        output = output[0] if isinstance(output, tuple) else output
        whole = output.ndim == 2 or output.shape[2:].numel() == 1
        if not whole and _outputs(layer) != len(NAMES):
            called.clear()
        elif isinstance(layer, nn.Linear) or _outputs(layer) == len(NAMES):
            called.append(layer)

    handles = [layer.register_forward_hook(note) for layer in module.modules()]
    try:
        module(image)
    finally:
        for handle in handles:
            handle.remove()
    return called


class _Maps(TorchFunctionMode):
    """Keeps the maps that functions are called with."""

    def __init__(self) -> None:
        self.given: list[Tensor] = []

    def __torch_function__(self, function, types, args=(), kwargs=None):  # noqa: ANN001, ANN204
        if args and isinstance(args[0], Tensor) and args[0].ndim == 4:
            self.given.append(args[0])
        return function(*args, **(kwargs or {}))


@torch.no_grad()
def _seen(module: nn.Module, head: nn.Module, images: Tensor) -> tuple[Tensor, Tensor | None]:
    """What a layer is given for each image `[B,D]`, and the map `[B,D,h,w]` whose mean that is, if there is one."""
    found: list[Tensor] = []
    handle = head.register_forward_hook(lambda _layer, inputs, _output: found.append(inputs[0]))
    try:
        with _Maps() as maps:
            module(images)
    finally:
        handle.remove()
    seen = found[-1]
    if seen.ndim == 4 and seen.shape[2:].numel() > 1:
        return seen.mean((2, 3)), seen
    seen = seen.flatten(1)
    for given in reversed(maps.given):
        for cells in (given, given.permute(0, 3, 1, 2)):
            if min(cells.shape[2:]) == 1:
                continue
            if cells.shape[1] == seen.shape[1] and torch.allclose(cells.mean((2, 3)), seen, rtol=1e-3, atol=1e-4):
                return seen, cells
            # A flattened map (VGG): its places are to count alike.
            if cells.shape[1:].numel() == seen.shape[1] and torch.equal(cells.flatten(1), seen):
                return cells.mean((2, 3)), cells
    return seen, None
