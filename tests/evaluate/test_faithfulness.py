"""Deletion and insertion against plain loops, in closed form, and for maps that they must refuse; score drops."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from visual_summaries.pipeline.evaluate.faithfulness import (
    DeletionCurve,
    deletion_curve,
    deletion_order,
    insertion_curve,
    insertion_start,
    score_drop_summary,
    score_drops,
)


class Counting:
    """Odds of class 1 fall with the share of the image that is not the baseline; notes the batches it is given."""

    baseline = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)

    def __init__(self, weights: Tensor) -> None:
        self.weights = weights
        self.batches: list[int] = []

    def logits(self, images: Tensor) -> Tensor:
        self.batches.append(len(images))
        evidence = ((images - self.baseline.view(3, 1, 1)).square().sum(dim=1) * self.weights).sum(dim=(1, 2))
        return torch.stack([torch.zeros_like(evidence), evidence, -evidence], dim=1)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("channels", [None, 1, 3])
@pytest.mark.parametrize("pixels_per_step", [1, 5, 7])
def test_curve_is_that_of_a_plain_loop(channels: int | None, pixels_per_step: int) -> None:
    classifier = Counting(noise(4, 5, seed=1))
    images, targets = noise(3, 3, 4, 5), torch.tensor([1, 0, 2])
    maps = noise(*((3, 4, 5) if channels is None else (3, channels, 4, 5)), seed=2)
    found = deletion_curve(classifier, images, maps, targets, pixels_per_step, batch_size=4)
    assert max(classifier.batches) == 4 and sum(classifier.batches) == found.scores.numel()
    for number in range(3):
        saliency = maps[number] if channels is None else maps[number].mean(dim=0)
        ranked = sorted(((float(saliency[y, x]), y, x) for y in range(4) for x in range(5)), reverse=True)
        image, scores, shares, deleted = images[number].clone(), [], [], 0
        while True:
            scores.append(float(classifier.logits(image[None]).softmax(dim=1)[0, targets[number]]))
            shares.append(deleted / 20)
            if deleted == 20:
                break
            for _, y, x in ranked[deleted : deleted + pixels_per_step]:
                image[:, y, x] = classifier.baseline
            deleted = min(20, deleted + pixels_per_step)
        assert found.deleted.tolist() == pytest.approx(shares)
        assert found.scores[number].tolist() == pytest.approx(scores)
        pairs = zip(shares, shares[1:], scores, scores[1:], strict=False)
        area = sum((right - left) * (low + high) / 2 for left, right, low, high in pairs)
        assert float(found.area[number]) == pytest.approx(area)


class Single:
    """Certain of class 0 while one pixel is as it was, of class 1 without it."""

    baseline = torch.zeros(3)

    def logits(self, images: Tensor) -> Tensor:
        present = (images[:, 0, 2, 3] > 0).double()
        return torch.stack([1000 * present, 1000 * (1 - present)], dim=1)


def test_area_in_closed_form() -> None:
    images = torch.ones(2, 3, 4, 4)
    first, last = torch.zeros(2, 4, 4), torch.ones(2, 4, 4)
    first[:, 2, 3], last[:, 2, 3] = 1, 0
    target = torch.tensor([0, 0])
    # The score is 1 until the pixel goes, at the first or at the last of 16 pixels, and 0 from then on.
    assert deletion_curve(Single(), images, first, target, 1).area.tolist() == [1 / 32] * 2
    assert deletion_curve(Single(), images, last, target, 1).area.tolist() == [31 / 32] * 2
    flat = DeletionCurve(torch.tensor([0.0, 0.25, 1.0]), torch.tensor([[0.5, 0.5, 0.5]]))
    assert flat.area.tolist() == [0.5]


def test_default_is_28_steps() -> None:
    curve = deletion_curve(Single(), torch.ones(1, 3, 224, 224), noise(1, 224, 224), torch.tensor([0]), batch_size=29)
    assert curve.scores.shape == (1, 29)
    torch.testing.assert_close(curve.deleted, torch.arange(29, dtype=torch.float64) / 28)


def test_ties_are_in_random_order_by_seed_whatever_the_batch() -> None:
    maps = torch.zeros(2, 8, 8)
    maps[:, 3, 3] = 1
    ranks = deletion_order(maps, (2, 8, 8), seed=1)
    assert ranks[0, 27] == 0 and sorted(ranks[0].tolist()) == list(range(64))
    others = [rank for rank in ranks[0].tolist() if rank]
    assert others != sorted(others) and others != sorted(others, reverse=True)
    assert torch.equal(ranks[1], deletion_order(maps[1:], (1, 8, 8), seed=1)[0])
    assert not torch.equal(ranks, deletion_order(maps, (2, 8, 8), seed=2))


def test_wrong_input_is_refused() -> None:
    images, target = torch.ones(1, 3, 4, 4), torch.tensor([0])
    for maps in (torch.zeros(1, 2, 4, 4), torch.zeros(1, 5, 4), torch.full((1, 4, 4), torch.nan)):
        with pytest.raises(ValueError, match="maps"):
            deletion_curve(Single(), images, maps, target)
    with pytest.raises(ValueError, match="at least 1"):
        deletion_curve(Single(), images, torch.zeros(1, 4, 4), target, batch_size=0)


def blurred(image: Tensor, baseline: Tensor) -> Tensor:
    """`[3,H,W]` by the definition: each pixel the weighted mean of 11×11, `baseline` beyond the border."""
    weights = {(y, x): math.exp(-(y * y + x * x) / 50) for y in range(-5, 6) for x in range(-5, 6)}
    total, (_, height, width), result = sum(weights.values()), image.shape, torch.zeros_like(image)
    for row in range(height):
        for column in range(width):
            for (y, x), weight in weights.items():
                there = 0 <= row + y < height and 0 <= column + x < width
                result[:, row, column] += weight / total * (image[:, row + y, column + x] if there else baseline)
    return result


def test_insertion_starts_blurred() -> None:
    image = noise(3, 9, 14, seed=3)
    baseline = Counting.baseline
    found = insertion_start(image[None], baseline.view(3, 1, 1))[0]
    torch.testing.assert_close(found, blurred(image, baseline), atol=1e-12, rtol=0)
    plain = baseline.view(1, 3, 1, 1).expand(1, 3, 30, 4)
    torch.testing.assert_close(insertion_start(plain, baseline.view(3, 1, 1)), plain, atol=1e-12, rtol=0)


@pytest.mark.parametrize("pixels_per_step", [1, 7])
def test_insertion_is_that_of_a_plain_loop(pixels_per_step: int) -> None:
    classifier = Counting(noise(4, 5, seed=1))
    images, maps, targets = noise(3, 3, 4, 5), noise(3, 3, 4, 5, seed=2), torch.tensor([1, 0, 2])
    found = insertion_curve(classifier, images, maps, targets, pixels_per_step, batch_size=4)
    assert max(classifier.batches) == 4 and sum(classifier.batches) == found.scores.numel()
    for number in range(3):
        saliency = maps[number].mean(dim=0)
        ranked = sorted(((float(saliency[y, x]), y, x) for y in range(4) for x in range(5)), reverse=True)
        image, scores, shares, shown = blurred(images[number], classifier.baseline), [], [], 0
        while True:
            scores.append(float(classifier.logits(image[None]).softmax(dim=1)[0, targets[number]]))
            shares.append(shown / 20)
            if shown == 20:
                break
            for _, y, x in ranked[shown : shown + pixels_per_step]:
                image[:, y, x] = images[number, :, y, x]
            shown = min(20, shown + pixels_per_step)
        assert found.inserted.tolist() == pytest.approx(shares)
        assert found.scores[number].tolist() == pytest.approx(scores)
        area = sum((shares[k + 1] - shares[k]) * (scores[k] + scores[k + 1]) / 2 for k in range(len(shares) - 1))
        assert float(found.area[number]) == pytest.approx(area)


class Sharp:
    """Certain of class 0 once one pixel is white, which it never is in a blurred image."""

    baseline = torch.zeros(3)

    def logits(self, images: Tensor) -> Tensor:
        white = (images[:, 0, 2, 3] == 1).double()
        return torch.stack([1000 * white, 1000 * (1 - white)], dim=1)


def test_insertion_in_closed_form() -> None:
    images, target = torch.zeros(1, 3, 4, 4), torch.tensor([0])
    images[:, :, 2, 3] = 1
    first, last = torch.zeros(1, 4, 4), torch.ones(1, 4, 4)
    first[:, 2, 3], last[:, 2, 3] = 1, 0
    assert insertion_curve(Sharp(), images, first, target, 1).area.tolist() == [31 / 32]
    assert insertion_curve(Sharp(), images, last, target, 1).area.tolist() == [1 / 32]
    with pytest.raises(ValueError, match="maps"):
        insertion_curve(Sharp(), images, torch.zeros(1, 5, 4), target)


def test_score_drops_by_hand() -> None:
    before, after = np.array([0.5, 0.8, 1.0, 0.2]), np.array([0.0, 0.2, 0.5, 0.3])
    np.testing.assert_allclose(score_drops(before, after), [1, 0.75, 0.5, -0.5])
    mean, variance = score_drop_summary(before, after)
    # Mean 7/16; deviations 9, 5, 1 and −15 sixteenths.
    assert mean == pytest.approx(7 / 16)
    assert variance == pytest.approx((81 + 25 + 1 + 225) / 256 / 4)
    assert np.isnan(score_drop_summary(before[:0], after[:0])).all()
    for wrong in (np.array([0.0, 0.8, 1.0, 0.2]), np.array([1.1, 0.8, 1.0, 0.2]), before[:3]):
        with pytest.raises(ValueError, match="scores"):
            score_drops(wrong, after)
