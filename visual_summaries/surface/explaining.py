"""Explaining photographs one by one: the classifier, methods and settings of a run, without Ray and tables."""

import copy
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from visual_summaries.pipeline.config import ConfigurationError, RunConfig
from visual_summaries.pipeline.explain.engine import Item, explain_stream
from visual_summaries.pipeline.explain.interface import Explanation as Found
from visual_summaries.pipeline.explain.interface import scores_of_images
from visual_summaries.pipeline.explain.registry import make_explainer
from visual_summaries.pipeline.models.classifier import Classifier, ClassifierError
from visual_summaries.pipeline.models.loading import classifier_of_network, fitted, network_and_preprocessing
from visual_summaries.pipeline.models.preparation import PreparedClassifier, use_precision
from visual_summaries.pipeline.models.preprocessing import Preprocessing
from visual_summaries.pipeline.stages.classifier import classifier_of, declared
from visual_summaries.pipeline.stages.context import chunks
from visual_summaries.pipeline.stages.explain import (
    NOT_FINITE,
    explainer_name,
    figures_of,
    image_generator,
    own_settings,
    stored_saliency,
)
from visual_summaries.pipeline.stages.regions import salient_of
from visual_summaries.surface.explanation import Explanation, Explanations
from visual_summaries.surface.given import Photograph, configured, decoded, leaves_given, targets_of

Model = str | Classifier | nn.Module | tuple[nn.Module, Preprocessing | dict[str, Any]]

OF_MODELS = ("model.", "seed")
# What has a meaning for a photograph by itself.
OF_PHOTOGRAPHS = (*OF_MODELS, "explain.", "regions.", "preset")
# But for what is about many.
OF_RUNS = {"explain.policy", "explain.target", "explain.shard_size", "regions.minimum_area", "model.self_check"}


def load_model(
    model: Model,
    weights: Any = None,
    *,
    class_names: Sequence[str] | None = None,
    settings: Mapping[str, Any] | None = None,
    device: torch.device | str | None = None,
) -> Classifier:
    """A classifier, ready to be explained as often as one likes.

    Args:
        model: as `--model` has it: "torchvision:resnet50", "timm:…", "hf:…", "module:function", or "demo", the built-in
            network. Or a `torch.nn.Module` of one's own, or a pair of it and its `Preprocessing` (or a dictionary of
            the latter's fields); without one it gets what most networks of ImageNet want. The module is copied, yours
            stays as it is.
        weights: a file (.safetensors, or .pt, of which nothing but tensors is read), the name of a library's weights,
            "pretrained" or "random", as `--weights`.
        class_names: of the network's outputs, in order, where they are not known.
        settings: of the section model, such as {"model.head": "sigmoid"}; `visual-summaries summarize --print-config`
            lists them.
        device: where the network runs; by default on the GPU if there is one.

    Raises:
        ClassifierError: it cannot be loaded, or does not work as a classifier.
        ConfigurationError: settings that are not known, or not a model's.

    Example:
        >>> load_model("demo").class_names[:3]
        ('crested bird', 'fan-tailed bird', 'steam locomotive')
    """
    named = {"model.name": model if isinstance(model, str) else None, "model.weights": weights}
    config = configured(settings, named)
    _check_meaning(settings, OF_MODELS, "a model")
    if isinstance(model, Classifier):
        classifier = model
        if weights is not None or settings:
            raise ConfigurationError("weights and settings belong to load_model: this model has been loaded already")
    elif isinstance(model, str):
        classifier = classifier_of(config)
    else:
        classifier = _of_module(model, config)
    if class_names is not None:
        classifier = _renamed(classifier, class_names)
    return classifier.to(_device(device))


def explain(
    images: Photograph | Iterable[Photograph],
    model: Model,
    method: str | None = None,
    *,
    target: int | str | Iterable[int | str | None] | None = None,
    weights: Any = None,
    settings: Mapping[str, Any] | None = None,
    device: torch.device | str | None = None,
) -> Explanation | Explanations:
    """Explain what a classifier sees in a photograph, or in each of several.

    The map is the one that a run makes of the same file, with the same model and settings.

    Args:
        images: a path or address, a PIL image or an array uint8 [H, W, 3]; or several of them.
        model: as `load_model` takes it, or what it returned, which spares loading it again at every call.
        method: "crisp" (the default), "fgvis", "glas", "rglas", "rise", "occlusion", "lime", "grad-cam", "grad-cam++",
            "smooth-grad-cam++", "cam", "feature-cam", "gradient", "guided-backpropagation", "integrated-gradients",
            "smoothgrad", "meaningful-perturbation" or "thresholded-perturbation".
        target: index or name of the class whose score is explained, or one for each photograph; by default the class
            of the highest score.
        weights: as of `load_model`.
        settings: of the sections explain, model and regions, such as {"explain.preset": "fast"}; and seed.
        device: as of `load_model`.

    Returns:
        An `Explanation`; of several photographs `Explanations`.

    Raises:
        DecodeError: a photograph cannot be read; the message names it.
        ClassifierError: as `load_model`, or the method cannot be used with this network.
        ConfigurationError: an unknown method or setting, or an impossible value.
        ValueError: the target is no class; an array of another form; a map that is not finite.
        TypeError: something that is no photograph, or no target.

    Example:
        >>> import numpy as np
        >>> noise = np.random.default_rng(0).integers(0, 256, (150, 150, 3), np.uint8)
        >>> explain(noise, "demo", "grad-cam", target="saxophone").map.shape
        (1, 128, 128)
    """
    one = isinstance(images, str | bytes | Image.Image | np.ndarray) or not isinstance(images, Iterable)
    photographs = [images] if one else list(images)
    config = configured(settings, {"explain.explainer": method})
    _check_meaning(settings, OF_PHOTOGRAPHS, "a photograph by itself")
    of_model = {name: value for name, value in leaves_given(settings) if name.startswith(OF_MODELS)}
    if isinstance(model, Classifier):
        # Its seed drew random weights; the one here draws what methods draw.
        of_model.pop("seed", None)
    classifier = load_model(model, weights, settings=of_model, device=device or _own_device(model))
    wanted = targets_of(target, len(photographs), classifier)
    found = _explained(photographs, classifier, wanted, config)
    return found[0] if one else Explanations(found)


def _explained(
    photographs: Sequence[Photograph], classifier: Classifier, wanted: Sequence[int | None], config: RunConfig
) -> list[Explanation]:
    settings, preprocessing = config.explain, classifier.preprocessing
    squares, ids, sources = [], [], []
    for photograph in photographs:
        pixels, image_id, source = decoded(photograph)
        squares.append(preprocessing.analyzed_image(pixels))
        ids.append(image_id)
        sources.append(source)
    with _precision(settings.precision):
        predictions = _predicted(classifier, squares, config.model.batch_size)
        targets = [own if given is None else given for given, own in zip(wanted, predictions, strict=True)]
        explainer = make_explainer(settings.explainer, *own_settings(settings), memory=settings.pass_memory)
        prepared = PreparedClassifier(classifier, settings.precision)

        def items() -> Iterator[Item]:
            for number, (square, image_id) in enumerate(zip(squares, ids, strict=True)):
                generator = image_generator(config.seed, image_id, classifier.device)
                yield Item(number, square.float().div(255), targets[number], generator)

        found = dict(explain_stream(explainer, prepared, items(), classifier.device, settings.batch_size))
    return [
        _shown(found[number], squares[number], targets[number], predictions[number], source, classifier, config)
        for number, source in enumerate(sources)
    ]


def _shown(
    found: Found,
    square: Tensor,
    target: int,
    prediction: int,
    source: str | None,
    classifier: Classifier,
    config: RunConfig,
) -> Explanation:
    figures = figures_of(found)
    if not all(map(math.isfinite, figures.values())):
        raise ValueError(NOT_FINITE if source is None else f"{source}: {NOT_FINITE}")
    return Explanation(
        image=square.permute(1, 2, 0).contiguous().numpy(),
        map=found.saliency[0].float().cpu().numpy(),
        salient=salient_of(stored_saliency(found), config),
        method=explainer_name(config),
        target=target,
        target_name=classifier.class_names[target],
        prediction=prediction,
        prediction_name=classifier.class_names[prediction],
        score=figures["score_before"],
        score_after=figures.get("score_after"),
        drop=figures.get("drop"),
        area=figures["area"],
        source=source,
    )


@torch.no_grad()
def _predicted(classifier: Classifier, squares: Sequence[Tensor], batch_size: int) -> list[int]:
    """Index of the class of the highest score of each square uint8 `[3,S,S]`."""
    found: list[int] = []
    for batch in chunks(squares, batch_size):
        images = torch.stack(list(batch)).to(classifier.device).float().div_(255)
        found += scores_of_images(classifier, images).argmax(dim=1).tolist()
    return found


def _of_module(model: Any, config: RunConfig) -> Classifier:
    """A classifier of a person's own module, on the processor, of a copy."""
    is_pair = isinstance(model, tuple) and len(model) == 2
    module, preprocessing = model if is_pair else (model, Preprocessing())
    if not isinstance(module, nn.Module) or not isinstance(preprocessing, Preprocessing | dict):
        raise TypeError(
            "a model is a text as --model takes, what load_model returned, a torch.nn.Module, or a pair of that and "
            f"its Preprocessing, not {_kind(model)}"
        )
    name = type(module).__name__
    module, preprocessing = network_and_preprocessing(name, (module, preprocessing))
    try:
        # Loading freezes a network and turns it to float32 and evaluation; whoever trains this one would be surprised.
        module = copy.deepcopy(module).cpu()
    except Exception as error:
        raise ClassifierError(
            f"{name} cannot be copied ({error}): give it as module:function, a function that makes it"
        ) from error
    called = fitted(name, module, config.model.weights_or_file)
    return classifier_of_network((module, preprocessing, None, called), **declared(config))


def _kind(model: Any) -> str:
    name = type(model).__name__
    return f"{name} of {', '.join(type(one).__name__ for one in model)}" if isinstance(model, tuple) else name


def _renamed(classifier: Classifier, names: Sequence[str]) -> Classifier:
    if len(names) != len(classifier.class_names):
        raise ClassifierError(
            f"there are {len(names)} class names, but {classifier.name} has {len(classifier.class_names)} classes"
        )
    renamed = copy.copy(classifier)
    renamed.class_names, renamed.wordnet_ids = tuple(map(str, names)), None
    return renamed


def _check_meaning(settings: Mapping[str, Any] | None, meant: tuple[str, ...], what: str) -> None:
    for name, _ in leaves_given(settings):
        if name in OF_RUNS:
            raise ConfigurationError(f"{name} is about a whole run and means nothing for {what}: leave it out")
        if not any(name.startswith(one) if one.endswith(".") else name == one for one in meant):
            known = ", ".join(f"{one}*" if one.endswith(".") else one for one in meant)
            raise ConfigurationError(f"{name} means nothing for {what}; {known} do")


def _device(device: torch.device | str | None) -> torch.device:
    return torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))


def _own_device(model: Model) -> torch.device | None:
    """Where a model is that was loaded already."""
    return model.device if isinstance(model, Classifier) else None


@contextmanager
def _precision(precision: str) -> Iterator[None]:
    """How this process's GPU multiplies matrices, as in a run's workers; afterwards as before."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    use_precision(precision)
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before
