"""RISE against a plain loop over its masks, in expectation, and whatever the packing."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from visual_summaries.pipeline.explain.rise import RandomMasks, Rise, RiseSettings
from visual_summaries.pipeline.models.classifier import Classifier
from visual_summaries.pipeline.models.preparation import PreparedClassifier
from visual_summaries.pipeline.models.preprocessing import Preprocessing


class Window:
    """The odds of class 0 are the light that falls into a window of each image, less what is needed."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def logits(self, images: Tensor) -> Tensor:
        self.sizes.append(len(images))
        light = images[:, :, 4:12, 20:28].mean(dim=(1, 2, 3))
        return torch.stack([20 * (light - 0.3), torch.zeros_like(light)], dim=1)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def test_masks_are_enlarged_grids_cut_at_random() -> None:
    """One by one, with torch's bilinear interpolation of the whole grid."""
    settings = RiseSettings(masks=40, cells=5)
    drawn = RandomMasks.draw(settings, 33, 47, torch.Generator().manual_seed(3))
    found = drawn.rendered(7, 31)
    assert found.shape == (24, 33, 47)
    cell = (7, 10)  # ⌈33/5⌉, ⌈47/5⌉
    assert drawn.shifts[:, 0].unique().tolist() == list(range(7))
    assert 7 < drawn.shifts[:, 1].max() < 10 and drawn.shifts.min() == 0
    assert set(drawn.grids.unique().tolist()) == {0, 1}
    for number in range(24):
        grid = drawn.grids[7 + number][None, None]
        whole = functional.interpolate(grid, size=(6 * cell[0], 6 * cell[1]), mode="bilinear")[0, 0]
        top, left = drawn.shifts[7 + number].tolist()
        torch.testing.assert_close(found[number], whole[top : top + 33, left : left + 47])


def published_loop(network: nn.Module, normalized: Tensor, masks: Tensor, target: int, keep: float) -> Tensor:
    """The published program: the mask multiplies what the network gets, which is normalized already."""
    total = torch.zeros(normalized.shape[-2:])
    for mask in masks:
        total += network(normalized * mask).softmax(dim=1)[0, target] * mask
    return total / len(masks) / keep


@pytest.mark.parametrize("hidden", ["mean", "black"])
def test_the_mask_multiplies_the_normalized_image(hidden: str) -> None:
    """As published; or, where that is set, the image before it is normalized."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 6, 5, stride=3), nn.ReLU(), nn.Flatten(), nn.Linear(600, 4))
    mean, std = (0.8, 0.7, 0.6), (0.2, 0.3, 0.25)
    classifier = PreparedClassifier(Classifier(network, Preprocessing(32, 32, mean, std), list("abcd")))
    image = noise(1, 3, 32, 32)
    settings = RiseSettings(masks=60, cells=4, keep=0.4, hidden=hidden, divisor="expected")
    masks = RandomMasks.draw(settings, 32, 32, *generators(5)).rendered(0, 60)

    def normalized(values: Tensor) -> Tensor:
        return (values - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)

    if hidden == "mean":
        expected = published_loop(network, normalized(image), masks, 2, 0.4)
    else:
        behind = nn.Sequential(Then(normalized), network)
        expected = published_loop(behind, image, masks, 2, 0.4)
    found = Rise(settings).explain(classifier, image, torch.tensor([2]), generators(5))
    least, most = expected.min(), expected.max()
    torch.testing.assert_close(found.saliency[0, 0], (expected - least) / (most - least), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.diagnostics["most"][0], most)


class Then(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, values: Tensor) -> Tensor:
        return self.function(values)


def test_a_plain_function_is_shown_the_middle_gray() -> None:
    image, seen = noise(1, 3, 32, 32), []

    def scores(images: Tensor) -> Tensor:
        seen.append(images)
        return torch.full((len(images), 2), 0.5)

    settings = RiseSettings(masks=40, cells=4)
    Rise(settings).explain(scores, image, torch.tensor([0]))
    masks = RandomMasks.draw(settings, 32, 32, *generators(0)).rendered(0, 40)[:, None]
    torch.testing.assert_close(torch.cat(seen)[:40], 0.5 + masks * (image - 0.5))


@pytest.mark.parametrize("divisor", ["drawn", "expected"])
def test_map_is_that_of_a_plain_loop(divisor: str) -> None:
    settings = RiseSettings(50, 4, 0.3, "black", divisor, memory=7 * 4 * 4 * 32 * 32)
    image, classifier = noise(1, 3, 32, 32), Window()
    found = Rise(settings).explain(classifier, image, torch.tensor([0]), generators(5))
    masks = RandomMasks.draw(settings, 32, 32, *generators(5)).rendered(0, 50)
    expected = torch.zeros(32, 32)
    for mask in masks:
        expected += classifier.logits(image * mask).softmax(dim=1)[0, 0] * mask
    expected /= masks.sum(dim=0) if divisor == "drawn" else 50 * 0.3
    least, most = expected.min(), expected.max()
    torch.testing.assert_close(found.saliency[0, 0], (expected - least) / (most - least))
    torch.testing.assert_close(found.diagnostics["least"][0], least)
    torch.testing.assert_close(found.diagnostics["most"][0], most)
    torch.testing.assert_close(found.score_before, classifier.logits(image).softmax(dim=1)[:, 0])
    assert found.iterations.tolist() == [50] and found.score_after is None


def test_packing_and_company_do_not_matter_and_memory_is_bounded() -> None:
    images, targets = noise(3, 3, 32, 32, seed=1), torch.tensor([0, 1, 0])
    wanted = [
        Rise(RiseSettings(masks=30)).explain(Window(), images[n : n + 1], targets[n : n + 1], generators(n)).saliency
        for n in range(3)
    ]
    for batch_size in (1, 7, 64, 1000):
        classifier = Window()
        settings = RiseSettings(masks=30, memory=batch_size * 4 * 4 * 32 * 32)
        found = Rise(settings).explain(classifier, images, targets, generators(0, 1, 2)).saliency
        torch.testing.assert_close(found, torch.cat(wanted))
        *passes, _ = classifier.sizes
        assert max(passes) <= batch_size and sum(passes) == 90 and len(passes) == -(-90 // batch_size)


def test_the_window_that_the_network_looks_through_is_salient() -> None:
    """A pixel that shares no cell with the window says nothing: its saliency is the mean score over all masks."""
    image, classifier = torch.full((1, 3, 32, 32), 0.6), Window()
    explanation = Rise(2000, hidden="black").explain(classifier, image, torch.tensor([0]))
    least, most = explanation.diagnostics["least"], explanation.diagnostics["most"]
    found = explanation.saliency[0, 0] * (most - least) + least
    row, column = divmod(int(found.argmax()), 32)
    assert 4 <= row < 12 and 20 <= column < 28
    masks = RandomMasks.draw(RiseSettings(masks=2000), 32, 32, *generators(0)).rendered(0, 2000)
    mean_score = classifier.logits(image * masks[:, None]).softmax(dim=1)[:, 0].mean()
    far = found[22:, :10]
    assert (far / mean_score - 1).abs().max() < 0.1
    assert found[4:12, 20:28].mean() > 1.2 * mean_score


class Sure:
    """The score is .95 in the dark, and .96 with all the light in a window."""

    def logits(self, images: Tensor) -> Tensor:
        odds = (0.95 + 0.01 * images[:, 0, 4:12, 20:28].mean(dim=(1, 2))).logit()
        return torch.stack([odds, torch.zeros_like(odds)], dim=1)


def test_what_chance_shows_more_often_is_not_salient() -> None:
    """The masks' own unevenness, which the published divisor leaves in, is ten times what they do to the score."""
    image, inside = torch.ones(1, 3, 32, 32), torch.zeros(32, 32, dtype=torch.bool)
    inside[1:15, 17:31] = True
    found = {}
    for divisor in ("drawn", "expected"):
        settings = RiseSettings(masks=400, hidden="black", divisor=divisor)
        saliency = Rise(settings).explain(Sure(), image, torch.tensor([0])).saliency[0, 0]
        found[divisor] = float(inside[saliency > saliency.quantile(0.95)].float().mean())
    assert found["drawn"] == 1 and found["expected"] < 0.5


@pytest.mark.parametrize("score", [0.3, 1.0, 1e-6])
def test_a_score_that_no_mask_changes_is_explained_by_nothing(score: float) -> None:
    def scores(images: Tensor) -> Tensor:
        return torch.full((len(images), 2), score)

    found = Rise(20, cells=4).explain(scores, noise(1, 3, 32, 32), torch.tensor([0]))
    assert not found.saliency.any()
    assert found.diagnostics["least"].item() == found.diagnostics["most"].item() == pytest.approx(score)


def test_a_pixel_that_no_mask_shows_has_the_mean() -> None:
    image, settings = noise(1, 3, 32, 32), RiseSettings(masks=3, cells=4, keep=0.2, hidden="black")
    masks = RandomMasks.draw(settings, 32, 32, *generators(5)).rendered(0, 3)
    dark = masks.sum(dim=0) == 0
    assert dark.any()
    found = Rise(settings).explain(Window(), image, torch.tensor([0]), generators(5))
    mean = Window().logits(image * masks[:, None]).softmax(dim=1)[:, 0].mean()
    least, most = found.diagnostics["least"], found.diagnostics["most"]
    torch.testing.assert_close(found.saliency[0, 0][dark], ((mean - least) / (most - least)).expand(int(dark.sum())))


def test_no_images_and_wrong_settings() -> None:
    empty = Rise(3).explain(Window(), torch.zeros(0, 3, 32, 32), torch.zeros(0, dtype=torch.int64))
    assert empty.saliency.shape == (0, 1, 32, 32)
    for wrong in ({"masks": 0}, {"cells": 0}, {"keep": 1.0}, {"hidden": "gray"}, {"divisor": "p"}):
        with pytest.raises(ValueError, match="must"):
            RiseSettings(**wrong)
    with pytest.raises(ValueError, match="memory"):
        Rise(3, memory=0).explain(Window(), noise(1, 3, 32, 32), torch.tensor([0]))
