"""From coarse to fine: the averaged gradient by hand, the sparsest masks in closed form, the way through the scales."""

import pytest
import torch
from small_networks import Normalizing, linear_case, noise, small_network, sparsest_deletion
from torch import Tensor, nn

from visual_summaries.pipeline.explain.engine import State
from visual_summaries.pipeline.explain.fgvis import FGVis
from visual_summaries.pipeline.explain.fgvis_games import FGVisMethod
from visual_summaries.pipeline.explain.fgvis_scales import (
    FALL_OFF_GOAL,
    FILTERED,
    LOST,
    RATE_AGAIN,
    RISE_AT_GOAL,
    SCALES,
    SEEKING,
    START,
    WEIGHT_AGAIN,
    CoarseToFine,
    neighborhood_means,
)
from visual_summaries.pipeline.explain.fgvis_settings import GAMES, FGVisSettings

TARGET = torch.tensor([1])
LAST = len(SCALES) - 1


def settings(game: str, **others: float) -> FGVisSettings:
    return FGVisSettings(game, search="scales", **({"first_rate": 0.03, "patience": 20} | others))


def test_neighborhood_means_are_sums_over_mirrored_pixels() -> None:
    gradient = noise(2, side=28)[..., :21] - 0.5
    found = neighborhood_means(gradient, torch.tensor([1, LAST]))
    assert torch.equal(found[1], gradient[1])
    sigma = SCALES[1] * 21
    radius = round(4 * sigma)
    colors = gradient[0].mean(dim=0)
    padded = nn.functional.pad(colors[None, None], (radius,) * 4, mode="reflect")[0, 0]
    weights = torch.exp(-0.5 * (torch.arange(-radius, radius + 1).double() / sigma) ** 2)
    weights = weights[:, None] * weights
    weights /= weights.sum()
    for row, column in ((0, 0), (13, 20), (27, 4)):
        expected = (padded[row : row + 2 * radius + 1, column : column + 2 * radius + 1] * weights).sum()
        torch.testing.assert_close(found[0, :, row, column], expected.expand(3))


@pytest.mark.parametrize("game", GAMES)
def test_masks_are_nearly_the_sparsest_possible(game: str) -> None:
    """Evidence of single pixels and colors, which only the last scale can tell apart."""
    classifier, image, evidence = linear_case(0)
    found = FGVis(settings(game, iterations=400)).explain(classifier, image, TARGET)
    assert found.diagnostics["reached"].item() == 1 and found.iterations.item() < 400
    score = found.score_before.double()
    # From log odds of 5 on the image and of -7 on gray; what is strongest is kept or removed first.
    needed = 7.0 + (0.95 * score).logit() if GAMES[game].keeps else 5.0 - (0.1 * score).logit()
    best = sparsest_deletion(evidence, needed.item())
    assert best <= found.saliency.sum().item() <= 1.1 * best


def started(method: FGVisMethod, classifier: Normalizing, image: Tensor) -> State:
    return method.start(classifier, image, TARGET, None) | {"over": torch.tensor([False])}


def test_gradient_of_a_step_by_hand() -> None:
    """φ's gradient is (p − 1) times the evidence; its average and λ's are taken from it."""
    classifier, image, evidence = linear_case(0)
    method = CoarseToFine(settings("preservation"))
    for scale in (0, LAST):
        state = started(method, classifier, image)
        state["scale"].fill_(scale)
        state["relative"].fill_(2.0)
        mask = state["mask"].requires_grad_()
        (gradient,) = torch.autograd.grad(method.objective(classifier, state, frozenset({0})).sum(), mask)
        slope = (torch.tensor(5.0).double().sigmoid() - 1) * evidence
        averaged = neighborhood_means(slope[None], torch.tensor([scale]))
        weight = RISE_AT_GOAL * 2.0 * averaged.abs().mean()
        torch.testing.assert_close(gradient, averaged + weight)
        torch.testing.assert_close(state["weight"][0], weight)


def test_the_first_scale_is_not_filtered() -> None:
    """On gray, neurons are active that the image does not activate: their gradients pass at the first scale alone."""
    classifier, images = Normalizing(small_network()), noise(2)

    def gradient(filtered: bool) -> Tensor:
        method = CoarseToFine(settings("generation", filtered=filtered))
        state = method.start(classifier, images, torch.tensor([0, 3]), None)
        state |= {"over": torch.tensor([False, False]), "scale": torch.tensor([FILTERED - 1, FILTERED])}
        mask = state["mask"].requires_grad_()
        return torch.autograd.grad(method.objective(classifier, state, frozenset({0})).sum(), mask)[0]

    found, unfiltered = gradient(True), gradient(False)
    assert torch.equal(found[0], unfiltered[0])
    assert not torch.allclose(found[1], unfiltered[1])


def test_the_search_goes_to_a_finer_scale_from_the_best_mask() -> None:
    classifier = Normalizing(small_network())
    method = CoarseToFine(settings("preservation", patience=7))
    state = started(method, classifier, noise(1))
    size = state["mask"][0].numel()
    number = 0

    def step(at_goal: bool, area: int) -> None:
        nonlocal number
        number += 1
        state["mask"].fill_(area / size)
        odds = torch.tensor([30.0 if at_goal else -30.0]).double()
        method.observe(state, odds >= 0, odds, state["mask"].clone())
        method.project(state, 0)

    step(True, size - 1)
    step(True, size - 8)
    torch.testing.assert_close(state["relative"].item(), START * RISE_AT_GOAL**2)
    for _ in range(LOST - 1):
        step(False, size - 20)
    torch.testing.assert_close(state["relative"].item(), START * RISE_AT_GOAL**2 * FALL_OFF_GOAL ** (LOST - 1))
    assert state["scale"].item() == 0
    step(False, size - 20)
    assert state["scale"].item() == 1 and state["relative"].item() == START and state["missed"].item() == 0
    torch.testing.assert_close(state["mask"].unique().item(), (size - 8) / size)
    # Nothing gained at a scale.
    for _ in range(method.settings.patience):
        assert state["scale"].item() == 1
        step(True, size - 8)
    assert state["scale"].item() == 2
    # At the last scale the steps get smaller, until nothing is gained there either.
    state["scale"].fill_(LAST)
    state["relative"].fill_(1.0)
    for _ in range(LOST):
        step(False, size - 20)
    assert state["scale"].item() == LAST and not state["ended"]
    torch.testing.assert_close(state["relative"].item(), WEIGHT_AGAIN * FALL_OFF_GOAL**LOST)
    rate = method.rates(state, torch.tensor([0.5]).double()).item()
    torch.testing.assert_close(rate, 0.5 * RATE_AGAIN)
    step(True, size - 8)
    assert state["ended"]


def test_a_goal_that_is_not_reached_lets_λ_fall() -> None:
    classifier, image, evidence = linear_case(1)
    classifier.module.bias += 50.0  # Of log odds of 55 some 13 can be removed.
    found = FGVis(settings("deletion", iterations=60)).explain(classifier, image, TARGET)
    assert found.diagnostics["reached"].item() == 0 and found.iterations.item() == 60
    before = evidence.abs().mean().item()
    assert found.diagnostics["sparsity_weight"].item() < SEEKING**20 * before
    assert found.score_after.item() < found.score_before.item() or found.score_before.item() == 1
