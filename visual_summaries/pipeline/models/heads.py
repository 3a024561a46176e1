"""A network's head: what its outputs say of the classes, and the score of a class that follows from it.

| kind | the network gives | score of class c |
| --- | --- | --- |
| `softmax` | K logits z of classes that exclude each other | softmax(z)_c |
| `probabilities` | their softmax p, or log p | p_c = softmax(log p)_c |
| `binary` | one logit z, or its sigmoid | softmax([−z/2, z/2])_c: 1 − σ(z), and σ(z) |
| `sigmoid` | K logits of classes that do not exclude each other, or their sigmoids | σ(z_c) |

All but the last are the first once their outputs are logits again. Of these alone, and of whether classes are
`independent`, the rest of the program knows. Shapes: B images, O outputs of the network, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from visual_summaries.pipeline.models.errors import ClassifierError

Kind = Literal["softmax", "sigmoid", "binary", "probabilities"]
Form = Literal["logits", "probabilities", "log-probabilities", "sigmoids"]
# By torch's names of the functions: what their outputs are.
FINAL: dict[str, Form] = {
    "softmax": "probabilities",
    "log_softmax": "log-probabilities",
    "sigmoid": "sigmoids",
    "special_expit": "sigmoids",
}
SOFTMAX, SIGMOID, BINARY, PROBABILITIES = get_args(Kind)


@dataclass(frozen=True)
class Head:
    """What the outputs of a network mean.

    Attributes:
        kind: see above.
        form: what the network returns.
        called: whether it ends with a call of softmax or sigmoid that can be seen, so that the logits are what it was
            called with. Of probabilities made otherwise the logits are known up to a number for each image.
    """

    kind: Kind = SOFTMAX
    form: Form = "logits"
    called: bool = False

    @property
    def independent(self) -> bool:
        """Whether an image may be of several classes, or of none."""
        return independent(self.kind)

    @property
    def up_to_shift(self) -> bool:
        """Whether the logits of an image are known up to a number that all of them share."""
        return self.kind == PROBABILITIES and not self.called

    def classes(self, outputs: int) -> int:
        """K, of so many outputs."""
        return 2 if self.kind == BINARY else outputs

    def outputs(self, classes: int) -> int:
        """O, of so many classes."""
        return 1 if self.kind == BINARY else classes

    def logits(self, module: nn.Module, inputs: Tensor, name: str = "the network") -> Tensor:
        """Logits `[B,K]` of normalized images, differentiable in them.

        Raises:
            ClassifierError: the network returns something other than [B, O]; `name` is what it is called.
        """
        if not self.called:
            return self.spread(self._inverted(logits_tensor(module(inputs), name)))
        output, call = run_with_last_call(module, inputs, name)
        if call is None or call.form != self.form or call.given.shape != output.shape:
            raise ClassifierError(f"{name} does not always end with the same function; let it return logits")
        given = call.given if output.requires_grad else call.given.detach()
        return self.spread(given)

    def spread(self, outputs: Tensor) -> Tensor:
        """Logits `[B,K,...]` of outputs `[B,O,...]` that are logits: of one output, two opposite ones."""
        return torch.cat([-outputs / 2, outputs / 2], dim=1) if self.kind == BINARY else outputs

    def _inverted(self, outputs: Tensor) -> Tensor:
        """Logits of what the network returns."""
        if self.form == "logits":
            return outputs
        limits = torch.finfo(outputs.dtype)
        if self.form == "log-probabilities":
            return outputs.clamp_min(torch.tensor(limits.tiny, dtype=outputs.dtype).log().item())
        if self.form == "probabilities":
            return outputs.clamp_min(limits.tiny).log()
        shares = outputs.clamp(limits.tiny, 1 - limits.eps / 2)
        return shares.log() - torch.log1p(-shares)


LOGITS = Head()
"""Logits of classes that exclude each other."""


def independent(kind: str) -> bool:
    """Whether an image may be of several classes of a network with such a head, or of none."""
    return kind == SIGMOID


def scores(logits: Tensor, apart: bool = False) -> Tensor:
    """The scores of the classes, in [0,1], `[B,K]` from logits `[B,K]`: softmax, or sigmoids of classes `apart`."""
    return logits.sigmoid() if apart else logits.softmax(dim=1)


def log_odds(logits: Tensor, targets: Tensor, apart: bool = False) -> Tensor:
    """log(p / (1 − p)) `[B]` of the target's score p, from logits `[B,K]`; exact also where p is near 1."""
    target = logits.gather(1, targets[:, None]).squeeze(1)
    if apart:
        return target
    others = logits.scatter(1, targets[:, None], -torch.inf).logsumexp(dim=1)
    return target - others


def predicts(logits: Tensor, targets: Tensor, apart: bool = False) -> Tensor:
    """Whether the target is predicted, `[B]` bool: it has the highest score; or one of at least ½, of classes
    `apart`."""
    if apart:
        return logits.gather(1, targets[:, None]).squeeze(1) >= 0
    return logits.argmax(dim=1) == targets


@dataclass(frozen=True)
class LastCall:
    """The last call of softmax or sigmoid in a forward pass: what it gave, of which kind, and what it was given."""

    output: Tensor
    form: Form
    given: Tensor


def run_with_last_call(module: nn.Module, inputs: Tensor, name: str) -> tuple[Tensor, LastCall | None]:
    """What a network returns, `[B,O]`, and the last call of softmax or sigmoid in it that can be seen.

    Raises:
        ClassifierError: it returns something else.
    """
    seen = _Seeing()
    with seen:
        output = module(inputs)
    return logits_tensor(output, name), seen.last


class _Seeing(TorchFunctionMode):
    """Keeps the last call of softmax or sigmoid on a matrix, module, function or method; not in place."""

    last: LastCall | None = None

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        # "softmax", and of operators in exported graphs "softmax.int" and "_softmax.default".
        form = FINAL.get(getattr(func, "__name__", "").partition(".")[0].removeprefix("_"))
        if form and isinstance(output, Tensor) and output.ndim == 2:
            given = args[0] if args else kwargs.get("input", kwargs.get("self"))
            self.last = LastCall(output, form, given)
        return output


def logits_tensor(output: Any, name: str) -> Tensor:
    """The logits in what a network returned: a tensor, or an object with an attribute `logits`.

    Raises:
        ClassifierError: neither, or not [B, O].
    """
    logits = getattr(output, "logits", output)
    if not isinstance(logits, Tensor):
        raise ClassifierError(
            f"{name} returns {type(logits).__name__}; it must return one tensor of logits [B, K] "
            "(wrap it in a module that does)"
        )
    if logits.ndim != 2:
        raise ClassifierError(f"{name} returns a tensor {list(logits.shape)}; it must return logits [B, K]")
    return logits
