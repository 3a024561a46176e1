"""What the code itself decides of a table: numbers that no setting names, as JSON values for a stage's settings.

A constant of a module, a preset's number, a default: whoever changes one need not remember that tables were made with
the old one. What is computed with them is not seen here; that is what versions are for, and the golden tests guard
those (`tests/stages/golden_stages.py`, `tests/explain/golden_maps.py`).
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import torch

from visual_summaries.pipeline.explain.interface import Explainer
from visual_summaries.pipeline.models.classifier import weights_digest

PACKAGE = "visual_summaries.pipeline."
# Their modules lead to others of theirs.
ROOMS = tuple(PACKAGE + room for room in ("explain.", "summarize.", "evaluate."))
# How work is cut up: memory, things at a time, looks at whether it is over; and menus, from which settings choose.
# By the bare name where it is imported.
NEVER_IN_A_RESULT = frozenset(
    {
        "PASS_IMAGES",
        "PASS_MEMORY",
        "visual_summaries.pipeline.explain.feature_cam.CHOSEN",
        "visual_summaries.pipeline.explain.feature_cam.VERSIONS",
        "visual_summaries.pipeline.explain.fgvis_settings.GOALS",
        "visual_summaries.pipeline.explain.fgvis_settings.SEARCHES",
        "visual_summaries.pipeline.explain.fgvis_settings.SIMILARITIES",
        "visual_summaries.pipeline.explain.glas.MODES",
        "visual_summaries.pipeline.summarize.proposals.COLOR_SPACES",
        "visual_summaries.pipeline.summarize.proposals.STRATEGIES",
        "visual_summaries.pipeline.evaluate.intervals._DRAWS_AT_ONCE",
        "visual_summaries.pipeline.explain.capacity.FIRST_IMAGES",
        "visual_summaries.pipeline.explain.capacity.MOST_IMAGES",
        "visual_summaries.pipeline.explain.capacity.SHARE",
        "visual_summaries.pipeline.explain.engine.MOST_TOGETHER",
        "visual_summaries.pipeline.explain.engine.PASSES_TOGETHER",
        "visual_summaries.pipeline.explain.engine.STEPS_BETWEEN_LOOKS",
        "visual_summaries.pipeline.explain.engine.STEPS_WHILE_GROWING",
        "visual_summaries.pipeline.explain.pieces.ROUNDS",
        "visual_summaries.pipeline.summarize.consensus.CHUNK",
        "visual_summaries.pipeline.summarize.hog._BOXES_AT_ONCE",
        "visual_summaries.pipeline.summarize.hog._PATCHES_AT_ONCE",
        "visual_summaries.pipeline.summarize.hough._ROWS_AT_ONCE",
        "visual_summaries.pipeline.summarize.local_offsets._ELEMENTS_AT_ONCE",
        "visual_summaries.pipeline.summarize.local_offsets._WIDTH_STEP",
        "visual_summaries.pipeline.summarize.pair_scores._ELEMENTS_AT_ONCE",
        "visual_summaries.pipeline.summarize.sparse_affinity.BLOCK_EDGES",
    }
)
# Attributes of explainers and their settings that are likewise.
PACKING = frozenset({"memory"})


class _Opaque(Exception):
    """A value that is no plain one."""


def constants(*of: Any) -> dict[str, Any]:
    """The plain constants (numbers, texts, collections of them) of modules, by module and name.

    Of `explain`, `summarize` and `evaluate` those of all modules that they import from these three rooms as well; of
    others, such as a stage's own module, no more than their own. Nothing that tells only how work is cut up.

    Args:
        of: modules by their names, or functions and classes of theirs.
    """
    found = {}
    waiting, seen = [one if isinstance(one, str) else one.__module__ for one in of], set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        module = sys.modules[name]
        for constant, value in vars(module).items():
            whole = f"{name}.{constant}"
            if constant.strip("_").isupper() and not {constant, whole} & NEVER_IN_A_RESULT:
                try:
                    found[whole] = _plain(value)
                except _Opaque:
                    pass
            if name.startswith(ROOMS):
                waiting += [owner for owner in _owners(value) if owner.startswith(ROOMS)]
    return found


def effective_settings(explainer: Explainer) -> dict[str, Any]:
    """All that an explainer's maps are made with, beside the code: what its settings and presets stand for."""
    method = explainer.method() if hasattr(explainer, "method") else None
    return {
        "explainer": effective(explainer),
        "method": effective(method),
        "constants": constants(type(explainer).__module__),
    }


def effective(value: Any) -> Any:
    """A value as JSON: plain ones as they are, of objects of this house the public attributes, of others the name.

    Attributes that tell only how work is packed are left out; of a network it is the digest of its weights.
    """
    try:
        return _plain(value)
    except _Opaque:
        pass
    if isinstance(value, (tuple, list)):
        return [effective(one) for one in value]
    if isinstance(value, Mapping):
        return {str(name): effective(one) for name, one in value.items()}
    kind = value if isinstance(value, (type, FunctionType)) else type(value)
    name = f"{kind.__module__}.{kind.__qualname__}"
    if isinstance(value, torch.nn.Module):
        return [name, weights_digest(value.state_dict())]
    if kind is value or not name.startswith(PACKAGE):
        return name
    return [name, {name: effective(one) for name, one in _attributes(value) if name not in PACKING}]


def _attributes(value: Any) -> Iterator[tuple[str, Any]]:
    if is_dataclass(value):
        own = {field.name: getattr(value, field.name) for field in fields(value)}
    else:
        classes = [one for one in reversed(type(value).__mro__) if one.__module__.startswith(PACKAGE)]
        own = {name: one for each in classes for name, one in vars(each).items() if not _is_code(one)} | vars(value)
    return ((name, one) for name, one in sorted(own.items()) if not name.startswith("_"))


def _is_code(value: Any) -> bool:
    """Whether a class's attribute is a method, a property or the like."""
    return callable(value) or hasattr(type(value), "__get__")


def _owners(value: Any) -> Iterator[str]:
    """Modules that what a module holds comes from."""
    if isinstance(value, ModuleType):
        yield value.__name__
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _owners(one)
    elif isinstance(owner := getattr(value, "__module__", None), str):
        yield owner


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (torch.Tensor, np.ndarray, np.generic)):
        return value.tolist()
    if isinstance(value, (frozenset, set)):
        return sorted(_plain(one) for one in value)
    if isinstance(value, (tuple, list)):
        return [_plain(one) for one in value]
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    raise _Opaque
