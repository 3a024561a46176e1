"""The explainers by name. A new one is one file in this folder and one line here."""

from collections.abc import Callable

from pipeline.explain.crisp import CrispMasks
from pipeline.explain.fgvis import FGVis
from pipeline.explain.interface import Explainer

# Name → what makes it, and the names of the settings (of the section `explain`) that it is made with, in order; the
# first of them names the variant.
EXPLAINERS: dict[str, tuple[Callable[..., Explainer], tuple[str, ...]]] = {
    "crisp": (CrispMasks, ("preset", "blur")),
    "fgvis": (FGVis, ("game", "similarity")),
}


def make_explainer(name: str, *settings: object) -> Explainer:
    """The explainer `name` with its settings.

    Raises:
        ValueError: no such explainer.
    """
    if name not in EXPLAINERS:
        raise ValueError(f"unknown explainer {name!r}; known: {', '.join(EXPLAINERS)}")
    return EXPLAINERS[name][0](*settings)
