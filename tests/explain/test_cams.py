"""Class activation maps against brute force, Captum and closed forms; whatever the packing and the company."""

import csv
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from captum.attr import LayerGradCam
from torch import Tensor, nn
from torch.nn import functional

from visual_summaries.pipeline.data.decode import read_image
from visual_summaries.pipeline.explain.cams import ActivationMaps, Cam, GradCam, GradCamPlusPlus, SmoothGradCamPlusPlus
from visual_summaries.pipeline.explain.gradients import GuidedBackpropagation
from visual_summaries.pipeline.models.classifier import Classifier, ClassifierError
from visual_summaries.pipeline.models.loading import load_classifier
from visual_summaries.pipeline.models.preparation import PreparedClassifier
from visual_summaries.pipeline.models.preprocessing import Preprocessing

METHODS = (Cam, GradCam, GradCamPlusPlus, SmoothGradCamPlusPlus)


class Network:
    """A network without normalization."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module.eval().requires_grad_(False)
        self.passes: list[int] = []

    def logits(self, images: Tensor) -> Tensor:
        self.passes.append(len(images))
        return self.module(images)


def smooth_network(inner: nn.Module | None = None) -> nn.Module:
    """Smooth, so that every derivative exists; its last map is pooled, or passes `inner` first."""
    torch.manual_seed(11)
    body = [nn.Conv2d(3, 6, 3, padding=1), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(6, 5, 3, padding=1), nn.Softplus()]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten()] if inner is None else [inner]
    last = nn.Linear(5 if inner is None else 12, 4)
    # More evidence for a class than against it, so that no map is empty.
    last.weight.data += 0.3
    return nn.Sequential(*body, *head, last)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def enlarged(maps: Tensor, side: int = 16) -> Tensor:
    large = functional.interpolate(maps[:, None], (side, side), mode="bilinear")
    return large / large.amax(dim=(1, 2, 3), keepdim=True)


def activations_and_score(module: nn.Module, image: Tensor, target: int) -> tuple[Tensor, Tensor]:
    """By a plain full pass with gradients everywhere."""
    activations = image.clone().requires_grad_()
    for layer in module[:5]:
        activations = layer(activations)
    return activations, module[5:](activations)[0, target]


def two_layers() -> nn.Module:
    torch.manual_seed(3)
    inner = nn.Sequential(nn.Flatten(), nn.Linear(320, 12), nn.Sigmoid())
    inner[1].weight.data += 0.02
    return inner


@pytest.mark.parametrize("inner", [None, two_layers()])
def test_grad_cam_is_that_of_a_full_backward_pass(inner: nn.Module | None) -> None:
    module, images, targets = smooth_network(inner), noise(3, 3, 16, 16), torch.tensor([2, 0, 3])
    found = GradCam().explain(Network(module), images, targets)
    for row in range(3):
        activations, score = activations_and_score(module, images[row : row + 1], int(targets[row]))
        (gradient,) = torch.autograd.grad(score, activations)
        weights = gradient.sum(dim=(2, 3), keepdim=True) / 64
        expected = (weights * activations).sum(dim=1).clamp_min(0).detach()
        torch.testing.assert_close(found.saliency[row : row + 1], enlarged(expected), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.score_before, module(images).softmax(dim=1)[range(3), targets])


def plus_plus(start: Tensor, head: nn.Module, target: int, factor: float = 1.0) -> Tensor:
    """Grad-CAM++'s map `[1,h,w]` of activations ≥ 0 `[1,C,h,w]`: Y = `factor`·exp(logit), its derivatives element by
    element by autograd, α of eq. 5 as it stands."""
    start = start.detach().requires_grad_()
    score = factor * head(start)[0, target].exp()
    (first,) = torch.autograd.grad(score, start, create_graph=True)
    second, third = torch.zeros_like(start), torch.zeros_like(start)
    for place in range(start.numel()):
        (slope,) = torch.autograd.grad(first.view(-1)[place], start, create_graph=True)
        second.view(-1)[place] = slope.view(-1)[place].detach()
        (curve,) = torch.autograd.grad(slope.view(-1)[place], start, retain_graph=True)
        third.view(-1)[place] = curve.view(-1)[place]
    sums = start.sum(dim=(2, 3), keepdim=True)
    share = second / torch.where(second == 0, 1, 2 * second + sums * third)
    weights = (share * first.relu()).sum(dim=(2, 3), keepdim=True)
    return (weights * start).sum(dim=1).relu().detach()


def test_grad_cam_plus_plus_by_second_and_third_derivatives() -> None:
    module, images, targets = smooth_network().double(), noise(2, 3, 16, 16).double(), torch.tensor([1, 3])
    found = GradCamPlusPlus().explain(Network(module), images, targets).saliency
    for row in range(2):
        activations, _ = activations_and_score(module, images[row : row + 1], int(targets[row]))
        expected = plus_plus(activations, module[5:], int(targets[row]))
        torch.testing.assert_close(found[row : row + 1], enlarged(expected), rtol=1e-5, atol=1e-7)


class Signed(nn.Module):
    """A linear head on a signed map, and the same head on its positive and its negative part."""

    def __init__(self, split: bool) -> None:
        super().__init__()
        self.split = split
        self.weight = nn.Parameter(torch.linspace(-1.5, 1.5, 320).sin().view(1, 1, 5, 8, 8) * torch.ones(1, 4, 1, 1, 1))

    def forward(self, maps: Tensor) -> Tensor:
        maps = maps[:, :5] - maps[:, 5:] if self.split else maps
        return (maps[:, None] * self.weight).sum(dim=(2, 3, 4))


def test_grad_cam_plus_plus_of_a_signed_map_is_that_of_its_two_parts() -> None:
    """The equations hold for the parts as they stand; for the signed map itself their denominator crosses zero."""
    module = smooth_network()[:4].append(nn.Sequential(Signed(split=False))).double()
    images, target = noise(1, 3, 16, 16).double(), torch.tensor([2])
    activations = module[:4](images)
    (gradient,) = torch.autograd.grad(module[4](activations)[0, 2], activations)
    denominators = 2 + activations.sum(dim=(2, 3), keepdim=True) * gradient
    assert denominators[gradient > 0].min() < 0 < denominators[gradient > 0].max()
    parts = torch.cat([activations.relu(), (-activations).relu()], dim=1)
    expected = plus_plus(parts, Signed(split=True).double(), 2)
    found = GradCamPlusPlus("3").explain(Network(module), images, target).saliency
    torch.testing.assert_close(found, enlarged(expected), rtol=1e-5, atol=1e-7)


def test_evidence_in_negative_features_is_no_map_of_nothing() -> None:
    """A map below zero everywhere, in which one place alone speaks for the class, by being lower."""
    features = torch.full((1, 2, 4, 4), -1.0)
    features[0, :, 1, 2] = -9.0
    gradients = torch.zeros(1, 2, 4, 4)
    gradients[0, :, 1, 2] = -1.0
    found = GradCamPlusPlus().combined(features, gradients)[0]
    assert found.argmax() == 1 * 4 + 2 and found.max() == 9 * found[0, 0] > 0


def test_smooth_maps_do_not_depend_on_the_scale_of_a_copys_score() -> None:
    """By eq. 4 as it stands, a copy whose logit is larger by 10 would be 22,000 times as heavy."""
    module, images, targets = smooth_network(), noise(1, 3, 16, 16), torch.tensor([2])
    found = SmoothGradCamPlusPlus(copies=2, noise=0.3).explain(Network(module), images, targets, generators(7)).saliency
    generator, maps = generators(7)[0], []
    for factor in (1.0, 22e3):
        noisy = images + 0.3 * (images.max() - images.min()) * torch.randn(images[0].shape, generator=generator)
        activations, _ = activations_and_score(module, noisy, 2)
        copy = plus_plus(activations.double(), deepcopy(module[5:]).double(), 2, factor)
        maps.append(copy / copy.max())
    torch.testing.assert_close(found, enlarged(sum(maps)).float(), rtol=1e-4, atol=1e-5)


def test_cam_is_the_weighted_sum_and_grad_cam_of_it() -> None:
    """With a pooled map and a linear head, eq. 2 gives the head's weights over h·w: eq. 3 is ReLU of eq. 1."""
    module, images, targets = smooth_network(), noise(2, 3, 16, 16), torch.tensor([2, 1])
    cam = Cam().explain(Network(module), images, targets).saliency
    maps = torch.einsum("nc,nchw->nhw", module[-1].weight[targets], module[:5](images))
    large = functional.interpolate(maps[:, None], (16, 16), mode="bilinear")
    least, most = large.amin(dim=(1, 2, 3), keepdim=True), large.amax(dim=(1, 2, 3), keepdim=True)
    torch.testing.assert_close(cam, (large - least) / (most - least), rtol=1e-4, atol=1e-5)
    grad_cam = GradCam().explain(Network(module), images, targets).saliency
    torch.testing.assert_close(grad_cam, enlarged(maps.relu()), rtol=1e-4, atol=1e-5)
    with pytest.raises(ClassifierError, match="another head"):
        Cam().explain(Network(smooth_network(two_layers())), images, targets)


def test_smooth_maps_are_the_mean_over_noisy_copies() -> None:
    module, images, targets = smooth_network(), noise(2, 3, 16, 16), torch.tensor([2, 1])
    # σ is a share of the image's range of values, here of 0.4 and of 0.7.
    images *= torch.tensor([0.4, 0.7]).view(2, 1, 1, 1)
    method = SmoothGradCamPlusPlus(copies=5, noise=0.2)
    network = Network(module)
    found = method.explain(network, images, targets, generators(7, 8))
    plain, layer = GradCamPlusPlus().network(network, images)
    for row, seed in enumerate((7, 8)):
        (generator,), image = generators(seed), images[row : row + 1]
        maps = []
        for _ in range(5):
            noisy = image + 0.2 * (image.max() - image.min()) * torch.randn(image[0].shape, generator=generator)
            copy = GradCamPlusPlus().maps(plain, layer, noisy, targets[row : row + 1], None)[0]
            maps.append(copy / copy.max())
        expected = enlarged(torch.stack(maps).mean(dim=0))
        torch.testing.assert_close(found.saliency[row : row + 1], expected, rtol=1e-4, atol=1e-5)
    assert found.iterations.tolist() == [5, 5]
    without = SmoothGradCamPlusPlus(copies=2, noise=0.0).explain(network, images, targets).saliency
    torch.testing.assert_close(without, GradCamPlusPlus().explain(network, images, targets).saliency)


@pytest.mark.parametrize("method", METHODS)
def test_every_image_has_its_own_target_whatever_the_packing(method: type[ActivationMaps]) -> None:
    module, images, targets = smooth_network(), noise(5, 3, 16, 16), torch.tensor([2, 1, 0, 3, 2])
    one_image = 3 * 16 * 16 * 4
    network = Network(module)
    together = method(memory=10**9).explain(network, images, targets, generators(*range(5)))
    packed = Network(module)
    found = method(memory=2 * one_image).explain(packed, images, targets, generators(*range(5)))
    torch.testing.assert_close(found.saliency, together.saliency, rtol=1e-4, atol=1e-6)
    assert max(packed.passes[:3]) == 2
    for row in range(5):
        alone = method().explain(network, images[row : row + 1], targets[row : row + 1], generators(row))
        torch.testing.assert_close(alone.saliency, together.saliency[row : row + 1], rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(alone.score_before, together.score_before[row : row + 1])


def test_nothing_is_recorded_before_the_target_layer() -> None:
    """The backward pass must stop there: a layer before it whose backward fails does no harm."""

    class Forbidden(torch.autograd.Function):
        @staticmethod
        def forward(ctx, values: Tensor) -> Tensor:  # noqa: ANN001
            return values.clone()

        @staticmethod
        def backward(ctx, gradient: Tensor) -> Tensor:  # noqa: ANN001
            raise AssertionError("the backward pass went past the target layer")

    class Guard(nn.Module):
        def forward(self, values: Tensor) -> Tensor:
            return Forbidden.apply(values)

    module = smooth_network()
    guarded = nn.Sequential(Guard(), *module)
    images = noise(2, 3, 16, 16).requires_grad_()
    targets = torch.tensor([0, 1])
    found = GradCam().explain(Network(guarded), images, targets)
    torch.testing.assert_close(found.saliency, GradCam().explain(Network(module), images, targets).saliency)
    assert not found.saliency.requires_grad and images.grad is None


@pytest.mark.parametrize("name", ["squeezenet1_1", "mobilenet_v2", "squeezenet1_0"])
def test_grad_cam_of_real_networks_is_captums(name: str, data_directory: Path) -> None:
    classifier = load_classifier(f"torchvision:{name}", data_directory / "weights" / f"{name}.safetensors")
    with open(data_directory / "imagenet/val.csv", newline="") as file:
        rows = list(csv.DictReader(file))[:3]
    pixels = [read_image(str(data_directory / "imagenet/val" / row["file"])).image for row in rows]
    images = torch.stack([classifier.preprocessing.analyzed_image(image) for image in pixels]).float() / 255
    targets = torch.tensor([int(row["class_index"]) for row in rows])
    coarse = LayerGradCam(classifier.logits, classifier.module.features).attribute(
        images, targets, relu_attributions=True
    )
    large = functional.interpolate(coarse.detach(), images.shape[-2:], mode="bilinear")
    expected = large / large.amax(dim=(1, 2, 3), keepdim=True)
    for prepared in (PreparedClassifier(classifier), classifier):
        for layer in (None, "features"):
            found = GradCam(layer).explain(prepared, images, targets).saliency
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    cam = Cam().explain(PreparedClassifier(classifier), images, targets)
    assert cam.saliency.amax(dim=(1, 2, 3)).tolist() == [1, 1, 1]


class Block(nn.Module):
    """As in the ResNets for CIFAR: the ReLU after the addition is a function, so that the last map is the block's."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels)

    def forward(self, values: Tensor) -> Tensor:
        return functional.relu(self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(values))))) + values)


class CifarResnet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8)
        self.layer1, self.linear = nn.Sequential(Block(8), Block(8)), nn.Linear(8, 5)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.layer1(functional.relu(self.bn1(self.conv1(images))))
        return self.linear(functional.avg_pool2d(maps, maps.shape[-1]).flatten(1))


def cifar_classifier(network: type[nn.Module] = CifarResnet) -> Classifier:
    torch.manual_seed(1)
    module = network()
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.3)
            layer.running_var.uniform_(0.3, 3)
            layer.bias.data.fill_(0.5)
    # More evidence for a class than against it, so that no map is empty.
    module.linear.weight.data += 0.5
    return Classifier(module, Preprocessing(32, 32), list("abcde"))


@pytest.mark.parametrize("method", METHODS)
def test_folded_batch_norms_leave_the_target_layer(method: type[ActivationMaps]) -> None:
    """In a network whose last map is no convolution's, but that of a block with a skip."""
    classifier, images, targets = cifar_classifier(), noise(3, 3, 32, 32), torch.tensor([0, 2, 4])
    prepared = PreparedClassifier(classifier)
    assert prepared.folded == 5
    network, layer = method().network(prepared, images)
    assert layer.name == "layer1" and network.module is prepared.module
    found = method().explain(prepared, images, targets, generators(1, 2, 3))
    expected = method().explain(classifier, images, targets, generators(1, 2, 3))
    torch.testing.assert_close(found.saliency, expected.saliency, rtol=1e-3, atol=1e-4)
    if method is GradCam:
        coarse = LayerGradCam(classifier.logits, classifier.module.layer1).attribute(images, targets)
        torch.testing.assert_close(found.saliency, enlarged(coarse.detach()[:, 0].relu(), 32), rtol=1e-3, atol=1e-4)


class FlatResnet(nn.Module):
    """The same in one forward pass: no submodule gives the last map."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8)
        self.conv3, self.bn3 = nn.Conv2d(8, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8)
        self.linear = nn.Linear(8, 5)

    def last_map(self, images: Tensor) -> Tensor:
        maps = functional.relu(self.bn1(self.conv1(images)))
        maps = functional.relu(self.bn2(self.conv2(maps)))
        residual = self.bn3(self.conv3(maps))
        residual += maps
        return functional.relu(residual, inplace=True)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.last_map(images)
        return self.linear(functional.avg_pool2d(maps, maps.shape[-1]).flatten(1))


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_the_last_map_is_what_a_function_gives(precision: str) -> None:
    """Grad-CAM of the map behind the addition, by hand; not of the residual branch, which a submodule gives."""
    classifier, images, targets = cifar_classifier(FlatResnet), noise(2, 3, 32, 32), torch.tensor([1, 3])
    prepared = PreparedClassifier(classifier, precision)
    network, layer = GradCam().network(prepared, images)
    assert prepared.folded == 3 and network.module is prepared.module, "the folded network gives the same map"
    maps = classifier.module.last_map(classifier.normalized(images)).detach().requires_grad_()
    logits = classifier.module.linear(maps.mean(dim=(2, 3)))
    (gradient,) = torch.autograd.grad(logits.gather(1, targets[:, None]).sum(), maps)
    weighted = (gradient.mean(dim=(2, 3), keepdim=True) * maps).sum(dim=1).detach()
    inputs = images.double() if precision == "float64" else images
    found = GradCam().explain(prepared, inputs, targets).saliency
    torch.testing.assert_close(found.float(), enlarged(weighted.relu(), 32), rtol=1e-3, atol=1e-3)
    residual = GradCam("bn3").explain(prepared, inputs, targets).saliency
    assert (residual - found).abs().max() > 0.2, "which would be something else"
    cam = Cam().explain(prepared, inputs, targets).saliency
    large = functional.interpolate(weighted[:, None], (32, 32), mode="bilinear")
    least, most = large.amin(dim=(1, 2, 3), keepdim=True), large.amax(dim=(1, 2, 3), keepdim=True)
    torch.testing.assert_close(cam.float(), (large - least) / (most - least), rtol=1e-3, atol=1e-3)
    assert layer.shape == (8, 8, 8) and layer.name == "relu"


@pytest.mark.parametrize(("name", "folded"), [("layer1.1.conv2", False), ("layer1.1.bn2", True), ("layer1.0", True)])
def test_a_named_layer_gives_what_it_gives_as_loaded(name: str, folded: bool) -> None:
    """A convolution into which its batch norm was folded gives something else: then the network is taken as loaded."""
    classifier, images, targets = cifar_classifier(), noise(2, 3, 32, 32), torch.tensor([1, 3])
    prepared = PreparedClassifier(classifier)
    network, _ = GradCam(name).network(prepared, images)
    assert (network.module is prepared.module) == folded
    coarse = LayerGradCam(classifier.logits, classifier.module.get_submodule(name)).attribute(images, targets)
    expected = enlarged(coarse.detach()[:, 0].relu(), 32)
    assert expected.amax(dim=(1, 2, 3)).tolist() == [1, 1]
    found = GradCam(name).explain(prepared, images, targets).saliency
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("method", [GradCam, GradCamPlusPlus, GuidedBackpropagation])
def test_precision_of_the_passes(method: type) -> None:
    """The same map in double precision, and nearly in bfloat16, on the demo's network."""
    classifier = load_classifier("demo")
    images, targets = noise(2, 3, 128, 128), torch.tensor([0, 5])
    found = {
        precision: method().explain(PreparedClassifier(classifier, precision), images, targets).saliency
        for precision in ("float32", "float64", "bfloat16")
    }
    assert all(saliency.dtype == torch.float32 for saliency in found.values())
    torch.testing.assert_close(found["float32"], found["float64"], rtol=1e-3, atol=1e-3)
    assert (found["bfloat16"] - found["float64"]).abs().mean() < 0.05


def test_empty_batch_and_wrong_settings() -> None:
    network = Network(smooth_network())
    empty = GradCam().explain(network, noise(0, 3, 16, 16), torch.zeros(0, dtype=torch.int64))
    assert empty.saliency.shape == (0, 1, 16, 16)
    with pytest.raises(ValueError, match="copies"):
        SmoothGradCamPlusPlus(copies=0)
    with pytest.raises(ValueError, match="`module`"):
        GradCam().explain(lambda images: images.mean(dim=(2, 3)), noise(1, 3, 8, 8), torch.tensor([0]))
