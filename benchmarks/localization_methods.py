"""The methods that the localization benchmarks compare, by name."""

from collections.abc import Callable

from pipeline.explain.interface import Explainer
from pipeline.explain.rise import Rise

METHODS: dict[str, Callable[[], Explainer]] = {
    "rise-4000": lambda: Rise(4000),
    "rise-451": lambda: Rise(451),
}
