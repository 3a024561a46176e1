"""The classifier that a configuration names."""

from pipeline.config import RunConfig
from pipeline.models.classifier import Classifier
from pipeline.models.loading import load_classifier


def classifier_of(config: RunConfig) -> Classifier:
    """Load the classifier that the configuration names."""
    model = config.model
    return load_classifier(
        model.name,
        model.weights_or_file,
        labels=model.labels and model.labels.path,
        resize_side=model.resize,
        crop_side=model.crop,
        mean=model.mean,
        std=model.std,
        squash=model.squash,
        channels=model.channels,
        feature_layer=model.feature_layer,
        seed=config.seed,
    )
