"""The preset robust from outside: closed cases, who leaves when, company and order, sizes, photographs."""

import csv
import io
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from visual_summaries.pipeline.explain.crisp import CrispMasks, binarization_error
from visual_summaries.pipeline.explain.engine import Engine, Item, OptimizingExplainer, State, explain_stream
from visual_summaries.pipeline.explain.interface import Explanation, LogitsFunction
from visual_summaries.pipeline.explain.perturbation import PERTURBATIONS
from visual_summaries.pipeline.explain.registry import make_explainer
from visual_summaries.pipeline.explain.robust import (
    SHARE_PASSES,
    RobustMasks,
    RobustMethod,
    RobustSettings,
    crisp_masks,
)
from visual_summaries.pipeline.models.errors import ClassifierError
from visual_summaries.pipeline.models.loading import load_classifier
from visual_summaries.pipeline.models.preparation import PreparedClassifier

CPU = torch.device("cpu")


class RedTexture:
    """Class 1 by the contrast of the red channel, wherever it is; counts images that gradients are taken for.

    Its log-odds are 10 on average of `images`, −10 without any contrast.
    """

    def __init__(self, images: Tensor) -> None:
        self.slope = 20 / float(self.contrast(images).mean())
        self.steps = 0

    def contrast(self, images: Tensor) -> Tensor:
        red = images[:, 0]
        return red.diff(dim=1).square().mean(dim=(1, 2)) + red.diff(dim=2).square().mean(dim=(1, 2))

    def logits(self, images: Tensor) -> Tensor:
        self.steps += len(images) * images.requires_grad
        odds = self.slope * self.contrast(images) - 10
        return torch.stack([torch.zeros_like(odds), odds], dim=1)


class Constant:
    """Its scores hardly change, or not at all."""

    def __init__(self, slope: float = 1e-9) -> None:
        self.slope = slope

    def logits(self, images: Tensor) -> Tensor:
        return images.mean(dim=(1, 2, 3))[:, None] * torch.tensor([0, self.slope, 0], dtype=images.dtype)


class Red:
    """Class 1 by the mean of red, which no blur removes."""

    def logits(self, images: Tensor) -> Tensor:
        red = images[:, 0].mean(dim=(1, 2))
        return torch.stack([torch.zeros_like(red), 40 * (red - 0.3)], dim=1)


def planted(count: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Gray images `[B,3,H,W]` with a square of red texture and one of green, and where the red is, `[B,H,W]` bool."""
    generator = torch.Generator().manual_seed(4)
    side = min(height, width)
    cell, size = max(1, side // 32), side // 4
    images, inside = torch.full((count, 3, height, width), 0.5), torch.zeros(count, height, width).bool()
    for number in range(count):
        texture = torch.rand(1, 2, size // cell, size // cell, generator=generator).round()
        texture = functional.interpolate(texture, size=(size, size), mode="nearest")[0]
        top, left = (int(torch.randint(0, side - size, (), generator=generator)) for _ in range(2))
        images[number, 0, top : top + size, left : left + size] = texture[0]
        images[number, 1, side - top - size : side - top, side - left - size : side - left] = texture[1]
        inside[number, top : top + size, left : left + size] = True
    return images, inside


def ones(count: int) -> Tensor:
    return torch.ones(count, dtype=torch.int64)


def shortened(evidence: int = 18, boundary: int = 4, detail: int = 12, **changes: object) -> RobustSettings:
    settings = RobustSettings(**changes)
    return replace(
        settings,
        evidence=replace(settings.evidence, iterations=evidence),
        boundary=replace(settings.boundary, iterations=boundary),
        detail=replace(settings.detail, iterations=detail),
        averaged=evidence // 2,
    )


def check_place(found: Explanation, inside: Tensor) -> None:
    """The salient pixels are those of the planted square, and what the reach of blur and smoothing adds."""
    salient, reach = found.saliency[:, 0] > 0.5, min(inside.shape[1:]) // 10
    around = functional.max_pool2d(inside[:, None].float(), 2 * reach + 1, 1, reach)[:, 0] > 0
    assert (found.score_before > 0.9).all() and (found.score_after < 0.1).all()
    assert ((salient & ~around).sum(dim=(1, 2)) <= 0.02 * salient.sum(dim=(1, 2))).all()
    assert ((salient & inside).sum(dim=(1, 2)) > 0.5 * inside.sum(dim=(1, 2))).all()


def test_mask_lies_on_what_the_network_looks_at() -> None:
    images, inside = planted(3, 64, 64)
    found = RobustMasks().explain(RedTexture(images), images, ones(3))
    check_place(found, inside)
    assert binarization_error(found.saliency).max() < 0.05


@pytest.mark.parametrize(("height", "width"), [(32, 32), (96, 96), (96, 140), (140, 96), (384, 384)])
def test_a_planted_square_is_found_at_every_size(height: int, width: int) -> None:
    images, inside = planted(1, height, width)
    found = RobustMasks(shortened()).explain(RedTexture(images), images, ones(1))
    assert found.saliency.shape == (1, 1, height, width)
    check_place(found, inside)


def test_constant_network_gives_an_empty_mask() -> None:
    images, _ = planted(2, 48, 48)
    found = RobustMasks().explain(Constant(), images, torch.tensor([0, 2]))
    assert found.saliency.max() < 1e-3
    torch.testing.assert_close(found.score_after, found.score_before)
    with pytest.raises(ClassifierError, match="no gradient gets from the network's scores to the image"):
        RobustMasks().explain(Constant(0.0), images, torch.tensor([0, 2]))


class Small:
    """A small network in double precision."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        layers = (nn.Conv2d(3, 8, 5, stride=2), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2), nn.ReLU())
        self.module = nn.Sequential(*layers, nn.Flatten(), nn.Linear(8 * 49, 4)).double()

    def logits(self, images: Tensor) -> Tensor:
        return 6 * self.module(images * 8 - 4)


def noise(batch: int, side: int = 35) -> Tensor:
    return torch.rand(batch, 3, side, side, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def test_a_batch_gives_what_single_runs_give() -> None:
    images, targets, classifier = noise(3), torch.tensor([2, 0, 3]), Small()
    explainer = RobustMasks(shortened())
    together = explainer.explain(classifier, images, targets)
    for number in range(3):
        alone = explainer.explain(classifier, images[number : number + 1], targets[number : number + 1])
        torch.testing.assert_close(together.saliency[number], alone.saliency[0], rtol=0, atol=1e-4)
        torch.testing.assert_close(together.score_after[number], alone.score_after[0], rtol=1e-4, atol=1e-9)
        assert together.iterations[number] == alone.iterations[0]
    assert together.saliency.std(dim=(1, 2, 3)).min() > 0.1


class Company(RobustMethod):
    """Notes which stages are in the batch together."""

    def __init__(self, settings: RobustSettings) -> None:
        super().__init__(settings)
        self.together: set[frozenset[int]] = set()

    def objective(self, classifier: LogitsFunction, state: State, present: frozenset[int]) -> Tensor:
        self.together.add(present)
        return super().objective(classifier, state, present)


def test_images_at_different_stages_do_not_disturb_each_other() -> None:
    """Five images two at a time, and in another order three at a time, against single runs."""
    images, _ = planted(5, 48, 48)
    # With so high a goal some leave at once and some take many steps.
    images, settings = images.double(), replace(shortened(detail=25), goal=0.999)
    classifier = RedTexture(images)
    stream = [Item(number, image, 1) for number, image in enumerate(images)]
    method = Company(settings)
    found = dict(Engine(method, classifier, CPU, 2).run(stream))
    assert any(len(present) > 1 for present in method.together)
    backwards = dict(Engine(RobustMethod(settings), classifier, CPU, 3).run(stream[::-1]))
    for item in stream:
        alone = dict(explain_stream(RobustMasks(settings), classifier, [item], CPU, 1))[item.key]
        for other in (found[item.key], backwards[item.key]):
            torch.testing.assert_close(other.saliency, alone.saliency, rtol=0, atol=1e-4)
            assert other.iterations.tolist() == alone.iterations.tolist()


def test_no_random_numbers_are_drawn() -> None:
    images, targets, explainer = noise(2), torch.tensor([1, 2]), RobustMasks(shortened())
    classifier = Small()
    maps = [explainer.explain(classifier, images, targets).saliency]
    for seed in (1, 2):
        torch.manual_seed(seed)
        generators = [torch.Generator().manual_seed(seed + number) for number in range(2)]
        maps.append(RobustMasks(shortened()).explain(classifier, images, targets, generators).saliency)
        assert generators[0].get_state().equal(torch.Generator().manual_seed(seed).get_state())
    assert torch.equal(maps[0], maps[1]) and torch.equal(maps[0], maps[2])


def test_not_a_number_in_one_image_leaves_the_others_alone() -> None:
    class Poisoned(Small):
        def logits(self, images: Tensor) -> Tensor:
            marked = (images[:, 0].amax(dim=(1, 2)) > 1.5).view(-1, 1)
            return torch.where(marked, torch.nan, super().logits(images))

    class Failing(Small):
        """From some pass on not a number, where red is rich."""

        passes = 0

        def logits(self, images: Tensor) -> Tensor:
            self.passes += 1
            marked = (images[:, 0].mean(dim=(1, 2)) > 0.6).view(-1, 1) & (self.passes > 25)
            return torch.where(marked, torch.nan, super().logits(images))

    images, targets, explainer = noise(2) * 0.9, torch.tensor([1, 1]), RobustMasks(shortened())
    images[0, 0] = images[0, 0] * 0.2 + 0.7
    clean = explainer.explain(Small(), images, targets)
    failed = explainer.explain(Failing(), images, targets)
    assert failed.score_after[0].isnan() and failed.iterations[0] < clean.iterations[0]
    torch.testing.assert_close(failed.saliency[1], clean.saliency[1], rtol=0, atol=1e-4)
    stream = [Item(0, images[0] * 2, 1), Item(1, images[1], 1)]
    found = dict(explain_stream(explainer, Poisoned(), stream, CPU, 2))
    assert found[0].score_before.isnan() and found[0].score_after.isnan() and found[0].iterations.item() == 1
    torch.testing.assert_close(found[1].saliency[0], clean.saliency[1], rtol=0, atol=1e-4)


def check_leaves(found: Explanation, images: Tensor, classifier: LogitsFunction, settings: RobustSettings) -> Tensor:
    """Which images left before their last step; each of them has what it takes, measured anew on its map."""
    fixed = PERTURBATIONS["authors"]
    pictures = fixed.apply(fixed.prepare(images), 1 - found.saliency)
    after, before = (classifier.logits(shown).softmax(dim=1)[:, 1] for shown in (pictures, images))
    torch.testing.assert_close(found.score_after, after)
    torch.testing.assert_close(found.score_before, before)
    early = found.iterations < RobustMasks(settings).passes
    least = settings.evidence.iterations + settings.boundary.iterations + settings.ramp + SHARE_PASSES
    assert (found.iterations > least).all()
    assert (after[early] <= (1 - settings.goal) * before[early] * (1 + 1e-4)).all()
    assert (binarization_error(found.saliency)[early] <= settings.crisp).all()
    return early


@pytest.mark.parametrize("changes", [{"goal": 0.9}, {"goal": 0.999}, {"crisp": 0.005}, {"moved": 0.003}], ids=str)
def test_an_image_leaves_when_its_mask_is_good_enough(changes: dict[str, float]) -> None:
    images, _ = planted(4, 64, 64)
    settings = shortened(detail=45, **changes)
    classifier = RedTexture(images)
    found = RobustMasks(settings).explain(classifier, images, ones(4))
    early = check_leaves(found, images, classifier, settings)
    assert early.sum() >= 3


def test_a_score_that_no_blur_destroys_takes_every_step() -> None:
    images, settings = noise(2).float(), shortened()
    classifier = Red()
    found = RobustMasks(settings).explain(classifier, images, ones(2))
    assert not check_leaves(found, images, classifier, settings).any()
    assert found.iterations.tolist() == [18 + 4 + 12 + SHARE_PASSES] * 2 == [RobustMasks(settings).passes] * 2
    assert RobustMasks(settings).passes == 34 + SHARE_PASSES


def test_iterations_count_the_steps_and_the_search() -> None:
    images, _ = planted(3, 64, 64)
    classifier = RedTexture(images)
    found = RobustMasks(shortened(detail=30)).explain(classifier, images, ones(3))
    # One more shows that gradients pass.
    assert classifier.steps == found.iterations.sum() - 3 * SHARE_PASSES + 1


def test_presets_by_name() -> None:
    assert isinstance(make_explainer("crisp", "robust", None), RobustMasks)
    assert RobustMasks().settings == crisp_masks("robust", "authors").settings == RobustSettings()
    fast = crisp_masks("fast", "paper")
    assert isinstance(fast, CrispMasks) and fast.passes == CrispMasks("fast").passes
    with pytest.raises(ValueError, match="robust measures with the authors' blur.*'paper'"):
        make_explainer("crisp", "robust", "paper")
    with pytest.raises(ValueError, match="authors"):
        crisp_masks("robst")


def overlap(one: Tensor, other: Tensor) -> float:
    one, other = one > 0.5, other > 0.5
    return float(((one & other).sum(dim=(1, 2, 3)) / (one | other).sum(dim=(1, 2, 3))).mean())


def stored_as_jpeg(images: Tensor) -> Tensor:
    stored = []
    for image in images:
        file = io.BytesIO()
        Image.fromarray(image.mul(255).round().byte().permute(1, 2, 0).numpy()).save(file, "JPEG", quality=90)
        stored.append(torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1).float().div(255))
    return torch.stack(stored)


@pytest.fixture(scope="module")
def photographs(data_directory) -> tuple[LogitsFunction, Tensor, Tensor]:  # noqa: ANN001
    """(classifier, images, targets): two photographs that the network classifies correctly."""
    classifier = load_classifier("torchvision:squeezenet1_1", data_directory / "weights/squeezenet1_1.safetensors")
    images, targets = [], []
    with open(data_directory / "imagenet/val.csv", newline="") as file:
        for row in csv.DictReader(file):
            picture = np.asarray(Image.open(data_directory / "imagenet/val" / row["file"]).convert("RGB"))
            image = classifier.preprocessing.analyzed_image(picture).float().div(255)
            if classifier.logits(image[None]).argmax() == int(row["class_index"]):
                images.append(image)
                targets.append(int(row["class_index"]))
            if len(images) == 2:
                break
    return PreparedClassifier(classifier), torch.stack(images), torch.tensor(targets)


def test_masks_of_photographs_stay(photographs: Sequence) -> None:
    """What the preset is there for: one mask that destroys the score, whether stored, mirrored or neither."""
    classifier, images, targets = photographs
    explainer: OptimizingExplainer = RobustMasks()
    views = torch.cat([images, stored_as_jpeg(images), images.flip(3)])
    explained = explainer.explain(classifier, views, targets.repeat(3))
    saliency, stored, mirrored = explained.saliency.chunk(3)
    score_before = explained.score_before.chunk(3)[0]
    fixed = PERTURBATIONS["authors"]
    crisp = (saliency > 0.5).float()
    pictures = fixed.apply(fixed.prepare(images), 1 - crisp)
    after = classifier.logits(pictures).softmax(dim=1).gather(1, targets[:, None]).squeeze(1)
    assert (1 - after / score_before).mean() >= 0.98
    assert binarization_error(saliency).mean() <= 0.03
    assert 0.03 < crisp.mean() < 0.25
    assert overlap(saliency, stored) >= 0.5
    assert overlap(saliency, mirrored.flip(3)) >= 0.45
