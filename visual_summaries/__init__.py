"""Explaining image classifiers, one photograph or a whole data set, from Python.

    from visual_summaries import explain, load_model, open_run, summarize

    explain("bird.jpg", "torchvision:resnet50", "grad-cam", weights="resnet50.safetensors")
    run = summarize("photographs/", "torchvision:resnet50", "runs/mine", weights="resnet50.safetensors")
    run.table("summaries")

What is named here stays as it is; everything below `visual_summaries.pipeline` may change from version to version. The
command line is `visual-summaries --help`, or `python -m visual_summaries --help`.

Nothing is imported before it is used, so that `import visual_summaries` costs nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from visual_summaries.pipeline.config import ConfigurationError
    from visual_summaries.pipeline.data.pixels import DecodeError
    from visual_summaries.pipeline.models.classifier import Classifier
    from visual_summaries.pipeline.models.errors import ClassifierError
    from visual_summaries.pipeline.models.preprocessing import Preprocessing
    from visual_summaries.pipeline.store.tables import StoreError
    from visual_summaries.surface.explaining import explain, load_model
    from visual_summaries.surface.explanation import Explanation, Explanations
    from visual_summaries.surface.runs import Run, open_run
    from visual_summaries.surface.summarizing import summarize

__version__ = "0.1.0"

__all__ = [
    "Classifier",
    "ClassifierError",
    "ConfigurationError",
    "DecodeError",
    "Explanation",
    "Explanations",
    "Preprocessing",
    "Run",
    "StoreError",
    "explain",
    "load_model",
    "open_run",
    "summarize",
]

_PLACES = {
    "Classifier": "pipeline.models.classifier",
    "ClassifierError": "pipeline.models.errors",
    "ConfigurationError": "pipeline.config",
    "DecodeError": "pipeline.data.pixels",
    "Explanation": "surface.explanation",
    "Explanations": "surface.explanation",
    "Preprocessing": "pipeline.models.preprocessing",
    "Run": "surface.runs",
    "StoreError": "pipeline.store.tables",
    "explain": "surface.explaining",
    "load_model": "surface.explaining",
    "open_run": "surface.runs",
    "summarize": "surface.summarizing",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
