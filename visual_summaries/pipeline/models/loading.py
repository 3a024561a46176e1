"""From what a person writes to a classifier: `torchvision:<name>`, `timm:…`, `hf:…`, `module:function`, or `demo`."""

from __future__ import annotations

import difflib
import importlib
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import nn

from visual_summaries.pipeline.models.classifier import Classifier, ClassifierError
from visual_summaries.pipeline.models.heads import logits_tensor
from visual_summaries.pipeline.models.hugging_face import load_hugging_face
from visual_summaries.pipeline.models.labels import (
    IMAGENET_CLASSES,
    TWO_CLASSES,
    Labels,
    imagenet_labels,
    numbered_labels,
    read_labels,
)
from visual_summaries.pipeline.models.own_code import is_code
from visual_summaries.pipeline.models.preprocessing import Preprocessing
from visual_summaries.pipeline.models.recognition import Declared, recognized_head
from visual_summaries.pipeline.models.timm_networks import Loaded, load_timm
from visual_summaries.pipeline.models.weights import SUFFIXES, called, classes_in, fit_weights, named_for, read_weights
from visual_summaries.pipeline.objects import ObjectPath
from visual_summaries.pipeline.suggestions import did_you_mean

# torchvision's networks with auxiliary outputs for training, and where their weights are.
AUXILIARY = {"googlenet": ("aux1", "aux2"), "inception_v3": ("AuxLogits",)}


def load_classifier(
    spec: str,
    weights: str | Path | ObjectPath | None = None,
    *,
    labels: Path | ObjectPath | None = None,
    resize_side: int | None = None,
    crop_side: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    squash: bool | None = None,
    channels: str | None = None,
    feature_layer: str | None = None,
    head: Declared = "auto",
    seed: int = 0,
) -> Classifier:
    """Load a classifier, on the CPU, in float32.

    Args:
        spec: `torchvision:<name>`; `timm:<name>` and `hf:<repository or folder>`, see `timm_networks.load_timm` and
            `hugging_face.load_hugging_face`; `module:function`, a function without arguments, importable also from the
            current folder, that returns a module, or a module with its `Preprocessing` (or the latter's
            fields as a dictionary); or `demo`, the built-in network.
        weights: the path of a `.safetensors`, `.pt` or `.pth` file, never unpickled beyond tensors; for torchvision's
            networks also the name of their weights ("IMAGENET1K_V1", "DEFAULT"), which torchvision may have
            to download, or "random". The number of classes follows from the file. GoogLeNet and Inception
            read from a file transform their input as torchvision's trained ones do. timm's networks take "pretrained"
            as well, which may have to be downloaded.
        labels: file of class names, see `labels.read_labels`. Without it, torchvision's networks of 1,000
            classes have ImageNet's names and WordNet ids; others are numbered.
        resize_side, crop_side, mean, std, squash, channels: replace what the weights call for, see `Preprocessing`. A
            `crop_side` alone scales the resize side with it.
        feature_layer: see `Classifier`.
        head: what the network's outputs mean, see `recognized_head`.
        seed: for "random" weights.

    Raises:
        ClassifierError: with one line that says what is wrong and what to do.
    """
    if spec == "demo":
        module, preprocessing, known_labels, name = _demo(weights)
    elif spec.startswith("torchvision:"):
        module, preprocessing, known_labels, name = _torchvision(spec, weights, crop_side, seed)
    elif is_code(spec):
        module, preprocessing, known_labels, name = _own(spec, weights)
    elif spec.startswith("timm:"):
        module, preprocessing, known_labels, name = load_timm(spec, weights, crop_side, seed)
    elif spec.startswith("hf:"):
        given = (resize_side, crop_side, mean, std, squash, channels)
        by_hand = any(value is not None for value in given)
        module, preprocessing, known_labels, name = load_hugging_face(spec, weights, crop_side, seed, by_hand)
    else:
        guess = f"; did you mean torchvision:{spec}?" if spec in _torchvision_names() else did_you_mean(spec, ["demo"])
        raise ClassifierError(
            f"classifier {spec!r} is none of torchvision:<name>, timm:<name>, hf:<repository or folder>, "
            f"module:function (package.file:function) or demo{guess}"
        )
    return classifier_of_network(
        (module, preprocessing, known_labels, name),
        labels=labels,
        resize_side=resize_side,
        crop_side=crop_side,
        mean=mean,
        std=std,
        squash=squash,
        channels=channels,
        feature_layer=feature_layer,
        head=head,
    )


def classifier_of_network(
    loaded: Loaded,
    *,
    labels: Path | ObjectPath | None = None,
    resize_side: int | None = None,
    crop_side: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    squash: bool | None = None,
    channels: str | None = None,
    feature_layer: str | None = None,
    head: Declared = "auto",
) -> Classifier:
    """The classifier that a network on the CPU makes; the network itself is changed to float32 and frozen.

    Args:
        loaded: the network, its preprocessing, its class names where they are known, and what it is called.
        labels, resize_side, crop_side, mean, std, squash, channels, feature_layer, head: as of `load_classifier`.

    Raises:
        ClassifierError: as `load_classifier`.
    """
    module, preprocessing, known_labels, name = loaded
    preprocessing = _changed(preprocessing, resize_side, crop_side, mean, std, squash, channels)
    module = module.eval().float()
    number_of_outputs = _number_of_outputs(module, preprocessing, name)
    found = recognized_head(module, preprocessing.crop_side, head, name, len(preprocessing.mean))
    number_of_classes = found.classes(number_of_outputs)
    if labels is not None:
        known_labels = read_labels(labels, number_of_classes)
    elif known_labels is None or len(known_labels.names) != number_of_classes:
        known_labels = TWO_CLASSES if found.kind == "binary" else numbered_labels(number_of_classes)
    return Classifier(
        module,
        preprocessing,
        known_labels.names,
        wordnet_ids=known_labels.wordnet_ids,
        name=name,
        feature_layer=feature_layer,
        head=found,
    )


def _demo(weights: str | Path | ObjectPath | None) -> Loaded:
    if weights is not None:
        raise ClassifierError("the demo network has its own weights; leave the weights out")
    from visual_summaries.pipeline.data.demo.network import NETWORK_CLASS_NAMES, load_demo_network

    return load_demo_network(), _demo_preprocessing(), Labels(tuple(NETWORK_CLASS_NAMES)), "demo"


def _demo_preprocessing() -> Preprocessing:
    from visual_summaries.pipeline.data.demo.network import DEMO_MEAN, DEMO_STD

    return Preprocessing(resize_side=128, crop_side=128, mean=DEMO_MEAN, std=DEMO_STD)


def _torchvision_names() -> list[str]:
    return torchvision.models.list_models(module=torchvision.models)


def _torchvision_preprocessing(members: Mapping[str, Any], weights: str | Path | ObjectPath | None) -> Preprocessing:
    """That of the weights if `members` of the network's enumeration has them by name, else of the first published."""
    member = members.get(str(weights)) or members.get("IMAGENET1K_V1")
    return Preprocessing.from_torchvision(member) if member else Preprocessing()


def _torchvision(spec: str, weights: str | Path | ObjectPath | None, crop_side: int | None, seed: int) -> Loaded:
    network = spec.removeprefix("torchvision:")
    if network not in _torchvision_names():
        near = difflib.get_close_matches(network.lower(), _torchvision_names(), n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else "see torchvision.models.list_models()"
        raise ClassifierError(f"torchvision has no classifier {network!r}; {hint}")
    members = torchvision.models.get_model_weights(network).__members__
    if weights is None:
        raise ClassifierError(
            f"{spec} needs weights: a file ({', '.join(SUFFIXES)}), one of {', '.join(members)} "
            "(torchvision downloads it), or random"
        )
    preprocessing = _torchvision_preprocessing(members, weights)
    options: dict[str, Any] = {}
    if network.startswith("vit_"):
        options["image_size"] = crop_side or preprocessing.crop_side

    if weights == "random":
        if network in AUXILIARY:
            options |= {"aux_logits": False, "init_weights": True}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = torchvision.models.get_model(network, weights=None, **options)
        return module, preprocessing, imagenet_labels(), f"{spec} (random weights, seed {seed})"
    if weights in members:
        member = members[str(weights)]
        return (
            _download(network, member),
            preprocessing,
            Labels(tuple(member.meta["categories"]), imagenet_labels().wordnet_ids),
            f"{spec} ({member.name})",
        )
    if isinstance(weights, str) or (weights.suffix.lower() not in SUFFIXES and not weights.exists()):
        near = difflib.get_close_matches(str(weights).upper(), members, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ClassifierError(
            f"weights {str(weights)!r} of {spec} are neither a file ({', '.join(SUFFIXES)}) nor one of "
            f"{', '.join(members)} nor random{hint}"
        )
    state = read_weights(weights)
    auxiliary = AUXILIARY.get(network, ())
    if auxiliary:
        has_auxiliary = any(part in auxiliary for key in state for part in key.split(".")[:-1])
        options |= {"aux_logits": has_auxiliary, "init_weights": False, "transform_input": True}

    def build(number_of_classes: int) -> nn.Module:
        return torchvision.models.get_model(network, weights=None, num_classes=number_of_classes, **options)

    module = build(IMAGENET_CLASSES)
    state = named_for(module, state, weights)
    number_of_classes = classes_in(state, module, IMAGENET_CLASSES)
    if number_of_classes != IMAGENET_CLASSES:
        module = build(number_of_classes)
    fit_weights(module, state, weights, spec)
    if auxiliary and options["aux_logits"]:
        module.aux_logits = False
        for part in auxiliary:
            setattr(module, part, None)
    known_labels = imagenet_labels() if number_of_classes == IMAGENET_CLASSES else None
    return module, preprocessing, known_labels, f"{spec} ({called(weights, state)})"


def _download(network: str, member: Any) -> nn.Module:
    try:
        return torchvision.models.get_model(network, weights=member)
    except (OSError, RuntimeError) as error:
        raise ClassifierError(
            f"torchvision could not get {member} from {member.url} ({error}); download it where there is a "
            "connection and give the file's path as the weights"
        ) from error


def own_object(spec: str) -> Any:
    """What `module:name` names, importable also from the current folder.

    Raises:
        ClassifierError: there is no such module, importing it fails, or it has nothing of that name to be called.
    """
    module_name, _, function_name = spec.partition(":")
    if str(Path.cwd()) not in sys.path and "" not in sys.path:
        # Last, so that a file in the current folder never hides an installed package.
        sys.path.append(str(Path.cwd()))
    importlib.invalidate_caches()
    try:
        imported = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and (module_name == error.name or module_name.startswith(error.name + ".")):
            near = did_you_mean(module_name, ["torchvision"]).replace("torchvision?", f"torchvision:{function_name}?")
            if module_name.endswith(".py"):
                path = Path(module_name)
                near = f"; a module is named without .py: {path.stem}:{function_name}, in the folder of {path.name}"
            raise ClassifierError(
                f"{spec}: there is no module {error.name!r}, neither installed nor in {Path.cwd()}{near}"
            ) from None
        raise ClassifierError(f"{spec}: importing {module_name} failed: {error}") from error
    except Exception as error:
        raise ClassifierError(f"{spec}: importing {module_name} failed: {type(error).__name__}: {error}") from error
    function = getattr(imported, function_name, None)
    if not callable(function):
        functions = [name for name, value in vars(imported).items() if inspect.isroutine(value)]
        near = difflib.get_close_matches(function_name, functions, n=1, cutoff=0.5)
        hint = f"; did you mean {module_name}:{near[0]}?" if near else ""
        raise ClassifierError(f"{spec}: {module_name} has no function {function_name!r}{hint}")
    return function


def returned_by(spec: str, function: Callable[[], Any]) -> Any:
    """What a person's own function returns; whatever it raises becomes a ClassifierError that names it."""
    try:
        return function()
    except Exception as error:
        name = spec.partition(":")[2]
        raise ClassifierError(f"{spec}: {name}() failed: {type(error).__name__}: {error}") from error


def _own(spec: str, weights: str | Path | ObjectPath | None) -> Loaded:
    module, preprocessing = network_and_preprocessing(spec, returned_by(spec, own_object(spec)))
    return module, preprocessing, None, fitted(spec, module, weights)


def network_and_preprocessing(spec: str, result: Any) -> tuple[nn.Module, Preprocessing]:
    """A module, or a pair of it and its `Preprocessing` or the latter's fields as a dictionary, as a pair of the first
    two kinds; without one it is prepared for as for most networks of ImageNet.

    Raises:
        ClassifierError: it is none of these; `spec` is what it is called.
    """
    is_pair = isinstance(result, tuple) and len(result) == 2
    module, preprocessing = result if is_pair else (result, Preprocessing())
    if isinstance(preprocessing, dict):
        known = [field.name for field in fields(Preprocessing)]
        unknown = [key for key in preprocessing if key not in known]
        if unknown:
            raise ClassifierError(f"{spec}: preprocessing has no setting {unknown[0]!r}; there are {', '.join(known)}")
        preprocessing = _built(spec, preprocessing)
    if not isinstance(module, nn.Module) or not isinstance(preprocessing, Preprocessing):
        raise ClassifierError(
            f"{spec} returned {type(result).__name__}; it must return a torch.nn.Module, or a pair of that "
            "and its Preprocessing"
        )
    return module, preprocessing


def fitted(spec: str, module: nn.Module, weights: str | Path | ObjectPath | None) -> str:
    """Fit a weights file, if one is named, to a person's own network; what the network is called from then on.

    Raises:
        ClassifierError: the weights are no file, or do not fit.
    """
    if weights is None:
        return spec
    if isinstance(weights, str) or weights.suffix.lower() not in SUFFIXES:
        raise ClassifierError(
            f"weights {str(weights)!r} of {spec} must be a file ({', '.join(SUFFIXES)}); leave them out to "
            "take the network as the function returns it"
        )
    state = read_weights(weights)
    fit_weights(module, state, weights, spec)
    return f"{spec} ({called(weights, state)})"


def _built(spec: str, settings: dict[str, Any]) -> Preprocessing:
    try:
        return Preprocessing(**settings)
    except (TypeError, ValueError) as error:
        raise ClassifierError(f"{spec}: {error}") from None


def _changed(
    preprocessing: Preprocessing,
    resize_side: int | None,
    crop_side: int | None,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    squash: bool | None,
    channels: str | None,
) -> Preprocessing:
    if crop_side is not None and resize_side is None:
        resize_side = round(preprocessing.resize_side * crop_side / preprocessing.crop_side)
    given = {"resize_side": resize_side, "crop_side": crop_side, "mean": mean, "std": std, "squash": squash}
    given["channels"] = channels
    if crop_side is not None and preprocessing.squash_side is not None:
        given["squash_side"] = round(preprocessing.squash_side * crop_side / preprocessing.crop_side)
    try:
        return replace(preprocessing, **{key: value for key, value in given.items() if value is not None})
    except ValueError as error:
        raise ClassifierError(str(error)) from None


def _number_of_outputs(module: nn.Module, preprocessing: Preprocessing, name: str) -> int:
    """O, by one run on a black image; also shows that the network works at this input size."""
    side = preprocessing.crop_side
    try:
        with torch.no_grad():
            output = module(torch.zeros(1, len(preprocessing.mean), side, side))
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        first = next((layer for layer in module.modules() if isinstance(layer, nn.Conv2d)), None)
        if first is not None and first.in_channels != len(preprocessing.mean):
            wanted = f"{first.in_channels} channel{'s'[: first.in_channels > 1]}"
            raise ClassifierError(
                f"{name} takes images of {wanted}, but its mean and std have {len(preprocessing.mean)} values: "
                "give model.mean and model.std as many as channels"
            ) from error
        raise ClassifierError(f"{name} fails on an image of {side} × {side} pixels: {reason}") from error
    logits = logits_tensor(output, name)
    if logits.isnan().any() or logits.isposinf().any():
        raise ClassifierError(f"{name} gives scores that are not numbers, on a black image: its weights are damaged")
    return logits.shape[1]
