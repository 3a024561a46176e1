"""GLAS, RGLAS and GLAS on volumes, against closed forms and plain loops."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from visual_summaries.pipeline.explain.atlas import atlas_of, explain_volumes
from visual_summaries.pipeline.explain.glas import Glas, GlasSettings, SearchPoints, probe, spread
from visual_summaries.pipeline.explain.interface import target_scores
from visual_summaries.pipeline.explain.rglas import RecursiveGlas

SIDE = 32


def one_pixel(row: int, column: int):
    """A linear "network" as a plain function: the score of class 0 is the red of one pixel."""

    def scores(images: Tensor) -> Tensor:
        red = images[:, 0, row, column]
        return torch.stack([red, 1 - red], dim=1)

    return scores


class Counting:
    """A plain function that remembers the sizes of its batches."""

    def __init__(self, function) -> None:  # noqa: ANN001
        self.function, self.sizes = function, []

    def __call__(self, images: Tensor) -> Tensor:
        self.sizes.append(len(images))
        return self.function(images)


class Template:
    """Odds of class 0 by how much of a bright square there is anywhere: it moves with the image."""

    def __init__(self, needed: float = 3.0) -> None:
        self.needed = needed

    def logits(self, images: Tensor) -> Tensor:
        means = torch.nn.functional.avg_pool2d(images.mean(dim=1, keepdim=True), 4, stride=1)
        light = means.square().sum(dim=(1, 2, 3))
        return torch.stack([light - self.needed, torch.zeros_like(light)], dim=1)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("mode", ["fusion", "light", "shadow"])
def test_closed_form_of_a_linear_network(mode: str) -> None:
    """By hand: f_l = red·G_l(pixel), f_s = red·G_s(pixel) + γ, S a double loop over cells and pixels."""
    grid, row, column = 5, 9, 22
    image = noise(1, 3, SIDE, SIDE).double()
    red = float(image[0, 0, row, column])
    found = Glas(GlasSettings(1.5, 0.9, 1.2, grid, mode)).explain(one_pixel(row, column), image, torch.tensor([0]))
    cell = SIDE / grid
    expected = np.zeros((SIDE, SIDE))
    for i in range(grid):
        for j in range(grid):
            y, x = (i + 0.5) * cell - 0.5, (j + 0.5) * cell - 0.5
            squared = ((y - row) ** 2 + (x - column) ** 2) / cell**2
            light = red * math.exp(-squared / (2 * 1.5**2))
            shadow = red * math.exp(-squared / (2 * 0.9**2)) + 1e-5
            value = {"fusion": light * shadow, "light": light, "shadow": shadow}[mode]
            for a in range(SIDE):
                for b in range(SIDE):
                    distance = ((a - y) ** 2 + (b - x) ** 2) / cell**2
                    expected[a, b] += math.exp(-distance / 1.2**2) * value / grid**2
    expected = (expected - expected.min()) / (expected.max() - expected.min())
    np.testing.assert_allclose(found.saliency[0, 0].numpy(), expected, atol=1e-12)
    assert found.score_before[0] == red
    darkened = red * (1 - expected[row, column])
    assert found.score_after[0].item() == pytest.approx(darkened, abs=1e-12)
    assert found.iterations.tolist() == [2 * 25 + 1 if mode == "fusion" else 26]


def test_means_are_not_normalized_by_accident() -> None:
    """The unnormalized S of eq. 3, with the mean over |M|, of two search points."""
    points = SearchPoints(torch.tensor([[4.0, 4.0], [4.0, 8.0]], dtype=torch.float64), (2.0, 2.0), (9, 9))
    values = torch.tensor([[3.0, 5.0]], dtype=torch.float64)
    found = spread(values, points, sigma=1.5)
    # At (4, 6) both are one cell away; squared distances in cells.
    assert found[0, 4, 6].item() == pytest.approx((3 + 5) * math.exp(-1 / 1.5**2) / 2)
    only = spread(values, points, 1.5, used=torch.tensor([[True, False]]))
    assert only[0, 4, 4].item() == pytest.approx(3 + 5 * math.exp(-4 / 1.5**2))


def test_a_shift_by_a_cell_shifts_the_map() -> None:
    image = torch.zeros(1, 3, 64, 64)
    image[:, :, 22:30, 26:34] = 0.9
    glas, target = Glas(GlasSettings(1.5, 1.5, 1.5, 16)), torch.tensor([0])
    here = glas.explain(Template(), image, target).saliency
    there = glas.explain(Template(), image.roll((8, 4), (2, 3)), target).saliency
    torch.testing.assert_close(there[..., 12:56, 12:56], here[..., 4:48, 8:52], atol=1e-4, rtol=0)
    row, column = divmod(int(here.argmax()), 64)
    assert 22 <= row < 30 and 26 <= column < 34


def test_packing_company_and_order_do_not_matter_and_memory_is_bounded() -> None:
    images, targets = noise(3, 3, SIDE, SIDE, seed=1), torch.tensor([0, 1, 0])
    alone = [
        Glas(grid=4).explain(one_pixel(7, 7), images[n : n + 1], targets[n : n + 1]).saliency for n in range(3)
    ]
    for at_once in (1, 5, 16, 1000):
        classifier = Counting(one_pixel(7, 7))
        found = Glas(grid=4, memory=at_once * 4 * 4 * SIDE**2).explain(classifier, images, targets)
        torch.testing.assert_close(found.saliency, torch.cat(alone), atol=1e-6, rtol=0)
        first, *passes, last = classifier.sizes
        assert first == last == 3 and max(passes) <= at_once
        assert passes == 2 * [*[at_once] * (48 // at_once), *([48 % at_once] if 48 % at_once else [])]


def test_without_light_no_shadow_is_cast() -> None:
    images = noise(2, 3, SIDE, SIDE)
    images[1] = 0
    classifier = Counting(one_pixel(16, 16))
    found = Glas(grid=3).explain(classifier, images, torch.tensor([0, 0]))
    assert found.iterations.tolist() == [19, 10]
    assert found.saliency[0].max() == 1 and found.saliency[1].max() == 0
    assert sum(classifier.sizes) == 2 + 18 + 9 + 2


def test_a_remote_service_is_a_plain_function_of_arrays() -> None:
    def service(images: Tensor) -> np.ndarray:
        sent = images.numpy()
        score = sent[:, :, 4:8, 4:8].mean(axis=(1, 2, 3))
        return np.stack([score, 1 - score], axis=1)

    image = noise(1, 3, SIDE, SIDE)
    found = Glas("fine-grained").explain(service, image, torch.tensor([0]))
    row, column = divmod(int(found.saliency.argmax()), SIDE)
    assert 2 <= row < 10 and 2 <= column < 10
    torch.testing.assert_close(found.score_before, image[:, :, 4:8, 4:8].mean(dim=(1, 2, 3)))
    for wrong, message in (
        (lambda images: images.mean(dim=(1, 2, 3)), "must return floating-point scores"),
        (lambda images: images.mean(dim=(2, 3)) - 3, "apply softmax"),
        (lambda images: images.mean(dim=(2, 3)) * torch.nan, "apply softmax"),
    ):
        with pytest.raises(ValueError, match=message):
            Glas().explain(wrong, image, torch.tensor([0]))


def test_recursion_against_algorithm_1_step_by_step() -> None:
    """Two bright squares, of which the odds need either: a loop over one image with NumPy-like plain steps."""
    image = noise(1, 3, 48, 48) * 0.1
    image[:, :, 8:16, 8:16] += 0.6
    image[:, :, 30:38, 32:40] += 0.5
    classifier, target = Template(), torch.tensor([0])
    settings = GlasSettings(2.0, 2.0, 2.0, 8)
    glas = RecursiveGlas(settings, saliency_threshold=0.7, stop_threshold=2.0, rounds=6)
    recursions = list(glas.recursions(classifier, image, target))

    points = SearchPoints.grid(8, (48, 48))
    left, current, total, fused = list(range(64)), image.clone(), torch.zeros(48, 48, dtype=torch.float64), []
    while left and len(fused) < 6:
        chosen = SearchPoints(points.positions[left], points.unit, points.shape)
        score = target_scores(classifier, current, target)
        probes = probe(classifier, current, target, score, chosen, settings)
        saliency = spread(probes.light * probes.shadow, chosen, 2.0)[0]
        saliency = (saliency - saliency.min()) / (saliency.max() - saliency.min())
        left = [
            number
            for number in left
            if saliency[tuple(int(value) for value in points.positions[number].round())] <= 0.7
        ]
        current = current * (1 - saliency).float()
        total += saliency
        fused.append((total - total.min()) / (total.max() - total.min()))
        if math.sqrt(saliency.mean() / target_scores(classifier, current, target)) > 2:
            break
    assert len(recursions) == len(fused) > 1
    for recursion, expected in zip(recursions, fused, strict=True):
        torch.testing.assert_close(recursion.fused[0, 0], expected.float(), atol=1e-5, rtol=0)
    assert recursions[-1].over.all() and not recursions[0].over.any()


@pytest.mark.parametrize("brightness", [0.02, 0.9])
def test_the_recursion_ends_by_the_square_root_of_the_mean_over_the_score(brightness: float) -> None:
    """At a threshold just below √(mean S / P(y | I)) after the first round it ends there, just above it does not;
    the ratio itself, some 3 or a third of it, would be on the same side of both thresholds."""
    image = brightness * noise(1, 3, SIDE, SIDE)
    settings, target = GlasSettings(1.5, 1.5, 1.5, 8), torch.tensor([0])

    def scores(batch: Tensor) -> Tensor:
        light = batch.mean(dim=(1, 2, 3))
        return torch.stack([light, 1 - light], dim=1)

    first = next(RecursiveGlas(settings, stop_threshold=1e9).recursions(scores, image, target))
    root = math.sqrt(first.fused.double().mean() / first.scores.item())
    assert abs(math.log(root)) > 0.2
    for threshold, over in ((0.98 * root, True), (1.02 * root, False)):
        found = next(RecursiveGlas(settings, stop_threshold=threshold).recursions(scores, image, target))
        assert found.over.tolist() == [over]


def test_recursion_finds_the_second_instance() -> None:
    image = torch.zeros(2, 3, 64, 64)
    image[:, :, 10:18, 10:18] = 0.9
    image[0, :, 42:50, 44:52] = 0.6
    targets, classifier = torch.tensor([0, 0]), Template(needed=15)
    glas = RecursiveGlas(GlasSettings(1.5, 1.5, 1.5, 12))
    first, *_, last = glas.recursions(classifier, image, targets)
    assert first.fused[0, 0, 14, 14] > 0.8 > 0.5 > first.fused[0, 0, 46, 48]
    assert last.fused[0, 0, 46, 48] > 0.5
    both = glas.explain(classifier, image, targets)
    torch.testing.assert_close(both.saliency, last.fused)
    for number in (0, 1):
        alone = glas.explain(classifier, image[number : number + 1], targets[:1])
        torch.testing.assert_close(alone.saliency[0], both.saliency[number], atol=1e-5, rtol=0)
        assert alone.iterations[0] == both.iterations[number]


def test_an_image_with_one_instance_keeps_its_map() -> None:
    image = torch.zeros(1, 3, 64, 64)
    image[:, :, 10:18, 10:18] = 0.9
    glas = RecursiveGlas(GlasSettings(1.5, 1.5, 1.5, 12), stop_threshold=1e-3)
    found = glas.explain(Template(), image, torch.tensor([0]))
    assert found.diagnostics["rounds"].tolist() == [1] and found.saliency[0, 0, 14, 14] > 0.8
    empty = RecursiveGlas().explain(one_pixel(3, 3), image, torch.tensor([0]))
    assert empty.diagnostics["rounds"].tolist() == [0] and empty.saliency.max() == 0


def test_volume_against_a_loop_over_segments() -> None:
    shape = (9, 11, 7)
    labels = torch.zeros(shape, dtype=torch.int16)
    labels[1:4, 2:5, 1:3], labels[5:8, 6:10, 3:6], labels[0, 0, 6] = 4, 2, 9
    volumes = noise(2, 1, *shape, seed=4)
    weights = noise(*shape, seed=5)

    def scores(batch: Tensor) -> Tensor:
        value = (batch[:, 0] * weights).mean(dim=(1, 2, 3))
        return torch.stack([value, 1 - value], dim=1)

    atlas = atlas_of(labels)
    assert atlas.segments.tolist() == [2, 4, 9]
    targets = torch.tensor([0, 1])
    found = explain_volumes(scores, volumes, targets, atlas, light=3.0, shadow=2.0, memory=3 * 8 * 9 * 11 * 7)
    axes = torch.meshgrid(*(torch.arange(size).double() for size in shape), indexing="ij")
    expected = torch.zeros(2, 3, dtype=torch.float64)
    for column, segment in enumerate((2, 4, 9)):
        center = (labels == segment).nonzero().double().mean(dim=0)
        squared = sum((axis - middle) ** 2 for axis, middle in zip(axes, center, strict=True))
        for row, target in enumerate(targets):
            volume = volumes[row : row + 1].double()
            light = scores(volume * torch.exp(-squared / 18))[0, target]
            dark = scores(volume * (1 - torch.exp(-squared / 8)))[0, target]
            expected[row, column] = light * ((scores(volume)[0, target] - dark).abs() + 1e-5)
    torch.testing.assert_close(found.segment_scores, expected, rtol=1e-3, atol=1e-7)
    for row in range(2):
        for column, segment in enumerate((2, 4, 9)):
            voxels = found.saliency[row][labels == segment]
            share = (expected[row, column] / expected[row].max()).float()
            torch.testing.assert_close(voxels, share.expand_as(voxels), rtol=1e-3, atol=0)
        assert found.saliency[row][labels == 0].max() == 0
    with pytest.raises(ValueError, match="volumes must be"):
        explain_volumes(scores, volumes[:, :, 1:], targets, atlas)
    with pytest.raises(ValueError, match="no segment"):
        atlas_of(torch.zeros(shape, dtype=torch.int64))


def test_wrong_settings() -> None:
    with pytest.raises(ValueError, match="unknown preset"):
        Glas("coarse")
    with pytest.raises(ValueError, match="unknown mode"):
        Glas(mode="dusk")
    for wrong in ({"grid": 0}, {"light": 0.0}, {"spatial": -1.0}):
        with pytest.raises(ValueError, match="must be"):
            Glas(**wrong)
    with pytest.raises(ValueError, match="saliency_threshold must"):
        RecursiveGlas(saliency_threshold=1.5)
