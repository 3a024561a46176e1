"""timm's networks: by name, or from a folder as its `save_for_hf` writes it; prepared as their configuration says."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import nn

from visual_summaries.pipeline.models.classifier import ClassifierError
from visual_summaries.pipeline.models.hub import CONFIGURATION, INDEX, library, one_line, published_file, weights_of
from visual_summaries.pipeline.models.labels import IMAGENET_CLASSES, Labels, imagenet_labels
from visual_summaries.pipeline.models.preprocessing import INTERPOLATIONS, Preprocessing
from visual_summaries.pipeline.models.weights import SUFFIXES, called, classes_in, fit_weights, named_for, read_weights
from visual_summaries.pipeline.objects import ObjectPath

PRETRAINED, RANDOM = "pretrained", "random"
# Where timm would get weights from, which is not for a folder's settings to say.
SOURCES = ("url", "file", "state_dict", "hf_hub_id", "hf_hub_filename", "source", "custom_load")
Loaded = tuple[nn.Module, Preprocessing, Labels | None, str]


def load_timm(spec: str, weights: str | Path | ObjectPath | None, crop_side: int | None, seed: int) -> Loaded:
    """A network of timm's, its preprocessing, labels where they are known, and its name.

    Args:
        spec: `timm:<name>`, or `timm:<name>.<tag>` for the configuration of one of its trained weights.
        weights: a file; "pretrained", timm's own, as safetensors from the cache or downloaded; or "random".
        crop_side: side of the input, for networks that are built for one.
        seed: of random weights.

    Raises:
        ClassifierError: with one line that says what is wrong and what to do.
    """
    timm = library("timm", "timm")
    name = spec.removeprefix("timm:")
    if not timm.is_model(name):
        near = difflib.get_close_matches(name.partition(".")[0], timm.list_models(), n=3, cutoff=0.6)
        hint = f"did you mean {' or '.join(near)}?" if near else "see timm.list_models()"
        raise ClassifierError(f"timm has no network {name!r}; {hint}")
    if weights is None:
        raise ClassifierError(
            f"{spec} needs weights: a file ({', '.join(SUFFIXES)}), pretrained (downloaded where they are not in the "
            "cache), or random"
        )
    options = _sized(timm, name, crop_side)
    if weights == PRETRAINED:
        module = _pretrained(timm, spec, name, options)
        return module, *_described(timm, module, spec, {}), f"{spec} (pretrained)"
    if weights == RANDOM:
        module = _built(timm, spec, name, seed, **options)
        return module, *_described(timm, module, spec, {}), f"{spec} (random weights, seed {seed})"
    if isinstance(weights, str) or (weights.suffix.lower() not in SUFFIXES and not weights.exists()):
        raise ClassifierError(
            f"weights {str(weights)!r} of {spec} are neither a file ({', '.join(SUFFIXES)}) nor pretrained nor random"
        )
    module, named = _from_file(timm, spec, name, weights, options)
    return module, *_described(timm, module, spec, {}), f"{spec} ({named})"


def load_timm_folder(
    folder: Path,
    configuration: Mapping[str, Any],
    weights: str | Path | ObjectPath | None,
    crop_side: int | None,
    seed: int,
) -> tuple[nn.Module, Preprocessing, Labels | None]:
    """As `load_timm`, but without a name: of a folder whose `config.json`, `configuration`, names an architecture."""
    timm = library("timm", "timm")
    place, name = folder / CONFIGURATION, str(configuration["architecture"])
    if not timm.is_model(name):
        raise ClassifierError(f"{place}: timm {timm.__version__} has no network {name!r}; install a newer timm")
    inner = configuration.get("pretrained_cfg")
    own = {**configuration, **(inner if isinstance(inner, dict) else {})}
    arguments = configuration.get("model_args")
    options = {**arguments} if isinstance(arguments, dict) else {}
    for key, kind in (("num_classes", int), ("global_pool", str)):
        if isinstance(own.get(key), kind):
            options[key] = own[key]
    known = {field.name for field in fields(timm.models.PretrainedCfg)}
    cfg = {key: value for key, value in own.items() if key in known and key not in SOURCES}
    options["pretrained_cfg"] = cfg
    if crop_side is not None and cfg.get("fixed_input_size"):
        options["img_size"] = crop_side
    if weights == RANDOM:
        module = _built(timm, str(place), name, seed, **options)
        return module, *_described(timm, module, str(place), own)
    if isinstance(weights, str):
        raise ClassifierError(
            f"weights {weights!r} of {folder} must be a file ({', '.join(SUFFIXES)}); leave them out to "
            "take the folder's"
        )
    if weights is None:
        weights = weights_of(folder)
        if not weights.is_file():
            raise ClassifierError(f"{folder} has its weights in several files ({INDEX}); of timm's one file is read")
    module = _built(timm, str(place), name, seed, **options)
    fit_weights(module, read_weights(weights), weights, name)
    return module, *_described(timm, module, str(place), own)


def _sized(timm: Any, name: str, crop_side: int | None) -> dict[str, Any]:
    try:
        cfg = timm.get_pretrained_cfg(name)
    except RuntimeError as error:  # A tag that is not known.
        raise ClassifierError(f"timm:{name}: {one_line(error)} See timm.list_pretrained()") from None
    return {"img_size": crop_side} if crop_side is not None and cfg is not None and cfg.fixed_input_size else {}


def _built(timm: Any, spec: str, name: str, seed: int = 0, **options: Any) -> nn.Module:
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return timm.create_model(name, **{"pretrained": False, **options})
    except Exception as error:  # Whatever a network makes of its arguments.
        raise ClassifierError(f"{spec}: timm cannot build {name}: {one_line(error)}") from error


def _pretrained(timm: Any, spec: str, name: str, options: dict[str, Any]) -> nn.Module:
    cfg = timm.get_pretrained_cfg(name)
    repository = cfg.hf_hub_id if cfg is not None else None
    if not repository:
        raise ClassifierError(f"{spec}: timm has no weights of its own for it; give a file, or random")
    stored = cfg.hf_hub_filename or "model.safetensors"
    file = stored.replace("pytorch_model.bin", "model.safetensors")
    if not file.endswith(".safetensors"):
        raise ClassifierError(
            f"{spec}: timm keeps these weights as {stored}, which is no safetensors file; give a file"
        )
    path = published_file(repository, file)
    overlay = {"file": str(path), "custom_load": False, "source": "file"}
    return _built(timm, spec, name, pretrained=True, pretrained_cfg_overlay=overlay, **options)


def _from_file(
    timm: Any, spec: str, name: str, weights: Path | ObjectPath, options: dict[str, Any]
) -> tuple[nn.Module, str]:
    state = read_weights(weights)
    module = _built(timm, spec, name, **options)
    named = named_for(module, state, weights)
    classes = getattr(module, "num_classes", 0)
    found = classes_in(named, module, classes)
    if found != classes:
        module = _built(timm, spec, name, num_classes=found, **options)
    fit_weights(module, named, weights, spec)
    return module, called(weights, state)


def _described(timm: Any, module: nn.Module, spec: str, own: Mapping[str, Any]) -> tuple[Preprocessing, Labels | None]:
    data = timm.data.resolve_model_data_config(module)
    return preprocessing_of(data, spec), _labels(timm, module, own)


def preprocessing_of(data: Mapping[str, Any], spec: str) -> Preprocessing:
    """The preprocessing of timm's data configuration.

    Args:
        data: as `timm.data.resolve_model_data_config` gives it.

    Raises:
        ClassifierError: it asks for something that is not done here.
    """
    try:
        channels, height, width = data["input_size"]
        interpolation = {"random": "bilinear"}.get(data["interpolation"], data["interpolation"])
        if channels != 3 or height != width:
            raise ValueError(f"its input is {channels} × {height} × {width}; only squares of three channels are given")
        if interpolation not in INTERPOLATIONS or data["crop_mode"] not in ("center", "squash"):
            raise ValueError(
                f"it asks for {interpolation} interpolation and the crop {data['crop_mode']}; there are "
                f"{', '.join(INTERPOLATIONS)}, and center and squash"
            )
        resized, squash = math.floor(height / data["crop_pct"]), data["crop_mode"] == "squash"
        return Preprocessing(
            resize_side=max(resized, height),
            crop_side=height,
            mean=data["mean"],
            std=data["std"],
            interpolation=interpolation,
            squash=squash,
            squash_side=resized if squash and resized != height else None,
        )
    except (ValueError, TypeError, KeyError, ZeroDivisionError) as error:
        raise ClassifierError(f"{spec}: its preprocessing cannot be used: {one_line(error)}") from None


def _labels(timm: Any, module: nn.Module, own: Mapping[str, Any]) -> Labels | None:
    number = getattr(module, "num_classes", 0)
    cfg = getattr(module, "pretrained_cfg", None) or {}
    names = own.get("label_names") or cfg.get("label_names")
    described = own.get("label_descriptions") or cfg.get("label_descriptions") or {}
    if isinstance(names, list | tuple) and len(names) == number:
        names = tuple(str(name) for name in names)
        told = isinstance(described, Mapping)
        return Labels(tuple(str(described.get(name, name)) if told else name for name in names), _wordnet(names))
    if number == IMAGENET_CLASSES:
        return imagenet_labels()
    subset = timm.data.infer_imagenet_subset(module)
    if not subset:
        return None
    info = timm.data.ImageNetInfo(subset)
    names = tuple(info.label_names())
    if len(names) != number:
        return None
    return Labels(tuple(info.index_to_description(index) for index in range(number)), _wordnet(names))


def _wordnet(names: tuple[str, ...]) -> tuple[str, ...] | None:
    """The names where they are WordNet's ids."""
    return names if all(len(name) == 9 and name[0] == "n" and name[1:].isdigit() for name in names) else None
