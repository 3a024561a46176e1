"""Where in a checkpoint the weights are: training loops keep them among other things, each under a name of its own."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from torch import Tensor

# Averaged weights first: whoever keeps them means them to be used.
AVERAGED = ("state_dict_ema", "model_state_dict_ema", "model_ema", "ema_state_dict", "ema_model", "ema")
PLAIN = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "module", "weights", "params")
# Beside the weights, and tensors by name as well.
OTHERS = ("optim", "scheduler", "lr_", "scaler", "callbacks", "loops", "criterion", "loss", "metrics", "hyper")
DEEPEST = 3
SHOWN = 5


class Weights(OrderedDict[str, Tensor]):
    """Tensors by name, as a network's `state_dict` has them.

    Attributes:
        container: under which names they were found, from the outside in; empty where the file holds nothing else.
        _metadata: module's name → `{"version": …}` as torch keeps it, or None where the file does not say; torch looks
            for it under this name.
    """

    container: tuple[str, ...] = ()
    _metadata: OrderedDict[str, dict[str, Any]] | None = None


def weights_in(content: Any) -> Weights:
    """The weights in what a checkpoint holds.

    Args:
        content: tensors by name, or a mapping in which they are under a name, as `{"state_dict": …, "epoch": 3}`, up to
            three deep. Averaged weights go before others; of names that are not known there must be but one.

    Raises:
        ValueError: there are none, or it does not follow which; the message begins with "holds" and names what was
            found.
    """
    found, container = _search(content, DEEPEST)
    if found is None and isinstance(content, Mapping) and not content:
        return Weights()
    if found is None:
        raise ValueError(f"holds {described(content)} rather than tensors by name")
    # A loop may have put its own numbers among them.
    weights = Weights((name, value) for name, value in found.items() if isinstance(value, Tensor))
    weights.container, weights._metadata = container, _versions(found)
    return weights


def _search(content: Any, depth: int) -> tuple[Mapping[str, Any] | None, tuple[str, ...]]:
    if not isinstance(content, Mapping) or not all(isinstance(name, str) for name in content):
        return None, ()
    tensors = sum(isinstance(value, Tensor) for value in content.values())
    nested = {}
    if depth and tensors < len(content):
        nested = {
            name: (inner, (name, *below))
            for name, (inner, below) in ((name, _search(value, depth - 1)) for name, value in content.items())
            if inner is not None and not name.lower().startswith(OTHERS)
        }
    known = next((name for name in (*AVERAGED, *PLAIN) if name in nested), None)
    if known is not None:
        return nested[known]
    if tensors:
        return content, ()
    if len(nested) > 1:
        raise ValueError(f"holds weights more than once, as {', '.join(nested)}; save one of them alone")
    return next(iter(nested.values()), (None, ()))


def _versions(found: Mapping[str, Any]) -> OrderedDict[str, dict[str, Any]] | None:
    stored = getattr(found, "_metadata", None)
    if not isinstance(stored, Mapping):
        return None
    return OrderedDict(
        (name, {"version": entry["version"]})
        for name, entry in stored.items()
        if isinstance(name, str) and isinstance(entry, Mapping) and isinstance(entry.get("version"), int)
    )


def described(content: Any) -> str:
    """What was found in place of weights, in words."""
    if not isinstance(content, Mapping) or not content:
        return type(content).__name__
    entries = [f"{str(name)[:40]} ({type(value).__name__})" for name, value in list(content.items())[:SHOWN]]
    return f"{type(content).__name__} of {', '.join(entries)}{', …' if len(content) > SHOWN else ''}"
