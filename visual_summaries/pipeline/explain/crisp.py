"""Crisp masks: which pixels, blurred, destroy the class score ("Understanding Deep Architectures by Visual
Summaries", §3.1, eq. 2).

Lengths are settings in pixels of a 224-px image and scale with the image (`pipeline.explain.lengths`); what smooths is
never less than a pixel wide. Shapes: B images, n of them entering or leaving the batch, H by W pixels, h by w the
coarse mask of the first stage, 28 by 28 for a square image.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from visual_summaries.pipeline.explain.blur import bilinear_matrix, gaussian_matrix, inscribed_disc
from visual_summaries.pipeline.explain.engine import Method, OptimizingExplainer, Stage, State
from visual_summaries.pipeline.explain.interface import Explanation, LogitsFunction, odds_of, scores_of, target_scores
from visual_summaries.pipeline.explain.lengths import pixels
from visual_summaries.pipeline.explain.perturbation import PERTURBATIONS
from visual_summaries.pipeline.explain.updates import Adam, falling_rates

ROUGH, CRISP = 0, 1


@dataclass(frozen=True)
class StageSettings:
    """One optimization stage: Adam steps, learning rate and the weights of eq. 2's three regularizers.

    The learning rate goes linearly from `learning_rate` to `final_learning_rate`, where that is given.
    """

    iterations: int
    learning_rate: float
    area_weight: float
    smoothness_weight: float
    binarization_weight: float
    final_learning_rate: float | None = None

    @property
    def learning_rates(self) -> tuple[float, ...]:
        final = self.learning_rate if self.final_learning_rate is None else self.final_learning_rate
        return falling_rates(self.learning_rate, final, self.iterations)


@dataclass(frozen=True)
class CrispSettings:
    """Settings of the two stages and of the perturbation.

    Attributes:
        blur: `authors`, one 11×11-pixel Gaussian of σ = 10 px, or `paper`, a Gaussian whose σ is
            `10 px · (1 − mask)` at each pixel.
        rough: first stage, on a coarse mask.
        crisp: second stage, on a mask of full resolution.
        exponent: β of the smoothness term.
        mask_blur: σ in pixels of the Gaussian that smooths the upsampled mask of the first stage.
        coarseness: side in pixels of a cell of the first stage's mask.
        start: value of the first mask inside the inscribed disc; outside it is 1.
        destroyed: minimize `score_weight`·d²/2 instead of the score, d = softplus(log-odds of the score − log-odds
            of this share of the image's score). Both fall together, but the score's own gradient vanishes for an
            image that the network is sure of, whose mask then stays empty, and again long before the score is
            destroyed; this one grows with what is left to do. `None` minimizes the score, as the paper does.
        score_weight: the weight of that term beside the regularizers.
        gradient_blur: σ in pixels of the Gaussian that smooths the score's gradient in the second stage. Without it
            a few large steps scatter the mask into single pixels, to which the network's gradient is most sensitive.
        fine_steps: the last steps of the second stage, which take the gradient as it is, for the outlines.
        contrast: at the start of the second stage, mask values are moved away from 0.5 by this factor.
        enough: (drop, 4m(1−m)): an image whose mask in the second stage has at least this drop and at most this
            binarization error is done. `None` takes all steps.
    """

    blur: str
    rough: StageSettings
    crisp: StageSettings
    exponent: float = 3.0
    mask_blur: float = 5.0
    coarseness: int = 8
    start: float = 0.0
    destroyed: float | None = None
    score_weight: float = 1.0
    gradient_blur: float = 0.0
    fine_steps: int = 0
    contrast: float = 1.0
    enough: tuple[float, float] | None = None

    @property
    def iterations(self) -> int:
        """Steps per image, at most."""
        return self.rough.iterations + self.crisp.iterations

    def rough_only(self) -> "CrispSettings":
        """The first stage alone: the meaningful perturbation that the paper starts from."""
        return replace(self, crisp=replace(self.crisp, iterations=0))


# "fast" reaches the authors' figures in a tenth of their passes; how its numbers were found:
# docs/reference/measurements/crisp-masks.md.
PRESETS = {
    "fast": CrispSettings(
        blur="authors",
        rough=StageSettings(28, 0.5, 1.4, 0.005, 0.0, final_learning_rate=0.1),
        crisp=StageSettings(30, 0.3, 0.3, 0.8, 2.6, final_learning_rate=0.1),
        destroyed=2e-4,
        score_weight=0.0045,
        gradient_blur=3.0,
        fine_steps=10,
        contrast=1.3,
    ),
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


class CrispMasks(OptimizingExplainer):
    """Optimizes, for each image, the smallest crisp mask whose blurring destroys the target's score.

    Saliency is 1 − m for the *keep* mask m of the optimization, `[B,1,H,W]`. `score_after` is taken with the
    un-binarized mask. Diagnostics: `score_after_rough`, the score with the mask that the first stage ends with, and
    `binarization_error_rough`, that mask's mean 4m(1−m); NaN for an image that did not get so far. No random numbers
    are drawn.
    """

    def __init__(self, preset: str | CrispSettings = "fast", blur: str | None = None) -> None:
        """Choose a preset by name, or give settings; `blur` overrides their perturbation.

        Raises:
            ValueError: unknown preset or blur.
        """
        if isinstance(preset, str) and preset not in PRESETS:
            raise ValueError(f"unknown preset {preset!r}; known: {', '.join(PRESETS)}")
        settings = PRESETS[preset] if isinstance(preset, str) else preset
        self.settings = replace(settings, blur=blur or settings.blur)
        if self.settings.blur not in PERTURBATIONS:
            raise ValueError(f"unknown blur {blur!r}; known: {', '.join(PERTURBATIONS)}")

    @property
    def passes(self) -> int:
        return self.settings.iterations

    def method(self) -> "CrispMethod":
        return CrispMethod(self.settings)


class CrispMethod(Method):
    """The two stages for the engine: "coarse", the mask of the first, then "mask", that of the second."""

    update = Adam()

    def __init__(self, settings: CrispSettings) -> None:
        self.settings = settings
        self.perturbation = PERTURBATIONS[settings.blur]
        stages = (Stage("coarse", settings.rough.learning_rates), Stage("mask", settings.crisp.learning_rates))
        self.stages = stages if settings.crisp.iterations else stages[:1]
        self.can_converge = settings.enough is not None
        self._prepared_for: tuple[int, int] | None = None
        self._matrices: tuple[Tensor, ...] = ()
        self._gradient_blur: tuple[Tensor, ...] = ()
        self._classifier: LogitsFunction | None = None

    def start(
        self,
        classifier: LogitsFunction,
        images: Tensor,
        targets: Tensor,
        generators: Sequence[torch.Generator] | None,
    ) -> State:
        height, width = images.shape[-2:]
        self._prepare(images)
        rows, columns = self._matrices[0].shape[1], self._matrices[2].shape[1]
        coarse = images.new_ones(len(images), 1, rows, columns)
        if rows == columns:
            coarse[:, :, inscribed_disc(rows, device=images.device)] = self.settings.start
        else:
            coarse.fill_(self.settings.start)
        self._classifier = classifier
        logits = classifier.logits(images)
        score = scores_of(classifier, logits, targets)
        state = {
            "target": targets,
            "coarse": coarse,
            "mask": images.new_ones(len(images), 1, height, width),
            "score_before": score,
            "score": score.clone(),
            "score_rough": torch.full_like(score, torch.nan),
            "binarization_error_rough": torch.full_like(score, torch.nan),
        }
        if self.settings.destroyed is not None:
            state["floor"] = odds_of_share(self.settings.destroyed, score, odds_of(classifier, logits, targets))
        return state | self.perturbation.prepare(images)

    def objective(self, classifier: LogitsFunction, state: State, present: frozenset[int]) -> Tensor:
        keep = state["mask"]
        if CRISP in present and self.settings.gradient_blur:
            blurred = self._gradient_blur[0] @ keep @ self._gradient_blur[1].T
            fine = state["step"] >= self.settings.crisp.iterations - self.settings.fine_steps
            keep = torch.where(fine.view(-1, 1, 1, 1), keep, keep.detach() + (blurred - blurred.detach()))
        total: Tensor | float = 0.0
        if ROUGH in present:
            rough = state["stage"] == ROUGH
            smoothed = self._smoothed(state["coarse"])
            keep = smoothed if CRISP not in present else torch.where(rough.view(-1, 1, 1, 1), smoothed, keep)
            total = total + rough * self._regularization(state["coarse"], self.settings.rough)
        logits = classifier.logits(self.perturbation.apply(state, keep))
        score = scores_of(classifier, logits, state["target"])
        state["score"].copy_(score.detach())
        if CRISP in present:
            crisp = state["stage"] == CRISP
            total = total + crisp * self._regularization(state["mask"], self.settings.crisp)
        if self.settings.destroyed is not None:
            left = functional.softplus(odds_of(classifier, logits, state["target"]) - state["floor"])
            score = self.settings.score_weight * left.square() / 2
        return score + total

    def project(self, state: State, stage: int) -> None:
        state[self.stages[stage].parameter].clamp_(0, 1)

    def converged(self, state: State) -> Tensor:
        least_drop, most_error = self.settings.enough or (torch.inf, 0.0)
        # The score is that of the mask before this step, the mask the one after it: a step apart, which is harmless.
        dropped = state["score"] <= (1 - least_drop) * state["score_before"]
        return (state["stage"] == CRISP) & dropped & (binarization_error(state["mask"]) <= most_error)

    def enter(self, state: State, stage: int) -> State:
        rough = self._smoothed(state["coarse"]).clamp_(0, 1)
        mask = (0.5 + self.settings.contrast * (rough - 0.5)).clamp_(0, 1)
        score = target_scores(self._classifier, self.perturbation.apply(state, rough), state["target"])
        return {"mask": mask, "score_rough": score, "binarization_error_rough": binarization_error(rough)}

    def finish(self, classifier: LogitsFunction, state: State) -> Explanation:
        rough_only = len(self.stages) == 1
        mask = self._smoothed(state["coarse"]).clamp_(0, 1) if rough_only else state["mask"]
        after = target_scores(classifier, self.perturbation.apply(state, mask), state["target"])
        after = torch.where(state["failed"], torch.nan, after)
        return Explanation(
            saliency=1 - mask,
            score_before=state["score_before"],
            score_after=after,
            iterations=state["passes"],
            diagnostics={
                "score_after_rough": after if rough_only else state["score_rough"],
                "binarization_error_rough": (
                    binarization_error(mask) if rough_only else state["binarization_error_rough"]
                ),
            },
        )

    def _prepare(self, images: Tensor) -> None:
        """The matrices of the stages, once for all images of a stream: they enter in many small groups."""
        height, width = images.shape[-2:]
        if self._prepared_for == (height, width):
            return
        self._prepared_for = (height, width)
        self._matrices = (*self._upsampling(height, images), *self._upsampling(width, images))
        sigma = pixels(self.settings.gradient_blur, height, width, least=1)
        self._gradient_blur = tuple(
            gaussian_matrix(side, sigma, padding="edge", dtype=torch.float64).to(images) for side in (height, width)
        )

    def _upsampling(self, side: int, images: Tensor) -> tuple[Tensor, Tensor]:
        """Bilinear upsampling `[side,cells]` along one axis, plain and followed by the mask's Gaussian."""
        cell, sigma = (
            pixels(length, *images.shape[-2:], least=1)
            for length in (self.settings.coarseness, self.settings.mask_blur)
        )
        upsample = bilinear_matrix(max(1, round(side / cell)), side)
        smooth = gaussian_matrix(side, sigma, padding="edge", dtype=torch.float64) @ upsample
        return upsample.to(images), smooth.to(images)

    def _smoothed(self, coarse: Tensor) -> Tensor:
        """The coarse masks upsampled and smoothed, `[B,1,H,W]`.

        The gradient passes the smoothing as if it were the identity (the authors' setting).
        """
        upsample_rows, smooth_rows, upsample_columns, smooth_columns = self._matrices
        smoothed = smooth_rows @ coarse.detach() @ smooth_columns.T
        if not coarse.requires_grad:
            return smoothed
        upsampled = upsample_rows @ coarse @ upsample_columns.T
        return upsampled + (smoothed - upsampled.detach())

    def _regularization(self, mask: Tensor, stage: StageSettings) -> Tensor:
        """Area, smoothness and binarization terms of eq. 2 as means over the mask's own pixels, `[B]`."""
        area = (1 - mask).mean(dim=(1, 2, 3))
        exponent = self.settings.exponent
        vertical = (mask[:, :, 1:] - mask[:, :, :-1]).abs().pow(exponent).mean(dim=(1, 2, 3))
        horizontal = (mask[:, :, :, 1:] - mask[:, :, :, :-1]).abs().pow(exponent).mean(dim=(1, 2, 3))
        total = stage.area_weight * area + stage.smoothness_weight * (vertical + horizontal)
        if stage.binarization_weight:
            total = total + stage.binarization_weight * (mask * (1 - mask)).mean(dim=(1, 2, 3))
        return total


def odds_of_share(share: float, scores: Tensor, odds: Tensor) -> Tensor:
    """log(q / (1 − q)) `[B]` of q, `share` in (0, 1) of the scores `[B]`, which have these log-odds `[B]`.

    Finite also where a score, or its share, is too small for a floating-point number.
    """
    shares = share * scores
    # For so small a q, 1 − q is 1.
    logarithms = math.log(share) + functional.logsigmoid(odds)
    return torch.where(shares >= torch.finfo(shares.dtype).tiny, shares.logit(), logarithms)


def binarization_error(mask: Tensor) -> Tensor:
    """Mean 4m(1−m) `[B]` of masks `[B,C,H,W]` in [0,1]: 0 for a crisp mask, 1 for one that is 0.5 everywhere."""
    return (4 * mask * (1 - mask)).mean(dim=(1, 2, 3))
