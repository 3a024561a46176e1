"""Methods of the papers' comparisons that follow the gradient: gradient, integrated gradients and SmoothGrad by Captum,
guided backpropagation.

Every map is the largest magnitude over the colors of what is attributed to the pixel, the target's logit explained,
divided by the image's largest: `[B,1,H,W]` in [0,1]. Shapes: B images, H by W pixels.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from visual_summaries.pipeline.explain.interface import (
    Explanation,
    LogitsFunction,
    baseline_color,
    require_gradient,
    target_scores,
    validate_batch,
)
from visual_summaries.pipeline.explain.passes import PASS_IMAGES, relative, seeded
from visual_summaries.pipeline.models.guided import guided


class GradientMethod(ABC):
    """An explainer; no image is perturbed by its map, so that there is no `score_after`."""

    passes: int = 1
    # The network whose gradients were last seen to get to the image: that is asked once, not for each batch.
    _followed: LogitsFunction | None = None

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
        if len(images) and classifier is not self._followed:
            require_gradient(classifier, images[:1])
            self._followed = classifier
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

    ReLUs may be modules or functions. A network with other nonlinearities, as transformers have, is refused.
    """

    def attributions(
        self,
        classifier: LogitsFunction,
        images: Tensor,
        targets: Tensor,
        generators: Sequence[torch.Generator] | None,
    ) -> Tensor:
        module = getattr(classifier, "module", None)
        if module is None:
            raise ValueError("guided backpropagation needs a classifier with its network as `module`")
        images = images.clone().requires_grad_()
        with torch.enable_grad(), guided(module):
            logits = classifier.logits(images).gather(1, targets[:, None])
        (gradient,) = torch.autograd.grad(logits.sum(), images)
        return gradient


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
