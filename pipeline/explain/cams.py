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

from pipeline.explain.interface import Explanation, LogitsFunction, scores_of, target_scores, validate_batch
from pipeline.explain.passes import PASS_MEMORY, in_passes, normalized, relative
from pipeline.models.classifier import ClassifierError
from pipeline.models.heads import LOGITS
from pipeline.models.target_layer import TargetLayer, as_input, find_target_layer, layer_output, starting_at

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
        """The classifier by the network whose target layer is meant: the prepared one, or the network as loaded.

        The layer is that of the network as loaded. A named convolution gives something else once its batch norm is
        folded into it, so the layer's outputs in both networks are compared.
        """
        module = getattr(classifier, "module", None)
        if module is None:
            raise ValueError("a class activation map needs a classifier with its network as `module`")
        if self._found is None or self._found[0] is not module:
            original = getattr(classifier, "unfolded", module)
            image = as_input(module, images[:1])
            layer = find_target_layer(original, image, self.layer)
            chosen = copy.copy(classifier)
            chosen.module = original
            if original is not module:
                wanted, prepared = (layer_output(network, layer.name, image) for network in (original, module))
                if _same(prepared, wanted):
                    chosen.module = module
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
        with torch.enable_grad(), starting_at(network.module, layer.name) as starts:
            logits = network.logits(images)
            (gradients,) = torch.autograd.grad(logits.gather(1, targets[:, None]).sum(), starts[-1])
        with torch.no_grad():
            return self.combined(starts[-1].detach().float(), gradients.float()).to(images), logits


class GradCam(GradientMaps):
    """ReLU(Σ α_k A_k), α_k the mean gradient of the target's logit over the map (eqs. 2 and 3)."""

    def combined(self, activations: Tensor, gradients: Tensor) -> Tensor:
        return torch.einsum("nc,nchw->nhw", gradients.mean(dim=(2, 3)), activations).relu()


class GradCamPlusPlus(GradientMaps):
    """ReLU(Σ w_k A_k), w_k = Σ α·relu(gradient), α of eq. 5 with the sum of A over the whole map (eqs. 4 and 5).

    The class score is the exponential of the logit, whose second and third derivative are then those powers of the
    logit's gradient g, times a common factor that α does not contain and the division by the map's largest value takes
    away: α = g² / (2g² + ΣA·g³).
    """

    def combined(self, activations: Tensor, gradients: Tensor) -> Tensor:
        squared = gradients.square()
        denominator = 2 * squared + activations.sum(dim=(2, 3), keepdim=True) * squared * gradients
        shares = squared / torch.where(denominator != 0, denominator, 1)
        weights = (shares * gradients.relu()).sum(dim=(2, 3))
        return torch.einsum("nc,nchw->nhw", weights, activations).relu()


class SmoothGradCamPlusPlus(GradCamPlusPlus):
    """The mean of the Grad-CAM++ maps of noisy copies of the image (eq. 6); noise from each image's own generator."""

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
            found[:, number], _ = super().maps(network, layer, noisy, targets, None)
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
        head, meaning = network.module.get_submodule(layer.logits_layer), getattr(network, "head", LOGITS)
        kept: dict[str, Tensor] = {}
        handles = [
            network.module.get_submodule(name).register_forward_hook(
                lambda _layer, _inputs, output, name=name: kept.update({name: output.clone()})
            )
            for name in (layer.name, layer.logits_layer)
        ]
        try:
            with torch.no_grad():
                logits = network.logits(images).float()
        finally:
            for handle in handles:
                handle.remove()
        activations, output = kept[layer.name].float(), kept[layer.logits_layer].float()
        chosen = targets.view(-1, 1)
        if isinstance(head, nn.Linear) and head.in_features == activations.shape[1]:
            # One output makes two logits, so that its weights do.
            weight = meaning.spread(head.weight.float().T).T
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
                f"CAM needs global average pooling and one layer behind {layer.name!r}; this network has another head: "
                "take grad-cam"
            )
        return maps.to(images), logits


def _same(found: Tensor, expected: Tensor) -> bool:
    return bool((found - expected).abs().amax() <= TOLERANCE * expected.abs().amax())
