"""Methods of the papers' comparisons that follow the gradient, by Captum: gradient, guided backpropagation, integrated
gradients, SmoothGrad.

Every map is the largest magnitude over the colors of what Captum attributes to the pixel, the target's logit explained,
divided by the image's largest: `[B,1,H,W]` in [0,1]. Shapes: B images, H by W pixels.
"""

import copy
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from pipeline.explain.interface import (
    Explanation,
    LogitsFunction,
    baseline_color,
    require_gradient,
    target_scores,
    validate_batch,
)
from pipeline.explain.passes import PASS_IMAGES, relative, seeded
from pipeline.models.classifier import ClassifierError
from pipeline.models.nonlinearities import intercepted_nonlinearities
from pipeline.models.target_layer import network_input

RECTIFIERS = frozenset({"clamp", "clamp_min", "clip", "hardtanh", "relu", "relu6", "threshold"})


class GradientMethod(ABC):
    """An explainer by Captum; no image is perturbed by its map, so that there is no `score_after`."""

    passes: int = 1

    @abstractmethod
    def attributions(
        self,
        classifier: LogitsFunction,
        images: Tensor,
        targets: Tensor,
        generators: Sequence[torch.Generator] | None,
    ) -> Tensor:
        """What each pixel and color is given, `[B,3,H,W]`."""

    def explain(
        self,
        classifier: LogitsFunction,
        images: Tensor,
        targets: Tensor,
        generators: Sequence[torch.Generator] | None = None,
    ) -> Explanation:
        """As `Explainer.explain`.

        Raises:
            ValueError: shapes, dtypes or ranges do not fit, or the classifier is a plain function.
        """
        validate_batch(images, targets)
        if not hasattr(classifier, "logits"):
            raise ValueError("a plain function has no gradients to follow: take a black-box explainer")
        with torch.no_grad():
            before = target_scores(classifier, images, targets)
        if len(images):
            require_gradient(classifier, images[:1])
        found = self.attributions(classifier, images, targets, generators) if len(images) else images
        saliency = found.detach().abs().amax(dim=1, keepdim=True)
        return Explanation(
            saliency=relative(saliency).to(images),
            score_before=before,
            score_after=None,
            iterations=torch.full_like(targets, self.passes),
        )


class Gradient(GradientMethod):
    """|∂ logit / ∂ pixel| (Simonyan and Zisserman's saliency)."""

    def attributions(
        self,
        classifier: LogitsFunction,
        images: Tensor,
        targets: Tensor,
        generators: Sequence[torch.Generator] | None,
    ) -> Tensor:
        from captum.attr import Saliency

        return Saliency(classifier.logits).attribute(images.clone().requires_grad_(), targets, abs=False)


class GuidedBackpropagation(GradientMethod):
    """The gradient, of which every ReLU lets through only what is positive (Springenberg et al.).

    ReLUs that are functions, and not modules, cannot be seen by Captum: a `ClassifierError` then says which.
    """

    def attributions(
        self,
        classifier: LogitsFunction,
        images: Tensor,
        targets: Tensor,
        generators: Sequence[torch.Generator] | None,
    ) -> Tensor:
        from captum.attr import GuidedBackprop

        seen = copy.copy(classifier)
        module = getattr(classifier, "module", None)
        if module is None:
            raise ValueError("guided backpropagation needs a classifier with its network as `module`")
        seen.module = _with_visible_rectifiers(module)
        _check_rectifiers(seen.module, network_input(classifier, images[:1]))
        with warnings.catch_warnings():
            # Captum warns that it adds hooks, which it removes again.
            warnings.simplefilter("ignore", UserWarning)
            return GuidedBackprop(_Logits(seen.module, seen.logits)).attribute(images.clone().requires_grad_(), targets)


class IntegratedGradients(GradientMethod):
    """The mean gradient on the straight path from the data mean to the image, times the path (Sundararajan et al.)."""

    def __init__(self, steps: int = 50) -> None:
        self.passes = steps

    def attributions(
        self,
        classifier: LogitsFunction,
        images: Tensor,
        targets: Tensor,
        generators: Sequence[torch.Generator] | None,
    ) -> Tensor:
        from captum.attr import IntegratedGradients as Integral

        start = baseline_color(classifier, images).expand_as(images)
        return Integral(classifier.logits).attribute(
            images, start, targets, n_steps=self.passes, internal_batch_size=max(PASS_IMAGES, len(images))
        )


class SmoothGrad(GradientMethod):
    """The mean gradient over noisy copies of the image (Smilkov et al.); noise from each image's own generator.

    `noise`: standard deviation of the Gaussian noise, as a share of the image's range of values.
    """

    def __init__(self, samples: int = 50, noise: float = 0.15) -> None:
        self.passes, self.noise = samples, noise

    def attributions(
        self,
        classifier: LogitsFunction,
        images: Tensor,
        targets: Tensor,
        generators: Sequence[torch.Generator] | None,
    ) -> Tensor:
        from captum.attr import NoiseTunnel, Saliency

        tunnel = NoiseTunnel(Saliency(classifier.logits))
        found = []
        # One image at a time, because Captum draws from the global generator; a pass holds an image's samples.
        for number, image in enumerate(images):
            with seeded(generators[number] if generators else None, images.device):
                found.append(
                    tunnel.attribute(
                        image[None],
                        nt_samples=self.passes,
                        nt_samples_batch_size=min(self.passes, PASS_IMAGES),
                        stdevs=self.noise * float(image.max() - image.min()),
                        target=targets[number : number + 1],
                        abs=False,
                    )
                )
        return torch.cat(found)


class _Logits(nn.Module):
    """A classifier's logits as a module, whose layers Captum can find."""

    def __init__(self, network: nn.Module, logits: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.network, self.logits = network, logits

    def forward(self, images: Tensor) -> Tensor:
        return self.logits(images)


def _with_visible_rectifiers(module: nn.Module) -> nn.Module:
    """The same network, with the same weights, in which all modules that are a ReLU or ReLU6 call an `nn.ReLU`."""
    tensors = [*module.parameters(), *module.buffers()]
    network = copy.deepcopy(module, {id(tensor): tensor for tensor in tensors})
    for name, layer in list(network.named_modules()):
        if isinstance(layer, nn.ReLU6):
            *path, last = name.split(".")
            setattr(network.get_submodule(".".join(path)), last, nn.Sequential(nn.ReLU(), _Ceiling(6.0)))
        elif isinstance(layer, nn.ReLU):
            # Captum hooks the layer's input and output, which in place are one.
            layer.inplace = False
    return network


class _Ceiling(nn.Module):
    def __init__(self, limit: float) -> None:
        super().__init__()
        self.limit = limit

    def forward(self, values: Tensor) -> Tensor:
        return values.clamp(max=self.limit)


def _check_rectifiers(module: nn.Module, image: Tensor) -> None:
    layers = dict(module.named_modules())
    calls = [call for call in intercepted_nonlinearities(module, image) if call.name in RECTIFIERS]
    hidden = [call for call in calls if not isinstance(layers.get(call.module_path), nn.ReLU)]
    if hidden or not calls:
        what = f"calls {hidden[0].name} in {hidden[0].module_path or 'its forward pass'}" if hidden else "has no ReLU"
        raise ClassifierError(
            f"guided backpropagation: the network {what}; it needs ReLUs that are modules (nn.ReLU, nn.ReLU6)"
        )
