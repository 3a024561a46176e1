"""Every explainer under every head: a network and its twin with another head, of which the same must be found.

Twins in closed form: one logit z is the softmax of [−z/2, z/2]; probabilities are the softmax of their logits; and
class c of a network whose classes do not exclude each other is the second class of the network with c's logit alone.
"""

from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from visual_summaries.pipeline.config import load_config
from visual_summaries.pipeline.explain.engine import Item, explain_stream
from visual_summaries.pipeline.explain.fgvis import FGVis
from visual_summaries.pipeline.explain.fgvis_settings import FGVisSettings
from visual_summaries.pipeline.explain.interface import Explanation, target_scores
from visual_summaries.pipeline.explain.registry import EXPLAINERS, make_explainer
from visual_summaries.pipeline.explain.robust import RobustMasks
from visual_summaries.pipeline.models.classifier import Classifier
from visual_summaries.pipeline.models.heads import Head
from visual_summaries.pipeline.models.preparation import PreparedClassifier
from visual_summaries.pipeline.models.preprocessing import Preprocessing
from visual_summaries.pipeline.models.recognition import recognized_head
from visual_summaries.pipeline.stages.explain import own_settings

SIDE = 16
FEW = ("explain.rise.masks=40", "explain.rise.cells=4", "explain.glas.grid=4", "explain.cam.copies=2")
FEW += ("explain.glas.rounds=2", "explain.preset=fast")
FEW += ("explain.sampling={steps: 4, noisy_copies: 3, lime: 30, superpixel: 40}",)
# Not homogeneous in the logit that they follow: half of it gives another map.
BENT = ("grad-cam++", "smooth-grad-cam++", "feature-cam")
CLASS = 2


def network(last: Tensor, *end: nn.Module) -> nn.Sequential:
    """A small network with the weights and the bias `last` `[O,5]` of its last layer, then `end`."""
    torch.manual_seed(4)
    layers = nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=False),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3, padding=1, bias=False),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, len(last)),
        *end,
    ).double()
    layers[6].weight.data, layers[6].bias.data = last[:, :4].clone(), last[:, 4].clone()
    return layers


ROWS = torch.tensor(
    [[40.0, -30.0, 20.0, -20.0, -1.0], [-20.0, 40.0, -30.0, 20.0, 3.0], [30.0, 20.0, -25.0, 25.0, -2.5]],
    dtype=torch.float64,
)
ONE = ROWS[CLASS : CLASS + 1]


def prepared(module: nn.Module, head: Head) -> PreparedClassifier:
    classes = head.classes(module[6].out_features)
    preprocessing = Preprocessing(SIDE, SIDE, (0.45, 0.5, 0.4), (0.25, 0.25, 0.25))
    return PreparedClassifier(Classifier(module, preprocessing, ["x"] * classes, head=head), "float64")


CLASSIFIERS = {
    "two logits": prepared(network(torch.cat([-ONE / 2, ONE / 2])), Head()),
    "one": prepared(network(ONE), Head("binary")),
    "one, doubled": prepared(network(2 * ONE), Head("binary")),
    "one sigmoid": prepared(network(ONE, nn.Sigmoid()), Head("binary", "sigmoids", True)),
    "logits": prepared(network(ROWS), Head()),
    "probabilities": prepared(network(ROWS, nn.Softmax(1)), Head("probabilities", "probabilities", True)),
    "apart": prepared(network(ROWS), Head("sigmoid")),
    "sigmoids": prepared(network(ROWS, nn.Sigmoid()), Head("sigmoid", "sigmoids", True)),
}


def images() -> Tensor:
    return torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(8), dtype=torch.float64)


@cache
def explained(name: str, classifier: str, targets: tuple[int, int]) -> Explanation:
    settings = load_config(None, [f"explain.explainer={name}", *FEW]).explain
    explainer = make_explainer(name, *own_settings(settings))
    if isinstance(explainer, FGVis):
        explainer = FGVis(FGVisSettings(iterations=15, first_rate=0.3, learning_rate=0.3))
    if hasattr(explainer, "settings") and hasattr(explainer.settings, "rough"):
        stages = {part: replace(getattr(explainer.settings, part), iterations=6) for part in ("rough", "crisp")}
        explainer.settings = replace(explainer.settings, **{n: s for n, s in stages.items() if s.iterations})
    return _explained(explainer, classifier, targets)


def _explained(explainer: object, classifier: str, targets: tuple[int, int]) -> Explanation:
    generators = [torch.Generator().manual_seed(number) for number in range(2)]
    items = [Item(n, image, targets[n], generators[n]) for n, image in enumerate(images())]
    found = dict(explain_stream(explainer, CLASSIFIERS[classifier], iter(items), torch.device("cpu"), 2))
    return Explanation.joined([found[0], found[1]])


def assert_same(found: Explanation, expected: Explanation) -> None:
    torch.testing.assert_close(found.saliency, expected.saliency, rtol=0, atol=1e-6)
    torch.testing.assert_close(found.score_before, expected.score_before)
    assert (found.score_after is None) == (expected.score_after is None)
    if found.score_after is not None:
        torch.testing.assert_close(found.score_after, expected.score_after)
    assert found.iterations.tolist() == expected.iterations.tolist()
    assert found.diagnostics.keys() == expected.diagnostics.keys()
    for name, values in found.diagnostics.items():
        if name == "filtered":
            # A sigmoid behind the logits is one more.
            continue
        torch.testing.assert_close(values, expected.diagnostics[name], equal_nan=True)


def test_the_network_is_recognized_as_what_it_is_taken_for() -> None:
    for name, classifier in CLASSIFIERS.items():
        declared = "sigmoid" if name == "apart" else "auto"
        assert recognized_head(classifier.module, SIDE, declared) == classifier.head


@pytest.mark.parametrize("name", EXPLAINERS)
def test_one_logit_is_explained_as_its_two(name: str) -> None:
    """Of both classes, the one for and the one against the logit; with the sigmoid in the network, and without."""
    expected = explained(name, "two logits", (0, 1))
    assert expected.saliency.amax() > 0.05 and expected.saliency.isfinite().all()
    assert_same(explained(name, "one", (0, 1)), expected)
    assert_same(explained(name, "one sigmoid", (0, 1)), expected)


@pytest.mark.parametrize("name", EXPLAINERS)
def test_probabilities_are_explained_as_their_logits(name: str) -> None:
    assert_same(explained(name, "probabilities", (0, CLASS)), explained(name, "logits", (0, CLASS)))


@pytest.mark.parametrize("name", EXPLAINERS)
def test_a_class_apart_is_explained_as_if_it_were_alone(name: str) -> None:
    """Not as if the others competed, which a softmax would take for."""
    expected = explained(name, "one, doubled" if name in BENT else "one", (1, 1))
    for classifier in ("apart", "sigmoids"):
        found = explained(name, classifier, (CLASS, CLASS))
        if name in BENT:
            # The doubled network has the logit that is followed, and another score.
            torch.testing.assert_close(found.saliency, expected.saliency, rtol=0, atol=1e-6)
            expected = replace(expected, score_before=explained(name, "one", (1, 1)).score_before)
        assert_same(found, expected)
    softmax = target_scores(CLASSIFIERS["logits"], images(), torch.tensor([CLASS, CLASS]))
    assert (softmax - found.score_before).abs().amax() > 0.05


def test_the_robust_masks_look_at_the_score_of_the_head() -> None:
    short = RobustMasks()
    own = short.settings
    stages = {name: replace(getattr(own, name), iterations=5) for name in ("evidence", "boundary", "detail")}
    short.settings = replace(own, averaged=3, **stages)
    expected = _explained(short, "two logits", (0, 1))
    assert_same(_explained(short, "one", (0, 1)), expected)
    alone = _explained(short, "one", (1, 1))
    assert_same(_explained(short, "sigmoids", (CLASS, CLASS)), alone)


@pytest.mark.parametrize("game", ["preservation", "repression"])
def test_the_goal_of_a_class_apart_is_its_own_half(game: str) -> None:
    """Kept is a score of ½ and removed one below, whatever the others say: one of them is above it all the time."""
    settings = FGVisSettings(game=game, goal="top", remaining=0.999, iterations=60)
    found = _explained(FGVis(settings), "apart", (CLASS, CLASS))
    assert_same(found, _explained(FGVis(settings), "one", (1, 1)))
    assert found.diagnostics["reached"].all()
    keeps = game == "preservation"
    assert ((found.score_after >= 0.5) == keeps).all()
    # Near the goal, since the search stops at no other: with the other classes' scores it would be elsewhere.
    assert (found.score_after - 0.5).abs().amax() < 0.25
    competing = _explained(FGVis(settings), "logits", (CLASS, CLASS))
    assert (competing.saliency - found.saliency).abs().mean() > 0.005
