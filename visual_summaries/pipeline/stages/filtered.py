"""What FGVis's filter catches of the run's network, said once before the run."""

from collections import Counter

import torch

from visual_summaries.pipeline.config import RunConfig
from visual_summaries.pipeline.models.classifier import Classifier
from visual_summaries.pipeline.models.nonlinearities import intercepted_nonlinearities


def filter_notes(config: RunConfig, classifier: Classifier) -> list[str]:
    """A line that counts the nonlinearities whose gradients are filtered, where the explainer is `fgvis`; else none.

    Raises:
        ClassifierError: nonlinearities of the network cannot be seen.
    """
    if config.explain.explainer != "fgvis":
        return []
    side = classifier.preprocessing.crop_side
    image = torch.zeros(1, 3, side, side, device=classifier.device)
    kinds = Counter(call.name for call in intercepted_nonlinearities(classifier.module, image))
    if not kinds:
        return ["FGVis filters nothing: no nonlinearity of the network is known, so evidence that is none may show"]
    listed = ", ".join(f"{count} × {name}" for name, count in kinds.most_common())
    calls = "nonlinearity" if kinds.total() == 1 else "nonlinearities"
    return [f"FGVis filters the gradients of {kinds.total()} {calls} in {classifier.name}: {listed}"]
