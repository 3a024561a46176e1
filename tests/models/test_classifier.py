"""The classifier's promises: frozen, normalizing, its digest and its features."""

import hashlib

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from visual_summaries.pipeline.models.classifier import Classifier, ClassifierError, weights_digest
from visual_summaries.pipeline.models.preprocessing import Preprocessing

SMALL = Preprocessing(resize_side=16, crop_side=16)


class TwoLayerHead(nn.Module):
    """A head with two fully connected layers and a squeeze-and-excitation block with two more before it."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3)
        self.squeeze = nn.Linear(8, 4)
        self.excite = nn.Linear(4, 8)
        self.second = nn.Conv2d(8, 6, 3)
        self.head = nn.Sequential(nn.Linear(6, 10), nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(10, 5))

    def hidden(self, images: Tensor) -> Tensor:
        maps = self.first(images)
        gates = self.excite(functional.relu(self.squeeze(maps.mean(dim=(2, 3))))).sigmoid()
        return self.second(maps * gates[:, :, None, None]).mean(dim=(2, 3))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.hidden(images))


class ConvolutionalHead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 7, 3)
        self.classify = nn.Conv2d(7, 5, 1)

    def forward(self, images: Tensor) -> Tensor:
        return functional.relu(self.classify(functional.relu(self.body(images)))).mean(dim=(2, 3))


class CosineHead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 7, 3)
        self.directions = nn.Parameter(torch.randn(5, 7))

    def forward(self, images: Tensor) -> Tensor:
        return functional.normalize(self.body(images).mean(dim=(2, 3))) @ self.directions.T


def classifier_of(module: nn.Module, **options: object) -> Classifier:
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    return Classifier(module, SMALL, [f"class {index}" for index in range(5)], **options)


@pytest.fixture
def images() -> Tensor:
    return torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def test_frozen_and_normalizing(images: Tensor) -> None:
    module = TwoLayerHead().train()
    classifier = classifier_of(module)
    assert not module.training and not any(parameter.requires_grad for parameter in module.parameters())
    images.requires_grad_(True)
    logits = classifier.logits(images)
    expected = module((images - torch.tensor(SMALL.mean)[:, None, None]) / torch.tensor(SMALL.std)[:, None, None])
    torch.testing.assert_close(logits, expected)
    (gradient,) = torch.autograd.grad(logits[0, 2], images)
    step = torch.zeros_like(images)
    step[0, 1, 5, 5] = 1e-2
    change = (classifier.logits(images + step) - classifier.logits(images - step))[0, 2] / 2e-2
    assert change.item() == pytest.approx(gradient[0, 1, 5, 5].item(), rel=1e-2)


def test_features_of_the_first_fully_connected_layer_of_the_head(images: Tensor) -> None:
    module = TwoLayerHead()
    classifier = classifier_of(module)
    expected = module.head[0](module.hidden(classifier.normalized(images)))
    assert (expected < 0).any(), "the in-place ReLU must have something to spoil"
    torch.testing.assert_close(classifier.features(images), expected)


def test_features_of_a_convolutional_head_are_averaged_over_space(images: Tensor) -> None:
    module = ConvolutionalHead()
    classifier = classifier_of(module)
    expected = functional.relu(module.body(classifier.normalized(images))).mean(dim=(2, 3))
    torch.testing.assert_close(classifier.features(images), expected)


def test_named_feature_layer(images: Tensor) -> None:
    module = CosineHead()
    with pytest.raises(ClassifierError, match="feature_layer"):
        classifier_of(module).features(images)
    named = classifier_of(module, feature_layer="body")
    torch.testing.assert_close(named.features(images), module.body(named.normalized(images)).mean(dim=(2, 3)))
    with pytest.raises(ClassifierError, match="no layer 'bodi'"):
        classifier_of(module, feature_layer="bodi")


def test_digest_is_that_of_names_types_shapes_and_bytes() -> None:
    state = {"b": torch.tensor([[1.0, 2.0], [3.0, 4.0]]), "a": torch.tensor(7)}
    expected = hashlib.sha256()
    expected.update(b"a|torch.int64|[]|" + (7).to_bytes(8, "little"))
    expected.update(b"b|torch.float32|[2, 2]|" + bytes.fromhex("0000803f000000400000404000008040"))
    assert weights_digest(state) == expected.hexdigest()
    assert weights_digest(dict(reversed(state.items()))) == expected.hexdigest()
    transposed = {**state, "b": state["b"].T.contiguous().T}
    assert weights_digest(transposed) == expected.hexdigest()


def test_digest_changes_with_every_part() -> None:
    state = {"a": torch.zeros(2, 3)}
    variants = [
        state,
        {"b": torch.zeros(2, 3)},
        {"a": torch.zeros(3, 2)},
        {"a": torch.zeros(2, 3, dtype=torch.int32)},
        {"a": torch.zeros(2, 3, dtype=torch.bfloat16)},
        {"a": torch.tensor([[0, 0, 0], [0, 0, 1e-30]])},
        {"a": torch.zeros(2, 3), "_extra_state": 1},
    ]
    assert len({weights_digest(variant) for variant in variants}) == len(variants)


class Returning(nn.Module):
    def __init__(self, output: object) -> None:
        super().__init__()
        self.output = output

    def forward(self, images: Tensor) -> object:
        return self.output


@pytest.mark.parametrize(
    "output, message",
    [
        ((torch.zeros(3, 5), torch.zeros(3, 5)), "returns tuple"),
        (torch.zeros(3, 5, 4), r"\[3, 5, 4\]"),
        (torch.zeros(3, 6), r"\[3, 6\].*5 classes"),
    ],
)
def test_wrong_outputs_are_named(images: Tensor, output: object, message: str) -> None:
    with pytest.raises(ClassifierError, match=message):
        Classifier(Returning(output), SMALL, ["a", "b", "c", "d", "e"]).logits(images)


def test_wrong_images_are_refused(images: Tensor) -> None:
    classifier = classifier_of(ConvolutionalHead())
    for wrong in (images[0], images[:, :1], (images * 255).byte()):
        with pytest.raises(ValueError, match=r"float \[B, 3, H, W\]"):
            classifier.logits(wrong)


def test_as_many_wordnet_ids_as_names() -> None:
    with pytest.raises(ClassifierError, match="2 class names but 1 WordNet"):
        Classifier(ConvolutionalHead(), SMALL, ["a", "b"], wordnet_ids=["n1"])
