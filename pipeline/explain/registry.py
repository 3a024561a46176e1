"""The explainers by name. A new one is one file in this folder and one line here."""

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.explain.crisp import CrispMasks
from pipeline.explain.fgvis import FGVis
from pipeline.explain.interface import Explainer


@dataclass(frozen=True)
class Entry:
    """An explainer and how its maps are cut into salient regions unless the user says otherwise.

    Attributes:
        make: what makes it.
        settings: names of the settings (of the section `explain`) that it is made with, in order; the first names the
            variant.
        smoothing: blur of its maps before the cut, σ in pixels of a 224-px image.
        share: the most salient share of pixels that counts; None: whatever exceeds `threshold`.
        threshold: saliency above it is salient.
    """

    make: Callable[..., Explainer]
    settings: tuple[str, ...]
    smoothing: float = 0.0
    share: float | None = None
    threshold: float = 0.5


EXPLAINERS = {
    "crisp": Entry(CrispMasks, ("preset", "blur")),
    # Fine lines, not regions: smoothed, and as many pixels as a crisp mask has.
    "fgvis": Entry(FGVis, ("game", "similarity"), smoothing=5.0, share=0.1),
}


def make_explainer(name: str, *settings: object) -> Explainer:
    """The explainer `name` with its settings.

    Raises:
        ValueError: no such explainer.
    """
    if name not in EXPLAINERS:
        raise ValueError(f"unknown explainer {name!r}; known: {', '.join(EXPLAINERS)}")
    return EXPLAINERS[name].make(*settings)
