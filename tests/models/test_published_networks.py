"""timm's and Hugging Face's networks: prepared as their own libraries do it, whole or refused, without a network."""

import json
import socket
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file

from visual_summaries.pipeline.models import hub, timm_networks
from visual_summaries.pipeline.models.classifier import Classifier, ClassifierError
from visual_summaries.pipeline.models.loading import load_classifier
from visual_summaries.pipeline.models.preparation import PreparedClassifier

NAMES = {0: "gray whale", 1: "red fox", 2: "crane, bird"}


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test reaches for the world."""

    def refuse(*_: object) -> None:
        raise OSError("no connection in a test")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture(scope="module")
def photograph() -> np.ndarray:
    """A picture of spots, longer than wide, uint8 `[H,W,3]`."""
    spots = np.random.default_rng(3).integers(0, 256, (30, 43, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(spots).resize((430, 301), Image.Resampling.BICUBIC))


def logits(classifier: Classifier, photograph: np.ndarray) -> torch.Tensor:
    square = classifier.preprocessing.analyzed_image(photograph)
    images = square[None].float() / 255
    found = classifier.logits(images)
    torch.testing.assert_close(PreparedClassifier(classifier).logits(images), found)
    return found


def vit(**settings: object) -> transformers.ViTForImageClassification:
    torch.manual_seed(0)
    small = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.ViTConfig(**small, image_size=64, patch_size=16, id2label=NAMES, **settings)
    return transformers.ViTForImageClassification(config)


def resnet() -> transformers.ResNetForImageClassification:
    torch.manual_seed(0)
    config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], id2label=NAMES)
    return transformers.ResNetForImageClassification(config)


def processors() -> dict[str, transformers.BaseImageProcessor]:
    square = {"height": 64, "width": 64}
    made = {
        "squashed": transformers.ViTImageProcessor(size=square),
        "squashed, then cropped": transformers.DeiTImageProcessor(size={"height": 72, "width": 72}, crop_size=square),
        "share of the shorter side": transformers.ConvNextImageProcessor(size={"shortest_edge": 64}, crop_pct=0.875),
        "blue first": transformers.MobileViTImageProcessor(size={"shortest_edge": 72}, crop_size=square),
        "a share of its own": transformers.LevitImageProcessor(size={"shortest_edge": 64}, crop_size=square),
        "divided twice": transformers.EfficientNetImageProcessor(size=square, resample=2),
        "mean and deviation": transformers.BitImageProcessor(size={"shortest_edge": 70}, crop_size=square),
        "up to 255": transformers.ViTImageProcessor(size=square, do_rescale=False, do_normalize=False),
    }
    return made


@pytest.mark.parametrize("kind", processors())
def test_a_folder_of_hugging_face_is_prepared_as_its_own_processor_does(
    kind: str, tmp_path: Path, photograph: np.ndarray
) -> None:
    network, processor = (resnet() if kind == "blue first" else vit()).eval(), processors()[kind]
    network.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    classifier = load_classifier(f"hf:{tmp_path}")
    assert classifier.class_names == tuple(NAMES.values()) and classifier.wordnet_ids is None
    assert classifier.preprocessing.channels == ("bgr" if kind == "blue first" else "rgb")
    expected = network(**processor(images=Image.fromarray(photograph), return_tensors="pt")).logits
    torch.testing.assert_close(logits(classifier, photograph), expected, atol=1e-4, rtol=0)


def test_shards_and_a_weights_file_of_ones_own(tmp_path: Path) -> None:
    network = vit()
    network.save_pretrained(tmp_path, max_shard_size="20KB")
    transformers.ViTImageProcessor(size={"height": 64, "width": 64}).save_pretrained(tmp_path)
    assert (tmp_path / hub.INDEX).exists() and not (tmp_path / hub.WEIGHTS).exists()
    images = torch.rand(1, 3, 64, 64)
    classifier = load_classifier(f"hf:{tmp_path}")
    assert torch.equal(classifier.logits(images), network.eval()(classifier.normalized(images)).logits)
    other = {f"model.{name}": torch.zeros_like(tensor) for name, tensor in network.state_dict().items()}
    save_file(other, tmp_path / "other.safetensors")
    assert load_classifier(f"hf:{tmp_path}", tmp_path / "other.safetensors").logits(images).abs().max() == 0
    random = [load_classifier(f"hf:{tmp_path}", "random", seed=seed).weights_digest for seed in (1, 1, 2)]
    assert random[0] == random[1] != random[2]


def test_names_of_imagenet_bring_its_wordnet_ids(tmp_path: Path) -> None:
    torch.manual_seed(0)
    own = load_classifier("torchvision:squeezenet1_1", "random")
    names = {index: f"{name}, something else" for index, name in enumerate(own.class_names)}
    for order, known in ((1, True), (-1, False)):
        config = transformers.ResNetConfig(
            embedding_size=8, hidden_sizes=[8], depths=[1], id2label=dict(enumerate([*names.values()][::order]))
        )
        transformers.ResNetForImageClassification(config).save_pretrained(tmp_path)
        transformers.ConvNextImageProcessor(size={"shortest_edge": 64}).save_pretrained(tmp_path)
        assert (load_classifier(f"hf:{tmp_path}").wordnet_ids == own.wordnet_ids) is known


def folder_without(tmp_path: Path, change: str) -> None:
    network = vit()
    network.save_pretrained(tmp_path)
    transformers.ViTImageProcessor(size={"height": 64, "width": 64}).save_pretrained(tmp_path)
    weights, config = tmp_path / hub.WEIGHTS, tmp_path / hub.CONFIGURATION
    state, settings = load_file(weights), json.loads(config.read_text())
    prepared = json.loads((tmp_path / "preprocessor_config.json").read_text())
    match change:
        case "head":
            save_file({n: t for n, t in state.items() if "classifier" not in n}, weights, {"format": "pt"})
        case "layer":
            more = {n.replace("layer.0", "layer.1"): t.clone() for n, t in state.items() if "layer.0" in n}
            save_file(state | more, weights, {"format": "pt"})
        case "pickle":
            weights.unlink()
            torch.save(state, tmp_path / "pytorch_model.bin")
        case "weights":
            weights.unlink()
        case "damaged":
            weights.write_bytes(weights.read_bytes()[:1000])
        case "code":
            settings |= {"model_type": "mine", "auto_map": {"AutoModelForImageClassification": "code.Network"}}
            (tmp_path / "code.py").write_text("raise SystemExit('the code of a repository ran')")
        case "quantized":
            settings["quantization_config"] = {"quant_method": "bitsandbytes"}
        case "list":
            settings = [settings]
        case "lanczos":
            prepared["resample"] = 1
        case "not resized":
            prepared["do_resize"] = False
        case "processor":
            (tmp_path / "preprocessor_config.json").unlink()
    config.write_text(json.dumps(settings))
    if change != "processor":
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(prepared))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("head", r"2 missing \(classifier.bias, classifier.weight\).*trained to classify"),
        ("layer", r"\d+ unexpected \(vit"),
        ("pickle", "has pytorch_model.bin but no model.safetensors"),
        ("weights", "has no model.safetensors; download it"),
        ("damaged", "transformers cannot load it"),
        ("code", "needs code of its repository, which is never run"),
        ("quantized", "is quantized"),
        ("list", "config.json: holds list"),
        ("lanczos", "Pillow's method 1.*model.resize, model.crop, model.mean"),
        ("not resized", "not always the same square.*model.resize"),
        ("processor", "cannot be told from its preprocessor_config.json.*model.resize"),
    ],
)
def test_a_folder_that_is_not_whole_is_refused(change: str, said: str, tmp_path: Path) -> None:
    folder_without(tmp_path, change)
    with pytest.raises(ClassifierError, match=said) as raised:
        load_classifier(f"hf:{tmp_path}")
    assert "\n" not in str(raised.value)
    if change == "processor":
        given = load_classifier(f"hf:{tmp_path}", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)).preprocessing
        assert (given.crop_side, given.resize_side, given.mean) == (64, 64, (0.5, 0.5, 0.5))


def test_a_repository_that_is_not_at_hand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    said = r"could not be downloaded.*hf download some/network --local-dir FOLDER.*--model hf:FOLDER"
    with pytest.raises(ClassifierError, match=said) as raised:
        load_classifier("hf:some/network")
    assert "\n" not in str(raised.value)
    assert "downloading some/network from Hugging Face\n" in capsys.readouterr().err
    for name in ("nowhere", "./nowhere/at_all", "/nowhere/at_all", "a/b/c"):
        with pytest.raises(ClassifierError, match="there is no such folder"):
            load_classifier(f"hf:{name}")


def test_a_repository_in_the_cache_needs_no_connection(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys) -> None:
    cached = tmp_path / "models--some--network"
    snapshot = cached / "snapshots" / ("a" * 40)
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("a" * 40)
    vit().save_pretrained(snapshot)
    transformers.ViTImageProcessor(size={"height": 64, "width": 64}).save_pretrained(snapshot)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert load_classifier("hf:some/network").name == "hf:some/network"
    assert "downloading" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "options", "data"),
    [
        ("resnet26d", {}, {}),
        ("vit_tiny_patch16_224", {"depth": 1}, {"mean": [0.5] * 3, "std": [0.25, 0.5, 1.0], "crop_pct": 0.9}),
        ("mobilenetv3_small_050", {}, {"crop_mode": "squash", "interpolation": "bilinear", "crop_pct": 1.0}),
        ("mobilenetv3_small_050", {}, {"crop_mode": "squash", "interpolation": "bilinear", "crop_pct": 0.875}),
    ],
)
def test_a_folder_of_timm_is_prepared_as_timm_does(
    name: str, options: dict, data: dict, tmp_path: Path, photograph: np.ndarray
) -> None:
    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=3, **options).eval()
    save_file(network.state_dict(), tmp_path / hub.WEIGHTS)
    cfg = {**network.pretrained_cfg, **data, "num_classes": 3}
    cfg = {key: list(value) if isinstance(value, tuple) else value for key, value in cfg.items()}
    described = {"label_names": ["n1", "n2", "n3"], "label_descriptions": {"n1": "one", "n2": "two", "n3": "three"}}
    content = {"architecture": name, "num_classes": 3, "model_args": options, "pretrained_cfg": cfg, **described}
    (tmp_path / hub.CONFIGURATION).write_text(json.dumps(content))
    classifier = load_classifier(f"hf:{tmp_path}")
    assert classifier.class_names == ("one", "two", "three")
    settings = timm.data.resolve_data_config({}, pretrained_cfg=cfg)
    transform = timm.data.create_transform(**settings)
    prepared = transform(Image.fromarray(photograph))[None]
    own = classifier.normalized(classifier.preprocessing.analyzed_image(photograph)[None].float() / 255)
    # Pillow rounds to another whole value here and there.
    off = (own - prepared).abs() * torch.tensor(settings["std"]).view(1, 3, 1, 1) * 255
    assert off.max() < 2.01 and (off > 0.01).float().mean() < 0.01
    torch.testing.assert_close(logits(classifier, photograph), network(prepared), atol=1e-4, rtol=1e-4)


def test_a_network_of_timms_by_name(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = timm.create_model("mobilenetv3_small_050", num_classes=7).eval()
    torch.save({"state_dict": {f"module.{n}": t for n, t in network.state_dict().items()}}, tmp_path / "best.pth.tar")
    classifier = load_classifier("timm:mobilenetv3_small_050", tmp_path / "best.pth.tar")
    images = torch.rand(1, 3, 224, 224)
    assert classifier.class_names[0] == "class 0" and classifier.name.endswith("small_050 (best.pth.tar)")
    assert torch.equal(classifier.logits(images), network(classifier.normalized(images)))
    random = load_classifier("timm:mobilenetv3_small_050", "random")
    assert random.wordnet_ids[0] == "n01440764" and random.preprocessing.interpolation == "bicubic"
    sized = load_classifier("timm:vit_tiny_patch16_224", "random", crop_side=64)
    assert sized.preprocessing.crop_side == 64 and sized.logits(torch.rand(1, 3, 64, 64)).shape == (1, 1000)


def test_timms_own_weights_come_as_safetensors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    network = timm.create_model("mobilenetv3_small_050").eval()
    save_file(network.state_dict(), tmp_path / hub.WEIGHTS)
    asked = []

    def file(*names: str) -> Path:
        asked.append(names)
        return tmp_path / hub.WEIGHTS

    monkeypatch.setattr(timm_networks, "published_file", file)
    classifier = load_classifier("timm:mobilenetv3_small_050", "pretrained")
    images = torch.rand(1, 3, 224, 224)
    assert torch.equal(classifier.logits(images), network(classifier.normalized(images)))
    assert asked == [("timm/mobilenetv3_small_050.lamb_in1k", "model.safetensors")]


@pytest.mark.parametrize(
    ("spec", "weights", "said"),
    [
        ("timm:resnet26dd", "random", "timm has no network 'resnet26dd'; did you mean resnet26d"),
        ("timm:resnet26d", None, "needs weights: a file .*pretrained .*or random"),
        ("timm:resnet26d", "pretraned", "neither a file"),
        ("timm:resnet26d.nobody", "pretrained", "nobody"),
        ("timm:resnet26d", Path("nowhere.pth"), "nowhere.pth: there is no such weights file"),
    ],
)
def test_bad_names_of_timms_say_what_to_do(spec: str, weights: str | Path | None, said: str) -> None:
    with pytest.raises(ClassifierError, match=said) as raised:
        load_classifier(spec, weights)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("package", "spec"), [("timm", "timm:resnet26d"), ("huggingface_hub", "hf:some/network")])
def test_a_library_that_is_not_installed(package: str, spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ClassifierError, match=rf"{package} is not installed; install it with pip install 'visual-summ"):
        load_classifier(spec, "random")
