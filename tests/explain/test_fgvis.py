"""FGVis: the four games in closed form, batch = single, the search for λ, the filter, the baseline, Fig. 2's views."""

from dataclasses import replace

import pytest
import torch
from small_networks import MEAN, STD, Normalizing, Weighted, noise, small_network
from torch import Tensor, nn

from visual_summaries.pipeline.explain.engine import Engine, Item
from visual_summaries.pipeline.explain.fgvis import FGVis, explanation_images, views
from visual_summaries.pipeline.explain.fgvis_settings import GAMES, FGVisSettings
from visual_summaries.pipeline.explain.interface import Explanation
from visual_summaries.pipeline.explain.registry import make_explainer
from visual_summaries.pipeline.explain.updates import NormalizedGradient
from visual_summaries.pipeline.models.classifier import Classifier
from visual_summaries.pipeline.models.heads import log_odds
from visual_summaries.pipeline.models.preparation import PreparedClassifier
from visual_summaries.pipeline.models.preprocessing import Preprocessing

CPU = torch.device("cpu")


def short(game: str = "deletion", **settings: bool | float) -> FGVisSettings:
    """Few steps."""
    few = {"first_rate": 0.1, "iterations": 25, "trials": 3, "patience": 10, "remaining": 0.8}
    return FGVisSettings(game, **(few | settings))


def predictions(classifier: Normalizing, images: Tensor) -> Tensor:
    return classifier.logits(images).argmax(dim=1)


# One image of one row: normalized values times weights are what each mask element contributes to the log odds.
EVIDENCE = torch.tensor([8.0, 4.0, 1.0, 0.5, -0.5, -2.0, 0.0, 0.25, -0.25, 2.0, -1.0, 0.125], dtype=torch.float64)


def closed_case(bias: float = 0.0) -> tuple[Normalizing, Tensor, Tensor]:
    classifier = Normalizing(Weighted(torch.ones(3, 2, 2), bias))
    wanted = EVIDENCE.view(3, 2, 2)
    # x = r + s·c normalizes to c; c is shrunk so that x stays in [0, 1], the weights make up for it.
    classifier.module.weights.fill_(20.0)
    image = classifier.baseline.view(3, 1, 1) + classifier.scale * wanted / 20
    assert 0 <= image.min() and image.max() <= 1
    return classifier, image[None], wanted


@pytest.mark.parametrize("similarity", ["cross-entropy", "score"])
@pytest.mark.parametrize("game", GAMES)
def test_games_keep_or_remove_exactly_the_evidence(game: str, similarity: str) -> None:
    """Log odds linear in the mask, no sparsity: evidence for the target is kept or removed, evidence against it the
    other way round, and what does not matter stays as it began."""
    classifier, image, evidence = closed_case()
    settings = FGVisSettings(game=game, similarity=similarity, sparsity_weight=0.0, remaining=0.0, tolerance=-1.0)
    settings = replace(settings, first_rate=0.1)
    found = FGVis(replace(settings, iterations=2000, patience=2000)).explain(classifier, image, torch.tensor([1]))
    rules = GAMES[game]
    wanted = torch.where(evidence > 0, float(rules.keeps), float(not rules.keeps)).double()
    wanted[evidence == 0] = rules.start
    expected = wanted if rules.keeps else 1 - wanted
    torch.testing.assert_close(found.saliency[0], expected, rtol=0, atol=1e-12)
    log_odds_after = evidence[evidence > 0].sum() if rules.keeps else evidence[evidence < 0].sum()
    torch.testing.assert_close(found.score_after[0], log_odds_after.sigmoid())
    torch.testing.assert_close(found.score_before[0], evidence.sum().sigmoid())
    assert found.iterations.item() < 2000  # A mask that no longer changes ends the game.


def test_sparsity_weighs_a_pixel_against_its_evidence() -> None:
    """Linear in the mask with φ's slope held near 1 by the bias, a pixel is kept if its evidence exceeds λ."""
    classifier, image, evidence = closed_case(bias=-40.0)
    for weight in (0.1875, 0.75, 3.0):
        for game in ("preservation", "generation"):
            settings = FGVisSettings(game=game, sparsity_weight=weight, tolerance=-1e12, iterations=1500, patience=1500)
            found = FGVis(settings).explain(classifier, image, torch.tensor([1]))
            torch.testing.assert_close(found.saliency[0], (evidence > weight).double(), rtol=0, atol=1e-9)
    repression = FGVisSettings(game="repression", sparsity_weight=0.7, iterations=1500, patience=1500)
    found = FGVis(repression).explain(classifier, image, torch.tensor([1])).saliency[0]
    torch.testing.assert_close(found, (evidence > 0.7).double(), rtol=0, atol=1e-9)


def test_first_steps_by_hand() -> None:
    classifier, image, evidence = closed_case()
    settings = FGVisSettings(sparsity_weight=0.0, iterations=3, remaining=0.0, first_rate=0.05, growth=2.0)
    found = FGVis(settings).explain(classifier, image, torch.tensor([1]))
    # The largest gradient is that of the evidence 8; the rates are 0.05 and twice 0.1, the largest.
    expected = ((0.05 + 0.1 + 0.1) * evidence / 8).clamp(0, 1)
    torch.testing.assert_close(found.saliency[0], expected, rtol=0, atol=1e-12)
    assert found.iterations.item() == 3 and found.diagnostics["reached"].item() == 0


@pytest.mark.parametrize("filtered", [True, False])
@pytest.mark.parametrize("game", GAMES)
def test_a_batch_gives_what_single_runs_give_in_any_order(game: str, filtered: bool) -> None:
    classifier, images = Normalizing(small_network()), noise(5)
    targets = torch.tensor([2, 0, 3, 1, 0])
    patience = 10 if game == "deletion" else 3
    settings = short(game, filtered=filtered, iterations=40, patience=patience)
    together = FGVis(settings).explain(classifier, images, targets)
    stream = [Item(number, images[number], int(targets[number])) for number in range(5)]
    backwards = dict(Engine(FGVis(settings).method(), classifier, CPU, 2).run(stream[::-1]))
    assert filtered or game == "deletion" or len(set(together.diagnostics["sparsity_weight"].tolist())) == 5
    for number in range(5):
        one = slice(number, number + 1)
        alone = FGVis(settings).explain(classifier, images[one], targets[one])
        for other in (backwards[number], together.rows(number, number + 1)):
            assert_same(other, alone)


def assert_same(found: Explanation, expected: Explanation) -> None:
    torch.testing.assert_close(found.saliency, expected.saliency, rtol=0, atol=1e-8)
    torch.testing.assert_close(found.score_after, expected.score_after)
    assert found.iterations.tolist() == expected.iterations.tolist()
    for name, values in expected.diagnostics.items():
        torch.testing.assert_close(found.diagnostics[name], values)


@pytest.mark.parametrize("game", GAMES)
def test_search_reaches_the_goal_and_is_as_sparse_as_a_grid(game: str) -> None:
    classifier, images = Normalizing(small_network()), noise(3)
    targets = predictions(classifier, images)
    settings = FGVisSettings(game=game, filtered=False, trials=8, iterations=80, tolerance=0.1, remaining=0.3)
    settings = replace(settings, first_rate=0.1, learning_rate=0.1, first_weight=1e-5, patience=50)
    settings = replace(settings, search="following" if game == "deletion" else "trials")
    found = FGVis(settings).explain(classifier, images, targets)
    assert found.diagnostics["reached"].all()
    ratio = found.score_after / found.score_before
    keeps = GAMES[game].keeps
    assert (ratio >= 0.9 - 1e-9).all() if keeps else (ratio <= 0.3 + 1e-9).all()
    if not keeps:
        after = predictions(classifier, explanation_images(images, 1 - found.saliency, classifier.baseline))
        assert (after != targets).all()
    area = found.saliency.mean(dim=(1, 2, 3))
    # One trial with each λ of a dense grid, the sparsest mask on its way.
    single = replace(settings, search="trials", trials=1)
    grid = [
        FGVis(replace(single, first_weight=float(weight))).explain(classifier, images, targets)
        for weight in torch.logspace(-5, 1, 13)
    ]
    reached = torch.stack([trial.diagnostics["reached"] for trial in grid]) > 0
    areas = torch.stack([trial.saliency.mean(dim=(1, 2, 3)) for trial in grid]).where(reached, torch.inf)
    assert (area <= 1.1 * areas.amin(dim=0) + 1e-9).all()
    # The grid's largest and smallest λ are worse: there was something to find.
    assert (area < 0.95 * areas[0]).any() or (~reached[-1]).any()


class Crowded(nn.Module):
    """One logit that is the sum of `weights` times the image, and 49 that are 0."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.register_buffer("weights", weights)

    def forward(self, images: Tensor) -> Tensor:
        total = (images * self.weights).sum(dim=(1, 2, 3))
        return torch.stack([total, *[torch.zeros_like(total)] * 49], dim=1)


@pytest.mark.parametrize("settings", [{}, {"search": "trials", "trials": 4}, {"sparsity_weight": 0.0}])
def test_a_deleted_class_is_no_longer_on_top(settings: dict[str, float]) -> None:
    """Among fifty classes a tenth of the score, at a logit of 1.7, is still the largest: there the game is not over."""
    # At the image, a tenth of the weights: strong evidence, weak evidence, and some against the class.
    weights = torch.tensor([24.0] * 5 + [1.0] * 6 + [-20.0], dtype=torch.float64).view(3, 2, 2)
    classifier = Normalizing(Crowded(weights))
    image = classifier.baseline.view(1, 3, 1, 1) + 0.1 * classifier.scale * torch.ones(1, 3, 2, 2).double()
    assert classifier.logits(image)[0, 0].item() == pytest.approx(10.6)
    found = FGVis(FGVisSettings("deletion", first_rate=0.02, **settings)).explain(classifier, image, torch.tensor([0]))
    assert found.diagnostics["reached"].item() == 1 and found.diagnostics["top"].item() == 0
    left = classifier.logits(explanation_images(image, 1 - found.saliency, classifier.baseline))
    assert left[0, 0].item() < 0


class Hiding(nn.Module):
    """Class 1 rests on a neuron that fires where the left column is brighter than the right, class 0 on their sum."""

    def forward(self, images: Tensor) -> Tensor:
        left, right = images[:, :, :, 0].sum(dim=(1, 2)), images[:, :, :, 1].sum(dim=(1, 2))
        adversarial = torch.relu(left - right + 0.1)
        true = torch.relu(left + right + 0.1)
        return torch.stack([true, 4 * adversarial - 1], dim=1)


def test_filter_blocks_what_the_image_does_not_activate() -> None:
    """The right column is brighter, so the adversarial neuron is off in the image; the left column alone fires it."""
    classifier = Normalizing(Hiding())
    columns = torch.tensor([0.2, 0.3], dtype=torch.float64)
    image = classifier.baseline.view(1, 3, 1, 1) + columns.expand(1, 3, 2, 2)
    settings = FGVisSettings(game="generation", sparsity_weight=0.0, goal="top", iterations=200, patience=200)
    adversarial, true = torch.tensor([1]), torch.tensor([0])
    off = FGVis(replace(settings, filtered=False)).explain(classifier, image, adversarial)
    assert off.diagnostics["top"].item() == 1 and off.iterations.item() < 50
    assert (off.saliency[..., 0] > 0).all() and (off.saliency[..., 1] == 0).all()
    on = FGVis(settings).explain(classifier, image, adversarial)
    assert on.diagnostics["top"].item() == 0 and on.diagnostics["reached"].item() == 0
    assert (on.saliency == 0).all()
    # What the image does activate is still generated.
    generated = FGVis(replace(settings, goal="score")).explain(classifier, image, true)
    assert generated.diagnostics["reached"].item() == 1 and generated.score_before.item() > 0.999
    assert generated.score_after.item() >= 0.95 * generated.score_before.item()


@pytest.mark.parametrize("game", GAMES)
def test_regularizer_is_never_filtered(game: str) -> None:
    """φ's gradient is blocked everywhere by bounds of zero: only λ moves the mask, as far as it goes."""
    blocked = Normalizing(nn.Sequential(nn.Flatten(), nn.ReLU(), nn.Linear(12, 2)))
    image = blocked.baseline.view(1, 3, 1, 1) - 0.1 * torch.ones(1, 3, 2, 2, dtype=torch.float64)
    settings = FGVisSettings(game=game, sparsity_weight=1e-3, remaining=0.0, tolerance=-10.0)
    found = FGVis(settings).explain(blocked, image, torch.tensor([1])).saliency
    # The image activates no neuron: ‖m‖₁ is minimized to 0 where evidence is kept, else maximized.
    assert (found == 0).all()


@pytest.mark.parametrize("kind", [Classifier, PreparedClassifier])
def test_zero_mask_is_zero_after_normalization(kind: type) -> None:
    seen = []

    class Watching(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            seen.append(images.detach().clone())
            return images.mean(dim=(2, 3))

    plain = Classifier(Watching(), Preprocessing(crop_side=8, resize_side=8, mean=MEAN, std=STD), ("a", "b", "c"))
    if kind is Classifier:
        with pytest.raises(ValueError, match="baseline"):
            FGVis().explain(plain, noise(1).float(), torch.tensor([0]))
        return
    classifier, image = PreparedClassifier(plain), noise(2).float()
    assert classifier.baseline.tolist() == pytest.approx(MEAN)
    settings = FGVisSettings(game="generation", sparsity_weight=0.0, iterations=1)
    FGVis(settings).explain(classifier, image, torch.tensor([0, 1]))
    # The recording, the first mask, the result.
    recorded, first = seen[-3], seen[-2]
    torch.testing.assert_close(recorded, plain.normalized(image))
    assert (first == 0).all()
    mask = noise(2).float().flip(0)
    explanation = explanation_images(image, mask, classifier.baseline)
    torch.testing.assert_close(plain.normalized(explanation), mask * plain.normalized(image), rtol=1e-5, atol=1e-6)
    ones, zeros = torch.ones_like(mask), torch.zeros_like(mask[:, :1])
    assert torch.equal(explanation_images(image, ones, classifier.baseline), image)
    assert torch.equal(plain.normalized(explanation_images(image, zeros, classifier.baseline)), zeros.expand_as(image))


def test_not_a_number_in_one_image_leaves_the_others_alone() -> None:
    classifier, images = Normalizing(small_network()), noise(3) * 0.9 + 0.05
    targets = torch.tensor([1, 2, 0])
    stream = [Item(number, images[number], int(targets[number])) for number in range(3)]
    settings = short(first_weight=1e-2)
    clean = dict(Engine(FGVis(settings).method(), classifier, CPU, 3).run(stream))
    stream[0] = replace(stream[0], image=torch.full_like(images[0], torch.nan))
    poisoned = dict(Engine(FGVis(settings).method(), classifier, CPU, 3).run(stream))
    assert poisoned[0].score_after.isnan().item() and poisoned[0].iterations.item() == 1
    for number in (1, 2):
        assert_same(poisoned[number], clean[number])


def test_bounds_stay_with_their_image_when_others_leave() -> None:
    """The engine's states hold what single recordings hold, in the network's memory format."""
    plain = Classifier(small_network().float(), Preprocessing(crop_side=8, resize_side=8), tuple("abcd"))
    classifier, images = PreparedClassifier(plain), noise(3).float()
    engine = Engine(FGVis(short()).method(), classifier, CPU, 3)
    engine._start([Item(number, image, 0) for number, image in enumerate(images)])
    engine._keep([2, 0])
    for name in ("bound.000", "bound.001"):
        kept = engine._state[name]
        assert kept.is_contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        first = classifier.module[1](classifier.module[0](plain.normalized(images[[2, 0]])))
    torch.testing.assert_close(engine._state["bound.000"], first, rtol=0, atol=1e-3)


def test_views_are_those_of_figure_2() -> None:
    image, baseline = noise(2), torch.tensor(MEAN, dtype=torch.float64)
    saliency = noise(2).flip(1)
    gray = baseline.view(1, 3, 1, 1)
    for game in GAMES:
        seen = views(game, image, saliency, baseline)
        mask = saliency if game in ("preservation", "generation") else 1 - saliency
        torch.testing.assert_close(seen.mask, mask)
        torch.testing.assert_close(seen.complementary_mask, 1 - mask)
        torch.testing.assert_close(seen.explanation - gray, mask * (image - gray))
        torch.testing.assert_close(seen.complementary_explanation - gray, (1 - mask) * (image - gray))
        torch.testing.assert_close(seen.mean_mask, saliency.mean(dim=1, keepdim=True))
        torch.testing.assert_close(seen.evidence - gray, saliency * (image - gray))
    with pytest.raises(ValueError, match="repression"):
        views("oppression", image, saliency, baseline)


def test_cross_entropy_is_exact_where_the_network_is_sure() -> None:
    logits = torch.tensor([[40.0, 0.0, 1.0]], requires_grad=True)
    (gradient,) = torch.autograd.grad(nn.functional.softplus(-log_odds(logits, torch.tensor([0]))).sum(), logits)
    double = torch.tensor([[40.0, 0.0, 1.0]], dtype=torch.float64, requires_grad=True)
    (expected,) = torch.autograd.grad(nn.functional.cross_entropy(double, torch.tensor([0])), double)
    assert gradient[0, 0] < 0
    torch.testing.assert_close(gradient.double()[:, 1:], expected[:, 1:], rtol=1e-5, atol=0)


def test_update_divides_by_each_images_largest_gradient() -> None:
    mask = torch.zeros(3, 1, 2, 2, dtype=torch.float64)
    gradient = torch.tensor([[4.0, -8.0, 0.0, 2.0], [0.0] * 4, [1e-30, 0.0, 0.0, -5e-31]]).double().view(3, 1, 2, 2)
    NormalizedGradient().apply(mask, gradient, {}, torch.tensor([0.1, 0.1, 0.2]).double(), torch.ones(3))
    expected = torch.tensor([[-0.05, 0.1, 0.0, -0.025], [0.0] * 4, [-0.2, 0.0, 0.0, 0.1]]).double()
    torch.testing.assert_close(mask.flatten(1), expected, rtol=1e-6, atol=1e-12)


def test_wrong_settings_and_classifiers_are_refused() -> None:
    with pytest.raises(ValueError, match="deletion"):
        make_explainer("fgvis", "delete")
    with pytest.raises(ValueError, match="cross-entropy"):
        make_explainer("fgvis", "deletion", "cosine")
    with pytest.raises(ValueError, match="sparsity_weight"):
        FGVisSettings(sparsity_weight=-1.0)
    with pytest.raises(ValueError, match="trials"):
        FGVisSettings(trials=0)
    with pytest.raises(ValueError, match="following"):
        FGVisSettings(search="bisection")
    for game in ("preservation", "repression"):
        with pytest.raises(ValueError, match=f"{game} game begins at its goal"):
            FGVisSettings(game, search="following")

    class Bare:
        baseline = torch.tensor(MEAN)

        def logits(self, images: Tensor) -> Tensor:
            return images.mean(dim=(2, 3))

    with pytest.raises(ValueError, match="module"):
        FGVis().explain(Bare(), noise(1).float(), torch.tensor([0]))


class HandWritten(nn.Module):
    def forward(self, values: Tensor) -> Tensor:
        return values * (values > 0)


@pytest.mark.parametrize("game", ["generation", "deletion"])
def test_a_rectifier_by_hand_gives_the_maps_of_the_module(game: str) -> None:
    """Nothing that the image does not show gets past the filter, however the network's ReLU is written."""
    found = []
    for rectifier in (nn.ReLU(), HandWritten()):
        module = small_network()
        module[1] = rectifier
        classifier, images = Normalizing(module), noise(2)
        targets = classifier.logits(images).argmin(dim=1)
        weight = 0.0 if game == "generation" else None
        settings = FGVisSettings(game=game, iterations=40, goal="top", sparsity_weight=weight)
        found.append(FGVis(settings).explain(classifier, images, targets))
    assert torch.equal(found[0].saliency, found[1].saliency)
    torch.testing.assert_close(found[0].score_after, found[1].score_after, rtol=0, atol=0)
    assert found[0].diagnostics["filtered"].tolist() == found[1].diagnostics["filtered"].tolist() == [2, 2]
    unfiltered = FGVis(replace(settings, filtered=False)).explain(classifier, images, targets)
    assert not torch.allclose(unfiltered.saliency, found[1].saliency)
    assert unfiltered.diagnostics["filtered"].tolist() == [0, 0]
