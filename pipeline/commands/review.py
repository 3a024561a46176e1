"""What the review server must know of a finished run, from its configuration."""

from pathlib import Path

from pipeline.config import RunConfig
from pipeline.review.app import ReviewedRun
from pipeline.stages.context import classifier_of
from pipeline.stages.explain import explainer_name, preset_of


def reviewed_run(config: RunConfig) -> ReviewedRun:
    """The run of this configuration, as the review server wants it. The classifier is loaded, asked, and let go.

    Raises:
        ClassifierError: it cannot be loaded.
    """
    classifier = classifier_of(config)
    facts = {
        "model": classifier.name,
        "weights": classifier.weights_digest,
        "explainer": explainer_name(config),
        "preset": preset_of(config.explain) or "",
    }
    return ReviewedRun(Path(config.output), classifier.preprocessing, classifier.class_names, facts)
