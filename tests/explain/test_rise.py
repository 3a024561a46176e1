"""RISE against a plain loop over its masks, in expectation, and whatever the packing."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from pipeline.explain.rise import RandomMasks, Rise, RiseSettings


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


def test_map_is_that_of_a_plain_loop() -> None:
    settings = RiseSettings(masks=50, cells=4, keep=0.3, memory=7 * 4 * 4 * 32 * 32)
    image, classifier = noise(1, 3, 32, 32), Window()
    found = Rise(settings).explain(classifier, image, torch.tensor([0]), generators(5))
    masks = RandomMasks.draw(settings, 32, 32, *generators(5)).rendered(0, 50)
    expected = torch.zeros(32, 32)
    for mask in masks:
        expected += classifier.logits(image * mask).softmax(dim=1)[0, 0] * mask
    expected /= 50 * 0.3
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
    explanation = Rise(2000).explain(classifier, image, torch.tensor([0]))
    least, most = explanation.diagnostics["least"], explanation.diagnostics["most"]
    found = explanation.saliency[0, 0] * (most - least) + least
    row, column = divmod(int(found.argmax()), 32)
    assert 4 <= row < 12 and 20 <= column < 28
    masks = RandomMasks.draw(RiseSettings(masks=2000), 32, 32, *generators(0)).rendered(0, 2000)
    mean_score = classifier.logits(image * masks[:, None]).softmax(dim=1)[:, 0].mean()
    far = found[22:, :10]
    assert (far / mean_score - 1).abs().max() < 0.1
    assert found[4:12, 20:28].mean() > 1.2 * mean_score


def test_no_images_and_wrong_settings() -> None:
    empty = Rise(3).explain(Window(), torch.zeros(0, 3, 32, 32), torch.zeros(0, dtype=torch.int64))
    assert empty.saliency.shape == (0, 1, 32, 32)
    for wrong in ({"masks": 0}, {"cells": 0}, {"keep": 1.0}):
        with pytest.raises(ValueError, match="must"):
            RiseSettings(**wrong)
    with pytest.raises(ValueError, match="memory"):
        Rise(3, memory=0).explain(Window(), noise(1, 3, 32, 32), torch.tensor([0]))
