"""Interception of a network's nonlinearities: the gradient filter that defends FGVis against adversarial evidence.

"Interpretable and Fine-Grained Visual Explanations for Convolutional Neural Networks" (FGVis), §3.2, eqs. 4–6: a neuron
may be activated by the explanation e only as far as the image x activates it.

    with recording(classifier.module) as bounds:
        classifier.logits(images)
    with filtering(classifier.module, bounds):
        gradient = torch.autograd.grad(classifier.logits(explanations)[:, target].sum(), explanations)

Nonlinearities are caught while the network's forward pass runs (`torch.overrides.TorchFunctionMode`), as calls of torch
functions that together are pointwise and not linear (`pipeline.models.flow`), hence however they are written: module,
function, method, in place, formula, scripted, `autograd.Function`, one module called several times, the graph of
`torch.fx` or `torch.export`. Those that do not depend on the images (a softplus of a parameter) are left alone.
Softmax, max-pooling and normalization are no activation functions and are not filtered either.

Shapes: B images, N calls of nonlinearities in one forward pass, "..." what a nonlinearity's output has per image.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map_only

from visual_summaries.pipeline.models.classifier import ClassifierError
from visual_summaries.pipeline.models.flow import Activation, Flow, Unseen

# Names of torch functions, without the underscores of their in-place variants.
NONNEGATIVE = frozenset({"hardsigmoid", "relu", "relu6", "sigmoid", "softplus", "special_expit"})
SIGNED = frozenset(
    "celu elu gelu glu hardshrink hardswish leaky_relu log_sigmoid mish prelu prelu_kernel rrelu selu silu softshrink "
    "softsign tanh tanhshrink threshold".split()
)
# Names of the lower and the upper limit, in the order of the arguments.
CLAMPS = {"clamp": ("min", "max"), "clip": ("min", "max"), "hardtanh": ("min_val", "max_val")}
CLAMPS |= {"clamp_min": ("min",), "clamp_max": ("max",)}
# Share of an image's largest activation in a layer; see `recording`.
ROUNDING_TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-13}


@dataclass(frozen=True)
class Intercepted:
    """One call of a nonlinearity.

    Attributes:
        name: torch's name of the function, "relu", without the underscore of an in-place variant.
        module_path: qualified name of the submodule whose forward pass called it, "features.1"; "" for the network's
            own, and where a graph has replaced the submodule.
        shape: of the output, [B, ...].
    """

    name: str
    module_path: str
    shape: tuple[int, ...]


def intercepted_nonlinearities(module: nn.Module, images: Tensor) -> list[Intercepted]:
    """What `recording` and `filtering` intercept, in the order of the calls, found by one forward pass.

    Args:
        module: as for `recording`.
        images: [B, 3, H, W], as the network takes them. Network and images may be on the device "meta".

    Raises:
        ClassifierError: as `recording`.
    """
    path = [""]
    listed: list[tuple[int, Intercepted]] = []

    class Listing(_TracedPass):
        def place(self) -> str:
            return path[-1]

        def intercepted(self, activation: Activation) -> None:
            shape = tuple(activation.values.shape)
            listed.append((activation.number, Intercepted(activation.name, activation.path, shape)))

    def left(*_: Any) -> None:
        path.pop()

    # Before any hook, which a scripted network would not take: it is refused by name.
    listing = Listing(module)
    with ExitStack() as stack:
        for name, submodule in module.named_modules():
            if submodule is not module:
                enter = submodule.register_forward_pre_hook(lambda _module, _inputs, name=name: path.append(name))
                stack.callback(enter.remove)
                leave = submodule.register_forward_hook(left)
                stack.callback(leave.remove)
        with listing.attached():
            module(images)
    return [call for _, call in sorted(listed, key=lambda one: one[0])]


@contextmanager
def recording(module: nn.Module, relative_tolerance: float | None = None) -> Iterator[list[Tensor]]:
    """Record what bounds the activations of explanations (FGVis eq. 5): those of the images in one forward pass.

    Both bounds of eq. 5 follow from one number, bl = min(0, h(x)) and bu = max(0, h(x)), so one tensor of the
    activation's own shape and type is held for each call.

    Rounding differs between batch sizes and memory formats, by enough that up to half of a layer's active neurons
    exceed their own bound when the explanation is the image itself. Bounds are therefore widened by a share of the
    image's largest |h(x)| in that layer; not of each |h(x)|, because the error is that of a sum whose terms cancel: an
    activation near zero errs as much as a large one. Measured on a CPU in float32 at batch 1 and 16 (8 for random
    weights) in both memory formats, activations differ by at most 3.1e-6 of the largest in SqueezeNet 1.1 and
    MobileNetV2 with trained weights, 3.3e-6 in AlexNet, VGG16, GoogLeNet, ResNet-50 (also with folded batch
    normalization) and MobileNetV3 with random ones; the default is six times that. Convolutions in TF32, a GPU's
    default (simulated), differ by up to 3e-3, in float16 by 1e-2, in bfloat16 by 8e-2: switch these off, or record in
    the batch and layout of the optimization.

    Args:
        module: the network, in evaluation mode with frozen parameters; left as found, also after an exception.
        relative_tolerance: share of an image's largest activation in a layer, ≥ 0; 0 gives eq. 5 to the bit. None takes
            `ROUNDING_TOLERANCE`: 2e-5 for float32, 1e-13 for float64.

    Yields:
        An empty list, which the network's forward pass, run once within the context, fills with N + 1 tensors: for
        each call in order [B, ...], h(x) moved away from zero by the tolerance, and last [B, N], the tolerances
        themselves. Every tensor's first dimension is the image: select, concatenate, copy rows of all of them alike.
        Nothing of the autograd graph is kept, whether gradients are enabled or not, and the network's output is
        detached.

    Raises:
        ValueError: a negative tolerance.
        ClassifierError: the network is compiled, scripted or recurrent, so that its nonlinearities cannot be seen, or
            not frozen; a nonlinearity has no leading batch dimension or is hidden in an `autograd.Function`; the
            forward pass was not run exactly once; inference mode is on; no tolerance for activations of another type.
    """
    if relative_tolerance is not None and not relative_tolerance >= 0:
        raise ValueError(f"relative_tolerance must be at least 0, not {relative_tolerance}")
    recorder = _Recorder(module, relative_tolerance)
    with recorder.attached():
        yield recorder.bounds


@contextmanager
def filtering(module: nn.Module, bounds: Sequence[Tensor]) -> Iterator[None]:
    """Filter the gradients of forward passes run within the context (FGVis eq. 6).

    The gradient with respect to each nonlinearity's output is set to zero where the activation lies outside its
    bounds; what remains goes on through the nonlinearity. Values of the forward pass are unchanged, to the bit. The
    filter belongs to the graph that a forward pass builds: `torch.autograd.grad` filters within the context and after
    it, and once more in a second backward pass through the same graph. Changing `bounds` later does not matter to it.
    Only the network's own forward pass is concerned, not what the caller computes within the context; forward passes
    without gradients are left alone.

    Args:
        module: the network from which `bounds` were recorded; left as found, also after an exception.
        bounds: from `recording`, N + 1 tensors, for the B images of the forward pass in its order. Best held in the
            memory format of the forward pass: comparing across formats is slower. An image whose tolerances are
            infinite is not filtered.

    Raises:
        ClassifierError: a forward pass calls other nonlinearities than those recorded (in number, or in their output's
            shape), or has another number of images; the network was not called; otherwise as `recording`.
    """
    with _Filter(module, bounds).attached():
        yield


def _nonlinearity(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str | None:
    """The name, bare as "relu" of "relu_" and "relu.default", if it is an activation function's; None for any other.

    A clamp is one if a limit is 0 or 0 lies between two limits; `clamp(min=1e-6)` only guards a division.
    """
    if name in CLAMPS:
        lower, upper = _limits(name, args, kwargs)
        return name if lower == 0 or upper == 0 or -math.inf < lower < 0 < upper < math.inf else None
    return name if name in NONNEGATIVE or name in SIGNED else None


def _limits(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[float, float]:
    """A clamp's limits; infinite where there is none or it is a tensor."""
    given = {"min_val": -1.0, "max_val": 1.0} if name == "hardtanh" else {}
    given |= {**kwargs, **dict(zip(CLAMPS[name], args[1:], strict=False))}
    given = {keyword[:3]: limit for keyword, limit in given.items() if isinstance(limit, int | float)}
    return given.get("min", -math.inf), given.get("max", math.inf)


class Interception(TorchFunctionMode):
    """Hands every activation that depends on the images to `intercepted`, while `module` runs."""

    filters = False

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.passes, self.batch, self.running = 0, 0, False
        self.flow = Flow(_nonlinearity, _nonnegative, self.examine, self.place, self.filters)
        for name, submodule in module.named_modules():
            compiled = hasattr(submodule, "_orig_mod") or submodule._compiled_call_impl is not None
            if compiled or isinstance(submodule, torch.jit.ScriptModule | nn.RNNBase | nn.RNNCellBase):
                raise ClassifierError(
                    f"nonlinearities inside {name or 'the network'} ({type(submodule).__name__}) cannot be seen; give "
                    "the network as it was before it was compiled or scripted, without recurrent layers"
                )
        if any(parameter.requires_grad for parameter in module.parameters()):
            # What requires a gradient tells what depends on the images.
            raise ClassifierError("freeze the network's parameters: module.requires_grad_(False)")

    @abstractmethod
    def intercepted(self, activation: Activation) -> None:
        """One call, of which gradients can be filtered."""

    def place(self) -> str:
        """Where the network is, for `Intercepted.module_path`."""
        return ""

    @contextmanager
    def attached(self) -> Iterator[None]:
        with ExitStack() as stack:
            stack.callback(self.stop)
            begin = self.module.register_forward_pre_hook(self.begin, with_kwargs=True)
            stack.callback(begin.remove)
            end = self.module.register_forward_hook(self.end, always_call=True)
            stack.callback(end.remove)
            stack.enter_context(self)
            yield
        if self.passes == 0:
            raise ClassifierError("the network was not called; call the same module, as module(images)")

    def begin(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.running = True
        self.passes += 1
        with torch._C.DisableTorchFunction():
            self.batch = next(len(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor))
            args, kwargs = self.inputs(args, kwargs)
            self.flow.begin([args, kwargs])
        return args, kwargs

    def inputs(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """What the network is given for what it was called with."""
        return args, kwargs

    def end(self, _module: nn.Module, _args: tuple[Any, ...], output: Any) -> Any:
        """Called with None where the forward pass has failed."""
        was_running = self.running
        with torch._C.DisableTorchFunction(), _named():
            if was_running and output is not None:
                self.flow.end(output)
            self.stop()
            return self.finish(output) if was_running and output is not None else None

    def stop(self) -> None:
        self.running = False
        self.flow.forget()

    def finish(self, output: Any) -> Any:
        """A forward pass has succeeded; what is returned replaces its output unless None."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if not self.running:
            return func(*args, **kwargs)
        keyword = next((one for one in ("input", "self") if one in kwargs), None)
        if not args and keyword is not None:
            kwargs = dict(kwargs)
            args = (kwargs.pop(keyword),)
        with _named():
            return self.flow.call(func, args, kwargs)

    def examine(self, activation: Activation) -> None:
        values = activation.values
        if not values.is_floating_point():
            return
        if not activation.tensor_requires_gradient:
            if activation.differentiable:
                raise ClassifierError(
                    f"the network calls {activation.name} where gradients are off (inside an autograd.Function, a "
                    "reentrant checkpoint or no_grad), so they cannot be filtered there"
                )
            return
        if values.ndim == 0 or len(values) != self.batch:
            raise ClassifierError(
                f"the network calls {activation.name} with an output {list(values.shape)} for {self.batch} images; its "
                "first dimension must be the images"
            )
        self.intercepted(activation)


@contextmanager
def _named() -> Iterator[None]:
    """What cannot be seen, as an error that says what to do."""
    try:
        yield
    except Unseen as error:
        raise ClassifierError(f"{error}; its gradients cannot be filtered: write it in torch functions") from None


def _nonnegative(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    return name in NONNEGATIVE or (name in CLAMPS and _limits(name, args, kwargs)[0] >= 0)


class _TracedPass(Interception):
    """One forward pass on images that require gradients, which tells what depends on them; no graph is kept."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__(module)
        self.gradients = ExitStack()

    def begin(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self.passes:
            raise ClassifierError("the network was called twice within one recording; record each batch by itself")
        if torch.is_inference_mode_enabled():
            raise ClassifierError("nonlinearities cannot be recorded in inference mode; use torch.no_grad()")
        self.gradients.enter_context(torch.enable_grad())
        self.gradients.enter_context(torch.autograd.graph.saved_tensors_hooks(lambda _saved: None, _no_graph))
        return super().begin(module, args, kwargs)

    def inputs(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return tree_map_only(Tensor, _requiring_gradient, (args, kwargs))

    def stop(self) -> None:
        super().stop()
        self.gradients.close()

    def finish(self, output: Any) -> Any:
        return tree_map_only(Tensor, Tensor.detach, output)


def _requiring_gradient(values: Tensor) -> Tensor:
    # A copy of the leaf, since the network may change its input in place.
    return values.detach().requires_grad_().clone() if values.is_floating_point() else values


def _no_graph(_saved: None) -> Tensor:
    raise ClassifierError("a recorded forward pass keeps no graph; run another for gradients")


class _Recorder(_TracedPass):
    def __init__(self, module: nn.Module, relative_tolerance: float | None) -> None:
        super().__init__(module)
        self.relative_tolerance = relative_tolerance
        self.bounds: list[Tensor] = []
        self.activations: list[Tensor] = []
        self.tolerances: list[Tensor] = []

    def intercepted(self, activation: Activation) -> None:
        nonnegative, activation = activation.nonnegative, activation.values
        share = self.relative_tolerance
        if share is None:
            if activation.dtype not in ROUNDING_TOLERANCE:
                raise ClassifierError(f"there is no default tolerance for activations in {activation.dtype}; give one")
            share = ROUNDING_TOLERANCE[activation.dtype]
        magnitude = activation if nonnegative else activation.abs()
        tolerance = share * (magnitude.amax(dim=tuple(range(1, magnitude.ndim))) if magnitude.ndim > 1 else magnitude)
        margin = _per_image(tolerance, activation)
        self.tolerances.append(tolerance)
        # Not copysign for both: a ReLU may give -0.0.
        self.activations.append(activation + (margin if nonnegative else torch.copysign(margin, activation)))

    def finish(self, output: Any) -> Any:
        if self.activations:
            self.bounds.extend([*self.activations, torch.stack(self.tolerances, dim=1)])
        return super().finish(output)


class _Filter(Interception):
    filters = True

    def __init__(self, module: nn.Module, bounds: Sequence[Tensor]) -> None:
        super().__init__(module)
        self.activations = list(bounds[:-1])
        self.tolerances = bounds[-1] if bounds else None
        self.calls = 0
        if self.tolerances is not None and self.tolerances.shape[1:] != (len(self.activations),):
            raise ClassifierError("give all tensors of a recording, in their order, the tolerances [B, N] last")

    def begin(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        super().begin(module, args, kwargs)
        self.calls = 0
        tensors = tree_leaves((args, kwargs))
        self.running = torch.is_grad_enabled() and any(getattr(leaf, "requires_grad", False) for leaf in tensors)

    def finish(self, output: Any) -> None:
        if self.calls != len(self.activations):
            raise ClassifierError(
                f"the network called {self.calls} nonlinearities, but bounds of {len(self.activations)} were recorded"
            )

    def intercepted(self, activation: Activation) -> None:
        name, output = activation.name, activation.values
        self.calls += 1
        if self.calls > len(self.activations):
            raise ClassifierError(
                f"the network calls more nonlinearities than the {len(self.activations)} whose bounds were recorded "
                f"({name}, output {list(output.shape)})"
            )
        bound = self.activations[self.calls - 1]
        if bound.shape != output.shape:
            raise ClassifierError(
                f"nonlinearity {self.calls} of the network ({name}) gives {list(output.shape)}, but bounds "
                f"{list(bound.shape)} were recorded; the same images and calls must be recorded and filtered"
            )
        tolerance = _per_image(self.tolerances[:, self.calls - 1], output)
        # Taken now and not in the backward pass, since the network may go on to change the output in place.
        if activation.nonnegative:
            within = (output <= bound) | tolerance.isinf()
        else:
            within = output <= torch.maximum(bound, tolerance)
            within &= output >= torch.minimum(bound, -tolerance)
        # On a CPU four times as fast as masked_fill.
        activation.changes.append(lambda gradient: gradient * within)


def _per_image(values: Tensor, like: Tensor) -> Tensor:
    """[B] → [B, 1, ...], to broadcast over `like` [B, ...]."""
    return values.view(-1, *[1] * (like.ndim - 1))
