"""Weights files: read without running code that may be in them, and fitted to a network strictly."""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from visual_summaries.pipeline.models.classifier import ClassifierError
from visual_summaries.pipeline.models.containers import AVERAGED, Weights, weights_in
from visual_summaries.pipeline.models.weight_names import named_as
from visual_summaries.pipeline.objects import ObjectPath, is_there, read_buffer

# Of `best.pth.tar` the last counts.
SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt", ".bin", ".tar")
# Complex, quantized and packed ones are no weights here; torch cannot even convert some of them.
FLOATS = ("float64", "float32", "float16", "bfloat16")
SMALL_FLOATS = ("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu")
INTEGERS = ("int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8", "bool")
NUMBERS = frozenset(getattr(torch, name) for name in (*FLOATS, *SMALL_FLOATS, *INTEGERS))
SHOWN = 3


def read_weights(path: Path | ObjectPath) -> Weights:
    """Read a weights file: tensors by name, floating-point ones as float32, on the CPU.

    Args:
        path: `.safetensors`, or what `torch.save` writes (`.pt`, `.pth`, `.pth.tar`, `.ckpt`, `.bin`), on a disk or in
            an object store: the tensors alone, or a checkpoint that holds them as `containers.weights_in` finds them.

    Raises:
        ClassifierError: missing, empty, truncated, not a weights file, holding Python objects that would
            have to be unpickled, or values that are not numbers.
    """
    try:
        there = is_there(path)
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
    for name, tensor in state.items():
        if tensor.is_floating_point():
            state[name] = tensor.float()
            # What is infinite may be so on purpose, which the network alone can tell.
            if state[name].isnan().any():
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


def _read_safetensors(path: Path | ObjectPath) -> Weights:
    try:
        if isinstance(path, ObjectPath):
            return Weights(safetensors.torch.load(path.read_bytes()))
        return Weights(safetensors.torch.load_file(path))
    except Exception as error:
        # What is not checked by its own errors ends in those of torch, as types that it does not know.
        raise ClassifierError(
            f"{path}: truncated or not a safetensors file ({error}); copy or download it again"
        ) from None


def _read_torch(path: Path | ObjectPath) -> Weights:
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
                "tensors alone: torch.save(module.state_dict(), path), or from a checkpoint "
                "torch.save(torch.load(path, weights_only=False)['state_dict'], path)"
            ) from None
        if "TorchScript" in message:
            raise ClassifierError(
                f"{path}: is a TorchScript program, not weights; save torch.jit.load(path).state_dict() instead"
            ) from None
        raise ClassifierError(
            f"{path}: truncated, or not a file written by torch.save; copy or download it again"
        ) from None
    try:
        return weights_in(content)
    except ValueError as error:
        raise ClassifierError(f"{path}: {error}; save it with torch.save(module.state_dict(), path)") from None


def called(path: Path | ObjectPath, state: Weights) -> str:
    """A weights file as it is named to people: which of the weights in it were taken is part of it."""
    averaged = ".".join(state.container) if set(state.container) & set(AVERAGED) else ""
    return f"{path.name}, {averaged}" if averaged else path.name


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


def named_for(module: nn.Module, state: Mapping[str, Tensor], path: str | Path | ObjectPath) -> Weights:
    """The tensors of the file `path` under the names, and in the shapes, that a network has for them.

    See `weight_names.named_as`. A 1 × 1 convolution's weights and a fully connected layer's are the same numbers, so
    sizes of 1 at the end of a shape are taken off or put on.

    Raises:
        ClassifierError: the file holds the network more than once.
    """
    try:
        named = named_as(state, module)
    except ValueError as error:
        raise ClassifierError(f"{path}: {error}") from None
    for name, tensor in module.state_dict().items():
        found = named.get(name)
        if found is not None and found.shape != tensor.shape and _without_ones(found) == _without_ones(tensor):
            named[name] = found.reshape(tensor.shape)
    return named


def fit_weights(module: nn.Module, state: Mapping[str, Tensor], path: str | Path | ObjectPath, network: str) -> None:
    """Load weights into a network; every one must have its place and its shape, see `named_for`.

    Raises:
        ClassifierError: names what is missing, unexpected, differently shaped, quantized or infinite.
    """
    state = named_for(module, state, path)
    expected = module.state_dict()
    _check_values(state, expected, {name for name, _ in module.named_parameters()}, path)
    differing = [name for name, tensor in expected.items() if name in state and state[name].shape != tensor.shape]
    missing, unexpected = _loaded(module, state, differing)
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
        f"{_hint(state, expected, missing, unexpected, differing)}"
    )


def _loaded(module: nn.Module, state: Weights, differing: Collection[str]) -> tuple[list[str], list[str]]:
    """Load all but what differs; names that are missing and unexpected.

    Networks read files of older versions as those say of which version they are. Where a file does not say, it is
    taken for the network's own, and if that does not fit, for one from before there were versions.
    """
    own = getattr(module.state_dict(), "_metadata", None)
    found: tuple[list[str], list[str]] | None = None
    refused: Exception | None = None
    for versions in (own, None) if state._metadata is None else (state._metadata, own):
        fitting = Weights((name, tensor) for name, tensor in state.items() if name not in differing)
        fitting._metadata = versions
        try:
            result = module.load_state_dict(fitting, strict=False)
        except (ValueError, RuntimeError) as error:
            refused = error
            continue
        lists = [name for name in result.missing_keys if name not in differing], list(result.unexpected_keys)
        found = found or lists
        if not any(lists):
            return lists
    if found is None:
        raise ClassifierError(f"the network refuses these weights: {' '.join(str(refused).split())}")
    return found


def _check_values(
    state: Mapping[str, Tensor], expected: Mapping[str, Tensor], parameters: Collection[str], path: Any
) -> None:
    for name, tensor in expected.items():
        found = state.get(name)
        if found is None or not tensor.is_floating_point():
            continue
        if not found.is_floating_point():
            raise ClassifierError(
                f"{path}: {name} holds {str(found.dtype).removeprefix('torch.')} where the network has real numbers: "
                "the weights seem to be quantized; give those from before quantization"
            )
        infinite = found.isinf()
        # A mask of attention, say, that the network itself fills with minus infinity.
        meant = name not in parameters and found.shape == tensor.shape and torch.equal(infinite, tensor.isinf())
        if infinite.any() and not meant:
            raise ClassifierError(f"{path}: {name} holds values that are not finite; the weights are damaged")


def _hint(
    state: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    missing: Collection[str],
    unexpected: Collection[str],
    differing: Sequence[str],
) -> str:
    """What to do about weights that do not fit."""
    counts = {(state[name].shape[:1], expected[name].shape[:1]) for name in differing}
    tails = all(state[name].shape[1:] == expected[name].shape[1:] for name in differing)
    if differing and not missing and not unexpected and tails and len(counts) == 1:
        ((found,), (own,)) = next(iter(counts)) if all(next(iter(counts))) else ((0,), (0,))
        if found:
            return f"The file is of a network with {found} classes, this one has {own}: build it with {found}"
    layers = {name.rpartition(".")[0] for name in missing}
    inside = {layer for layer in layers if layer and any(name.startswith(f"{layer}.") for name in unexpected)}
    if missing and len(inside) == len(layers) == 1:
        layer = inside.pop()
        return (
            f"The file has several layers in place of {layer!r}: build the network with them in a function of your own "
            "(--model module:function)"
        )
    return "Name the network that these weights were saved from, or give this network's own weights"


def _without_ones(tensor: Tensor) -> list[int]:
    shape = list(tensor.shape)
    while shape and shape[-1] == 1:
        shape.pop()
    return shape


def _first(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")
