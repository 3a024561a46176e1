"""The explainers by name. A new one is one file in this folder and one line here."""

from collections.abc import Callable

from pipeline.explain.crisp import CrispMasks
from pipeline.explain.interface import Explainer

EXPLAINERS: dict[str, Callable[..., Explainer]] = {
    "crisp": CrispMasks,
}


def make_explainer(name: str, *settings: object) -> Explainer:
    """The explainer `name` with its settings.

    Raises:
        ValueError: no such explainer.
    """
    if name not in EXPLAINERS:
        raise ValueError(f"unknown explainer {name!r}; known: {', '.join(EXPLAINERS)}")
    return EXPLAINERS[name](*settings)
