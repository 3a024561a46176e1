"""LIME: which superpixels a linear model of the score needs (Ribeiro et al., "Why Should I Trust You?", KDD 2016, §3),
by Captum; the superpixels by scikit-image, the linear model by scikit-learn.

Shapes: B images, H by W pixels, n samples of K superpixels.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from visual_summaries.pipeline.explain.interface import (
    Classified,
    Explanation,
    hidden_color,
    target_scores,
    validate_batch,
)
from visual_summaries.pipeline.explain.lengths import PUBLISHED_SIDE, pixels
from visual_summaries.pipeline.explain.passes import PASS_IMAGES, relative, seeded

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
        from captum.attr import Lime as CaptumLime

        validate_batch(images, targets)
        baseline = hidden_color(classifier, images)[None]
        lime = CaptumLime(
            lambda batch, wanted: target_scores(classifier, batch, wanted.expand(len(batch))),
            _WeightedRidge(),
            _similarity,
        )
        saliency = torch.zeros_like(images[:, :1])
        # One image at a time, because each has its own superpixels and linear model.
        side = pixels(self.superpixel, *images.shape[-2:], least=1)
        for number, image in enumerate(images):
            with seeded(generators[number] if generators else None, images.device):
                weights = lime.attribute(
                    image[None],
                    baseline.expand_as(image[None]),
                    additional_forward_args=(targets[number : number + 1],),
                    feature_mask=superpixels(image, side).expand_as(image[None]),
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


def superpixels(image: Tensor, side: float) -> Tensor:
    """Labels `[H,W]` int64, from 0, of an image `[3,H,W]` float in [0,1]: SLIC (Achanta et al., "SLIC superpixels
    compared to state-of-the-art superpixel methods", TPAMI 34, 2012, §3), in CIELAB with m = 10.

    A label may be in several pieces, and none is unused: without the paper's last step, which would give the small
    pieces of a texture to whatever superpixel is beside them.

    Args:
        side: of the squares that the superpixels start from, in pixels, rounded by scikit-image.
    """
    from skimage.segmentation import slic

    count = math.prod(max(1, round(size / side)) for size in image.shape[1:])
    colors = image.permute(1, 2, 0).double().cpu().numpy()
    labels = slic(colors, count, compactness=10, convert2lab=True, enforce_connectivity=False, start_label=0)
    return torch.from_numpy(labels).unique(return_inverse=True)[1].to(image.device)


class _WeightedRidge:
    """The linear model that Captum fits to an image's samples: a ridge regression in which each has its weight."""

    def fit(self, train_data: Iterable[tuple[Tensor, Tensor, Tensor]]) -> None:
        """`train_data`: which superpixels were shown `[n,K]`, scores `[n]` and weights `[n]`, in pieces."""
        from sklearn.linear_model import Ridge

        shown, scores, weights = (torch.cat(pieces).cpu().numpy() for pieces in zip(*train_data, strict=True))
        coefficients = Ridge(alpha=RIDGE).fit(shown, scores, sample_weight=weights).coef_
        self._coefficients = torch.from_numpy(coefficients).float()[None]

    def representation(self) -> Tensor:
        """Coefficients `[1,K]` float32 of the superpixels."""
        return self._coefficients


def _similarity(image: Tensor, sample: Tensor, shown: Tensor, **settings: Any) -> float:
    """Weight of a sample `[1,3,H,W]` of the image: a Gaussian of the cosine distance of their pixels."""
    distance = 1 - functional.cosine_similarity(image.flatten().float(), sample.flatten().float(), dim=0).item()
    return math.exp(-(distance**2) / (2 * KERNEL_WIDTH**2))
