"""The explainers by name. A new one is one file in this folder and one line here."""

from collections.abc import Callable

from pipeline.explain.crisp import CrispMasks
from pipeline.explain.interface import Explainer

EXPLAINERS: dict[str, Callable[..., Explainer]] = {
    "crisp": CrispMasks,
}
