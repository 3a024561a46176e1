"""A classifier of volumes: somebody's own network or plain function, named `module:function`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from visual_summaries.pipeline.models.answers import GRADIENT_CELLS
from visual_summaries.pipeline.models.classifier import weights_digest
from visual_summaries.pipeline.models.errors import ClassifierError
from visual_summaries.pipeline.models.heads import logits_tensor
from visual_summaries.pipeline.models.loading import fitted, own_object, returned_by
from visual_summaries.pipeline.models.own_code import is_code


@dataclass(frozen=True)
class VolumeClassifier:
    """A classifier of volumes `[B,C,D,H,W]` float32, which may normalize them itself.

    Attributes:
        name: for people.
        module: the network, in evaluation mode, whose output are logits `[B,K]`; None for a plain function.
        function: the plain function, whose output are scores `[B,K]` in [0,1]; None for a network.
        weights_digest: of the network's weights; empty for a plain function.
    """

    name: str
    module: nn.Module | None
    function: Callable[[Tensor], Any] | None
    weights_digest: str = ""

    def classified(self, told: Callable[[], None] = lambda: None) -> Any:
        """What explainers take, `told` before each pass: an object with `logits`, or a function."""
        if self.module is not None:
            return _Logits(self.module, self.name, told)

        def scores(volumes: Tensor) -> Any:
            told()
            return self.function(volumes)

        return scores

    @torch.no_grad()
    def answers(self, channels: int, shape: Sequence[int]) -> tuple[np.ndarray, int]:
        """What it says of two fixed volumes of `shape`, and its number of classes K.

        Returns:
            Logits or scores, flattened, then zeros in place of gradients, which it need not have: float32, in the form
            of `pipeline.models.answers.answers`.

        Raises:
            ClassifierError: it fails on a volume of that size, or gives something else than `[B,K]`.
        """
        found = self._said(_volumes(channels, shape))
        gradients = torch.zeros(2 * 3 * GRADIENT_CELLS**2)
        return torch.cat([found.flatten().float().cpu(), gradients]).numpy(), found.shape[1]

    def _said(self, volumes: Tensor) -> Tensor:
        size = list(volumes.shape)
        try:
            with torch.random.fork_rng([]):
                torch.manual_seed(0)
                output = (self.module or self.function)(volumes)
            found = logits_tensor(output, self.name) if self.module is not None else torch.as_tensor(output)
        except ClassifierError:
            raise
        except Exception as error:  # A person's own network may raise anything.
            raise ClassifierError(
                f"{self.name} fails on volumes {size}, as large as the atlas: {type(error).__name__}: {error}"
            ) from error
        if found.ndim != 2 or len(found) != 2 or not found.is_floating_point():
            raise ClassifierError(
                f"{self.name} returns {found.dtype} {list(found.shape)} for volumes {size}; it must return "
                "floating-point numbers [2, classes]"
            )
        outside = self.module is None and bool((found < 0).any() or (found > 1 + 1e-4).any())
        if found.isnan().any() or outside:
            raise ClassifierError(
                f"{self.name} gives {'scores outside 0 … 1: apply softmax' if outside else 'NaN'} for volumes "
                f"{size} of numbers in 0 … 1"
            )
        return found


class _Logits:
    def __init__(self, module: nn.Module, name: str, told: Callable[[], None]) -> None:
        self._module, self._name, self._told = module, name, told

    def logits(self, volumes: Tensor) -> Tensor:
        self._told()
        return logits_tensor(self._module(volumes), self._name)


def load_volume_classifier(spec: str, weights: Path | None = None) -> VolumeClassifier:
    """Load a classifier of volumes, on the CPU.

    Args:
        spec: `module:name`, importable also from the current folder: a function that can be called without arguments
            and returns a `torch.nn.Module` or a plain function; or such a module or plain function itself. What takes
            an argument is taken for a plain function of volumes.
        weights: of the module: a `.safetensors`, `.pt` or `.pth` file, never unpickled beyond tensors.

    Raises:
        ClassifierError: with one line that says what is wrong and what to do.
    """
    if not is_code(spec):
        raise ClassifierError(
            f"classifier {spec!r} of volumes must be module:function (package.file:function), a function that returns "
            "your network, or that takes volumes [B, C, D, H, W] and returns scores [B, K]"
        )
    found = own_object(spec)
    if not isinstance(found, nn.Module) and not _takes_volumes(found):
        found = returned_by(spec, found)
    if isinstance(found, nn.Module):
        name = fitted(spec, found, weights)
        module = found.eval().float().requires_grad_(False)
        return VolumeClassifier(name, module, None, weights_digest(module.state_dict()))
    if not callable(found) or isinstance(found, type):
        raise ClassifierError(
            f"{spec} returned {type(found).__name__}; it must return a torch.nn.Module, or a function from volumes "
            "[B, C, D, H, W] to scores [B, K]"
        )
    if weights is not None:
        raise ClassifierError(f"{spec} is a plain function, which takes no weights file; leave --weights out")
    return VolumeClassifier(spec, None, found)


def _takes_volumes(function: Callable[..., Any]) -> bool:
    """Whether a function cannot be called without an argument."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return any(one.default is inspect.Parameter.empty and one.kind in kinds for one in parameters)


def _volumes(channels: int, shape: Sequence[int]) -> Tensor:
    """Two volumes `[2,C,D,H,W]` in [0,1]: waves of many lengths, and their squares; without random numbers."""
    place = torch.arange(channels * int(np.prod(shape)), dtype=torch.float64).view(1, channels, *shape)
    wave = (torch.sin(place * 0.7) + torch.sin(place * 0.013) + torch.sin(place * 0.0011)) / 6 + 0.5
    return torch.cat([wave, wave.square()]).float()
