"""Weights files: read without running code that may be in them, and fitted to a network strictly."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from pipeline.models.classifier import ClassifierError
from pipeline.objects import ObjectPath, read_buffer

SUFFIXES = (".safetensors", ".pt", ".pth")
# Under these names training scripts store the weights among other things.
CONTAINERS = ("state_dict", "model_state_dict", "model")
# Complex, quantized and packed ones are no weights here; torch cannot even convert some of them.
FLOATS = ("float64", "float32", "float16", "bfloat16")
SMALL_FLOATS = ("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu")
INTEGERS = ("int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8", "bool")
NUMBERS = frozenset(getattr(torch, name) for name in (*FLOATS, *SMALL_FLOATS, *INTEGERS))
SHOWN = 3


def read_weights(path: Path | ObjectPath) -> dict[str, Tensor]:
    """Read a weights file: tensors by name, floating-point ones as float32, on the CPU.

    Args:
        path: `.safetensors`, or `.pt` / `.pth` as `torch.save(module.state_dict(), path)` writes it, on a disk or in an
            object store, possibly inside a checkpoint (`state_dict`, `model_state_dict`, `model`) or with the prefix
            `module.`.

    Raises:
        ClassifierError: missing, empty, truncated, not a weights file, holding Python objects that would
            have to be unpickled, or values that are not finite.
    """
    try:
        there = path.is_file()
        if not there and isinstance(path, ObjectPath):
            path.check_bucket()
    except OSError as error:
        raise ClassifierError(f"cannot read the weights: {error}") from None
    if not there:
        raise ClassifierError(f"{path}: there is no such weights file")
    if path.suffix.lower() not in SUFFIXES:
        raise ClassifierError(f"{path}: a weights file must end in {', '.join(SUFFIXES)}")
    if path.stat().st_size == 0:
        raise ClassifierError(f"{path}: the weights file is empty; copy or download it again")
    state = _read_safetensors(path) if path.suffix.lower() == ".safetensors" else _read_torch(path)
    if not state:
        raise ClassifierError(f"{path}: there are no weights in the file")
    for name, tensor in state.items():
        if problem := _unusable(tensor):
            raise ClassifierError(f"{path}: {name} {problem}; save plain tensors of real numbers")
    state = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    for name, tensor in state.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ClassifierError(f"{path}: {name} holds values that are not finite; the weights are damaged")
    return state


def _unusable(tensor: Tensor) -> str:
    """What keeps a tensor from being a weight, or nothing."""
    if tensor.layout is not torch.strided or tensor.device.type != "cpu":
        return "is sparse, or without values"
    if tensor.dtype not in NUMBERS:
        return f"holds values of the type {tensor.dtype}"
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        # One value may stand for any number of them: whoever looks at each of them fills the memory.
        return f"has {tensor.numel()} values, more than are stored"
    return ""


def _read_safetensors(path: Path | ObjectPath) -> dict[str, Tensor]:
    try:
        if isinstance(path, ObjectPath):
            return safetensors.torch.load(path.read_bytes())
        return safetensors.torch.load_file(path)
    except Exception as error:
        # What is not checked by its own errors ends in those of torch, as types that it does not know.
        raise ClassifierError(
            f"{path}: truncated or not a safetensors file ({error}); copy or download it again"
        ) from None


def _read_torch(path: Path | ObjectPath) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings():
            # torch warns of odd pickles and of TorchScript; both end in an error of our own.
            warnings.simplefilter("ignore")
            content: Any = torch.load(read_buffer(path), map_location="cpu", weights_only=True)
    except Exception as error:
        # Unpickling damaged bytes raises whatever they lead it to.
        message = str(error)
        refused = re.search(r"GLOBAL (\S+)|Unsupported class (\S+)", message)
        if refused:
            raise ClassifierError(
                f"{path}: holds Python objects ({refused[1] or refused[2]}), not only tensors; loading them "
                "could run code from the file, so they are refused. Where you trust the file, save its "
                "tensors alone: torch.save(module.state_dict(), path)"
            ) from None
        if "TorchScript" in message:
            raise ClassifierError(
                f"{path}: is a TorchScript program, not weights; save torch.jit.load(path).state_dict() instead"
            ) from None
        raise ClassifierError(
            f"{path}: truncated, or not a file written by torch.save; copy or download it again"
        ) from None
    if isinstance(content, Mapping):
        content = next((content[key] for key in CONTAINERS if isinstance(content.get(key), Mapping)), content)
    by_name = isinstance(content, Mapping) and all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    )
    if not by_name:
        raise ClassifierError(
            f"{path}: holds {type(content).__name__} rather than tensors by name; "
            "save it with torch.save(module.state_dict(), path)"
        )
    prefix = "module." if all(name.startswith("module.") for name in content) else ""
    return {name.removeprefix(prefix): value for name, value in content.items()}


def classes_in(state: Mapping[str, Tensor], module: nn.Module, number_of_classes: int) -> int:
    """How many classes weights were trained for, by their difference from a network of `number_of_classes`.

    If all tensors whose shapes differ do so in their first size alone, `number_of_classes` in the network and one
    common number in the file, it is that number; otherwise `number_of_classes`.
    """
    different = [
        (state[name].shape, tensor.shape)
        for name, tensor in module.state_dict().items()
        if name in state and state[name].shape != tensor.shape
    ]
    counts = {found[0] for found, expected in different if found and expected}
    only_first = all(
        found and expected and expected[0] == number_of_classes and found[1:] == expected[1:]
        for found, expected in different
    )
    return counts.pop() if only_first and len(counts) == 1 else number_of_classes


def fit_weights(module: nn.Module, state: Mapping[str, Tensor], path: str | Path, network: str) -> None:
    """Load weights into a network; every one must have its place and its shape.

    Raises:
        ClassifierError: names what is missing, unexpected and differently shaped.
    """
    expected = module.state_dict()
    differing = [name for name, tensor in expected.items() if name in state and state[name].shape != tensor.shape]
    fitting = {name: tensor for name, tensor in state.items() if name not in differing}
    result = module.load_state_dict(fitting, strict=False)
    missing = [name for name in result.missing_keys if name not in differing]
    unexpected = list(result.unexpected_keys)
    if not (missing or unexpected or differing):
        return
    shapes = [f"{name} {list(state[name].shape)} instead of {list(expected[name].shape)}" for name in differing]
    problems = [
        f"{len(names)} {what} ({_first(names)})"
        for what, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes))
        if names
    ]
    raise ClassifierError(
        f"{path} does not fit {network}, which has {len(expected)} tensors: {'; '.join(problems)}. "
        "Name the network that these weights were saved from, or give this network's own weights"
    )


def _first(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")
