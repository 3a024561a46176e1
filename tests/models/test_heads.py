"""Heads: which one a network has, its logits and scores in closed form, and what is refused."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from visual_summaries.pipeline.explain.interface import odds_of, predicts, scores_of, target_scores
from visual_summaries.pipeline.models.classifier import Classifier, ClassifierError
from visual_summaries.pipeline.models.heads import Head
from visual_summaries.pipeline.models.loading import load_classifier
from visual_summaries.pipeline.models.preparation import PreparedClassifier
from visual_summaries.pipeline.models.preprocessing import Preprocessing
from visual_summaries.pipeline.models.recognition import recognized_head, said_of_head

SIDE = 8
# The mean of an image, by class.
SLOPES = torch.tensor([[3.0, -1.0, 0.5], [-2.0, 2.0, 0.0], [0.5, 0.5, -1.5]])


class Means(nn.Module):
    """Of an image's mean color c: `end(SLOPES · c)`, of as many classes as are wanted."""

    def __init__(self, end: Callable[[Tensor], Tensor] | None = None, classes: int = 3) -> None:
        super().__init__()
        self.last = nn.Linear(3, classes, bias=False)
        self.last.weight.data = SLOPES[:classes].clone()
        self.end = end or nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        return self.end(self.last(images.mean(dim=(2, 3))))


def by_hand(logits: Tensor) -> Tensor:
    powers = (logits - logits.amax(dim=1, keepdim=True)).exp()
    return powers / powers.sum(dim=1, keepdim=True)


def colors() -> Tensor:
    return torch.rand(4, 3, 1, 1, generator=torch.Generator().manual_seed(1)).expand(4, 3, SIDE, SIDE).contiguous()


HEADS = {
    "logits": (Means(), Head()),
    "module": (Means(nn.Softmax(dim=1)), Head("probabilities", "probabilities", True)),
    "function": (Means(lambda z: functional.softmax(z, -1)), Head("probabilities", "probabilities", True)),
    "method": (Means(lambda z: z.softmax(1)), Head("probabilities", "probabilities", True)),
    "logarithms": (Means(nn.LogSoftmax(dim=1)), Head("probabilities", "log-probabilities", True)),
    "by hand": (Means(by_hand), Head("probabilities", "probabilities")),
    "logarithms by hand": (Means(lambda z: by_hand(z).log()), Head("probabilities", "log-probabilities")),
    "sigmoids": (Means(nn.Sigmoid()), Head("sigmoid", "sigmoids", True)),
    "sigmoids by hand": (Means(lambda z: 1 / (1 + (-z).exp())), Head("sigmoid", "sigmoids")),
    "one": (Means(classes=1), Head("binary")),
    "one sigmoid": (Means(torch.sigmoid, 1), Head("binary", "sigmoids", True)),
    # No shares, though they are in [0, 1] for some images: they grow with the image.
    "rectified": (Means(nn.ReLU()), Head()),
    # Neither a gate in the middle nor what follows a softmax is the head.
    "gated": (Means(lambda z: z * z.sigmoid()), Head()),
    "scaled softmax": (Means(lambda z: 7 * z.softmax(1) - 2), Head()),
}


@pytest.mark.parametrize("name", HEADS)
def test_the_head_is_recognized_and_gives_the_scores_of_the_closed_form(name: str) -> None:
    module, expected = HEADS[name]
    head = recognized_head(module, SIDE)
    assert head == expected
    classes = head.classes(module.last.out_features)
    classifier = Classifier(module, Preprocessing(SIDE, SIDE, (0, 0, 0), (1, 1, 1)), ["x"] * classes, head=head)
    images = colors()
    plain = images[:, :, 0, 0] @ SLOPES.T
    if name == "rectified":
        plain = plain.relu()
    elif name == "gated":
        plain = plain * plain.sigmoid()
    elif name == "scaled softmax":
        plain = 7 * plain.softmax(dim=1) - 2
    if head.kind == "sigmoid":
        scores = plain.sigmoid()
    elif head.kind == "binary":
        scores = torch.stack([1 - plain[:, 0].sigmoid(), plain[:, 0].sigmoid()], dim=1)
    else:
        scores = plain.softmax(dim=1)
    for asked in (classifier, PreparedClassifier(classifier)):
        logits = asked.logits(images)
        for target in range(classes):
            targets = torch.full((4,), target)
            score = scores[:, target]
            torch.testing.assert_close(target_scores(asked, images, targets), score)
            torch.testing.assert_close(scores_of(asked, logits, targets), score)
            torch.testing.assert_close(odds_of(asked, logits, targets), score.logit(), rtol=1e-5, atol=1e-5)
            predicted = score >= 0.5 if head.kind == "sigmoid" else scores.argmax(dim=1) == target
            assert predicts(asked, logits, targets).tolist() == predicted.tolist()


def test_classes_apart_are_predicted_together_or_not_at_all() -> None:
    """Where a softmax would name one of them: two, and none."""
    classifier = Classifier(
        Means(), Preprocessing(SIDE, SIDE, (0, 0, 0), (1, 1, 1)), list("abc"), head=Head("sigmoid")
    )
    images = torch.zeros(2, 3, SIDE, SIDE)
    images[0, 0] = images[0, 1] = 1.0  # Logits 2, 0 and 1.
    images[1, 2] = 1.0
    images[1, 0] = -0.25  # Logits −0.25, 0.5 and −1.625.
    logits = classifier.logits(images)
    torch.testing.assert_close(logits, torch.tensor([[2.0, 0.0, 1.0], [-0.25, 0.5, -1.625]]))
    found = [predicts(classifier, logits, torch.full((2,), target)).tolist() for target in range(3)]
    assert found == [[True, False], [True, True], [True, False]]


def test_the_odds_of_a_sure_network_that_returns_probabilities_are_finite() -> None:
    """Its probabilities are 1 and 0 in floating point; seen through its last call, the logits are what they were."""
    images = torch.full((1, 3, SIDE, SIDE), 1.0)
    for end, seen in ((nn.Softmax(dim=1), True), (by_hand, False)):
        module = Means(end)
        module.last.weight.data = torch.diag(torch.tensor([200.0, 0.0, -200.0]))
        head = recognized_head(module, SIDE)
        assert head.called == seen
        classifier = Classifier(module, Preprocessing(SIDE, SIDE, (0, 0, 0), (1, 1, 1)), list("abc"), head=head)
        odds = odds_of(classifier, classifier.logits(images), torch.tensor([2]))
        # By hand no more is known than that the probability is below the smallest number.
        expected = -400.0 if seen else math.log(torch.finfo(torch.float32).tiny)
        assert float(odds) == pytest.approx(expected, rel=1e-3)


WRONG = [
    ("module", "softmax", "its outputs sum to 1"),
    ("sigmoids", "softmax", "its outputs are sigmoids"),
    ("one", "softmax", "it has one output"),
    ("module", "sigmoid", "its outputs sum to 1"),
    ("logarithms", "sigmoid", "the exponentials of its outputs sum to 1"),
    ("logits", "binary", "it has 3 outputs"),
    ("logits", "probabilities", "do not sum to 1"),
    ("one sigmoid", "probabilities", "it has one output"),
]


@pytest.mark.parametrize(("name", "declared", "reason"), WRONG)
def test_a_head_that_the_network_contradicts_is_refused(name: str, declared: str, reason: str) -> None:
    with pytest.raises(ClassifierError, match=rf"mine has no head {declared} \(setting model.head\).*{reason}"):
        recognized_head(HEADS[name][0], SIDE, declared, "mine")


def test_a_declaration_that_fits_is_taken() -> None:
    declared = {
        ("logits", "sigmoid"): Head("sigmoid"),
        ("logits", "softmax"): Head(),
        ("sigmoids", "sigmoid"): Head("sigmoid", "sigmoids", True),
        ("one", "sigmoid"): Head("sigmoid"),
        ("one sigmoid", "binary"): Head("binary", "sigmoids", True),
        # The softmax of log-probabilities are the probabilities.
        ("logarithms", "softmax"): Head("probabilities", "log-probabilities", True),
        ("by hand", "probabilities"): Head("probabilities", "probabilities"),
    }
    for (name, kind), expected in declared.items():
        assert recognized_head(HEADS[name][0], SIDE, kind) == expected


@pytest.mark.parametrize("declared", ["auto", "softmax", "binary"])
def test_a_softmax_over_one_output_is_no_head(declared: str) -> None:
    with pytest.raises(ClassifierError, match="a softmax over its one output is 1 for every image"):
        recognized_head(Means(nn.Softmax(dim=1), 1), SIDE, declared)


def test_a_network_with_one_output_has_two_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_head.py").write_text(
        "from torch import nn\n\n\ndef one():\n"
        "    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 1)), {'resize_side': 8,"
        " 'crop_side': 8}\n"
    )
    (tmp_path / "labels.txt").write_text("cat\ndog\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = load_classifier("own_head:one")
    assert found.class_names == ("negative", "positive") and found.head == Head("binary")
    assert load_classifier("own_head:one", labels=tmp_path / "labels.txt").class_names == ("cat", "dog")
    assert found.features(torch.rand(2, 3, 8, 8)).shape == (2, 3)
    alone = load_classifier("own_head:one", head="sigmoid")
    assert alone.class_names == ("class 0",) and alone.independent
    with pytest.raises(ClassifierError, match=r"own_head:one has no head softmax.*model\.head=binary, or auto"):
        load_classifier("own_head:one", head="softmax")


def test_what_is_said_of_a_head() -> None:
    assert said_of_head(Head(), 1000) == (
        "Head softmax: the network has 1,000 outputs, taken for logits of classes that exclude each other; if a "
        "photograph may have several classes, set model.head=sigmoid."
    )
    assert "one output, taken for the second of two classes" in said_of_head(Head("binary"), 2)
    assert "set model.head" not in said_of_head(Head("sigmoid"), 3)
