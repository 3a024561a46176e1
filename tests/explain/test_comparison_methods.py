"""The methods that the papers compare with: by hand, against plain loops, and whatever the company."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from visual_summaries.pipeline.explain.crisp import PRESETS, CrispMasks
from visual_summaries.pipeline.explain.fgvis import FGVis
from visual_summaries.pipeline.explain.gradients import Gradient, GuidedBackpropagation, IntegratedGradients, SmoothGrad
from visual_summaries.pipeline.explain.lime import Lime, superpixels
from visual_summaries.pipeline.explain.meaningful import MeaningfulPerturbation, ThresholdedPerturbation, most_salient
from visual_summaries.pipeline.explain.occlusion import Occlusion
from visual_summaries.pipeline.models.classifier import ClassifierError

BASELINE = torch.tensor([0.4, 0.5, 0.6])


class Network:
    """A network without normalization, with the color that means nothing."""

    def __init__(self, module: nn.Module) -> None:
        self.module, self.baseline = module.eval().requires_grad_(False), BASELINE

    def logits(self, images: Tensor) -> Tensor:
        return self.module(images)


class Linear(nn.Module):
    """Logits that are linear in the pixels."""

    def __init__(self, side: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(2)
        self.weight = nn.Parameter(torch.randn(2, 3 * side * side, generator=generator))

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) @ self.weight.T


class TwoLayers(nn.Module):
    """Two rectifiers, the second in place and the same module again, or functions."""

    def __init__(self, rectifier: nn.Module | None) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        self.rectifier = rectifier
        self.first, self.second, self.last = (
            nn.Parameter(torch.randn(rows, columns, generator=generator) * scale)
            for rows, columns, scale in ((20, 3 * 64, 0.5), (10, 20, 0.5), (2, 10, 1.0))
        )

    def rectified(self, values: Tensor) -> Tensor:
        return functional.relu(values) if self.rectifier is None else self.rectifier(values)

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.rectified((images.flatten(1) - 0.5) @ self.first.T)
        return self.rectified(hidden @ self.second.T) @ self.last.T


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def magnitudes(attributed: Tensor) -> Tensor:
    """[B,3,H,W] → the largest magnitude over colors, divided by each image's largest."""
    largest = attributed.abs().amax(dim=1, keepdim=True)
    return largest / largest.amax(dim=(1, 2, 3), keepdim=True)


def test_gradient_of_a_linear_network_is_its_weights() -> None:
    network, images = Network(Linear(12)), noise(2, 3, 12, 12)
    weights = network.module.weight.view(2, 3, 12, 12)
    for method in (Gradient(), SmoothGrad(samples=7)):
        found = method.explain(network, images, torch.tensor([1, 0]))
        torch.testing.assert_close(found.saliency, magnitudes(weights[[1, 0]]), rtol=1e-5, atol=1e-6)
        assert found.score_after is None
        assert found.iterations.tolist() == [method.passes] * 2
        torch.testing.assert_close(
            found.score_before, network.logits(images).softmax(dim=1)[[0, 1], [1, 0]]
        )


def test_integrated_gradients_are_complete() -> None:
    """Their sum is what the logit gains on the way from the data mean."""
    network, images, targets = Network(TwoLayers(nn.ReLU())), noise(3, 3, 8, 8), torch.tensor([0, 1, 1])
    found = IntegratedGradients(300).attributions(network, images, targets, None)
    gained = network.logits(images) - network.logits(BASELINE.view(1, 3, 1, 1).expand_as(images))
    torch.testing.assert_close(found.sum(dim=(1, 2, 3)), gained[range(3), targets], rtol=0.02, atol=0.05)


@pytest.mark.parametrize("rectifier", [nn.ReLU(), nn.ReLU(inplace=True), nn.ReLU6(inplace=True), None])
def test_guided_backpropagation_by_hand(rectifier: nn.Module | None) -> None:
    """Also of ReLUs that are functions."""
    network, images, targets = Network(TwoLayers(rectifier)), noise(4, 3, 8, 8), torch.tensor([0, 1, 1, 0])
    before, in_place = network.logits(images), getattr(rectifier, "inplace", None)
    found = GuidedBackpropagation().explain(network, images, targets).saliency
    module, ceiling = network.module, 6.0 if isinstance(rectifier, nn.ReLU6) else torch.inf
    for row in range(4):
        hidden = (images[row].flatten() - 0.5) @ module.first.T
        deeper = hidden.clamp(0, ceiling) @ module.second.T
        gradient = module.last[targets[row]]
        gradient = gradient.clamp_min(0) * (deeper > 0) * (deeper < ceiling) @ module.second
        gradient = gradient.clamp_min(0) * (hidden > 0) * (hidden < ceiling) @ module.first
        torch.testing.assert_close(found[row : row + 1], magnitudes(gradient.view(1, 3, 8, 8)))
    assert network.module.rectifier is rectifier and getattr(rectifier, "inplace", None) == in_place
    assert torch.equal(network.logits(images), before)


def test_guided_backpropagation_says_what_it_is_not_for() -> None:
    images, target = noise(1, 3, 8, 8), torch.tensor([0])
    for rectifier, message in ((nn.GELU(), "calls gelu, which is no ReLU of torch's"), (nn.Identity(), "has no ReLU")):
        with pytest.raises(ClassifierError, match=message):
            GuidedBackpropagation().explain(Network(TwoLayers(rectifier)), images, target)
    with pytest.raises(ValueError, match="black-box"):
        Gradient().explain(lambda images: images.mean(dim=(2, 3)), images, target)


@pytest.mark.parametrize("method", [Gradient, SmoothGrad, GuidedBackpropagation, MeaningfulPerturbation, FGVis])
def test_a_network_that_passes_no_gradient_is_refused(method: type) -> None:
    """Otherwise a map would show the method's other terms, or nothing."""
    network = Network(TwoLayers(Rounded()))
    with pytest.raises(ClassifierError, match="no gradient gets from the network's scores to the image"):
        method().explain(network, noise(1, 3, 8, 8), torch.tensor([0]))


class Rounded(nn.Module):
    def forward(self, values: Tensor) -> Tensor:
        return (values > 0).to(values.dtype)


def test_random_numbers_are_the_images_own() -> None:
    network, images, targets = Network(TwoLayers(nn.ReLU())), noise(2, 3, 8, 8), torch.tensor([0, 1])
    for method in (SmoothGrad(samples=40), Lime(samples=60)):
        state = torch.random.get_rng_state()
        both = method.explain(network, images, targets, generators(3, 4)).saliency
        alone = method.explain(network, images[1:], targets[1:], generators(4)).saliency
        other = method.explain(network, images[1:], targets[1:], generators(5)).saliency
        torch.testing.assert_close(both[1:], alone)
        assert not torch.allclose(other, alone)
        assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("plain", [False, True])
def test_occlusion_is_that_of_a_plain_loop(plain: bool) -> None:
    module = Linear(14).eval().requires_grad_(False)
    module.weight.mul_(0.1)
    images, targets = noise(2, 3, 14, 14), torch.tensor([1, 0])

    def scores(batch: Tensor) -> Tensor:
        return module(batch).softmax(dim=1)

    classifier = scores if plain else Network(module)
    gray = torch.full((3,), 0.5) if plain else BASELINE
    for memory in (1, 10**9):
        # 5 and 3 pixels of 14. Positions 0, 3, 6, 9: the last window ends with the image.
        found = Occlusion(window=80, stride=48, memory=memory).explain(classifier, images, targets)
        for row in range(2):
            total, count = torch.zeros(14, 14), torch.zeros(14, 14)
            before = scores(images[row : row + 1])[0, targets[row]]
            for top in (0, 3, 6, 9):
                for left in (0, 3, 6, 9):
                    hidden = images[row : row + 1].clone()
                    hidden[:, :, top : top + 5, left : left + 5] = gray.view(1, 3, 1, 1)
                    total[top : top + 5, left : left + 5] += before - scores(hidden)[0, targets[row]]
                    count[top : top + 5, left : left + 5] += 1
            mean = total / count
            expected = (mean - mean.min()) / (mean.max() - mean.min())
            torch.testing.assert_close(found.saliency[row, 0], expected, rtol=1e-4, atol=1e-5)
        assert found.iterations.tolist() == [17, 17]


def test_lime_finds_the_superpixel_that_counts() -> None:
    """Score: the light of the superpixel around one pixel, which alone gets a weight worth mention."""
    image = noise(1, 3, 64, 64, seed=2)
    image = functional.interpolate(functional.avg_pool2d(image, 16), 64, mode="nearest")
    labels = superpixels(image[0], 16)
    wanted = labels == labels[40, 24]

    def scores(batch: Tensor) -> Tensor:
        seen = ((batch - image).abs().sum(dim=1) < 1e-6).flatten(1)[:, wanted.flatten()].float().mean(dim=1)
        return torch.stack([0.1 + 0.8 * seen, 0.9 - 0.8 * seen], dim=1)

    # 16 pixels of 64.
    found = Lime(samples=300, superpixel=56).explain(scores, image, torch.tensor([0])).saliency[0, 0]
    assert found[wanted].min() == 1
    assert found[~wanted].max() < 0.2


def test_lime_is_a_weighted_ridge_regression() -> None:
    """Its normal equations by NumPy, on the samples that the classifier saw: kernel of width 0.25 over the cosine
    distance, penalty 1. The score is far from linear in the superpixels, so that the kernel tells in every weight."""
    image = (noise(1, 3, 56, 56, seed=6) > 0.8).float()
    labels = superpixels(image[0], 19)
    shown, scores = [], []

    def classifier(batch: Tensor) -> Tensor:
        hidden = (batch == 0.5).all(dim=1)
        kept = torch.stack([~hidden[:, labels == label].all(dim=1) for label in labels.unique()], dim=1).double()
        score = 0.1 + 0.8 * kept[:, 1] * kept[:, 3] * kept[:, 4] - 0.05 * kept[:, 0] * (1 - kept[:, 8])
        shown.extend(kept.numpy())
        scores.extend(score.tolist())
        return torch.stack([score, 1 - score], dim=1)

    # 19 pixels of 56, 3 × 3 superpixels; the last image is the one without a sample.
    found = Lime(samples=80, superpixel=76).explain(classifier, image, torch.tensor([0])).saliency[0, 0]
    features, wanted = np.array(shown[-81:-1]), np.array(scores[-81:-1])
    assert features.shape == (80, 9) and 0 < features.mean() < 1
    original = image.flatten().double().numpy()
    seen = np.where(features[:, labels.flatten()][:, None] > 0, image.flatten(2).numpy(), 0.5).reshape(80, -1)
    distance = 1 - seen @ original / np.linalg.norm(seen, axis=1) / np.linalg.norm(original)
    kernel = np.exp(-(distance**2) / (2 * 0.25**2))
    design = np.hstack([features, np.ones((80, 1))])
    penalty = np.diag([1.0] * 9 + [0.0])
    weights = np.linalg.solve(design.T @ (kernel[:, None] * design) + penalty, design.T @ (kernel * wanted))
    expected = weights[:9].clip(0) / weights[:9].max()
    np.testing.assert_allclose([found[labels == label].unique().item() for label in range(9)], expected, atol=1e-4)


def test_superpixels_follow_colors() -> None:
    """A slanted edge between two colors: no superpixel has pixels of both, and each stays near where it began."""
    y, x = torch.meshgrid(torch.arange(60), torch.arange(90), indexing="ij")
    left = x < 40 + y // 4
    labels = superpixels(torch.where(left, 0.2, 0.8).expand(3, 60, 90) + 0.02 * noise(3, 60, 90), 15)
    assert labels.shape == (60, 90) and labels.dtype == torch.int64
    assert labels.unique().tolist() == list(range(int(labels.max()) + 1))
    assert 20 <= labels.max() < 24
    for label in labels.unique():
        inside = labels == label
        assert left[inside].float().mean() in (0, 1)
        places = inside.nonzero()
        assert (places.amax(dim=0) - places.amin(dim=0)).max() <= 45


def test_meaningful_perturbation_is_the_first_stage_of_the_crisp_masks() -> None:
    class Texture:
        def logits(self, images: Tensor) -> Tensor:
            patch = images[:, :, 16:32, 10:26]
            contrast = (patch[..., 1:] - patch[..., :-1]).abs().mean(dim=(1, 2, 3))
            return torch.stack([torch.zeros_like(contrast), 60 * contrast - 10], dim=1)

    images, targets = noise(2, 3, 48, 48, seed=3), torch.tensor([1, 1])
    crisp = CrispMasks("authors").explain(Texture(), images, targets)
    rough = MeaningfulPerturbation().explain(Texture(), images, targets)
    torch.testing.assert_close(rough.score_after, crisp.diagnostics["score_after_rough"], rtol=1e-3, atol=1e-6)
    assert rough.iterations.tolist() == [PRESETS["authors"].rough.iterations] * 2
    found = ThresholdedPerturbation().explain(Texture(), images, targets)
    assert set(found.saliency.unique().tolist()) == {0, 1}
    assert found.iterations.tolist() == [450, 450]
    for row in range(2):
        pixels = round(float(crisp.saliency[row].mean()) * 48 * 48)
        assert abs(int(found.saliency[row].sum()) - pixels) <= 1
        shown = found.saliency[row] == 1
        assert rough.saliency[row][shown].min() >= rough.saliency[row][~shown].max() - 1e-5


def test_most_salient_pixels_by_sorting() -> None:
    maps = torch.tensor([[[[0.1, 0.9], [0.5, 0.5]]], [[[0.0, 0.0], [0.0, 0.0]]]])
    found = most_salient(maps, torch.tensor([0.5, 0.25]))
    np.testing.assert_array_equal(found[:, 0], [[[0, 1], [1, 0]], [[1, 0], [0, 0]]])


def test_wrong_settings() -> None:
    with pytest.raises(ValueError, match="stride"):
        Occlusion(window=8, stride=9)
    with pytest.raises(ValueError, match="samples"):
        Lime(samples=0)
