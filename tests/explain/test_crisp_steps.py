"""The presets of the crisp masks, step by step, against a plain program for one image with the published numbers."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import scipy.ndimage
import torch
from torch import Tensor, nn
from torch.nn import functional

from visual_summaries.pipeline.explain.blur import LEVELS
from visual_summaries.pipeline.explain.crisp import PRESETS, CrispMasks, binarization_error, odds_of_share
from visual_summaries.pipeline.explain.meaningful import MeaningfulPerturbation
from visual_summaries.pipeline.models.heads import log_odds


@dataclass(frozen=True)
class Published:
    """Numbers of a preset: steps, first and last learning rate, (λ1, λ2, λ3) of each stage, and what `fast` adds."""

    steps: tuple[int, int]
    rates: tuple[tuple[float, float], tuple[float, float]]
    weights: tuple[tuple[float, float, float], tuple[float, float, float]]
    varying: bool = False
    fast: bool = False


PUBLISHED = {
    "authors": Published((300, 150), ((0.1, 0.1), (0.1, 0.1)), ((0.5, 0.01, 0), (0.01, 1, 2))),
    "paper": Published((300, 150), ((0.1, 0.1), (0.1, 0.1)), ((0.01, 0.0001, 0), (0.01, 1, 2)), varying=True),
    "fast": Published((28, 30), ((0.5, 0.1), (0.3, 0.1)), ((1.4, 0.005, 0), (0.3, 0.8, 2.6)), fast=True),
}
# By the image's side: radius and σ of the authors' blur, σ of the paper's widest, of the mask's Gaussian and of the
# gradient's, all 5, 10, 10, 5 and 3 px of 224 px; the smallest that are allowed at 35 px.
LENGTHS = {35: (2, 50 / 11, 35 * 10 / 224, 1.0, 1.0), 112: (2, 5.0, 5.0, 2.5, 1.5)}


class Network:
    """A small network in double precision, rather sure of class 2."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        layers = (nn.Conv2d(3, 8, 5, stride=3), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2), nn.ReLU())
        self.module = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(72, 4)).double()
        self.passes: list[int] = []

    def logits(self, images: Tensor) -> Tensor:
        self.passes.append(len(images))
        return 40 * self.module(images * 20 - 10)


def noise(batch: int, side: int) -> Tensor:
    """White noise on larger blots."""
    generator = torch.Generator().manual_seed(3)
    blots = torch.rand(batch, 3, side // 5, side // 5, generator=generator, dtype=torch.float64)
    blots = functional.interpolate(blots, size=(side, side), mode="bilinear")
    return (blots + torch.rand(batch, 3, side, side, generator=generator, dtype=torch.float64)) / 2


def gaussian(size: int, sigma: float, mode: str = "nearest", radius: int | None = None) -> Tensor:
    """SciPy's Gaussian filter as a matrix `[size,size]`."""
    options = {"mode": mode, "radius": round(4 * sigma) if radius is None else radius}
    return torch.from_numpy(scipy.ndimage.gaussian_filter1d(np.eye(size), sigma, axis=0, **options))


def plain_masks(
    classifier: Network, image: Tensor, target: int, preset: Published, steps: tuple[int, int]
) -> tuple[Tensor, Tensor, float]:
    """Saliency after each stage and the target's score after the first, for one image `[1,3,H,H]`."""
    side = image.shape[-1]
    radius, kernel, widest, smoothing, gradient_smoothing = LENGTHS[side]
    blurs = [gaussian(side, kernel, "mirror", radius)]
    if preset.varying:
        blurs = [gaussian(side, widest * level, "mirror") if level else torch.eye(side).double() for level in LEVELS]
    copies = [blur @ image @ blur.T for blur in blurs]
    mask_matrix, gradient_matrix = gaussian(side, smoothing), gaussian(side, gradient_smoothing)

    def perturbed(full: Tensor) -> Tensor:
        if not preset.varying:
            return full * image + (1 - full) * copies[0]
        amount, total = 1 - full, torch.zeros_like(image)
        last = len(LEVELS) - 2
        for number in range(last + 1):
            low, high = LEVELS[number : number + 2]
            above = amount >= low if number else torch.ones_like(amount)
            below = amount < high if number < last else torch.ones_like(amount)
            share = (amount - low) / (high - low)
            total = total + above * below * (copies[number] + share * (copies[number + 1] - copies[number]))
        return total

    def score_of(full: Tensor) -> Tensor:
        return classifier.logits(perturbed(full)).softmax(dim=1)[0, target]

    before = classifier.logits(image).softmax(dim=1)[0, target].item()

    def score_term(full: Tensor) -> Tensor:
        score = score_of(full)
        if not preset.fast:
            return score
        floor = before / 5000
        return 0.0045 / 2 * (1 + score / (1 - score) * (1 - floor) / floor).log() ** 2

    def regularizers(values: Tensor, weights: tuple[float, float, float]) -> Tensor:
        slopes = [values.diff(dim=axis).abs().pow(3).mean() for axis in (2, 3)]
        return weights[0] * (1 - values).mean() + weights[1] * sum(slopes) + weights[2] * (values - values**2).mean()

    def enlarged(values: Tensor) -> Tensor:
        return functional.interpolate(values, size=(side, side), mode="bilinear", align_corners=False)

    def moved(values: Tensor, optimizer: torch.optim.Optimizer, gradient: Tensor, rate: float) -> None:
        optimizer.param_groups[0]["lr"] = rate
        values.grad = gradient
        optimizer.step()
        with torch.no_grad():
            values.clamp_(0, 1)

    axis = torch.arange(28) - 13.5
    coarse = (axis[:, None] ** 2 + axis**2 > 14**2).double()[None, None].requires_grad_()
    optimizer = torch.optim.Adam([coarse])
    for rate in np.linspace(*preset.rates[0], steps[0]):
        full = (mask_matrix @ enlarged(coarse.detach()) @ mask_matrix.T).requires_grad_()
        (slope,) = torch.autograd.grad(score_term(full), full)
        (through,) = torch.autograd.grad(enlarged(coarse), coarse, slope)
        (own,) = torch.autograd.grad(regularizers(coarse, preset.weights[0]), coarse)
        moved(coarse, optimizer, through + own, rate)
    rough = (mask_matrix @ enlarged(coarse.detach()) @ mask_matrix.T).clamp(0, 1)
    mask = (0.5 + 1.3 * (rough - 0.5)).clamp(0, 1) if preset.fast else rough.clone()
    mask.requires_grad_()
    optimizer = torch.optim.Adam([mask])
    for number, rate in enumerate(np.linspace(*preset.rates[1], steps[1])):
        (slope,) = torch.autograd.grad(score_term(mask), mask)
        if preset.fast and number < steps[1] - 10:
            slope = gradient_matrix.T @ slope @ gradient_matrix
        (own,) = torch.autograd.grad(regularizers(mask, preset.weights[1]), mask)
        moved(mask, optimizer, slope + own, rate)
    return 1 - rough, 1 - mask.detach(), score_of(rough).item()


def shortened(explainer: CrispMasks, steps: tuple[int, int]) -> CrispMasks:
    settings, (rough, crisp) = explainer.settings, steps
    explainer.settings = replace(
        settings, rough=replace(settings.rough, iterations=rough), crisp=replace(settings.crisp, iterations=crisp)
    )
    return explainer


@pytest.mark.parametrize("side", LENGTHS)
@pytest.mark.parametrize("preset", PUBLISHED)
def test_both_stages_follow_the_published_steps(preset: str, side: int) -> None:
    image, classifier, steps = noise(1, side), Network(), (10, 14)
    rough, crisp, score = plain_masks(classifier, image, 2, PUBLISHED[preset], steps)
    assert rough.std() > 0.05 and crisp.std() > 0.05
    target = torch.tensor([2])
    first = shortened(MeaningfulPerturbation(preset), (steps[0], 0)).explain(classifier, image, target)
    both = shortened(CrispMasks(preset), steps).explain(classifier, image, target)
    torch.testing.assert_close(first.saliency, rough, rtol=0, atol=1e-6)
    torch.testing.assert_close(both.saliency, crisp, rtol=0, atol=1e-6)
    for explanation in (first, both):
        assert explanation.diagnostics["score_after_rough"].item() == pytest.approx(score, rel=1e-6)
        error = binarization_error(rough)
        torch.testing.assert_close(explanation.diagnostics["binarization_error_rough"], error, rtol=0, atol=1e-6)
    assert (CrispMasks(preset).passes, MeaningfulPerturbation(preset).passes) == (
        sum(PUBLISHED[preset].steps),
        PUBLISHED[preset].steps[0],
    )


def test_the_score_between_the_stages_costs_one_forward_pass() -> None:
    classifier = Network()
    shortened(CrispMasks("fast"), (5, 12)).explain(classifier, noise(2, 35), torch.tensor([2, 1]))
    # One image to see that gradients pass; the images as they are, the steps, between the stages, the result.
    assert sum(classifier.passes) == 1 + 2 * (1 + 5 + 1 + 12 + 1)


class Unlikely:
    """Class 1's log-odds: `odds`, and more where the image's left half has contrast."""

    def __init__(self, odds: float) -> None:
        self.odds = odds

    def logits(self, images: Tensor) -> Tensor:
        half = images[..., : images.shape[-1] // 2]
        value = self.odds - 20 + 60 * half.diff(dim=3).abs().mean(dim=(1, 2, 3))
        return torch.stack([torch.zeros_like(value), value], dim=1)


@pytest.mark.parametrize("odds", [-90.0, -96.0, -103.0, -300.0])
def test_a_score_too_small_for_a_number_still_has_a_mask(odds: float) -> None:
    """e^−103 is the smallest float32; a 5000th of e^−96 is none, and of e^−90 barely one with all its digits."""
    image = torch.rand(1, 3, 48, 48, generator=torch.Generator().manual_seed(3))
    found = CrispMasks("fast").explain(Unlikely(odds), image, torch.tensor([1]))
    assert found.iterations.item() == PRESETS["fast"].iterations
    assert found.score_after.isfinite().item() and found.score_after <= found.score_before
    left, right = (found.saliency > 0.5).float().tensor_split(2, dim=3)
    assert left.mean() > 0.1 > 0.01 > right[..., 2:].mean()


def test_log_odds_of_a_share_are_those_of_double_precision() -> None:
    """Down to where double precision has no number either, by their limit log(share) + log-odds."""
    logits = torch.tensor([[0.0, value, -5.0] for value in (30.0, 2.0, -3.0, -60.0, -85.0, -95.0, -105.0, -700.0)])
    targets = torch.ones(len(logits), dtype=torch.int64)
    found = odds_of_share(2e-4, logits.softmax(dim=1)[:, 1], log_odds(logits, targets))
    expected = (2e-4 * logits.double().softmax(dim=1)[:, 1]).logit()
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)
    beyond = odds_of_share(2e-4, torch.zeros(1), torch.tensor([-5000.0]))
    assert beyond.item() == pytest.approx(np.log(2e-4) - 5000)


def test_an_image_that_fails_in_the_first_stage_has_no_score_after_it() -> None:
    class Failing(Network):
        def logits(self, images: Tensor) -> Tensor:
            return super().logits(images) if len(self.passes) < 4 else super().logits(images) * torch.nan

    found = shortened(CrispMasks("fast"), (5, 12)).explain(Failing(), noise(1, 35), torch.tensor([0]))
    assert found.iterations.item() == 3 and found.score_before.isfinite().item()
    for value in (found.score_after, *found.diagnostics.values()):
        assert value.isnan().item()
