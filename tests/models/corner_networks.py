"""Networks of any architecture in which one corner of the image alone is evidence, and the check that a map shows it.

    classifier, images, target = planted(models.resnet18(weights=None), side=64)
    saliency = GradCam().explain(classifier, images, torch.full((len(images),), target)).saliency
    assert share_in_corner(saliency) > ENOUGH

The architecture computes all of it: only its input is multiplied by a mask, so that nothing outside the corner can
reach a logit, and its weights are set so that a blank image gives no feature and the logit of the target grows with the
features that the corner gives.
"""

import copy

import torch
from torch import Tensor, nn

from visual_summaries.pipeline.models.classifier import Classifier
from visual_summaries.pipeline.models.preparation import PreparedClassifier
from visual_summaries.pipeline.models.preprocessing import Preprocessing
from visual_summaries.pipeline.models.target_layer import find_target_layer

# Of the image's side: the evidence, and the corner in which a map must show it. In networks that halve their maps by
# convolutions of three pixels, a cell looks half a cell further up and to the left than where its map is enlarged to:
# maps of 4 × 4 cells or more can tell.
EVIDENCE, CORNER = 0.375, 0.5
# Of the mass of a map. Chance has a quarter.
ENOUGH = 0.5
TARGET = 1
# Of a convolution's weights beside its middle, all together; 1 would be one weight's share.
BESIDE = 1.6
NO_CONTENT = ("pos_embed", "class_token", "cls_token", "position_bias", "reg_token", "dist_token")
SCALES = ("layer_scale", "gamma")


class Corner(nn.Module):
    """A network that is shown the upper left corner of its images alone, zeros elsewhere."""

    def __init__(self, network: nn.Module, side: int) -> None:
        super().__init__()
        self.network = network
        mask = torch.zeros(side, side)
        mask[: round(EVIDENCE * side), : round(EVIDENCE * side)] = 1
        self.register_buffer("mask", mask)

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images * self.mask)


def planted(
    network: nn.Module, side: int, *, channels: int = 3, strength: float = 6.0, count: int = 2, seed: int = 0
) -> tuple[PreparedClassifier, Tensor, int]:
    """A classifier of the network's architecture, images, and the class of which their upper left corner is evidence.

    Args:
        network: gives logits `[B,K]`, by one last layer, for images `[B,C,side,side]`; it is copied.
        channels: C.
        strength: the target's logit on the images, and minus that of the other classes.
        count: of images.

    Returns:
        The classifier, images `[count,3,side,side]` in [0,1], and the class.
    """
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(count, 3, side, side, generator=generator)
    module = Corner(_without_content(copy.deepcopy(network)), side).eval().requires_grad_(False)
    preprocessing = Preprocessing(side, side, (0.5,) * channels, (0.25,) * channels)
    with torch.no_grad():
        shape = module(torch.zeros(1, channels, side, side)).shape
        classifier = Classifier(module, preprocessing, [str(number) for number in range(shape[1])])
        inputs = classifier.normalized(images)
        _scale(module, inputs)
        layer = find_target_layer(module, inputs[:1]).logits_layer
        head = module.get_submodule(layer)
        shown, blank = (_received(module, head, values) for values in (inputs, torch.zeros_like(inputs)))
        direction = (shown - blank).mean(dim=0)
        head.weight.copy_(-direction.view_as(head.weight[0]).expand_as(head.weight))
        head.weight[TARGET].neg_()
        head.weight.mul_(strength / direction.square().sum())
    return PreparedClassifier(classifier), images, TARGET


def share_in_corner(saliency: Tensor) -> Tensor:
    """Share `[B]` of the mass of maps `[B,C,H,W]` above their own median that lies in the corner; 0 where none does."""
    maps = saliency.mean(dim=1).double()
    above = (maps - maps.flatten(1).median(dim=1).values.view(-1, 1, 1)).clamp_min(0)
    rows, columns = (round(CORNER * size) for size in above.shape[1:])
    whole = above.sum(dim=(1, 2))
    return torch.where(whole > 0, above[:, :rows, :columns].sum(dim=(1, 2)) / whole, 0.0)


def _without_content(network: nn.Module) -> nn.Module:
    """What a network adds to its images is taken away: biases, means, positions."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("bias") or any(part in name for part in NO_CONTENT):
                parameter.zero_()
            elif any(part in name for part in SCALES):
                parameter.fill_(1)
        for name, buffer in network.named_buffers():
            if name.endswith("running_mean"):
                buffer.zero_()
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d) and layer.kernel_size > layer.stride:
                # Less of what is beside a cell, so that the last map still says where things are.
                middle = [size // 2 for size in layer.kernel_size]
                kept = layer.weight[..., middle[0], middle[1]].clone()
                layer.weight.mul_(BESIDE / (layer.weight[0, 0].numel() - 1))
                layer.weight[..., middle[0], middle[1]] = kept
            elif isinstance(layer, nn.LayerNorm):
                # Nearly nothing is not to become as much as everything.
                layer.eps = 1.0
    return network


def _scale(module: nn.Module, inputs: Tensor) -> None:
    """Batch norms divide by the scale of what they get, so that deep networks neither grow nor vanish."""

    def measure(layer: nn.Module, values: tuple[Tensor, ...]) -> None:
        layer.running_var.copy_(values[0].square().mean(dim=(0, 2, 3)).clamp_min(1e-12))

    hooks = [
        layer.register_forward_pre_hook(measure) for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)
    ]
    module(inputs)
    for hook in hooks:
        hook.remove()


def _received(module: nn.Module, head: nn.Module, inputs: Tensor) -> Tensor:
    """What the last layer gets, its mean over places: `[B,D]`."""
    seen: list[Tensor] = []
    hook = head.register_forward_pre_hook(lambda _layer, values: seen.append(values[0]))
    module(inputs)
    hook.remove()
    values = seen[-1]
    return values.mean(dim=(2, 3)) if values.ndim == 4 else values
