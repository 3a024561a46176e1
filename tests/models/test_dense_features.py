"""Where the layers of a stride are in networks that people have, and what they give."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from torchvision import models

from visual_summaries.pipeline.data.demo.network import load_demo_network
from visual_summaries.pipeline.models.classifier import Classifier, ClassifierError
from visual_summaries.pipeline.models.dense_features import dense_features, find_dense_layers
from visual_summaries.pipeline.models.preprocessing import Preprocessing

LAYERS = {
    "resnet50": (("layer3", 1024, 14), ("layer2", 512, 28)),
    "mobilenet_v2": (("features.13", 96, 14), ("features.6", 32, 28)),
    "squeezenet1_0": (("features", 512, 13), ("features.10", 512, 27)),
    "squeezenet1_1": (("features", 512, 13), ("features.7", 256, 27)),
    "efficientnet_b0": (("features.5", 112, 14), ("features.3", 40, 28)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_by_stride(name: str) -> None:
    module = models.get_model(name, weights=None).eval()
    found = find_dense_layers(module, torch.rand(1, 3, 224, 224))
    assert tuple((layer.name, layer.shape[0], layer.shape[1]) for layer in found) == LAYERS[name]
    assert [layer.stride for layer in found] == [16, 8]


def test_efficientnet_lite(data_directory, monkeypatch: pytest.MonkeyPatch) -> None:
    if not (data_directory / "networks/efficientnet_lite.py").exists():
        pytest.skip("no EfficientNet-Lite among the data")
    monkeypatch.syspath_prepend(data_directory / "networks")
    import efficientnet_lite

    found = find_dense_layers(efficientnet_lite.lite0()[0].eval(), torch.rand(1, 3, 224, 224))
    assert [(layer.name, layer.shape) for layer in found] == [
        ("features.11", (112, 14, 14)),
        ("features.5", (40, 28, 28)),
    ]


def test_a_network_of_small_strides_halves_them() -> None:
    found = find_dense_layers(load_demo_network(), torch.rand(1, 3, 128, 128))
    assert [(layer.name, layer.stride) for layer in found] == [("features", 8), ("features.5", 4)]


def test_named_layers_and_networks_without_maps() -> None:
    resnet, image = models.resnet18(weights=None).eval(), torch.rand(1, 3, 64, 64)
    found = find_dense_layers(resnet, image, names=("layer1", "layer4"))
    assert [(layer.shape, layer.stride) for layer in found] == [((64, 16, 16), 4), ((512, 2, 2), 32)]
    with pytest.raises(ClassifierError, match="no layer 'layer9'"):
        find_dense_layers(resnet, image, names=("layer9",))
    with pytest.raises(ClassifierError, match="'fc' gives no spatial map"):
        find_dense_layers(resnet, image, names=("fc",))
    perceptron = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 5)).eval()
    with pytest.raises(ClassifierError, match="name layers"):
        find_dense_layers(perceptron, image)


def test_transformers() -> None:
    image = torch.rand(1, 3, 64, 64)
    swin = models.swin_t(weights=None).eval()
    assert [(layer.name, layer.shape) for layer in find_dense_layers(swin, torch.rand(1, 3, 224, 224))] == [
        ("features.5", (384, 14, 14)),
        ("features.3", (192, 28, 28)),
    ]
    vision = models.VisionTransformer(64, 8, 8, 2, 16, 32, num_classes=5).eval()
    layers = find_dense_layers(vision, image)
    assert [(layer.name, layer.shape) for layer in layers] == [
        ("encoder.layers.encoder_layer_5", (16, 8, 8)),
        ("encoder.layers.encoder_layer_3", (16, 8, 8)),
    ]
    # By hand: the class's token left out, the others row by row.
    tokens = vision.encoder.layers[:6](vision.encoder.dropout(torch.cat(
        [vision.class_token, vision._process_input((image - 0.5) / 0.25)], dim=1) + vision.encoder.pos_embedding
    ))
    preprocessing = Preprocessing(resize_side=64, crop_side=64, mean=(0.5,) * 3, std=(0.25,) * 3)
    classifier = Classifier(vision, preprocessing, tuple("abcde"))
    found, _ = dense_features(classifier, image, layers, grid=8)
    expected = torch.stack([tokens[0, 1 + row * 8 : 9 + row * 8].T for row in range(8)], dim=1)
    torch.testing.assert_close(found[0], expected)


def small_classifier() -> Classifier:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(inplace=True), nn.Conv2d(6, 4, 3, 2, 1), nn.Flatten(), nn.Linear(256, 3)
    )
    preprocessing = Preprocessing(resize_side=32, crop_side=32, mean=(0.5,) * 3, std=(0.25,) * 3)
    return Classifier(module, preprocessing, ("a", "b", "c"))


def test_features_are_the_layers_outputs_enlarged() -> None:
    classifier, images = small_classifier(), torch.rand(2, 3, 32, 32)
    layers = find_dense_layers(classifier.module, images[:1], names=("0", "2"))
    first, second = dense_features(classifier, images, layers, grid=16)
    hidden = classifier.module[0]((images - 0.5) / 0.25)
    torch.testing.assert_close(first, hidden)
    assert first.min() < 0, "the ReLU that follows works in place and must not change them"
    expected = functional.interpolate(classifier.module[2](hidden.relu()), size=16, mode="bilinear")
    torch.testing.assert_close(second, expected, atol=1e-5, rtol=1e-4)


def test_a_mirrored_image_has_the_mirrored_features() -> None:
    classifier, images = small_classifier(), torch.rand(2, 3, 32, 32)
    layers = find_dense_layers(classifier.module, images[:1], names=("2",))
    (plain,) = dense_features(classifier, images, layers, grid=8, mirrored=True)
    (flipped,) = dense_features(classifier, images.flip(-1), layers, grid=8, mirrored=True)
    torch.testing.assert_close(plain, flipped.flip(-1))
    (once,) = dense_features(classifier, images, layers, grid=8)
    assert not torch.allclose(once, plain)
