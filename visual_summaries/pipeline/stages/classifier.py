"""The classifier that a configuration names."""

from pathlib import Path
from typing import Any

from visual_summaries.pipeline.config import RunConfig
from visual_summaries.pipeline.models.classifier import Classifier
from visual_summaries.pipeline.models.loading import load_classifier
from visual_summaries.pipeline.objects import ObjectPath
from visual_summaries.pipeline.stages.fetched import fetched


def classifier_of(config: RunConfig, folder: Path | None = None) -> Classifier:
    """Load the classifier that the configuration names.

    Args:
        folder: of this run on this node, where weights of an object store are kept for its other workers.
    """
    model = config.model
    weights = model.weights_or_file
    if folder is not None and isinstance(weights, ObjectPath):
        weights = fetched(weights, folder)
    return load_classifier(model.name, weights, **declared(config), seed=config.seed)


def declared(config: RunConfig) -> dict[str, Any]:
    """What the configuration says of the classifier beside its name and weights, as arguments of `load_classifier`."""
    model = config.model
    return {
        "labels": model.labels and model.labels.path,
        "resize_side": model.resize,
        "crop_side": model.crop,
        "mean": model.mean,
        "std": model.std,
        "squash": model.squash,
        "channels": model.channels,
        "feature_layer": model.feature_layer,
        "head": model.head,
    }
