"""Class activation maps: CAM, Grad-CAM, Grad-CAM++ and Smooth Grad-CAM++ ("Feature CAM", §3, eqs. 1 to 6).

Each image has a target of its own. The network runs once without recording anything up to its last spatial map, and the
gradient goes back to that map and no farther. Shapes: B images, H by W pixels; the map A has C channels, h by w cells.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from visual_summaries.pipeline.explain.interface import (
    Explanation,
    LogitsFunction,
    scores_of,
    target_scores,
    validate_batch,
)
from visual_summaries.pipeline.explain.passes import PASS_MEMORY, in_passes, normalized, relative
from visual_summaries.pipeline.models.classifier import ClassifierError
from visual_summaries.pipeline.models.heads import LOGITS
from visual_summaries.pipeline.models.target_layer import (
    TargetLayer,
    find_target_layer,
    layer_output,
    network_input,
    starting_at,
)

# The same values computed in two ways differ by rounding; more than this, as a share of the largest, is a difference.
TOLERANCE = 1e-3


class ActivationMaps(ABC):
    """A class activation map at the target layer, found by itself or named, brought to the size of the image.

    Saliency `[B,1,H,W]` is the map enlarged bilinearly and divided by its largest value (CAM: moved and scaled to
    [0,1]). No image is perturbed by the map, so that there is no `score_after`. `iterations` counts forward passes.
    The classifier must have its network as `module`: a `PreparedClassifier`.
    """

    passes = 1
    scaled = staticmethod(relative)

    def __init__(self, layer: str | None = None, memory: int = PASS_MEMORY) -> None:
        """`layer`: a submodule's qualified name; `memory`: bytes of the images in one forward pass."""
        self.layer, self.memory = layer, memory
        self._found: tuple[nn.Module, Any, TargetLayer] | None = None

    def explain(
        self,
        classifier: LogitsFunction,
        images: Tensor,
        targets: Tensor,
        generators: Sequence[torch.Generator] | None = None,
    ) -> Explanation:
        """As `Explainer.explain`.

        Raises:
            ValueError: shapes, dtypes or ranges do not fit, or the classifier has no `module`.
            ClassifierError: the network has no spatial map, or not under that name.
        """
        validate_batch(images, targets)
        if not len(images):
            empty = images.new_zeros(0)
            return Explanation(images[:, :1], empty, None, torch.zeros_like(targets))
        network, layer = self.network(classifier, images)
        maps, scores = self.maps(network, layer, images, targets, generators)
        large = functional.interpolate(maps[:, None], images.shape[-2:], mode="bilinear", align_corners=False)
        return Explanation(
            saliency=self.scaled(large),
            score_before=scores,
            score_after=None,
            iterations=torch.full_like(targets, self.passes),
        )

    def maps(
        self,
        network: LogitsFunction,
        layer: TargetLayer,
        images: Tensor,
        targets: Tensor,
        generators: Sequence[torch.Generator] | None,
    ) -> tuple[Tensor, Tensor]:
        """Maps `[B,h,w]` before they are enlarged, and the target's score `[B]` on the images."""
        found, scores = images.new_zeros(len(images), *layer.shape[1:]), images.new_zeros(len(images))

        def run(first: int, end: int) -> None:
            some, wanted = images[first:end], targets[first:end]
            found[first:end], logits = self.single(network, layer, some, wanted)
            scores[first:end] = scores_of(network, logits.detach(), wanted)

        in_passes(len(images), images[0].numel() * images.element_size(), self.memory, run)
        return found, scores

    @abstractmethod
    def single(
        self, network: LogitsFunction, layer: TargetLayer, images: Tensor, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Maps `[n,h,w]` and logits `[n,K]` of images in one pass."""

    def network(self, classifier: LogitsFunction, images: Tensor) -> tuple[LogitsFunction, TargetLayer]:
        """The classifier by the network whose target layer is meant, prepared or as loaded, and that layer.

        The layer is that of the network as loaded. The prepared network's may be another, or give something else, as a
        named convolution does once its batch norm is folded into it. What both give for an image is therefore compared,
        and the network is taken as loaded where it differs.
        """
        module = getattr(classifier, "module", None)
        if module is None:
            raise ValueError("a class activation map needs a classifier with its network as `module`")
        if self._found is None or self._found[0] is not module:
            original = getattr(classifier, "unfolded", module)
            image = network_input(classifier, images[:1])
            layer = find_target_layer(original, image, self.layer)
            chosen = copy.copy(classifier)
            chosen.module = original
            if original is not module:
                prepared = find_target_layer(module, image, self.layer)
                found, wanted = layer_output(module, prepared, image), layer_output(original, layer, image)
                if found.shape == wanted.shape and _same(found, wanted):
                    chosen.module, layer = module, prepared
            self._found = (module, chosen, layer)
        return self._found[1:]


class GradientMaps(ActivationMaps):
    """An activation map that follows the gradient of the target's logit to the target layer."""

    @abstractmethod
    def combined(self, activations: Tensor, gradients: Tensor) -> Tensor:
        """Maps `[n,h,w]` of A and ∂(target's logit)/∂A, both `[n,C,h,w]` float."""

    def single(
        self, network: LogitsFunction, layer: TargetLayer, images: Tensor, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As `ActivationMaps.single`, in one forward and one short backward pass."""
        with torch.enable_grad(), starting_at(network.module, layer) as starts:
            logits = network.logits(images)
            if not logits.requires_grad:
                raise ClassifierError(f"no gradient gets to the map that {layer.name!r} gives: take another explainer")
            (gradients,) = torch.autograd.grad(logits.gather(1, targets[:, None]).sum(), starts[-1])
        with torch.no_grad():
            activations, gradients = (_map(layer, values) for values in (starts[-1].detach(), gradients))
            return self.combined(activations, gradients).to(images), logits


class GradCam(GradientMaps):
    """ReLU(Σ α_k A_k), α_k the mean gradient of the target's logit over the map (eqs. 2 and 3)."""

    def combined(self, activations: Tensor, gradients: Tensor) -> Tensor:
        return torch.einsum("nc,nchw->nhw", gradients.mean(dim=(2, 3)), activations).relu()


class GradCamPlusPlus(GradientMaps):
    """ReLU(Σ w_k A_k), w_k = Σ α·relu(gradient), α of eq. 5 with the sum of A over the whole map (eqs. 4 and 5).

    The class score is the exponential of the logit, whose second and third derivative are then those powers of the
    logit's gradient g, times a common factor that α does not contain and the division by the map's largest value takes
    away: α = g² / (2g² + ΣA·g³) = 1 / (2 + ΣA·g).

    The equations are about activations that are never negative. For others 2 + ΣA·g crosses zero. A signed map is
    therefore taken as the two that are its positive and its negative part, A = A⁺ − A⁻ with the gradients g and −g, and
    each has its own weight. Where A is not negative, nothing is different.
    """

    def combined(self, activations: Tensor, gradients: Tensor) -> Tensor:
        return self.part(activations.relu(), gradients) + self.part(activations.neg().relu(), -gradients)

    def part(self, activations: Tensor, gradients: Tensor) -> Tensor:
        """The map `[n,h,w]` of activations ≥ 0 `[n,C,h,w]`; α matters where the gradient is positive alone."""
        positive = gradients.relu()
        shares = 1 / (2 + activations.sum(dim=(2, 3), keepdim=True) * positive)
        return torch.einsum("nc,nchw->nhw", (shares * positive).sum(dim=(2, 3)), activations)


class SmoothGradCamPlusPlus(GradCamPlusPlus):
    """The mean of the Grad-CAM++ maps of noisy copies of the image (eq. 6); noise from each image's own generator.

    Each copy's map is divided by its largest value before: by eq. 4 as it stands, the copies would be weighed by the
    exponentials of their logits, so that a single one might be all of the mean.
    """

    def __init__(
        self, copies: int = 8, noise: float = 0.15, layer: str | None = None, memory: int = PASS_MEMORY
    ) -> None:
        """`copies`: n; `noise`: σ, as a share of the image's range of values.

        Raises:
            ValueError: no copy, or a negative σ.
        """
        super().__init__(layer, memory)
        if copies < 1 or noise < 0:
            raise ValueError("copies must be at least 1 and noise not negative")
        self.passes, self.noise = copies, noise

    def maps(
        self,
        network: LogitsFunction,
        layer: TargetLayer,
        images: Tensor,
        targets: Tensor,
        generators: Sequence[torch.Generator] | None,
    ) -> tuple[Tensor, Tensor]:
        generators = generators or [torch.Generator(images.device).manual_seed(0) for _ in images]
        std = self.noise * (images.amax(dim=(1, 2, 3)) - images.amin(dim=(1, 2, 3)))
        found = images.new_zeros(len(images), self.passes, *layer.shape[1:])
        # A copy at a time, so that an image's random numbers come in the order of its copies, whatever the packing.
        for number in range(self.passes):
            noise = torch.stack(
                [torch.randn(images[0].shape, generator=own, device=own.device) for own in generators]
            ).to(images)
            noisy = images + std.view(-1, 1, 1, 1) * noise
            copies, _ = super().maps(network, layer, noisy, targets, None)
            found[:, number] = relative(copies)
        with torch.no_grad():
            return found.mean(dim=1), target_scores(network, images, targets)


class Cam(ActivationMaps):
    """Σ w_k A_k, w_k the weights of the layer that gives the logits (eq. 1), for networks that pool their last map.

    That is, global average pooling and one fully connected layer; or a convolution that gives a map for each class, of
    which the logits are means, as in SqueezeNet: then the class's own map.
    """

    scaled = staticmethod(normalized)

    def single(
        self, network: LogitsFunction, layer: TargetLayer, images: Tensor, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As `ActivationMaps.single`.

        Raises:
            ClassifierError: the head is another one.
        """
        if layer.logits_layer is None:
            raise ClassifierError(
                "CAM needs a fully connected or convolutional layer that gives the logits, and this network has none: "
                "take grad-cam"
            )
        head, meaning = network.module.get_submodule(layer.logits_layer), getattr(network, "head", LOGITS)
        outputs: list[Tensor] = []
        handle = head.register_forward_hook(lambda _layer, _inputs, output: outputs.append(output.clone()))
        try:
            with torch.no_grad(), starting_at(network.module, layer) as starts:
                logits = network.logits(images).float()
        finally:
            handle.remove()
        activations, output = _map(layer, starts[-1].detach()), outputs[-1].float()
        chosen = targets.view(-1, 1)
        # One output makes two logits, so that its weights do.
        weight = meaning.spread(head.weight.detach().float().flatten(1).T).T
        if (output.ndim == 2 or output.shape[2:].numel() == 1) and weight.shape[1] == activations.shape[1]:
            bias = 0 if head.bias is None else meaning.spread(head.bias.float()[None])
            repeated = activations.mean(dim=(2, 3)) @ weight.T + bias
            maps = torch.einsum("nc,nchw->nhw", weight[targets], activations)
        elif output.ndim == 4:
            # A ReLU may stand between the classes' maps and their means.
            plain, rectified = meaning.spread(output), meaning.spread(output.relu())
            output = plain if _same(plain.mean(dim=(2, 3)), logits) else rectified
            repeated = output.mean(dim=(2, 3))
            maps = output.gather(1, chosen[:, :, None, None].expand(-1, 1, *output.shape[2:]))[:, 0]
        else:
            repeated = torch.full_like(logits, torch.nan)
            maps = repeated
        if meaning.up_to_shift:
            repeated, logits = (each - each.mean(dim=1, keepdim=True) for each in (repeated, logits))
        if not _same(repeated, logits) or maps.shape[1:] != layer.shape[1:]:
            raise ClassifierError(
                f"CAM needs global average pooling and one layer behind the map that {layer.name!r} gives; this "
                "network has another head: take grad-cam"
            )
        return maps.to(images), logits


def _map(layer: TargetLayer, values: Tensor) -> Tensor:
    """A batch's values at the layer as maps `[n,C,h,w]` float.

    Raises:
        ClassifierError: they have not the size of the map of the image that the layer was found with.
    """
    maps = layer.reading.as_map(values).float()
    if maps.shape[1:] != layer.shape:
        raise ClassifierError(
            f"{layer.name!r} gives a map {list(maps.shape[1:])} for one image and {list(layer.shape)} for another: "
            "name a layer with explain.cam.layer"
        )
    return maps


def _same(found: Tensor, expected: Tensor) -> bool:
    return bool((found - expected).abs().amax() <= TOLERANCE * expected.abs().amax())
