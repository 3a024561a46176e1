"""Hugging Face's image classifiers, from a folder or a repository: safetensors, and none of the repository's code."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from visual_summaries.pipeline.models.classifier import ClassifierError
from visual_summaries.pipeline.models.hub import (
    CONFIGURATION,
    library,
    one_line,
    published,
    read_configuration,
    weights_of,
)
from visual_summaries.pipeline.models.labels import IMAGENET_CLASSES, Labels, imagenet_labels
from visual_summaries.pipeline.models.preprocessing import Preprocessing
from visual_summaries.pipeline.models.timm_networks import RANDOM, Loaded, load_timm_folder
from visual_summaries.pipeline.models.weights import SUFFIXES, fit_weights, read_weights
from visual_summaries.pipeline.objects import ObjectPath

SHOWN = 3
# By Pillow's numbers.
INTERPOLATIONS = {0: "nearest-exact", 2: "bilinear", 3: "bicubic"}
# Between a library's square and ours: rounding alone, in pixel values of [0, 1].
MEAN_TOLERANCE = 2e-3
# Of a name of ImageNet's: so many of a thousand must be there before WordNet's ids are taken for known.
FOUND_NAMES = 900


def load_hugging_face(
    spec: str, weights: str | Path | ObjectPath | None, crop_side: int | None, seed: int, by_hand: bool
) -> Loaded:
    """A network for image classification, its preprocessing, labels where they are known, and its name.

    Args:
        spec: `hf:<folder>` or `hf:<owner>/<repository>[@revision]`, see `hub.published`; transformers' or timm's.
        weights: none for those of the folder; a file; or "random".
        crop_side: side of the input, for timm's networks that are built for one.
        seed: of random weights.
        by_hand: the preprocessing is given in part: that the folder's cannot be found out is no error.

    Raises:
        ClassifierError: with one line that says what is wrong and what to do.
    """
    folder = published(spec.removeprefix("hf:"), with_weights=weights is None)
    configuration = read_configuration(folder / CONFIGURATION)
    if "architecture" in configuration and "model_type" not in configuration:
        module, preprocessing, labels = load_timm_folder(folder, configuration, weights, crop_side, seed)
    else:
        module = _network(folder, configuration, weights, seed)
        preprocessing = _preprocessing(folder, configuration, by_hand)
        labels = _labels(configuration, module)
    if weights is None:
        return module, preprocessing, labels, spec
    name = weights if isinstance(weights, str) else weights.name
    return module, preprocessing, labels, f"{spec} ({name})"


def logits_alone(_module: nn.Module, _inputs: Any, output: Any) -> Tensor:
    """A forward hook: of what transformers' networks return the logits."""
    return output.logits


def _network(
    folder: Path, configuration: Mapping[str, Any], weights: str | Path | ObjectPath | None, seed: int
) -> nn.Module:
    if "model_type" not in configuration:
        raise ClassifierError(
            f"{folder / CONFIGURATION} names neither a model_type of transformers nor an architecture of timm"
        )
    if "quantization_config" in configuration:
        raise ClassifierError(f"{folder}: the network is quantized, and so has no gradients; give the original")
    if isinstance(weights, str) and weights != RANDOM:
        raise ClassifierError(
            f"weights {weights!r} of hf:{folder} must be a file ({', '.join(SUFFIXES)}); leave them out to take the "
            "folder's"
        )
    transformers = library("transformers", "huggingface")
    classifier, safe = (
        transformers.AutoModelForImageClassification,
        {"local_files_only": True, "trust_remote_code": False},
    )
    try:
        if weights is None:
            weights_of(folder)
            module, info = classifier.from_pretrained(
                folder, use_safetensors=True, dtype=torch.float32, output_loading_info=True, **safe
            )
        else:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                config = transformers.AutoConfig.from_pretrained(folder, **safe)
                module, info = classifier.from_config(config, trust_remote_code=False), {}
    except ClassifierError:
        raise
    except Exception as error:  # Of transformers, of safetensors, or of a network's own.
        code = " (it needs code of its repository, which is never run)" if "auto_map" in configuration else ""
        raise ClassifierError(f"{folder}: transformers cannot load it{code}: {one_line(error)}") from error
    if weights is not None and weights != RANDOM:
        fit_weights(module, read_weights(weights), weights, f"the network of {folder}")
    _check_whole(folder, info)
    module.register_forward_hook(logits_alone)
    return module


def _check_whole(folder: Path, info: Mapping[str, Any]) -> None:
    """Refuse what transformers itself would fill with random numbers, or leave out."""
    found = [
        f"{len(names)} {what} ({', '.join(str(name) for name in sorted(names, key=str)[:SHOWN])}"
        f"{', …' if len(names) > SHOWN else ''})"
        for key, what in (
            ("missing_keys", "missing"),
            ("unexpected_keys", "unexpected"),
            ("mismatched_keys", "of another shape"),
        )
        if (names := info.get(key))
    ]
    if found:
        raise ClassifierError(
            f"{folder}: its weights do not fit its configuration: {'; '.join(found)}. Give the folder of a network "
            "that was trained to classify images"
        )


def _labels(configuration: Mapping[str, Any], module: nn.Module) -> Labels | None:
    named = configuration.get("id2label")
    number = getattr(module.config, "num_labels", 0)
    if not isinstance(named, Mapping):
        return None
    names = [named.get(str(index)) for index in range(number)]
    if not names or not all(isinstance(name, str) and name for name in names):
        return None
    if all(name == f"LABEL_{index}" for index, name in enumerate(names)):
        return None
    return Labels(tuple(names), _wordnet(names))


def _wordnet(names: list[str]) -> tuple[str, ...] | None:
    """ImageNet's ids where these are its names in its order."""
    if len(names) != IMAGENET_CLASSES:
        return None
    labels = imagenet_labels()

    def words(name: str) -> set[str]:
        return {re.sub(r"[\W_]+", " ", one).strip().lower() for one in name.split(",")}

    same = sum(words(own) <= words(name) for own, name in zip(labels.names, names, strict=True))
    return labels.wordnet_ids if same >= FOUND_NAMES else None


def _preprocessing(folder: Path, configuration: Mapping[str, Any], by_hand: bool) -> Preprocessing:
    try:
        transformers = library("transformers", "huggingface")
        try:
            processor = transformers.AutoImageProcessor.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
        except Exception as error:  # No such file, or an unknown kind.
            raise ValueError(one_line(error)) from None
        return preprocessing_of(processor)
    except ValueError as error:
        if by_hand:
            side = configuration.get("image_size")
            side = side if isinstance(side, int) else Preprocessing().crop_side
            return Preprocessing(resize_side=side, crop_side=side)
        raise ClassifierError(
            f"{folder}: how it wants its images cannot be told from its preprocessor_config.json: {error}; give "
            "model.resize, model.crop, model.mean and model.std"
        ) from None


def preprocessing_of(processor: Any) -> Preprocessing:
    """What an image processor of transformers' does, found out by asking it.

    Its settings have other meanings in each of its kinds, so scale and order of the channels are read off images of one
    color, and of the ways to bring an image to a square that its settings may mean the one is taken that gives its own
    result on two images.

    Args:
        processor: takes `images=` and `return_tensors="pt"`, gives `pixel_values` `[1,3,S,S]`.

    Raises:
        ValueError: it does something that no `Preprocessing` does.
    """

    def through(image: np.ndarray) -> Tensor:
        try:
            values = processor(images=Image.fromarray(image), return_tensors="pt")["pixel_values"]
        except Exception as error:  # Whatever it makes of its settings.
            raise ValueError(f"its image processor fails: {one_line(error)}") from None
        if not isinstance(values, Tensor) or values.ndim != 4 or values.shape[:2] != (1, 3):
            raise ValueError(f"its image processor gives {list(getattr(values, 'shape', ()))} for an image")
        return values[0].double()

    def flat(*color: int) -> Tensor:
        result = through(np.full((300, 300, 3), color, np.uint8))
        return result[:, result.shape[1] // 2, result.shape[2] // 2]

    black, white, red = flat(0, 0, 0), flat(255, 255, 255), flat(255, 0, 0)
    scale = white - black
    if not (scale > 0).all():
        raise ValueError("its image processor makes light dark, or all the same")
    reached = ((red - black) / scale).round().tolist()
    if reached not in ([1.0, 0.0, 0.0], [0.0, 0.0, 1.0]):
        raise ValueError("its image processor mixes the channels")
    channels = "rgb" if reached[0] else "bgr"
    if channels == "bgr":
        black, scale = black.flip(0), scale.flip(0)
    common = {"mean": tuple((-black / scale).tolist()), "std": tuple((1 / scale).tolist()), "channels": channels}
    images = [_picture(250, 333), _picture(390, 260)]
    results = [through(image) for image in images]
    side = results[0].shape[1]
    if any(result.shape[1:] != (side, side) for result in results):
        raise ValueError(f"its image processor gives {side} × {results[0].shape[2]} pixels, not always the same square")
    number = getattr(processor, "resample", 2)
    interpolation = INTERPOLATIONS.get(int(number) if number is not None else 2)
    if interpolation is None:
        raise ValueError(f"it resizes by Pillow's method {number}; there are {', '.join(INTERPOLATIONS.values())}")
    nearest = np.inf
    for geometry in _geometries(processor, side):
        preprocessing = Preprocessing(crop_side=side, interpolation=interpolation, **geometry, **common)
        different = max(
            _difference(preprocessing, image, result) for image, result in zip(images, results, strict=True)
        )
        if different < MEAN_TOLERANCE:
            return preprocessing
        nearest = min(nearest, different)
    raise ValueError(f"the nearest that can be done differs by {nearest:.3f} of the range of pixel values on average")


def _geometries(processor: Any, side: int) -> list[dict[str, Any]]:
    sizes = {side, int(256 / 224 * side)}
    for name in ("size", "crop_size"):
        stored = getattr(processor, name, None)
        values = [stored] if isinstance(stored, int) else list(dict(stored).values()) if stored else []
        sizes |= {value for value in values if isinstance(value, int)}
    # LeViT's keeps this share of what it is told, ConvNeXt's the share that it is told.
    sizes |= {int(256 / 224 * size) for size in sizes}
    share = getattr(processor, "crop_pct", None)
    if share:
        sizes |= {int(side / share), round(side / share)}
    possible = sorted(size for size in sizes if size >= side)
    squashed = ({"resize_side": size, "squash": True, "squash_side": size} for size in possible if size > side)
    return [
        {"resize_side": side, "squash": True},
        # Most begin a crop so; there are others.
        *({"resize_side": size, "floor_crop": floor} for size in possible for floor in (True, False)),
        *({**one, "floor_crop": floor} for one in squashed for floor in (True, False)),
    ]


def _difference(preprocessing: Preprocessing, image: np.ndarray, expected: Tensor) -> float:
    square = preprocessing.analyzed_image(image).double() / 255
    mean, std = (torch.tensor(values).double().view(3, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    own = preprocessing.ordered(((square - mean) / std)[None])[0]
    scale = preprocessing.ordered(std[None])[0]
    return float(((own - expected) * scale).abs().mean())


def _picture(height: int, width: int) -> np.ndarray:
    """An image of blurred spots, uint8 `[height,width,3]`, the same each time."""
    spots = np.random.default_rng(0).integers(0, 256, (height // 6, width // 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(spots).resize((width, height), Image.Resampling.BICUBIC))
