"""Class activation maps of every kind of architecture show the one corner that can matter."""

from collections.abc import Callable

import pytest
import torch
from corner_networks import ENOUGH, planted, share_in_corner
from torch import Tensor, nn
from torchvision import models
from torchvision.models.convnext import CNBlockConfig, ConvNeXt
from torchvision.models.swin_transformer import SwinTransformer

from visual_summaries.pipeline.explain.cams import ActivationMaps, Cam, GradCam, GradCamPlusPlus, SmoothGradCamPlusPlus
from visual_summaries.pipeline.explain.gradients import Gradient, GuidedBackpropagation
from visual_summaries.pipeline.models.classifier import Classifier, ClassifierError
from visual_summaries.pipeline.models.preprocessing import Preprocessing


class LastChannels(nn.Module):
    """A Swin transformer whose maps keep their channels last up to the head, as timm's do; as many channels as rows
    and columns, so that the shape does not say which is which."""

    def __init__(self) -> None:
        super().__init__()
        swin = SwinTransformer([4, 4], 16, [2], [2], [4, 4], num_classes=5)
        self.features, self.norm, self.head = swin.features, swin.norm, swin.head

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.norm(self.features(images)).mean(dim=(1, 2)))


class MeanOfTokens(nn.Module):
    """A vision transformer without a token of the class, whose head sees the mean of all tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.encoder = nn.Conv2d(3, 32, 8, 8), models.vision_transformer.Encoder(64, 2, 2, 32, 64, 0, 0)
        self.head = nn.Linear(32, 5)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.encoder(self.patches(images).flatten(2).transpose(1, 2)).mean(dim=1))


class Flat(nn.Module):
    """A ResNet for small images in one forward pass: its last map is what a function makes of two others."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.first = nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.Conv2d(16, 16, 3, 2, 1, bias=False)
        self.second, self.third = (nn.Conv2d(16, 16, 3, 1, 1, bias=False) for _ in range(2))
        self.norms = nn.ModuleList(nn.BatchNorm2d(16) for _ in range(4))
        self.head = nn.Linear(16, 5)

    def forward(self, images: Tensor) -> Tensor:
        maps = torch.relu(self.norms[0](self.stem(images)))
        maps = torch.relu(self.norms[1](self.first(maps)))
        inner = torch.relu(self.norms[2](self.second(maps)))
        maps = torch.relu(self.norms[3](self.third(inner)) + maps)
        return self.head(nn.functional.avg_pool2d(maps, maps.shape[-1]).flatten(1))


# The network, its side, whether its head allows `cam` and its nonlinearities guided backpropagation.
NETWORKS: dict[str, tuple[Callable[[], nn.Module], int, bool, bool]] = {
    "flat resnet": (Flat, 32, True, True),
    "densenet": (lambda: models.DenseNet(8, (2, 2, 2), 16, num_classes=5), 64, True, True),
    "squeezenet": (lambda: models.squeezenet1_1(num_classes=5), 96, True, True),
    "convnext": (lambda: ConvNeXt([CNBlockConfig(16, 32, 2), CNBlockConfig(32, None, 2)], num_classes=5), 64, None, 0),
    "swin": (lambda: SwinTransformer([4, 4], 16, [2, 2], [2, 2], [4, 4], num_classes=5), 64, True, False),
    "channels last": (LastChannels, 64, True, False),
    "vit": (lambda: models.VisionTransformer(64, 8, 3, 2, 32, 64, num_classes=5), 64, False, False),
    "mean of tokens": (MeanOfTokens, 64, True, False),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_corner_that_matters_is_shown(name: str) -> None:
    make, side, has_cam, has_guided = NETWORKS[name]
    torch.manual_seed(0)
    classifier, images, target = planted(make(), side)
    targets = torch.full((len(images),), target)
    scores = classifier.logits(images).softmax(dim=1)[:, target]
    assert scores.min() > 0.9, "the corner is evidence"
    other = images.clone()
    other[..., : side // 2, : side // 2] = 0.5
    torch.testing.assert_close(classifier.logits(other), classifier.logits(torch.full_like(images, 0.5)))
    methods: list[ActivationMaps] = [GradCam(), GradCamPlusPlus(), SmoothGradCamPlusPlus(copies=2, noise=0.05)]
    if has_cam:
        methods.append(Cam())
    elif has_cam is not None:
        with pytest.raises(ClassifierError, match="another head: take grad-cam"):
            Cam().explain(classifier, images, targets)
    if has_guided:
        methods.append(GuidedBackpropagation())
    else:
        with pytest.raises(ClassifierError, match="calls gelu, which is no ReLU of torch's; the method is about ReLUs"):
            GuidedBackpropagation().explain(classifier, images, targets)
    for method in [*methods, Gradient()]:
        saliency = method.explain(classifier, images, targets).saliency
        assert share_in_corner(saliency).min() > ENOUGH, type(method).__name__


@pytest.mark.parametrize("name", ["swin", "channels last", "vit", "mean of tokens"])
def test_features_of_transformers_are_what_the_head_gets(name: str) -> None:
    make, side, *_ = NETWORKS[name]
    module = make().eval()
    classifier, images = Classifier(module, Preprocessing(side, side), list("abcde")), torch.rand(2, 3, side, side)
    (head,) = (layer for layer in module.modules() if isinstance(layer, nn.Linear) and layer.out_features == 5)
    seen: list[Tensor] = []
    head.register_forward_pre_hook(lambda _layer, inputs: seen.append(inputs[0]))
    classifier.logits(images)
    features = classifier.features(images)
    assert features.shape == (2, head.in_features) and torch.equal(features, seen[0])


def test_the_check_can_fail() -> None:
    """Turned around, of the wrong class, of another place, or of nothing, a map shows no corner."""
    torch.manual_seed(0)
    classifier, images, target = planted(Flat(), 32)
    saliency = GradCam().explain(classifier, images, torch.full((len(images),), target)).saliency
    wrong = GradCam().explain(classifier, images, torch.full((len(images),), 0)).saliency
    for maps in (saliency.flip(-1), saliency.flip(-2), wrong, torch.zeros_like(saliency), torch.rand_like(saliency)):
        assert share_in_corner(maps).max() < ENOUGH


@pytest.mark.parametrize("channels", [1, 2, 4, 6])
def test_networks_of_other_channels_than_three(channels: int) -> None:
    torch.manual_seed(0)
    network = Flat()
    network.stem = nn.Conv2d(channels, 16, 3, 2, 1, bias=False)
    classifier, images, target = planted(network, 32, channels=channels)
    targets = torch.full((len(images),), target)
    for method in (GradCam(), Cam(), Gradient()):
        assert share_in_corner(method.explain(classifier, images, targets).saliency).min() > ENOUGH
    expected = torch.zeros(2, channels, 32, 32)
    if channels < 3:
        gray = images[:, 0] * 0.299 + images[:, 1] * 0.587 + images[:, 2] * 0.114
        expected[:, 0] = (gray - 0.5) / 0.25
    else:
        expected[:, :3] = (images - 0.5) / 0.25
    seen: list[Tensor] = []
    classifier.module.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    classifier.logits(images)
    torch.testing.assert_close(seen[0], expected)
    assert classifier.baseline.tolist() == [0.5, 0.5, 0.5]
