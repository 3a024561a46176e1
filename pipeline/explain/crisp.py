"""Crisp masks: which pixels, blurred, destroy the class score ("Understanding Deep Architectures by Visual
Summaries", §3.1, eq. 2; settings where the paper is silent: specification, explainers §1).

Shapes: B images, H by W pixels, h by w the coarse mask of the first stage (side / 8).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.explain.blur import VaryingBlur, gaussian_blur, gaussian_matrix, inscribed_disc
from pipeline.explain.interface import Explanation, LogitsFunction, target_scores, validate_batch

Perturbation = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class StageSettings:
    """One optimization stage: Adam steps, learning rate and the weights of eq. 2's three regularizers."""

    iterations: int
    learning_rate: float
    area_weight: float
    smoothness_weight: float
    crispness_weight: float


@dataclass(frozen=True)
class CrispSettings:
    """Settings of the two stages and of the perturbation.

    Attributes:
        blur: `authors`, one 11×11-pixel Gaussian of σ = 10 px, or `paper`, a Gaussian whose σ is
            `10 px · (1 − mask)` at each pixel.
        rough: first stage, on a mask of 1/8 of the image's side.
        crisp: second stage, on a mask of full resolution.
        exponent: β of the smoothness term.
        mask_blur: σ in pixels of the Gaussian that smooths the upsampled mask of the first stage.
    """

    blur: str
    rough: StageSettings
    crisp: StageSettings
    exponent: float = 3.0
    mask_blur: float = 5.0
    coarseness: int = 8

    @property
    def iterations(self) -> int:
        return self.rough.iterations + self.crisp.iterations


PRESETS = {
    "authors": CrispSettings(
        blur="authors",
        rough=StageSettings(300, 0.1, 0.5, 0.01, 0.0),
        crisp=StageSettings(150, 0.1, 0.01, 1.0, 2.0),
    ),
    "paper": CrispSettings(
        blur="paper",
        rough=StageSettings(300, 0.1, 0.01, 0.0001, 0.0),
        crisp=StageSettings(150, 0.1, 0.01, 1.0, 2.0),
    ),
}


class CrispMasks:
    """Optimizes, for each image, the smallest crisp mask whose blurring destroys the target's score."""

    def __init__(self, preset: str = "authors", blur: str | None = None) -> None:
        """Choose a preset (`authors` or `paper`); `blur` overrides the preset's perturbation.

        Raises:
            ValueError: unknown preset or blur.
        """
        if preset not in PRESETS:
            raise ValueError(f"unknown preset {preset!r}; known: {', '.join(PRESETS)}")
        if blur not in (None, "authors", "paper"):
            raise ValueError(f"unknown blur {blur!r}; known: authors, paper")
        self.settings = replace(PRESETS[preset], blur=blur or PRESETS[preset].blur)

    def explain(
        self,
        classifier: LogitsFunction,
        images: Tensor,
        targets: Tensor,
        generators: Sequence[torch.Generator] | None = None,
    ) -> Explanation:
        """Explain `targets` `[B]` int64 in `images` `[B,3,H,W]` float in [0,1], H = W divisible by 8 or not.

        Saliency is 1 − m for the *keep* mask m of the optimization, `[B,1,H,W]`. `score_after` is taken with
        the un-binarized mask. Diagnostics: `score_after_rough`, the score after the first stage, and
        `crispness_rough`, its mean 4m(1−m). No random numbers are drawn: `generators` is not used.

        Raises:
            ValueError: shapes, dtypes or ranges do not fit.
        """
        validate_batch(images, targets)
        perturbation = make_perturbation(images, self.settings.blur)
        with torch.no_grad():
            score_before = target_scores(classifier, images, targets)
        rough = self._rough_stage(classifier, images, targets, perturbation)
        with torch.no_grad():
            score_rough = target_scores(classifier, perturbation(rough), targets)
        mask = self._crisp_stage(classifier, targets, perturbation, rough)
        with torch.no_grad():
            score_after = target_scores(classifier, perturbation(mask), targets)
        return Explanation(
            saliency=1 - mask,
            score_before=score_before,
            score_after=score_after,
            iterations=torch.full_like(targets, self.settings.iterations),
            diagnostics={"score_after_rough": score_rough, "crispness_rough": binarization_error(rough)},
        )

    def _rough_stage(
        self, classifier: LogitsFunction, images: Tensor, targets: Tensor, perturbation: Perturbation
    ) -> Tensor:
        """Stage 1: the upsampled, smoothed mask `[B,1,H,W]` of the coarse mask's optimum."""
        batch, _, height, width = images.shape
        upsample_rows, smooth_rows = self._upsampling(height, images)
        upsample_columns, smooth_columns = self._upsampling(width, images)
        coarse = torch.ones(batch, 1, upsample_rows.shape[1], upsample_columns.shape[1]).to(images)
        if coarse.shape[2] == coarse.shape[3]:
            coarse[:, :, inscribed_disc(coarse.shape[2], device=images.device)] = 0
        else:
            coarse.zero_()

        def full_mask(parameter: Tensor) -> Tensor:
            upsampled = upsample_rows @ parameter @ upsample_columns.T
            smoothed = smooth_rows @ parameter.detach() @ smooth_columns.T
            # The gradient passes the smoothing as if it were the identity (the authors' setting).
            return upsampled + (smoothed - upsampled.detach())

        optimized = self._optimize(classifier, targets, perturbation, coarse, full_mask, self.settings.rough)
        with torch.no_grad():
            return full_mask(optimized).clamp_(0, 1)

    def _upsampling(self, side: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """Bilinear upsampling `[side,side/8]` along one axis, plain and followed by the mask's Gaussian."""
        coarse_side = max(1, round(side / self.settings.coarseness))
        identity = torch.eye(coarse_side, dtype=torch.float64)[None]
        upsample = functional.interpolate(identity, size=side, mode="linear", align_corners=False)[0].T
        smooth = gaussian_matrix(side, self.settings.mask_blur, padding="edge", dtype=torch.float64) @ upsample
        return upsample.to(like), smooth.to(like)

    def _crisp_stage(
        self, classifier: LogitsFunction, targets: Tensor, perturbation: Perturbation, start: Tensor
    ) -> Tensor:
        """Stage 2: the crisp mask `[B,1,H,W]`, started from stage 1's."""
        return self._optimize(
            classifier, targets, perturbation, start.clone(), lambda mask: mask, self.settings.crisp
        )

    def _optimize(
        self,
        classifier: LogitsFunction,
        targets: Tensor,
        perturbation: Perturbation,
        parameter: Tensor,
        full_mask: Callable[[Tensor], Tensor],
        stage: StageSettings,
    ) -> Tensor:
        """Projected Adam on the keep mask; images do not interact: the objective is a sum over the batch."""
        parameter.requires_grad_(True)
        optimizer = torch.optim.Adam([parameter], lr=stage.learning_rate)
        for _ in range(stage.iterations):
            score = target_scores(classifier, perturbation(full_mask(parameter)), targets)
            loss = score.sum() + self._regularization(parameter, stage).sum()
            (parameter.grad,) = torch.autograd.grad(loss, [parameter])
            optimizer.step()
            with torch.no_grad():
                parameter.clamp_(0, 1)
        return parameter.detach()

    def _regularization(self, mask: Tensor, stage: StageSettings) -> Tensor:
        """Area, smoothness and crispness terms of eq. 2 as means over the mask's own pixels, `[B]`."""
        area = (1 - mask).mean(dim=(1, 2, 3))
        exponent = self.settings.exponent
        vertical = (mask[:, :, 1:] - mask[:, :, :-1]).abs().pow(exponent).mean(dim=(1, 2, 3))
        horizontal = (mask[:, :, :, 1:] - mask[:, :, :, :-1]).abs().pow(exponent).mean(dim=(1, 2, 3))
        total = stage.area_weight * area + stage.smoothness_weight * (vertical + horizontal)
        if stage.crispness_weight:
            total = total + stage.crispness_weight * (mask * (1 - mask)).mean(dim=(1, 2, 3))
        return total


def make_perturbation(images: Tensor, blur: str) -> Perturbation:
    """Φ(x; m): keep mask m `[B,1,H,W]` to the perturbed images `[B,3,H,W]`; m = 1 keeps, m = 0 blurs."""
    if blur == "paper":
        varying = VaryingBlur(images)
        return lambda keep: varying(1 - keep)
    blurred = gaussian_blur(images, sigma=10.0, radius=5)
    difference = images - blurred
    return lambda keep: torch.addcmul(blurred, keep, difference)


def binarization_error(mask: Tensor) -> Tensor:
    """Mean 4m(1−m) `[B]` of masks `[B,C,H,W]` in [0,1]: 0 for a crisp mask, 1 for one that is 0.5 everywhere."""
    return (4 * mask * (1 - mask)).mean(dim=(1, 2, 3))
