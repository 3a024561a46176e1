"""The adversarial study on the built-in network, and the color-channel swaps on networks that know colors or not."""

import pytest
import torch
from torch import Tensor

from visual_summaries.pipeline.data.demo.scenes import CLASS_NAMES, render
from visual_summaries.pipeline.evaluate.adversarial import adversarial_targets, generate_adversarials
from visual_summaries.pipeline.evaluate.color_bias import SWAPS, color_bias
from visual_summaries.pipeline.evaluate.intervals import wilson_interval
from visual_summaries.pipeline.explain.engine import Item
from visual_summaries.pipeline.models.loading import load_classifier
from visual_summaries.pipeline.models.preparation import PreparedClassifier


class Fixed:
    """Logits of the gray image, and of any other."""

    baseline = torch.tensor([0.5, 0.5, 0.5])

    def __init__(self, gray: list[float], other: list[float]) -> None:
        self.gray, self.other = torch.tensor(gray), torch.tensor(other)

    def logits(self, images: Tensor) -> Tensor:
        is_gray = (images == 0.5).flatten(1).all(dim=1)
        return torch.where(is_gray[:, None], self.gray, self.other)


def test_target_is_the_least_likely_class_that_the_zero_image_is_not() -> None:
    images = torch.zeros(2, 3, 4, 4)
    assert adversarial_targets(Fixed([0, 5, 1, 2], [3, 1, 0, 2]), images).tolist() == [2, 2]
    assert adversarial_targets(Fixed([0, 1, 5, 2], [3, 1, 0, 2]), images).tolist() == [1, 1]


def test_filter_defends_a_trained_network() -> None:
    """Without the filter evidence is generated for a class that is not there, with it the same steps give none."""
    classifier = PreparedClassifier(load_classifier("demo"))
    scenes = [torch.from_numpy(render(name, 100 + number).image) for number, name in enumerate(CLASS_NAMES[:3])]
    images = torch.stack(scenes).permute(0, 3, 1, 2).float() / 255
    assert (classifier.logits(images).softmax(dim=1).amax(dim=1) > 0.995).all()
    targets = adversarial_targets(classifier, images).tolist()
    items = [Item(number, image, target) for number, (image, target) in enumerate(zip(images, targets, strict=True))]
    off, on = (
        dict(generate_adversarials(classifier, items, torch.device("cpu"), filtered, iterations=100))
        for filtered in (False, True)
    )
    assert all(outcome.generated and outcome.iterations < 100 for outcome in off.values())
    assert not any(outcome.generated for outcome in on.values())
    for number in range(3):
        assert on[number].score < 0.2 < off[number].score


class Colored:
    """Class 0 if red exceeds blue, else 1; class 2, whatever the color, if the image is dark."""

    def logits(self, images: Tensor) -> Tensor:
        red, _, blue = images.mean(dim=(2, 3)).unbind(dim=1)
        dark = (images.mean(dim=(1, 2, 3)) < 0.2).float()
        return torch.stack([red, blue, 10 * dark], dim=1)


def solid(*colors: tuple[float, float, float]) -> Tensor:
    return torch.tensor(colors).view(-1, 3, 1, 1).expand(-1, 3, 2, 2)


def test_swaps_are_those_of_the_paper() -> None:
    """BGR (1, 2, 3) becomes RBG (3, 1, 2) or GRB (2, 3, 1)."""
    bgr = {"B": 1, "G": 2, "R": 3}
    for name, order in SWAPS.items():
        swapped_bgr = [bgr[letter] for letter in name]
        rgb = [3, 2, 1]
        assert [rgb[channel] for channel in order][::-1] == swapped_bgr
    assert list(SWAPS) == ["RBG", "GRB"]


def test_color_bias_by_class() -> None:
    # Red; yellow; a blue that is labeled red; dark.
    images = solid((0.9, 0.1, 0.2), (0.9, 0.8, 0.1), (0.1, 0.2, 0.9), (0.1, 0.1, 0.1))
    labels = torch.tensor([0, 0, 0, 2])
    found = color_bias(Colored(), images, labels, batch_size=3)
    assert found.correct.tolist() == [True, True, False, True]
    # R'G'B' = GBR and BRG: red is lost in both but for BRG's red 0.2 > blue 0.1, yellow in both but one by 0.8 < 0.9.
    assert found.kept["RBG"].tolist() == [False, False, False, True]
    assert found.kept["GRB"].tolist() == [True, False, False, True]
    assert found.by_class(labels) == {0: (2, 0.25), 2: (1, 1.0)}


@pytest.mark.parametrize("successes, count", [(0, 100), (1, 20), (50, 100), (100, 100)])
def test_wilson_interval_inverts_the_score_test(successes: int, count: int) -> None:
    low, high = wilson_interval(successes, count)
    for bound in (low, high):
        if 0 < bound < 1:
            error = (bound * (1 - bound) / count) ** 0.5
            assert abs(successes / count - bound) / error == pytest.approx(1.959964, rel=1e-5)
    assert low <= successes / count <= high
    assert (low == 0) == (successes == 0) and (high == 1) == (successes == count)
    assert all(value != value for value in wilson_interval(0, 0))
