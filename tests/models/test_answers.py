"""Two networks with the same weights are told apart by what they answer, whatever the processor rounds."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from visual_summaries.pipeline.models.answers import answers, same_answers
from visual_summaries.pipeline.models.classifier import Classifier, ClassifierError
from visual_summaries.pipeline.models.preprocessing import Preprocessing

SIDE = 32


class Net(nn.Module):
    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.convolution, self.linear = nn.Conv2d(3, 8, 3), nn.Linear(8, classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.linear(torch.relu(self.convolution(images)).mean(dim=(2, 3)))


class Swapped(Net):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.flip(1))


class Cooler(Net):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) * 0.99


class WithoutGradient(Net):
    def forward(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            return super().forward(images)


class AnotherGradient(Net):
    """The same logits; the ReLU passes every gradient."""

    def forward(self, images: Tensor) -> Tensor:
        before = self.convolution(images)
        after = before + (torch.relu(before) - before).detach()
        return self.linear(after.mean(dim=(2, 3)))


class OtherRounding(Net):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.double().float()) * (1 + 3e-6)


class Noisy(Net):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) + torch.rand(1)


class Failing(Net):
    def forward(self, images: Tensor) -> Tensor:
        raise RuntimeError("no such input")


def of(network: nn.Module, classes: int = 5) -> np.ndarray:
    return answers(Classifier(network, Preprocessing(resize_side=SIDE, crop_side=SIDE), ["x"] * classes))


@pytest.mark.parametrize("network", [Swapped, Cooler, WithoutGradient, AnotherGradient])
def test_another_forward_is_another_network(network: type[nn.Module]) -> None:
    assert not same_answers(of(Net()), of(network()))


@pytest.mark.parametrize("network", [Net, OtherRounding])
def test_rounding_and_chance_make_no_other_network(network: type[nn.Module]) -> None:
    assert same_answers(of(Net()), of(network()))
    assert same_answers(of(Noisy()), of(Noisy()))


def test_answers_are_the_logits_and_the_gradients_of_their_sum() -> None:
    found = of(Net())
    assert found.shape == (2 * 5 + 2 * 3 * 49,) and found.dtype == np.float32
    # A network whose gradient is known: logit k is k times the sum of all pixels.
    class Sum(Net):
        def forward(self, images: Tensor) -> Tensor:
            return images.sum(dim=(1, 2, 3))[:, None] * torch.arange(5.0)

    plain = Preprocessing(resize_side=SIDE, crop_side=SIDE, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    found = answers(Classifier(Sum(), plain, ["x"] * 5))
    logits = found[:10].reshape(2, 5)
    np.testing.assert_allclose(logits, np.outer(logits[:, 1], np.arange(5)), rtol=1e-5)
    np.testing.assert_allclose(found[10:], sum(k * np.cos(k) for k in range(5)), rtol=1e-4)
    assert 0 < logits[1, 1] < logits[0, 1] < 3 * SIDE * SIDE


def test_of_many_classes_some_are_kept() -> None:
    assert of(Net(1300), 1300).shape == (2 * 434 + 2 * 3 * 49,)


def test_a_network_that_fails_is_named() -> None:
    with pytest.raises(ClassifierError, match="fails on an image of 32 × 32 pixels: RuntimeError: no such input"):
        of(Failing())
