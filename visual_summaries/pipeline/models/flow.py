"""Which values of a forward pass are activations: what a pointwise nonlinearity gives, however it is written.

Every tensor that depends on the images is known as a pointwise function of a source: of what a convolution, a sum of
two branches or any other function that is not pointwise gives. Where such a function has an operation in it that is not
linear, its result is an activation once something else than a pointwise function gets it. So are `relu(x)`,
`x * (x > 0)`, `torch.where(x > 0, x, 0)`, `x.masked_fill(x < 0, 0)`, and a swish, a GELU or a Mish by their formulas,
of which the gate, since it meets its own source again, is none by itself. What a comparison gates is an activation
whatever it compares, and so is the larger of two values.

Powers, exponentials and magnitudes that are summed, and what is made of the sums, are norms and weights of a mean, not
activations.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from visual_summaries.pipeline.models.pointwise import (
    EXPONENTIALS,
    EXTREMES,
    INTEGERS,
    LIMITS,
    LINEAR,
    LINEAR_NODES,
    POWERS,
    REDUCTIONS,
    SAME,
    SHAPES,
    STEPS,
    is_over_features,
    is_pointwise,
    of_two_tensors,
)


class Unseen(Exception):
    """Something computed with the images where it cannot be seen; the message says what."""


@dataclass(eq=False)
class Activation:
    """What a nonlinearity gives, in one call.

    Attributes:
        name: of the function that gives it.
        number: of that call in the forward pass.
        path: where it was called, as the flow's `place` says.
        whole: whether that function is an activation function, not a part of one.
        nonnegative: whether it gives nothing negative.
        kind: "power" or "exponential" of what is no activation if it is summed, else "".
        differentiable: whether gradients get to what it was made of.
        changes: what the gradient that gets to it goes through; one or none.
    """

    name: str
    number: int
    path: str
    whole: bool
    nonnegative: bool
    kind: str
    differentiable: bool
    done: bool = False
    absorbed: bool = False
    changes: list[Callable[[Tensor], Tensor]] = field(default_factory=list)
    hooked: bool = False
    _kept: Tensor | None = None
    _seen: Callable[[], Tensor | None] = lambda: None
    _copy: Tensor | None = None

    def hold(self, tensor: Tensor) -> None:
        self._kept, self._seen = tensor, weakref.ref(tensor)

    def release(self) -> None:
        """Keep what it gave only for as long as the network itself keeps it."""
        self._kept = None

    @property
    def tensor(self) -> Tensor | None:
        return self._seen()

    @property
    def values(self) -> Tensor:
        """What it gave, `[B,…]`, without the graph."""
        return self._seen().detach() if self._copy is None else self._copy

    @property
    def tensor_requires_gradient(self) -> bool:
        tensor = self._seen()
        return self.hooked or (tensor is not None and tensor.requires_grad)

    def keep_values(self) -> None:
        """Before something is written in its place."""
        self._copy = self._seen().detach().clone()

    def hook(self) -> None:
        """Let the gradient that gets to it go through `changes`, which may come later."""
        tensor, changes = self._seen(), self.changes
        if not self.hooked and tensor is not None and tensor.requires_grad:
            tensor.register_hook(lambda gradient: changes[0](gradient) if changes else gradient)
            self.hooked = True


@dataclass(frozen=True, slots=True, eq=False)
class Origin:
    """What a tensor is a pointwise function of.

    Attributes:
        source: stands for the value that it is a function of.
        pending: nonlinearities between the two, of which it is not known yet whether they are activations.
        gate: whether it is what a comparison gave, or made of that alone.
        statistic: whether the source is a sum or a mean.
        differentiable: whether gradients get from it to the images.
    """

    source: object
    pending: tuple[Activation, ...] = ()
    gate: bool = False
    statistic: bool = False
    differentiable: bool = True


class Flow:
    """Follows one forward pass, call by call.

    `activation(name, args, kwargs)` says of a function whether it is an activation function by itself, `nonnegative` of
    such a one whether it gives nothing negative; `settled` is called with each activation, in an order that follows
    from the calls alone.
    """

    def __init__(
        self,
        activation: Callable[..., str | None],
        nonnegative: Callable[..., bool],
        settled: Callable[[Activation], None],
        place: Callable[[], str],
        hooks: bool,
    ) -> None:
        self.activation, self.nonnegative, self.settled, self.place = activation, nonnegative, settled, place
        self.hooks = hooks
        self.calls = 0
        self.known: dict[int, tuple[Callable[[], Any], Origin]] = {}
        # Nodes of autograd's graph that belong to tensors that were seen, and these tensors' shapes.
        self.nodes: dict[Any, torch.Size] = {}
        self.open: list[Activation] = []

    def begin(self, inputs: Iterable[Any]) -> None:
        """Of a forward pass on these images."""
        self.calls = 0
        self.forget()
        for tensor in tensors_in(inputs):
            if tensor.is_floating_point():
                self.note(tensor, Origin(object(), differentiable=tensor.requires_grad))

    def forget(self) -> None:
        self.known.clear()
        self.nodes.clear()
        self.open.clear()

    def end(self, outputs: Any) -> None:
        for tensor in tensors_in([outputs, getattr(outputs, "logits", None)]):
            self.settle(self.origin(tensor))
        # What was written in place may go on as a view of the same values.
        self.settle(Origin(None, tuple(one for one in self.open if not one.absorbed)))

    def call(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a torch function, and note what it gives.

        Raises:
            Unseen: an argument was made where it cannot be seen, and may be an activation.
        """
        self.calls += 1
        found = [(tensor, origin) for tensor in tensors_in([args, kwargs.values()]) if (origin := self.origin(tensor))]
        if not found:
            return func(*args, **kwargs)
        raw = getattr(func, "__name__", "").partition(".")[0]
        name = raw.strip("_")
        if name == "get":
            name = getattr(getattr(func, "__self__", None), "__name__", "")
            name = name if name in SAME else "get"
        own = self.activation(name, args, kwargs)
        in_place = raw == "__setitem__" or (raw.endswith("_") and not raw.endswith("__"))
        in_place |= any(value is True for value in (*args, *kwargs.values()))
        first = args[0] if args else None
        if in_place and isinstance(first, Tensor):
            for one in self.pending_of(first):
                if one.tensor is first and not one.done:
                    one.keep_values()
        origin, made = self.judged(name, own, args, kwargs, found)
        # In place on a view, the gradient reaches this call through the view's base, where no hook on the output would
        # see it.
        apart = in_place and made is not None and isinstance(first, Tensor) and first.requires_grad and first._is_view()
        working = first.clone() if apart and raw != "__setitem__" else first
        output = func(*((working, *args[1:]) if args else ()), **kwargs)
        result = first if raw == "__setitem__" else output
        if made is not None:
            made.nonnegative = own is not None and self.nonnegative(own, args, kwargs)
            # Of a maximum with its places, the maximum.
            made.hold(next(tensors_in([result])))
            if self.hooks:
                made.hook()
            if in_place and isinstance(first, Tensor) and first._is_view():
                # The network goes on with what it is a view of.
                self.settle(origin)
        if apart and output is working and working is not first:
            output = result = first.copy_(working)
        for tensor in tensors_in([result]):
            self.note(tensor, origin)
        return output

    def judged(
        self,
        name: str,
        own: str | None,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        found: list[tuple[Tensor, Origin]],
    ) -> tuple[Origin | None, Activation | None]:
        """What a call gives, and whether that may be an activation; arguments that are activations are settled."""
        origins = [origin for _, origin in found]
        new = Origin(object(), differentiable=any(origin.differentiable for origin in origins))
        if name in SAME and len(found) == 1:
            differentiable = origins[0].differentiable and name not in ("detach", "data")
            return replace(origins[0], differentiable=differentiable), None
        if name == "copy" and len(args) > 1 and isinstance(args[1], Tensor):
            return self.origin(args[1]), None
        if name == "setitem":
            gated = any(origin.gate for origin in origins)
            return self.joined(name, origins, new) if gated else (self.passed(name, origins, new), None)
        if name.startswith("new_") or name.endswith("_like") or (name in INTEGERS and not origins[0].gate):
            return None, None
        if own is not None and not is_pointwise(own):
            self.settle(*origins)
            return self.made(own, new, (), whole=True)
        if name in ("max", "min") and not of_two_tensors(args, kwargs) or name in ("amax", "amin"):
            if is_over_features(args, kwargs):
                self.settle(*origins)
                return self.made(name, new, (), whole=False)
            return self.passed(name, origins, new), None
        if own is None and not is_pointwise(name):
            return self.passed(name, origins, new), None
        if name in STEPS or name.startswith(("logical_", "bitwise_")):
            source = origins[0].source if self.same_source(args, kwargs, found) else new.source
            return Origin(source, gate=True, differentiable=False), None
        if all(origin.gate for origin in origins):
            return Origin(new.source, gate=True, differentiable=False), None
        if self.same_source(args, kwargs, found):
            return self.within_source(name, own, args, kwargs, origins)
        if own is None and (name in EXTREMES or any(origin.gate for origin in origins)):
            self.settle(*origins)
            return self.made(name, new, (), whole=False)
        self.settle(*origins)
        if own is not None:
            return self.made(own, new, (), whole=True)
        return replace(new, statistic=all(origin.statistic for origin in origins)), None

    def within_source(
        self, name: str, own: str | None, args: tuple[Any, ...], kwargs: dict[str, Any], origins: list[Origin]
    ) -> tuple[Origin, Activation | None]:
        """A pointwise function of one source or of several functions of it."""
        first, pending = origins[0], _merged(origins)
        origin = replace(
            first,
            pending=pending,
            gate=False,
            statistic=all(one.statistic for one in origins),
            differentiable=any(one.differentiable for one in origins),
        )
        if own is not None:
            return self.made(own, origin, tuple(one for one in pending if one.whole), whole=True)
        alone = len(origins) == 1
        guard = name in LIMITS and not any(isinstance(value, Tensor) for value in (*args[1:], *kwargs.values()))
        divides = name in ("div", "divide", "true_divide") and (not isinstance(args[0], Tensor) or not alone)
        multiplies = name in ("mul", "multiply", "addcmul", "lerp") and not alone
        numerator = name in ("div", "divide", "true_divide") and alone and self.origin(args[0]) is None
        if guard or (name in LINEAR and not divides and not multiplies and not numerator):
            parts = [one for one in pending if not one.whole]
            if alone or not (parts or any(one.gate for one in origins)):
                return origin, None
            # x and a part of an activation function of x added up: together they are one.
            return self.made(name, origin, tuple(one for one in pending if one.whole), whole=False)
        if alone:
            kind = "power" if name in POWERS else "exponential" if name in EXPONENTIALS or numerator else ""
            if kind and first.statistic:
                return origin, None
            return self.made(name, origin, tuple(one for one in pending if one.whole), whole=False, kind=kind)
        power = not any(one.gate for one in origins) and all(one.kind == "power" for one in pending)
        if power and origin.statistic:
            return origin, None
        return self.made(name, origin, (), whole=False, kind="power" if power and multiplies else "")

    def joined(self, name: str, origins: list[Origin], new: Origin) -> tuple[Origin, Activation]:
        self.settle(*origins)
        return self.made(name, new, (), whole=False)

    def passed(self, name: str, origins: list[Origin], new: Origin) -> Origin:
        """What a function that is not pointwise gives."""
        if name in REDUCTIONS:
            for one in _merged(origins):
                if one.kind and not one.done:
                    one.done = True
                    one.release()
                    self.open.remove(one)
        self.settle(*origins)
        keeps = name in SHAPES or name in ("cat", "stack")
        statistic = name in REDUCTIONS or (keeps and all(origin.statistic for origin in origins))
        gate = keeps and all(origin.gate for origin in origins)
        return replace(new, statistic=statistic, gate=gate)

    def made(
        self, name: str, origin: Origin, pending: tuple[Activation, ...], whole: bool, kind: str = ""
    ) -> tuple[Origin, Activation]:
        for one in origin.pending:
            if one not in pending:
                one.absorbed = True
                one.release()
        activation = Activation(name, self.calls, self.place(), whole, False, kind, origin.differentiable)
        self.open.append(activation)
        return replace(origin, pending=(*pending, activation), gate=False), activation

    def settle(self, *origins: Origin | None) -> None:
        """Something else than a pointwise function of their source gets them: what is pending are activations."""
        for one in sorted(_merged([origin for origin in origins if origin]), key=lambda one: one.number):
            if one.done or (one.tensor is None and one._copy is None):
                continue
            one.done = True
            if self.hooks:
                one.hook()
            self.settled(one)
            one.release()
            self.open.remove(one)

    def same_source(self, args: Any, kwargs: dict[str, Any], found: list[tuple[Tensor, Origin]]) -> bool:
        tensor, origin = found[0]
        if any(other.source is not origin.source or one.shape != tensor.shape for one, other in found):
            return False
        shapes = [one.shape for one in tensors_in([args, kwargs.values()])]
        return all(shape.numel() <= tensor.shape.numel() and len(shape) <= tensor.ndim for shape in shapes)

    def pending_of(self, tensor: Tensor) -> tuple[Activation, ...]:
        origin = self.origin(tensor)
        return () if origin is None else origin.pending

    def note(self, tensor: Tensor, origin: Origin | None) -> None:
        if origin is None:
            self.known.pop(id(tensor), None)
            return
        self.known[id(tensor)] = (weakref.ref(tensor), origin)
        if tensor.requires_grad and tensor.grad_fn is not None:
            self.nodes[tensor.grad_fn] = tensor.shape

    def origin(self, tensor: Tensor) -> Origin | None:
        """None of what does not depend on the images."""
        seen, origin = self.known.get(id(tensor), (None, None))
        if seen is not None and seen() is tensor:
            return origin
        if tensor.requires_grad and tensor.grad_fn is not None:
            return self.unseen(tensor)
        return None

    def unseen(self, tensor: Tensor) -> Origin:
        """What was made of the images by no torch function that can be seen."""
        names, shapes, waiting, met = set(), [], [tensor.grad_fn], set()
        while waiting:
            node = waiting.pop()
            if node is None or node in met:
                continue
            met.add(node)
            if node in self.nodes:
                shapes.append(self.nodes[node])
                continue
            names.add(node.name().rpartition("::")[2].partition("Backward")[0] or node.name())
            waiting.extend(other for other, _ in node.next_functions)
        origin = Origin(object())
        strange = sorted(names - LINEAR_NODES)
        if strange:
            if tensor.shape not in shapes:
                raise Unseen(
                    f"the network computes a tensor {list(tensor.shape)} where its steps cannot be seen "
                    f"({', '.join(strange)}; scripted, compiled or not in Python)"
                )
            origin, made = self.made("scripted", origin, (), whole=False)
            made.hold(tensor)
        self.note(tensor, origin)
        return origin


def tensors_in(values: Iterable[Any]) -> Iterator[Tensor]:
    """The tensors in a call's arguments or results, in order."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, tuple | list):
            yield from tensors_in(value)
        elif isinstance(value, dict):
            yield from tensors_in(value.values())


def _merged(origins: list[Origin]) -> tuple[Activation, ...]:
    return tuple(dict.fromkeys(one for origin in origins for one in origin.pending))
