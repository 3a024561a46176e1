"""Crisp masks: closed cases, batch = single, and the authors' quality on photographs."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import scipy.ndimage
import torch
from PIL import Image

from visual_summaries.pipeline.explain.blur import gaussian_blur
from visual_summaries.pipeline.explain.crisp import PRESETS, CrispMasks, CrispMethod, binarization_error
from visual_summaries.pipeline.explain.interface import Explanation
from visual_summaries.pipeline.explain.registry import make_explainer
from visual_summaries.pipeline.models.classifier import Classifier
from visual_summaries.pipeline.models.loading import load_classifier
from visual_summaries.pipeline.models.preparation import PreparedClassifier


class Texture:
    """Class 1 if a known square of the image is rich in contrast between neighbors, else class 0."""

    def __init__(self, square: tuple[slice, slice]) -> None:
        self.square = square

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        patch = images[:, :, self.square[0], self.square[1]]
        contrast = (patch[..., 1:] - patch[..., :-1]).abs().mean(dim=(1, 2, 3))
        return torch.stack([torch.zeros_like(contrast), 60 * contrast - 10], dim=1)


class Constant:
    """Its scores hardly change."""

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean(dim=(1, 2, 3))[:, None] * torch.tensor([0, 1e-9, 0])


def noise(batch: int, side: int) -> torch.Tensor:
    return torch.rand(batch, 3, side, side, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("preset", ["authors", "fast"])
def test_mask_lies_on_what_the_network_looks_at(preset: str) -> None:
    classifier = Texture((slice(16, 32), slice(40, 56)))
    explanation = CrispMasks(preset).explain(classifier, noise(2, 64), torch.tensor([1, 1]))
    salient = explanation.saliency[:, 0] > 0.5
    inside = torch.zeros(64, 64, dtype=torch.bool)
    inside[10:38, 34:62] = True  # the square and the reach of the blur around it
    assert (explanation.score_before > 0.99).all() and (explanation.score_after < 0.01).all()
    assert (salient & ~inside).sum() == 0
    assert salient[:, 18:30, 42:54].float().mean() > 0.2
    assert binarization_error(explanation.saliency).max() < 0.05


@pytest.mark.parametrize("preset", ["authors", "fast", "paper"])
def test_constant_network_gives_an_empty_mask(preset: str) -> None:
    explanation = CrispMasks(preset).explain(Constant(), noise(2, 48), torch.tensor([0, 2]))
    assert explanation.saliency.max() < 1e-3
    torch.testing.assert_close(explanation.score_after, explanation.score_before)


def small_network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 5, stride=2),
        torch.nn.ReLU(),
        torch.nn.Conv2d(8, 8, 3, stride=2),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(8 * 49, 4),
    ).double()


class Wrapped:
    def __init__(self) -> None:
        self.module = small_network()

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        return self.module(images * 8 - 4)


def shortened(explainer: CrispMasks, rough: int, crisp: int) -> CrispMasks:
    settings = explainer.settings
    explainer.settings = replace(
        settings, rough=replace(settings.rough, iterations=rough), crisp=replace(settings.crisp, iterations=crisp)
    )
    return explainer


@pytest.mark.parametrize("preset", ["authors", "paper", "fast"])
def test_a_batch_gives_what_single_runs_give(preset: str) -> None:
    images, targets = noise(3, 35).double(), torch.tensor([2, 0, 3])
    classifier = Wrapped()
    explainer = shortened(CrispMasks(preset), 20, 10)
    assert explainer.settings.iterations == 30
    together = explainer.explain(classifier, images, targets)
    for number in range(3):
        alone = explainer.explain(classifier, images[number : number + 1], targets[number : number + 1])
        torch.testing.assert_close(together.saliency[number], alone.saliency[0], rtol=0, atol=1e-6)
        torch.testing.assert_close(together.score_after[number], alone.score_after[0])


def test_not_a_number_in_one_image_leaves_the_others_alone() -> None:
    class Poisoned(Wrapped):
        def logits(self, images: torch.Tensor) -> torch.Tensor:
            marked = (images[:, 0, 0, 0] == 0).view(-1, 1)
            return torch.where(marked, torch.nan, super().logits(images))

    images = noise(2, 35).double() * 0.9 + 0.05
    clean = shortened(CrispMasks(), 5, 5).explain(Wrapped(), images, torch.tensor([1, 1]))
    images[0, 0, 0, 0] = 0
    poisoned = shortened(CrispMasks(), 5, 5).explain(Poisoned(), images, torch.tensor([1, 1]))
    assert poisoned.score_after[0].isnan() and poisoned.score_after[1].isfinite()
    torch.testing.assert_close(poisoned.saliency[1], clean.saliency[1])


def test_wrong_input_is_refused() -> None:
    images, targets = noise(2, 32), torch.tensor([0, 1])
    explainer = CrispMasks()
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        explainer.explain(Constant(), images * 255, targets)
    with pytest.raises(ValueError, match="targets"):
        explainer.explain(Constant(), images, targets[:1])
    with pytest.raises(ValueError, match="float"):
        explainer.explain(Constant(), images.byte(), targets)
    with pytest.raises(ValueError, match="authors"):
        CrispMasks("author")
    with pytest.raises(ValueError, match="crisp"):
        make_explainer("crips")


def test_rough_stage_alone_is_what_the_crisp_stage_starts_from() -> None:
    images, targets, classifier = noise(2, 35).double(), torch.tensor([1, 2]), Wrapped()
    rough = shortened(CrispMasks("authors"), 8, 0).explain(classifier, images, targets)
    whole = shortened(CrispMasks("authors"), 8, 3).explain(classifier, images, targets)
    assert rough.iterations.tolist() == [8, 8] and whole.iterations.tolist() == [11, 11]
    torch.testing.assert_close(whole.diagnostics["score_after_rough"], rough.score_after)
    torch.testing.assert_close(whole.diagnostics["binarization_error_rough"], binarization_error(rough.saliency))


def test_fast_objective_and_its_smoothed_gradient() -> None:
    """The score's term against its formula, its gradient against one blurred by SciPy, the others untouched."""
    images, targets, classifier = noise(2, 35).double(), torch.tensor([1, 2]), Wrapped()
    regularized = replace(PRESETS["fast"].crisp, area_weight=0.7, smoothness_weight=0.0, binarization_weight=0.0)
    settings = replace(PRESETS["fast"], destroyed=0.01, score_weight=2.0, gradient_blur=9.6, crisp=regularized)
    method = CrispMethod(settings)
    state = method.start(classifier, images, targets, None)
    mask = torch.rand(2, 1, 35, 35, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    state |= {"mask": mask.requires_grad_(True), "stage": torch.ones(2).long(), "step": torch.zeros(2).long()}
    objective = method.objective(classifier, state, frozenset({1}))
    (gradient,) = torch.autograd.grad(objective.sum(), mask)

    plain = mask.detach().requires_grad_(True)
    # At 35 px the least kernel; 9.6 px of 224 are 1.5.
    blurred = gaussian_blur(images, 50 / 11, radius=2)
    score = classifier.logits(plain * images + (1 - plain) * blurred).softmax(1)[[0, 1], targets]
    floor = 0.01 * state["score_before"]
    odds_ratio = score / (1 - score) / (floor / (1 - floor))
    term = 2 * (1 + odds_ratio).log() ** 2 / 2
    torch.testing.assert_close(objective, term + 0.7 * (1 - plain).mean(dim=(1, 2, 3)))
    (plain_gradient,) = torch.autograd.grad(term.sum(), plain)
    expected = np.stack([gaussian_filter_transposed(values[0].numpy(), 1.5) for values in plain_gradient])
    np.testing.assert_allclose(gradient[:, 0].numpy(), expected - 0.7 / 35**2, rtol=1e-8, atol=1e-12)


def gaussian_filter_transposed(values: np.ndarray, sigma: float) -> np.ndarray:
    """The transpose of SciPy's Gaussian filter (edges repeated), applied to an image."""
    unit = np.eye(len(values))
    matrix = scipy.ndimage.gaussian_filter1d(unit, sigma, axis=0, mode="nearest", radius=round(4 * sigma))
    return matrix.T @ values @ matrix


def test_an_image_whose_mask_is_good_enough_is_done() -> None:
    images, targets, classifier = noise(3, 64), torch.tensor([1, 1, 1]), Texture((slice(16, 32), slice(40, 56)))
    full = CrispMasks("fast").explain(classifier, images, targets)
    settings = replace(PRESETS["fast"], enough=(0.9, 0.2))
    early = CrispMasks(settings).explain(classifier, images, targets)
    assert (full.iterations == PRESETS["fast"].iterations).all() and (early.iterations < full.iterations).all()
    assert (early.iterations > PRESETS["fast"].rough.iterations).all()
    assert (early.score_after <= 0.1 * early.score_before).all()
    assert binarization_error(early.saliency).max() <= 0.2


@pytest.fixture(scope="module")
def network(data_directory) -> Classifier:  # noqa: ANN001
    return load_classifier("torchvision:squeezenet1_1", data_directory / "weights/squeezenet1_1.safetensors")


@pytest.fixture(scope="module")
def photographs(data_directory, network: Classifier):  # noqa: ANN001, ANN201
    """(classifier, images, targets): five correctly classified photographs."""
    classifier = network
    images, targets = [], []
    with open(data_directory / "imagenet/val.csv", newline="") as file:
        for row in csv.DictReader(file):
            picture = np.asarray(Image.open(data_directory / "imagenet/val" / row["file"]).convert("RGB"))
            image = classifier.preprocessing.analyzed_image(picture).float().div(255)
            if classifier.logits(image[None]).argmax() == int(row["class_index"]):
                images.append(image)
                targets.append(int(row["class_index"]))
            if len(images) == 5:
                break
    return PreparedClassifier(classifier), torch.stack(images), torch.tensor(targets)


def raggedness(saliency: torch.Tensor) -> float:
    """Length of the outline of the salient pixels over their number: small for whole regions, 4 for dust."""
    salient = (saliency > 0.5).float()
    outline = salient.diff(dim=2).abs().sum() + salient.diff(dim=3).abs().sum()
    return float(outline / salient.sum())


@pytest.mark.parametrize(("preset", "error", "ragged"), [("authors", 0.02, 0.4), ("fast", 0.03, 0.6)])
def test_quality_on_photographs(photographs, preset: str, error: float, ragged: float) -> None:  # noqa: ANN001
    """Quality to hold: drop ≥ 99.95 %, 4m(1−m) ≤ 0.02 (`authors`)."""
    explanation = CrispMasks(preset).explain(*photographs)
    drop = (explanation.score_before - explanation.score_after) / explanation.score_before
    assert drop.mean() >= 0.9995
    assert binarization_error(explanation.saliency).mean() <= error
    assert 0.03 < explanation.saliency.mean() < 0.2
    assert raggedness(explanation.saliency) < ragged


def test_the_batch_does_not_matter_on_photographs(network: Classifier, photographs) -> None:  # noqa: ANN001
    """A real network rounds differently in another batch size, and an optimization carries that on (figures in
    docs/reference/measurements/crisp-masks.md). With the network in double precision, the maps are the same."""
    _, images, targets = photographs
    classifier = PreparedClassifier(network, "float64")
    images, targets = images[:3], targets[:3]
    together = CrispMasks("fast").explain(classifier, images, targets)
    alone = Explanation.joined(
        [CrispMasks("fast").explain(classifier, images[n : n + 1], targets[n : n + 1]) for n in range(3)]
    )
    torch.testing.assert_close(together.saliency, alone.saliency, rtol=0, atol=1e-5)
    torch.testing.assert_close(together.score_after, alone.score_after, rtol=1e-3, atol=1e-9)
