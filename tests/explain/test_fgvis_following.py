"""λ that follows the goal: the sparsest deletion in closed form, what counts as a mask, what becomes of a lost goal."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_networks import MEAN, Normalizing, linear_case, noise, small_network, sparsest_deletion
from torch import nn

from visual_summaries.pipeline.explain.engine import State
from visual_summaries.pipeline.explain.fgvis import FGVis, explanation_images
from visual_summaries.pipeline.explain.fgvis_following import (
    FALL_OFF_GOAL,
    LOST,
    RATE_AGAIN,
    RISE_AT_GOAL,
    SEEKING_WEIGHT,
    SHRINKING_RATE,
    WEIGHT_AGAIN,
    GoalFollowing,
)
from visual_summaries.pipeline.explain.fgvis_settings import FGVisSettings
from visual_summaries.pipeline.explain.fgvis_single_run import HELD
from visual_summaries.pipeline.models.loading import load_classifier
from visual_summaries.pipeline.models.preparation import PreparedClassifier

TARGET = torch.tensor([1])


@pytest.mark.parametrize("seed", range(3))
def test_deletion_is_nearly_the_sparsest_possible(seed: int) -> None:
    classifier, image, evidence = linear_case(seed)
    settings = FGVisSettings("deletion")
    found = FGVis(settings).explain(classifier, image, TARGET)
    assert found.diagnostics["reached"].item() == 1
    assert found.score_after <= 0.1 * found.score_before
    assert found.iterations.item() < settings.iterations
    goal = (0.1 * found.score_before).logit().item()
    best = sparsest_deletion(evidence, 5.0 - goal)
    assert best <= found.saliency.sum().item() <= 1.1 * best
    # Without λ, the goal is reached by much more than that.
    first = FGVis(FGVisSettings("deletion", sparsity_weight=0.0)).explain(classifier, image, TARGET)
    assert first.diagnostics["reached"].item() == 1 and first.saliency.sum().item() > 1.3 * best


@pytest.mark.parametrize("seed", range(3))
def test_generation_may_follow_its_goal_too(seed: int) -> None:
    classifier, image, evidence = linear_case(seed)
    found = FGVis(FGVisSettings("generation", search="following", iterations=1000)).explain(classifier, image, TARGET)
    assert found.diagnostics["reached"].item() == 1
    # From log odds of -7 to 0.95 of the score of 5; what is strongest is kept first.
    best = sparsest_deletion(evidence, 7.0 + (0.95 * torch.tensor(5.0).double().sigmoid()).logit().item())
    assert best <= found.saliency.sum().item() <= 1.2 * best


def test_gradient_of_a_step_by_hand() -> None:
    """φ's gradient is (1 − p) times the evidence, and λ is its mean magnitude."""
    classifier, image, evidence = linear_case(0)
    settings = FGVisSettings("deletion", first_rate=0.01, iterations=1)
    method = GoalFollowing(settings)
    state = method.start(classifier, image, TARGET, None) | {"over": torch.tensor([False])}
    mask = state["mask"].requires_grad_()
    (gradient,) = torch.autograd.grad(method.objective(classifier, state, frozenset({0})).sum(), mask)
    slope = (1 - torch.tensor(5.0).double().sigmoid()) * evidence
    weight = SEEKING_WEIGHT * slope.abs().mean()
    torch.testing.assert_close(gradient[0], slope - weight)
    torch.testing.assert_close(state["weight"][0], weight)


def test_a_mask_counts_once_it_has_held_and_a_lost_goal_is_taken_up_again() -> None:
    classifier = Normalizing(small_network())
    method = GoalFollowing(FGVisSettings("deletion", patience=1000))
    state: State = method.start(classifier, noise(1), TARGET, None) | {"over": torch.tensor([False])}
    size = state["mask"][0].numel()
    number = 0

    def step(at_goal: bool) -> None:
        nonlocal number
        number += 1
        state["mask"].fill_(1 - number / size)  # Areas 1, 2, 3, …
        odds = torch.tensor([-30.0 if at_goal else 30.0]).double()
        method.observe(state, odds >= 0, odds, state["mask"].clone())
        method.project(state, 0)

    state["weight"].fill_(1.0)
    step(False)
    assert not state["reached"] and method.rates(state, torch.tensor([0.75]).double()).item() == 0.75
    for _ in range(HELD - 1):
        state["weight"].fill_(1.0)
        step(True)
        assert state["reached"] and state["best_area"].isinf()
        torch.testing.assert_close(state["weight"].item(), RISE_AT_GOAL)
    assert method.rates(state, torch.tensor([0.75]).double()).item() == SHRINKING_RATE
    # Lost before it has held: it is sought again, with a λ that depends on the gradient.
    for _ in range(LOST):
        step(False)
    assert not state["reached"] and state["best_area"].isinf()
    for _ in range(HELD):
        state["weight"].fill_(2.0)
        step(True)
    held = number
    torch.testing.assert_close(state["best_area"].item(), float(held))
    best_weight = state["best_weight"].item()
    for missed in range(1, LOST):
        state["weight"].fill_(2.0)
        step(False)
        assert state["missed"].item() == missed
        torch.testing.assert_close(state["weight"].item(), 2.0 * FALL_OFF_GOAL)
    step(False)
    torch.testing.assert_close(state["mask"].unique().item(), 1 - held / size)
    torch.testing.assert_close(state["weight"].item(), WEIGHT_AGAIN * best_weight)
    assert state["missed"].item() == 0 and state["reached"]
    rate = method.rates(state, torch.tensor([0.75]).double()).item()
    torch.testing.assert_close(rate, RATE_AGAIN * SHRINKING_RATE)


def test_the_nearest_mask_is_given_where_the_goal_is_out_of_reach() -> None:
    """A bias of 43 cannot be removed from the log odds of 55, some 13 of evidence can."""
    classifier, image, evidence = linear_case(1)
    classifier.module.bias += 50.0
    settings = FGVisSettings("deletion", iterations=200, first_rate=0.1)
    found = FGVis(settings).explain(classifier, image, TARGET)
    assert found.diagnostics["reached"].item() == 0 and found.iterations.item() == 200
    mask = 1 - found.saliency
    odds = classifier.logits(explanation_images(image, mask, classifier.baseline))[0, 1].item()
    assert odds < 55.0 - 0.5 * evidence.clamp_min(0).sum().item()


def test_an_image_with_nothing_to_move_ends_at_once() -> None:
    blocked = Normalizing(nn.Sequential(nn.Flatten(), nn.ReLU(), nn.Linear(12, 2)))
    image = torch.tensor(MEAN, dtype=torch.float64).view(1, 3, 1, 1) - 0.1 * torch.ones(1, 3, 2, 2).double()
    found = FGVis("deletion").explain(blocked, image, TARGET)
    assert (found.saliency == 0).all() and found.iterations.item() == 1


def test_each_class_of_two_photographs_has_its_map_on_its_half(data_directory: Path) -> None:
    """FGVis §4.2, two photographs side by side; without the filter the maps lie all over the image."""
    weights = data_directory / "weights/squeezenet1_1.safetensors"
    plain = load_classifier("torchvision:squeezenet1_1", weights)
    files = ["ILSVRC2012_val_00005629.JPEG", "ILSVRC2012_val_00006614.JPEG"]
    with open(data_directory / "imagenet/val.csv", newline="") as file:
        class_of = {row["file"]: int(row["class_index"]) for row in csv.DictReader(file)}
    halves = []
    for name in files:
        picture = np.asarray(Image.open(data_directory / "imagenet/val" / name).convert("RGB"))
        image = plain.preprocessing.analyzed_image(picture).float().div(255)[None]
        side = image.shape[-1]
        halves.append(nn.functional.interpolate(image, (side, side // 2), mode="bilinear", antialias=True))
    image = torch.cat(halves, dim=3).clamp(0, 1)
    targets = torch.tensor([class_of[name] for name in files])
    classifier = PreparedClassifier(plain)

    def shares(settings: FGVisSettings) -> list[float]:
        found = FGVis(settings).explain(classifier, image.expand(2, -1, -1, -1), targets)
        assert found.diagnostics["reached"].all()
        left, right = found.saliency.unflatten(3, (2, -1)).sum(dim=(1, 2, 4)).T
        return [(left / (left + right))[0].item(), (right / (left + right))[1].item()]

    assert min(shares(FGVisSettings("deletion"))) > 0.95
    assert max(shares(FGVisSettings("deletion", filtered=False))) < 0.8
    # A mask that is even, or follows whatever is salient to anybody, has half of it there.
    assert min(shares(FGVisSettings("preservation", iterations=80))) > 0.7
