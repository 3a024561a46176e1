"""Where the last spatial map is, for the networks that people have, and what is said where there is none."""

import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from pipeline.models.classifier import ClassifierError
from pipeline.models.target_layer import find_target_layer, starting_at

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
