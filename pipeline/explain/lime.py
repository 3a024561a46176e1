"""LIME: which superpixels a linear model of the score needs (Ribeiro et al., "Why Should I Trust You?"), by Captum.

Shapes: B images, H by W pixels.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.explain.interface import Classified, Explanation, target_scores, validate_batch
from pipeline.explain.lengths import PUBLISHED_SIDE, pixels
from pipeline.explain.passes import PASS_IMAGES, relative, seeded
from pipeline.explain.superpixels import superpixels

# As in the authors' program: width of the kernel over the cosine distance, weight of the ridge.
KERNEL_WIDTH = 0.25
RIDGE = 1.0


class Lime:
    """Weights of superpixels in a ridge regression of the target's score on which of them are shown.

    What is not shown has the color that the classifier normalizes to zero, the middle gray for a plain function.
    Saliency `[B,1,H,W]` is the positive weight of the pixel's superpixel, divided by the image's largest. No image is
    perturbed by its map, so that there is no `score_after`.
    """

    def __init__(self, samples: int = 1000, superpixel: int = 32) -> None:
        """`samples`: perturbed images; `superpixel`: side of the squares that superpixels start from, in pixels of a
        224-px image, and at least 1 px.

        Raises:
            ValueError: a number is less than 1, or superpixels so large that there is only one.
        """
        if min(samples, superpixel) < 1:
            raise ValueError("samples and superpixel must be at least 1")
        if round(PUBLISHED_SIDE / superpixel) < 2:
            raise ValueError(
                f"a superpixel of {superpixel} px is a whole image of {PUBLISHED_SIDE} px, in whose pixels it is "
                "given: nothing would be told from anything else"
            )
        self.passes, self.superpixel = samples, superpixel

    @torch.no_grad()
    def explain(
        self,
        classifier: Classified,
        images: Tensor,
        targets: Tensor,
        generators: Sequence[torch.Generator] | None = None,
    ) -> Explanation:
        """As `Explainer.explain`, of any classifier, also a plain function; without generators, samples of seed 0.

        Raises:
            ValueError: shapes, dtypes or ranges do not fit.
        """
        from captum._utils.models.linear_model import SkLearnRidge
        from captum.attr import Lime as CaptumLime
        from captum.attr._core.lime import get_exp_kernel_similarity_function

        validate_batch(images, targets)
        reference = getattr(classifier, "reference", images.new_full((3,), 0.5)).to(images).view(1, 3, 1, 1)
        lime = CaptumLime(
            lambda batch, wanted: target_scores(classifier, batch, wanted.expand(len(batch))),
            SkLearnRidge(alpha=RIDGE),
            get_exp_kernel_similarity_function("cosine", KERNEL_WIDTH),
        )
        saliency = torch.zeros_like(images[:, :1])
        # One image at a time, because each has its own superpixels and linear model.
        side = pixels(self.superpixel, *images.shape[-2:], least=1)
        labels = superpixels(images, side) if len(images) else []
        for number, image in enumerate(images):
            with seeded(generators[number] if generators else None, images.device):
                weights = lime.attribute(
                    image[None],
                    reference.expand_as(image[None]),
                    additional_forward_args=(targets[number : number + 1],),
                    feature_mask=labels[number : number + 1].expand(1, 3, -1, -1),
                    n_samples=self.passes,
                    perturbations_per_eval=PASS_IMAGES,
                )
            saliency[number] = weights[0, :1].clamp_min(0)
        return Explanation(
            saliency=relative(saliency),
            score_before=target_scores(classifier, images, targets),
            score_after=None,
            iterations=torch.full_like(targets, self.passes),
        )
