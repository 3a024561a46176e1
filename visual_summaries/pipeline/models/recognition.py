"""Which head a network has: by what it ends with, by what it returns, and by what is said of it.

Shapes: O outputs of the network, S pixels a side.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from visual_summaries.pipeline.models.errors import ClassifierError
from visual_summaries.pipeline.models.heads import Form, Head, Kind, run_with_last_call

Declared = Literal["auto", "softmax", "sigmoid", "binary", "probabilities"]
# Of a sum of shares, and of shares; wide enough for half precision.
NEAR = 2e-3
# Logits follow the input when it grows or changes its sign, shares do not.
LOUD = (-1.0, 30.0, -30.0, 1000.0)
SHARED: tuple[Form, ...] = ("probabilities", "log-probabilities")


@torch.no_grad()
def recognized_head(
    module: nn.Module, side: int, declared: Declared = "auto", name: str = "the network", channels: int = 3
) -> Head:
    """The head of a network, in evaluation mode, that takes normalized images `[B,channels,S,S]`.

    A softmax, log-softmax or sigmoid that the network ends with, as a module or a function, is seen. Else the outputs
    for fixed inputs tell: shares that sum to 1, their logarithms, or numbers that stay in [0,1] however loud the
    input. Everything else are logits, of classes that exclude each other unless `sigmoid` is declared; or one logit.

    Args:
        side: of the input, in pixels.
        declared: the kind that it has to be; `auto` for the one that is found.
        name: what the network is called in messages.

    Raises:
        ClassifierError: it returns no matrix of numbers, or its outputs cannot be of the declared kind.
    """
    inputs = _probe(side, channels).to(next(module.parameters(), torch.zeros(1)))
    outputs, call = run_with_last_call(module, inputs[:1], name)
    if call is not None and _ends_with(outputs, call.form, call.given):
        form, called = call.form, True
    else:
        called = False
        form = _form(outputs)
        # What one input does not contradict, louder ones may.
        if form != "logits" and (rest := _form(run_with_last_call(module, inputs, name)[0])) != form:
            form = rest
    count = outputs.shape[1]
    kind = _kind(form, count)
    if declared != "auto":
        _check(declared, kind, form, count, name)
        kind = declared if declared != "softmax" or form == "logits" else "probabilities"
    elif count == 1 and form in SHARED:
        raise ClassifierError(f"{name}: {_CONSTANT}")
    return Head(kind, form, called)


def said_of_head(head: Head, classes: int) -> str:
    """One line for people: which head a network of so many classes is taken to have, and why."""
    one = head.outputs(classes) == 1
    seen = {
        "logits": "one output" if one else f"{head.outputs(classes):,} outputs",
        "probabilities": "outputs that are in [0, 1] and sum to 1",
        "log-probabilities": "outputs whose exponentials sum to 1",
        "sigmoids": "one output that is a sigmoid" if one else "outputs that are sigmoids",
    }[head.form]
    meant = {
        "softmax": "taken for logits of classes that exclude each other",
        "probabilities": "taken for probabilities of classes that exclude each other",
        "binary": "taken for the second of two classes against the first",
        "sigmoid": "taken for classes of which a photograph may have several",
    }[head.kind]
    unless = "; if a photograph may have several classes, set model.head=sigmoid" if head.kind == "softmax" else ""
    return f"Head {head.kind}: the network has {seen}, {meant}{unless}."


_CONSTANT = "a softmax over its one output is 1 for every image; leave the softmax away, or take a sigmoid"


def _kind(form: Form, count: int) -> Kind:
    if count == 1:
        return "binary"
    if form in SHARED:
        return "probabilities"
    return "sigmoid" if form == "sigmoids" else "softmax"


def _check(declared: Kind, found: Kind, form: Form, count: int, name: str) -> None:
    """Raise a ClassifierError where a network cannot have the head that is declared."""
    if count == 1 and form in SHARED:
        raise ClassifierError(f"{name}: {_CONSTANT}")
    one = f"it has one output, which is one of two classes or the other: model.head={found}"
    several = f"it has {count:,} outputs, and binary is one: model.head={found}"
    summing = "its outputs sum to 1" if form == "probabilities" else "the exponentials of its outputs sum to 1"
    shares = f"{summing}, so that its classes exclude each other: model.head=probabilities"
    sigmoids = "its outputs are sigmoids, not logits of a softmax: model.head=sigmoid"
    no_shares = f"its outputs do not sum to 1, nor their exponentials: model.head={found}"
    # The softmax of log-probabilities are the probabilities.
    of_softmax = {"probabilities": shares, "sigmoids": sigmoids}.get(form)
    wrong: dict[Kind, str | None] = {
        "softmax": one if count == 1 else of_softmax,
        "sigmoid": shares if form in SHARED else None,
        "binary": several if count > 1 else None,
        "probabilities": one if count == 1 else no_shares if form not in SHARED else None,
    }
    if reason := wrong[declared]:
        raise ClassifierError(f"{name} has no head {declared} (setting model.head): {reason}, or auto")


def _ends_with(outputs: Tensor, form: Form, given: Tensor) -> bool:
    """Whether the outputs are this function of what it was given, class by class."""
    if given.shape != outputs.shape:
        return False
    function = {
        "probabilities": lambda: given.softmax(dim=1),
        "log-probabilities": lambda: given.log_softmax(dim=1),
        "sigmoids": given.sigmoid,
    }[form]
    # To the number: what follows the function, a product with 0.9 even, makes it another one.
    return torch.allclose(function(), outputs, rtol=1e-5, atol=1e-6)


def _form(outputs: Tensor) -> Form:
    """What numbers `[B,O]` look like."""
    outputs = outputs.double()
    within = bool(((outputs >= 0) & (outputs <= 1 + NEAR)).all())
    if outputs.shape[1] > 1:
        if within and _is_one(outputs.sum(dim=1)):
            return "probabilities"
        if bool((outputs <= NEAR).all()) and _is_one(outputs.exp().sum(dim=1)):
            return "log-probabilities"
    # A number that no input changes says nothing.
    still = len(outputs) > 1 and bool((outputs == outputs[:1]).all())
    return "sigmoids" if within and not still else "logits"


def _is_one(sums: Tensor) -> bool:
    return bool(((sums - 1).abs() <= NEAR).all())


def _probe(side: int, channels: int) -> Tensor:
    """Normalized inputs `[5,channels,S,S]`, without random numbers: the first, and the first times `LOUD`."""
    place = torch.arange(channels * side * side, dtype=torch.float64).view(1, channels, side, side)
    wave = torch.sin(place * 0.7) + torch.sin(place * 0.013) + torch.sin(place.square() * 1e-4)
    return torch.cat([wave, *(wave * factor for factor in LOUD)]).float()
