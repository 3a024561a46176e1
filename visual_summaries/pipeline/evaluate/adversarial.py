"""Can evidence be generated for a class that is not in the image? The study of FGVis's filter (§3.2, Table 1)."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from visual_summaries.pipeline.explain.engine import Engine, Item
from visual_summaries.pipeline.explain.fgvis_games import FGVisMethod
from visual_summaries.pipeline.explain.fgvis_settings import FGVisSettings
from visual_summaries.pipeline.explain.interface import LogitsFunction, baseline_color

# "very high predictive confidence for the true class".
CONFIDENT = 0.995


@dataclass(frozen=True)
class AdversarialOutcome:
    """What became of one image.

    Attributes:
        generated: whether the target became the class that is predicted.
        score: score of the target on the last explanation.
        iterations: steps taken.
    """

    generated: bool
    score: float
    iterations: int


@torch.no_grad()
def adversarial_targets(classifier: LogitsFunction, images: Tensor) -> Tensor:
    """The least likely class of each image, `[B]` int64; the second least where the zero image is predicted as it.

    Args:
        classifier: with `baseline`, the color in [0,1] that it normalizes to zero.
        images: `[B,3,H,W]` float in [0,1].
    """
    zero = baseline_color(classifier, images).expand(1, 3, *images.shape[-2:])
    predicted_for_zero = classifier.logits(zero).argmax()
    least, second = classifier.logits(images).topk(2, dim=1, largest=False).indices.unbind(dim=1)
    return torch.where(least == predicted_for_zero, second, least)


def generate_adversarials(
    classifier: LogitsFunction,
    items: Iterable[Item],
    device: torch.device,
    filtered: bool,
    iterations: int = 500,
    batch_size: int | None = None,
    learning_rate: float = 0.1,
    progress: Callable[[float], None] = lambda work: None,
) -> Iterator[tuple[Any, AdversarialOutcome]]:
    """Generation game without sparsity term, for images with their adversarial targets; gives (key, outcome).

    An image counts as soon as one of the explanations on the way is predicted as the target; no image is
    given up before `iterations` steps unless its mask no longer changes. `progress`: as in `Engine.run`.
    """
    settings = FGVisSettings(
        game="generation",
        filtered=filtered,
        sparsity_weight=0.0,
        goal="top",
        iterations=iterations,
        patience=iterations,
        first_rate=learning_rate,
        learning_rate=learning_rate,
    )
    for key, explanation in Engine(FGVisMethod(settings), classifier, device, batch_size).run(items, progress):
        # The mask of the last step has not been seen by the stop rule.
        generated = bool(explanation.diagnostics["reached"]) or bool(explanation.diagnostics["top"])
        yield key, AdversarialOutcome(generated, float(explanation.score_after), int(explanation.iterations))
