"""Feature CAM's combinations by hand, its edges, and explanation maps."""

from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import vgg16

from visual_summaries.pipeline.data.decode import read_image
from visual_summaries.pipeline.explain.cams import GradCam, GradCamPlusPlus
from visual_summaries.pipeline.explain.edges import edge_detector, sobel
from visual_summaries.pipeline.explain.feature_cam import (
    CHOSEN,
    VERSIONS,
    FeatureCam,
    combinations,
    explanation_images,
    feature_images,
)
from visual_summaries.pipeline.models.classifier import ClassifierError
from visual_summaries.pipeline.models.hed import Hed
from visual_summaries.pipeline.models.pidinet import PiDiNet

BASELINE = torch.tensor([0.4, 0.5, 0.6])


class Network:
    baseline = BASELINE

    def __init__(self) -> None:
        torch.manual_seed(2)
        body = [nn.Conv2d(3, 6, 3, padding=1), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(6, 5, 3), nn.Softplus()]
        self.module = nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 4))
        self.module[-1].weight.data += 0.4
        self.module.eval().requires_grad_(False)

    def logits(self, images: Tensor) -> Tensor:
        return self.module(images)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_combinations_of_one_pixel_by_hand() -> None:
    image = torch.tensor([0.3, 0.6, 0.9]).view(1, 3, 1, 1)
    edge, saliency = torch.tensor(0.6).view(1, 1, 1, 1), torch.tensor(0.5).view(1, 1, 1, 1)
    features = {name: value.flatten().tolist() for name, value in feature_images(image, edge).items()}
    assert features == {
        "F1": pytest.approx([0.6]),
        "F2": pytest.approx([0.4, 0.6, 0.8]),
        "F3": pytest.approx([0.45, 0.6, 0.75]),
    }
    found = {name: value.flatten().tolist() for name, value in combinations(image, edge, saliency).items()}
    assert tuple(found) == VERSIONS and len(found) == 9 and set(CHOSEN) <= set(found)
    # (0.25·F + 0.5) / 1.25, F·0.5 and (1 − F)·0.5.
    assert found["F1+"] == pytest.approx([0.52])
    assert found["F2+"] == pytest.approx([0.48, 0.52, 0.56])
    assert found["F3*"] == pytest.approx([0.225, 0.3, 0.375])
    assert found["F1'"] == pytest.approx([0.2])
    assert found["F3'"] == pytest.approx([0.275, 0.2, 0.125])


def test_explanation_maps_keep_the_most_salient_fifth() -> None:
    images, maps = noise(2, 3, 10, 10), noise(2, 3, 10, 10, seed=1)
    found = explanation_images(images, maps, BASELINE.view(3, 1, 1))
    for row in range(2):
        values = maps[row].mean(dim=0).flatten()
        kept = values.argsort(descending=True)[:20]
        expected = BASELINE.view(3, 1).repeat(1, 100)
        expected[:, kept] = images[row].flatten(1)[:, kept]
        torch.testing.assert_close(found[row].flatten(1), expected)


def test_sobel_is_scipys() -> None:
    images = noise(2, 3, 20, 30)
    images[1] = 0.7
    found = sobel(images)
    gray = images[0].mean(dim=0).numpy()
    lengths = np.hypot(*(scipy.ndimage.sobel(gray, axis=axis, mode="nearest") for axis in (0, 1)))
    np.testing.assert_allclose(found[0, 0].numpy(), lengths / lengths.max(), rtol=1e-4, atol=1e-5)
    assert found[1].max() == 0


@pytest.mark.parametrize("version", VERSIONS)
def test_a_version_is_its_combination_of_map_and_edges(version: str) -> None:
    network, images, targets = Network(), noise(3, 3, 16, 16), torch.tensor([2, 0, 1])
    found = FeatureCam(version, "grad-cam").explain(network, images, targets)
    located = GradCam().explain(network, images, targets)
    expected = combinations(images, sobel(images), located.saliency)[version]
    torch.testing.assert_close(found.saliency, expected)
    torch.testing.assert_close(found.score_before, located.score_before)
    assert found.iterations.tolist() == [1, 1, 1] and found.score_after is None
    own = FeatureCam(version, GradCamPlusPlus(), edges=lambda batch: batch[:, :1])
    other = own.explain(network, images, targets).saliency
    assert other.shape == expected.shape and not torch.allclose(other, expected)


def test_pidinet_finds_the_outline_of_a_photographed_thing(data_directory: Path) -> None:
    """The published weights fit strictly; edges lie where the blurred image changes, and are few."""
    weights = data_directory / "weights/pidinet_bsds.safetensors"
    detector = edge_detector(weights)
    assert sum(parameter.numel() for parameter in detector.parameters()) == 720_709
    files = sorted((data_directory / "photos/n02690373").iterdir())[:3]
    for file in files:
        image = torch.from_numpy(read_image(str(file)).image.copy()).permute(2, 0, 1)[None].float() / 255
        image = functional.interpolate(image, (224, 224), mode="bilinear", antialias=True)
        with torch.no_grad():
            edges = detector(image)[0, 0]
        assert edges.shape == (224, 224) and 0 <= edges.min() and 0.6 < edges.max() <= 1
        assert (edges > 0.5).float().mean() < 0.3
        smooth = torch.from_numpy(scipy.ndimage.gaussian_filter(image.numpy(), (0, 0, 2, 2)))
        strength = sobel(smooth)[0, 0]
        assert strength[edges > 0.5].mean() > 2.5 * strength[edges < 0.1].mean()


def test_hed_is_vgg_with_five_sides(tmp_path: Path) -> None:
    """Published names, and torchvision's VGG-16 layer by layer: blue first, 0 to 255, less the mean."""
    torch.manual_seed(4)
    network = Hed()
    torch.save({f"module{name[3:]}": value for name, value in network.state_dict().items()}, tmp_path / "hed.pt")
    detector, image = edge_detector(tmp_path / "hed.pt"), noise(1, 3, 48, 40)
    vgg = vgg16(weights=None).features.eval()
    stages = [getattr(network, f"netVgg{name}") for name in ("One", "Two", "Thr", "Fou", "Fiv")]
    ours = [layer for stage in stages for layer in stage if isinstance(layer, nn.Conv2d)]
    for layer, own in zip([layer for layer in vgg if isinstance(layer, nn.Conv2d)], ours, strict=True):
        layer.load_state_dict(own.state_dict())
    mean = torch.tensor([122.67891434, 116.66876762, 104.00698793]).view(3, 1, 1)
    values, sides = (image * 255 - mean)[:, [2, 1, 0]], []
    with torch.no_grad():
        # torchvision's stages end before its layers 4, 9, 16, 23 and 30, which pool.
        for number, (first, end) in enumerate(((0, 4), (4, 9), (9, 16), (16, 23), (23, 30))):
            values = vgg[first:end](values)
            name = ("One", "Two", "Thr", "Fou", "Fiv")[number]
            side = getattr(network, f"netScore{name}")(values)
            sides.append(functional.interpolate(side, (48, 40), mode="bilinear"))
        weights, bias = network.netCombine[0].weight.view(5), network.netCombine[0].bias
        expected = torch.sigmoid(sum(weight * side for weight, side in zip(weights, sides, strict=True)) + bias)
        torch.testing.assert_close(detector(image), expected, rtol=1e-4, atol=1e-5)


def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    state = PiDiNet().state_dict()
    state.pop("classifier.bias")
    torch.save(state, tmp_path / "short.pt")
    with pytest.raises(ClassifierError, match="classifier.bias"):
        edge_detector(tmp_path / "short.pt")
    with pytest.raises(ClassifierError, match="no such weights file"):
        FeatureCam(edges=tmp_path / "none.safetensors")


def test_wrong_settings() -> None:
    with pytest.raises(ValueError, match="unknown version"):
        FeatureCam("F4+")
    with pytest.raises(ValueError, match="unknown localizer"):
        FeatureCam(localizer="score-cam")
