"""Where the last spatial map is, for the networks that people have, and what is said where there is none."""

import pytest
import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models.swin_transformer import SwinTransformer

from visual_summaries.pipeline.models.classifier import ClassifierError
from visual_summaries.pipeline.models.spatial import Reading
from visual_summaries.pipeline.models.target_layer import find_target_layer, starting_at

LAST = {
    "alexnet": ("features", (256, 6, 6), "classifier.6"),
    "vgg11": ("features", (512, 7, 7), "classifier.6"),
    "squeezenet1_1": ("features", (512, 13, 13), "classifier.1"),
    "mobilenet_v2": ("features", (1280, 7, 7), "classifier.1"),
    "mobilenet_v3_small": ("features", (576, 7, 7), "classifier.3"),
    "resnet18": ("layer4", (512, 7, 7), "fc"),
    "googlenet": ("inception5b", (1024, 7, 7), "fc"),
    "densenet121": ("relu", (1024, 7, 7), "classifier"),
    "efficientnet_b0": ("features", (1280, 7, 7), "classifier.1"),
    "swin_t": ("permute", (768, 7, 7), "head"),
}


def network(name: str) -> nn.Module:
    options = {"init_weights": False} if name == "googlenet" else {}
    return models.get_model(name, weights=None, **options).eval()


@pytest.mark.parametrize("name", LAST)
def test_last_map_of_torchvisions_networks(name: str) -> None:
    found = find_target_layer(network(name), torch.rand(1, 3, 224, 224))
    assert (found.name, found.shape, found.logits_layer) == LAST[name]


@pytest.mark.parametrize(
    ("name", "side", "options", "expected"),
    [
        # Its last blocks have a single cell, and what is inside the block before them is but a branch.
        ("inception_v3", 96, {"aux_logits": False, "init_weights": False}, ("Mixed_6e", (768, 4, 4))),
        ("resnet18", 32, {}, ("layer3", (256, 2, 2))),
    ],
)
def test_the_last_map_of_more_than_one_cell(name: str, side: int, options: dict, expected: tuple) -> None:
    module = models.get_model(name, weights=None, **options).eval()
    found = find_target_layer(module, torch.rand(1, 3, side, side))
    assert (found.name, found.shape) == expected


class Branches(nn.Module):
    """Two branches whose ends are pooled one by one: what both see is the last map that all evidence goes through."""

    def __init__(self, shared: bool) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, 2, 1) if shared else nn.Identity()
        self.one, self.other = (nn.Conv2d(6 if shared else 3, 4, 3, 2, 1) for _ in range(2))
        self.head = nn.Linear(8, 5)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.first(images)
        return self.head(torch.cat([self.one(maps).mean((2, 3)), self.other(maps).mean((2, 3))], dim=1))


def test_a_branch_is_not_all_evidence() -> None:
    image = torch.rand(1, 3, 32, 32)
    found = find_target_layer(Branches(shared=True).eval(), image)
    assert (found.name, found.shape) == ("first", (6, 16, 16))
    with pytest.raises(ClassifierError, match="through which all evidence goes.*explain.cam.layer"):
        find_target_layer(Branches(shared=False).eval(), image)
    assert find_target_layer(Branches(shared=False).eval(), image, "one").shape == (4, 16, 16)


def test_tokens_are_a_map_where_the_logits_depend_on_them() -> None:
    """The head sees the token of the class alone: after the last block those of the image say nothing more."""
    image = torch.rand(1, 3, 32, 32)
    transformer = models.VisionTransformer(32, 8, 3, 2, 16, 32, num_classes=5).eval()
    found = find_target_layer(transformer, image)
    assert (found.name, found.shape) == ("encoder.layers.encoder_layer_1", (16, 4, 4))
    values = torch.arange(17 * 16.0).view(1, 17, 16)
    torch.testing.assert_close(found.reading.as_map(values)[0, :, 1, 2], values[0, 1 + 6])
    assert find_target_layer(transformer, image, "conv_proj").shape == (16, 4, 4)
    swin = SwinTransformer([4, 4], 8, [2, 2], [2, 2], [4, 4], num_classes=5).eval()
    assert find_target_layer(swin, image, "norm").reading == Reading((4, 4), channels_last=True)
    assert find_target_layer(swin, image).name == "permute"


def test_a_named_layer() -> None:
    resnet, image = network("resnet18"), torch.rand(1, 3, 64, 64)
    assert find_target_layer(resnet, image, "layer2").shape == (128, 8, 8)
    wrong = (("layer9", "no layer 'layer9'"), ("fc", r"gives \[1, 1000\]"), ("avgpool", "needs a spatial"))
    for name, message in wrong:
        with pytest.raises(ClassifierError, match=message):
            find_target_layer(resnet, image, name)


def test_networks_without_a_map() -> None:
    image = torch.rand(1, 3, 32, 32)
    perceptron = nn.Sequential(nn.Flatten(), nn.Linear(3072, 20), nn.ReLU(), nn.Linear(20, 5)).eval()
    with pytest.raises(ClassifierError, match="multilayer perceptron"):
        find_target_layer(perceptron, image)
    without_head = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d((1, 3)), Last()).eval()
    found = find_target_layer(without_head, image)
    assert (found.name, found.shape, found.logits_layer) == ("0", (8, 30, 30), None)


class Last(nn.Module):
    def forward(self, values: Tensor) -> Tensor:
        return values.mean(dim=1)[:, 0]


def test_gradients_start_at_a_layer_that_is_followed_in_place() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(144, 2)).eval()
    images = torch.rand(2, 3, 8, 8)
    with torch.no_grad():
        plain = module(images)
        before = module[0](images)
    with torch.enable_grad(), starting_at(module, find_target_layer(module, images[:1], "0")) as starts:
        logits = module(images)
    assert torch.equal(logits, plain) and torch.equal(starts[0], before) and starts[0].is_leaf
    (gradient,) = torch.autograd.grad(logits[:, 1].sum(), starts[0])
    expected = module[3].weight[1].view(1, 4, 6, 6) * (before > 0)
    torch.testing.assert_close(gradient, expected.expand(2, 4, 6, 6))
    assert not module(images).grad_fn.next_functions[0][0] or module[0]._forward_hooks == {}
