"""Loading classifiers: torchvision's, one's own, the demo; and what bad names say."""

import csv
import sys
from pathlib import Path

import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from visual_summaries.pipeline.models.classifier import ClassifierError
from visual_summaries.pipeline.models.loading import load_classifier


def test_squeezenet_recognizes_photographs(data_directory: Path) -> None:
    """The weights' top-1 accuracy on ImageNet photographs is about 72 %; 104 of them allow for chance."""
    weights = data_directory / "weights" / "squeezenet1_1.safetensors"
    classifier = load_classifier("torchvision:squeezenet1_1", weights)
    with (data_directory / "imagenet" / "val.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))[:104]
    images = [
        classifier.preprocessing.analyzed_image(
            torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8).view(*picture.size[::-1], 3)
        )
        for picture in (Image.open(data_directory / "imagenet" / "val" / row["file"]).convert("RGB") for row in rows)
    ]
    with torch.no_grad():
        predictions = classifier.logits(torch.stack(images) / 255).argmax(dim=1)
        features = classifier.features(torch.stack(images[:2]) / 255)
    correct = predictions == torch.tensor([int(row["class_index"]) for row in rows])
    assert correct.float().mean() >= 0.65
    assert all(classifier.wordnet_ids[int(row["class_index"])] == row["wnid"] for row in rows)
    assert features.shape == (2, 512)


def test_number_of_classes_follows_from_the_file(data_directory: Path) -> None:
    weights = data_directory / "weights" / "mobilenet_v2_cub100.safetensors"
    classifier = load_classifier(
        "torchvision:mobilenet_v2", weights, labels=data_directory / "cub100" / "classes.csv", squash=True
    )
    assert len(classifier.class_names) == 100 and classifier.wordnet_ids is None
    assert classifier.class_names[0] == "Black_footed_Albatross"
    assert classifier.preprocessing.squash
    assert all(parameter.dtype == torch.float32 for parameter in classifier.module.parameters())
    assert classifier.features(torch.rand(1, 3, 224, 224)).shape == (1, 1280)


def test_file_of_another_network(data_directory: Path) -> None:
    weights = data_directory / "weights" / "squeezenet1_0.safetensors"
    with pytest.raises(ClassifierError) as raised:
        load_classifier("torchvision:resnet18", weights)
    message = str(raised.value)
    assert str(weights) in message and "torchvision:resnet18" in message and "\n" not in message
    assert "102 missing (conv1.weight," in message and "52 unexpected (classifier.1.bias," in message
    assert len(message) < 500


def test_file_of_a_similar_network_names_the_shapes(tmp_path: Path) -> None:
    state = torchvision.models.squeezenet1_1(num_classes=4).state_dict()
    state["features.0.weight"] = torch.zeros(64, 1, 3, 3)
    torch.save(state, tmp_path / "gray.pt")
    shapes = r"features.0.weight \[64, 1, 3, 3\] instead of \[64, 3, 3, 3\]"
    with pytest.raises(ClassifierError, match=shapes):
        load_classifier("torchvision:squeezenet1_1", tmp_path / "gray.pt")


def test_fine_tuned_half_precision_file_gives_the_same_logits(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = torchvision.models.squeezenet1_1(num_classes=3).eval()
    halves = {name: value.half() for name, value in network.state_dict().items()}
    save_file(halves, tmp_path / "a.safetensors")
    for parameter in network.parameters():
        parameter.data = parameter.data.half().float()
    classifier = load_classifier("torchvision:squeezenet1_1", tmp_path / "a.safetensors", mean=(0, 0, 0), std=(1, 1, 1))
    images = torch.rand(2, 3, 224, 224)
    torch.testing.assert_close(classifier.logits(images), network(images))
    assert classifier.class_names == ("class 0", "class 1", "class 2")


@pytest.mark.parametrize("auxiliary", [True, False])
def test_googlenet_with_and_without_auxiliary_outputs(tmp_path: Path, auxiliary: bool) -> None:
    torch.manual_seed(0)
    network = torchvision.models.googlenet(
        num_classes=7, aux_logits=auxiliary, init_weights=False, transform_input=True
    ).eval()
    state = {f"module.{name}": value for name, value in network.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "g.pth")
    classifier = load_classifier("torchvision:googlenet", tmp_path / "g.pth")
    images = torch.rand(2, 3, 224, 224)
    torch.testing.assert_close(classifier.logits(images), network(classifier.normalized(images)))
    assert not any(name.startswith("aux") for name in classifier.module.state_dict())


def test_transformer_at_another_size() -> None:
    classifier = load_classifier("torchvision:swin_t", "random", crop_side=64)
    assert classifier.preprocessing.resize_side == round(232 * 64 / 224)
    images = torch.rand(2, 3, 64, 64)
    assert classifier.logits(images).shape == (2, 1000)
    assert classifier.features(images).shape == (2, 768)


def test_random_weights_are_seeded_and_said() -> None:
    state = torch.get_rng_state()
    first, again, other = (load_classifier("torchvision:alexnet", "random", seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert first.weights_digest == again.weights_digest != other.weights_digest
    assert first.name == "torchvision:alexnet (random weights, seed 1)"
    assert first.features(torch.rand(1, 3, 224, 224)).shape == (1, 4096)


def test_failing_download_is_one_message(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def no_connection(*_args: object, **_options: object) -> None:
        raise OSError("no connection")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", no_connection)
    with pytest.raises(ClassifierError, match="alexnet-owt-7be5be79.pth.*no connection.*file's path"):
        load_classifier("torchvision:alexnet", "DEFAULT")


@pytest.mark.parametrize(
    "spec, weights, message",
    [
        ("torchvision:squeezenet11", "random", "did you mean squeezenet1_1"),
        ("torchvision:qqqqq", "random", "list_models"),
        ("torchvision:fasterrcnn_resnet50_fpn", "random", "no classifier"),
        ("torchvision:alexnet", None, "IMAGENET1K_V1, DEFAULT .*or random"),
        ("torchvision:alexnet", "IMAGENET1K_V", "did you mean IMAGENET1K_V1"),
        ("torchvision:alexnet", Path("nowhere/alexnet.pth"), "nowhere/alexnet.pth: there is no such"),
        ("alexnet", None, "did you mean torchvision:alexnet"),
        ("torchvision:squeezenet1_1", "random:3", "neither a file"),
        ("demo", "random", "its own weights"),
    ],
)
def test_bad_names_say_what_to_do(spec: str, weights: str | Path | None, message: str) -> None:
    with pytest.raises(ClassifierError, match=message) as raised:
        load_classifier(spec, weights)
    assert "\n" not in str(raised.value)


def test_finite_weights_whose_scores_are_no_numbers_are_refused(tmp_path: Path) -> None:
    state = torchvision.models.squeezenet1_1(num_classes=3).state_dict()
    save_file(state, tmp_path / "whole.safetensors")
    assert len(load_classifier("torchvision:squeezenet1_1", tmp_path / "whole.safetensors").class_names) == 3
    state["classifier.1.bias"][1] = 3e38
    save_file(state, tmp_path / "damaged.safetensors")
    with pytest.raises(ClassifierError, match="damaged.safetensors.* gives scores that are not numbers"):
        load_classifier("torchvision:squeezenet1_1", tmp_path / "damaged.safetensors")


def test_impossible_sizes() -> None:
    with pytest.raises(ClassifierError, match="resize_side 100 is less than crop_side 224"):
        load_classifier("torchvision:squeezenet1_1", "random", resize_side=100)
    with pytest.raises(ClassifierError, match="fails on an image of 8 × 8 pixels"):
        load_classifier("torchvision:squeezenet1_1", "random", crop_side=8)


OWN = """
import torch
from torch import nn
from visual_summaries.pipeline.models.preprocessing import Preprocessing

def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)).double()

def with_preprocessing():
    return network(), Preprocessing(resize_side=40, crop_side=32)

def with_dictionary():
    return network(), {"resize_side": 40, "crop_side": 32, "squash": True}

def with_misspelled_dictionary():
    return network(), {"resize": 40}

def gray():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 5), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))


def no_network():
    return "network"

def failing():
    raise RuntimeError("no luck")

def two_outputs():
    class Pair(nn.Module):
        def forward(self, images):
            return images, images
    return Pair()
"""


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"own_networks_{abs(hash(tmp_path))}"
    (tmp_path / f"{name}.py").write_text(OWN)
    (tmp_path / f"{name}_broken.py").write_text("import a_package_that_is_not_there\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    return name


def test_own_network_from_the_current_folder(own_module: str, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    classifier = load_classifier(f"{own_module}:network", labels=tmp_path / "names.txt")
    assert classifier.class_names == ("cat", "dog") and classifier.input_size == 224
    assert classifier.logits(torch.rand(2, 3, 224, 224)).dtype == torch.float32
    with_preprocessing = load_classifier(f"{own_module}:with_preprocessing")
    assert with_preprocessing.input_size == 32 and with_preprocessing.class_names == ("class 0", "class 1")
    with_dictionary = load_classifier(f"{own_module}:with_dictionary", std=(1, 2, 3))
    assert with_dictionary.preprocessing.squash and with_dictionary.preprocessing.std == (1, 2, 3)
    assert with_preprocessing.weights_digest == classifier.weights_digest


def test_own_network_of_gray_images(own_module: str) -> None:
    with pytest.raises(ClassifierError, match="takes images of 1 channel, .* 3 values: give model.mean and"):
        load_classifier(f"{own_module}:gray", crop_side=28)
    classifier = load_classifier(f"{own_module}:gray", crop_side=28, mean=(0.13,), std=(0.31,))
    assert classifier.preprocessing.baseline == (0.13, 0.13, 0.13)
    image = torch.rand(1, 3, 28, 28)
    gray = (image * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
    torch.testing.assert_close(classifier.logits(image), classifier.module((gray - 0.13) / 0.31))
    torch.testing.assert_close(classifier.logits(image), classifier.logits(gray.expand_as(image)))
    assert classifier.features(image).shape == (1, 4)


def test_own_network_with_a_weights_file(own_module: str, tmp_path: Path) -> None:
    state = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Identity(), nn.Identity(), nn.Linear(4, 2)).state_dict()
    torch.save(state, tmp_path / "own.pt")
    classifier = load_classifier(f"{own_module}:network", tmp_path / "own.pt")
    assert torch.equal(classifier.module[3].weight, state["3.weight"])
    del state["3.bias"]
    torch.save(state, tmp_path / "own.pt")
    with pytest.raises(ClassifierError, match=r"own.pt does not fit .*1 missing \(3.bias\)"):
        load_classifier(f"{own_module}:network", tmp_path / "own.pt")


@pytest.mark.parametrize(
    "function, message",
    [
        ("netwrok", "did you mean .*:network"),
        ("with_misspelled_dictionary", "no setting 'resize'; there are resize_side"),
        ("no_network", "returned str; it must return a torch.nn.Module"),
        ("failing", r"failing\(\) failed: RuntimeError: no luck"),
        ("two_outputs", "returns tuple"),
    ],
)
def test_own_network_gone_wrong(own_module: str, function: str, message: str) -> None:
    with pytest.raises(ClassifierError, match=message):
        load_classifier(f"{own_module}:{function}")


def test_own_module_not_there(own_module: str) -> None:
    with pytest.raises(ClassifierError, match="there is no module 'not_a_module_here'"):
        load_classifier("not_a_module_here:network")
    with pytest.raises(ClassifierError, match="without .py: not_a_module_here:network, in the folder of not_a_module"):
        load_classifier("nets/not_a_module_here.py:network")
    with pytest.raises(ClassifierError, match="importing .*_broken failed: No module named 'a_package_that"):
        load_classifier(f"{own_module}_broken:network")
    with pytest.raises(ClassifierError, match="'random' of .* must be a file"):
        load_classifier(f"{own_module}:network", "random")


def test_demo_network() -> None:
    classifier = load_classifier("demo")
    assert classifier.input_size == 128 and classifier.name == "demo"
    images = torch.rand(2, 3, 128, 128)
    assert classifier.logits(images).shape == (2, len(classifier.class_names))
    assert classifier.features(images).shape[0] == 2
