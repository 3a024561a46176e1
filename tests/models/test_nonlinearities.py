"""Nonlinearities: every one is intercepted, the gradient is filtered as FGVis says, and the network stays as it was."""

import csv
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import _get_current_function_mode_stack

from visual_summaries.pipeline.data.demo.network import load_demo_network
from visual_summaries.pipeline.models.batch_norms import fold_batch_norms
from visual_summaries.pipeline.models.classifier import ClassifierError
from visual_summaries.pipeline.models.loading import load_classifier
from visual_summaries.pipeline.models.nonlinearities import filtering, intercepted_nonlinearities, recording

LAYOUTS = (torch.contiguous_format, torch.channels_last)


class Own(nn.Module):
    """Nonlinearities written in every way; `in_place` False computes the same without writing in place."""

    def __init__(self, in_place: bool = True) -> None:
        super().__init__()
        self.in_place = in_place
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.reused = nn.ReLU(inplace=in_place)
        self.gate = nn.Linear(8, 8)
        self.scale = nn.Parameter(torch.zeros(1, 8, 1, 1))
        self.head = nn.Sequential(nn.Linear(8, 6), nn.PReLU(), nn.Linear(6, 5))
        self.fail: BaseException | None = None

    def forward(self, images: Tensor) -> Tensor:
        maps = functional.gelu(self.first(images))
        if self.in_place:
            maps += images.mean(dim=1, keepdim=True)
        else:
            maps = maps + images.mean(dim=1, keepdim=True)
        maps = functional.relu6(self.second(maps), self.in_place)
        if self.fail:
            raise self.fail
        maps = self.second(self.reused(self.second(maps)))
        maps = self.reused(maps - 0.05)
        gates = self.gate(maps.mean(dim=(2, 3))).sigmoid()
        maps = self.second(maps * gates[:, :, None, None] * functional.softplus(self.scale))
        if self.in_place:
            functional.silu(maps[:, 4:], inplace=True)
            maps[:, :4].relu_()
        else:
            silu = functional.silu(maps[:, 4:])
            maps = torch.cat([torch.relu(maps[:, :4]), silu], dim=1)
        maps = self.second(maps).clamp(min=0, max=0.5)
        maps = maps / maps.square().sum(dim=1, keepdim=True).sqrt().clamp(min=1e-6)
        return self.head(functional.max_pool2d(maps.softmax(dim=1), maps.shape[-1]).flatten(1))


OWN_CALLS = [
    ("gelu", "", (2, 8, 6, 6)),
    ("relu6", "", (2, 8, 6, 6)),
    ("relu", "reused", (2, 8, 6, 6)),
    ("relu", "reused", (2, 8, 6, 6)),
    ("sigmoid", "", (2, 8)),
    ("silu", "", (2, 4, 6, 6)),
    ("relu", "", (2, 4, 6, 6)),
    ("clamp", "", (2, 8, 6, 6)),
    ("prelu", "head.1", (2, 6)),
]


def own(in_place: bool = True) -> Own:
    torch.manual_seed(0)
    network = Own(in_place).double().eval().requires_grad_(False)
    for parameter in network.parameters():
        if parameter.ndim > 1:
            parameter.normal_(std=0.3)
    return network


def seeded(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def gradient(network: nn.Module, images: Tensor, bounds: list[Tensor] | None = None) -> Tensor:
    """Of fixed weights on the logits with respect to the images, filtered where there are bounds."""
    images = images.detach().requires_grad_()
    if bounds is None:
        logits = network(images)
    else:
        with filtering(network, bounds):
            logits = network(images)
    weights = seeded(logits.shape[1], seed=9, dtype=logits.dtype)
    return torch.autograd.grad((logits * weights).sum(), images)[0]


def recorded(network: nn.Module, images: Tensor, tolerance: float | None = None) -> list[Tensor]:
    with torch.no_grad(), recording(network, tolerance) as bounds:
        network(images)
    return bounds


@pytest.mark.parametrize(
    "name, count, options",
    [
        ("alexnet", 7, {}),
        ("vgg16", 15, {}),
        ("googlenet", 57, {"aux_logits": False, "init_weights": False}),
        ("resnet50", 49, {}),
        ("squeezenet1_1", 26, {}),
        ("mobilenet_v2", 35, {}),
        ("swin_v2_t", 12, {}),  # Beside these, ReLUs of its position tables, which do not depend on the image.
    ],
)
def test_counts(name: str, count: int, options: dict[str, bool]) -> None:
    with torch.device("meta"):
        network = torchvision.models.get_model(name, weights=None, **options).eval().requires_grad_(False)
        images = torch.empty(1, 3, 64, 64)
    assert len(intercepted_nonlinearities(network, images)) == count
    if name != "swin_v2_t":
        assert len(intercepted_nonlinearities(torch.fx.symbolic_trace(network), images)) == count


@pytest.mark.parametrize("traced", [False, True])
def test_own_network_is_listed_in_the_order_of_its_calls(traced: bool) -> None:
    network = torch.fx.symbolic_trace(own()) if traced else own()
    listed = intercepted_nonlinearities(network, seeded(2, 3, 6, 6))
    assert [(call.name, call.module_path, call.shape) for call in listed] == OWN_CALLS


def test_what_is_recorded_is_the_activations_alone() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Conv2d(4, 2, 3), nn.Tanh(), nn.Flatten())
    network = network.double().eval().requires_grad_(False)
    images = seeded(2, 3, 8, 8)
    with recording(network, 0.0) as bounds:
        logits = network(images)
    first = network[0](images).relu()
    second = network[2](first).tanh()
    assert not logits.requires_grad and all(not bound.requires_grad for bound in bounds)
    for bound, activation in zip(bounds, [first, second, torch.zeros(2, 2, dtype=torch.float64)], strict=True):
        assert torch.equal(bound, activation)
    widened = recorded(network, images, 0.01)
    largest = torch.stack([first.flatten(1).amax(dim=1), second.flatten(1).abs().amax(dim=1)], dim=1)
    torch.testing.assert_close(widened[-1], 0.01 * largest)
    torch.testing.assert_close(widened[0], first + 0.01 * largest[:, 0, None, None, None])
    torch.testing.assert_close(widened[1], second + second.sign() * 0.01 * largest[:, 1, None, None, None])


def test_recording_keeps_no_graph() -> None:
    kept: list[bool] = []

    def squared_twice(values: Tensor) -> Tensor:
        squares = values.square()
        reference = weakref.ref(squares)
        output = squares.square().relu()
        del squares
        kept.append(reference() is not None)
        return output

    network = Single(squared_twice)
    recorded(network, seeded(2, 8))
    network(seeded(2, 8).requires_grad_())
    assert kept == [False, True], "kept by a recorded and by an ordinary forward pass"


def test_a_network_that_changes_its_input_in_place_is_recorded() -> None:
    images = seeded(2, 8)
    assert torch.equal(recorded(nn.ReLU(inplace=True), images, 0.0)[0], images.relu())


def test_equation_6_against_gradients_by_hand() -> None:
    """Two layers, ReLU and tanh, in double precision; the gradient is written out in numpy."""
    network = nn.Sequential(nn.Linear(6, 12), nn.ReLU(inplace=True), nn.Linear(12, 9), nn.Tanh(), nn.Linear(9, 1))
    network = network.double().requires_grad_(False)
    images, explanations = seeded(20, 6, seed=1), seeded(20, 6, seed=2)
    w1, b1, w2, b2, w3, b3 = (parameter.numpy() for parameter in network.parameters())

    def forward(inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        first = np.maximum(inputs @ w1.T + b1, 0)
        return first, np.tanh(first @ w2.T + b2)

    (first_x, second_x), (first_e, second_e) = forward(images.numpy()), forward(explanations.numpy())
    first_kept = first_e <= first_x
    above, below = second_e > np.maximum(0, second_x), second_e < np.minimum(0, second_x)
    second_kept = ~above & ~below
    for blocked in (~first_kept, above, below):
        assert 0.1 < blocked.mean() < 0.9
    error = w3 * second_kept
    error = (error * (1 - second_e**2)) @ w2 * first_kept
    expected = (error * (first_e > 0)) @ w1

    explanations.requires_grad_()
    with filtering(network, recorded(network, images, 0.0)):
        scores = network(explanations)
        (inside,) = torch.autograd.grad(scores.sum(), explanations, retain_graph=True)
    (outside,) = torch.autograd.grad(scores.sum(), explanations)
    np.testing.assert_allclose(scores.detach().numpy(), second_e @ w3.T + b3, atol=1e-12)
    np.testing.assert_allclose(inside.numpy(), expected, atol=1e-12)
    assert torch.equal(inside, outside), "the filter belongs to the graph, not to the context"
    unfiltered = torch.autograd.grad(network(explanations).sum(), explanations)[0]
    assert np.abs(unfiltered.numpy() - expected).max() > 0.01


def ignoring_the_result(name: str, *arguments: float) -> Callable[[Tensor], Tensor]:
    def call(values: Tensor) -> Tensor:
        getattr(values, name)(*arguments)
        return values

    return call


FORMS: dict[str, Callable[[Tensor], Tensor]] = {
    **{f"nn.{type(module).__name__}": module for module in [
        nn.ReLU(), nn.ReLU6(), nn.LeakyReLU(), nn.PReLU(), nn.RReLU().eval(), nn.ELU(), nn.SELU(), nn.CELU(), nn.SiLU(),
        nn.Hardswish(), nn.Hardsigmoid(), nn.Hardtanh(), nn.GELU(), nn.Mish(), nn.Softplus(), nn.Sigmoid(), nn.Tanh(),
        nn.Softsign(), nn.Tanhshrink(), nn.Softshrink(), nn.Hardshrink(), nn.LogSigmoid(), nn.GLU(),
        nn.Threshold(0.1, -1.0),
    ]},
    **{f"nn.{type(module).__name__} in place": module for module in [
        nn.ReLU(True), nn.ReLU6(True), nn.LeakyReLU(inplace=True), nn.ELU(inplace=True), nn.SELU(True), nn.SiLU(True),
        nn.CELU(inplace=True), nn.Hardswish(True), nn.Hardsigmoid(True), nn.Hardtanh(inplace=True), nn.Mish(True),
        nn.Threshold(0.1, -1.0, True),
    ]},
    **{f"functional.{name}": getattr(functional, name) for name in [
        "relu", "relu_", "relu6", "elu_", "leaky_relu_", "hardtanh_", "selu_", "gelu", "sigmoid", "tanh",
    ]},
    **{f"torch.{name}": getattr(torch, name) for name in ["relu", "relu_", "sigmoid_", "tanh_", "selu"]},
    "torch.special.expit": torch.special.expit,
    "aten.relu": torch.ops.aten.relu.default,
    "aten.relu_": torch.ops.aten.relu_.default,
    **{f"method {name}": ignoring_the_result(name) for name in ["relu_", "sigmoid_", "tanh_"]},
    "method clamp_": ignoring_the_result("clamp_", -0.5, 0.5),
    "method clamp_min_": ignoring_the_result("clamp_min_", 0.0),
    "clip": lambda values: torch.clip(values, min=0),
    "clamp from above": lambda values: values.clamp(max=0),
    "by keyword": lambda values: functional.relu(input=values, inplace=True),
    "torch by keyword": lambda values: torch.sigmoid(input=values),
    "aten by keyword": lambda values: torch.ops.aten.tanh.default(self=values),
}  # fmt: skip


class Single(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, inputs: Tensor) -> Tensor:
        return self.function(inputs * 1.0)


@pytest.mark.parametrize("form", FORMS)
def test_filter_of_each_function(form: str) -> None:
    network = Single(FORMS[form]).double().requires_grad_(False)
    images, explanations = seeded(4, 50, seed=3), seeded(4, 50, seed=4)
    activations, bounds = network(explanations), network(images)
    within = (activations >= bounds.clamp(max=0)) & (activations <= bounds.clamp(min=0))
    assert 0.1 < within.double().mean() < 0.95
    explanations.requires_grad_()
    cotangent = seeded(*bounds.shape, seed=5)
    (expected,) = torch.autograd.grad(network(explanations), explanations, cotangent * within)
    with filtering(network, recorded(network, images, 0.0)):
        outputs = network(explanations)
    assert torch.equal(outputs, activations)
    assert torch.equal(torch.autograd.grad(outputs, explanations, cotangent)[0], expected)


class OwnRelu(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        context.save_for_backward(values)
        return values.clamp(min=0)

    @staticmethod
    def backward(context: Any, error: Tensor) -> Tensor:
        return error * (context.saved_tensors[0] > 0)


class OwnSwish(torch.autograd.Function):
    """As in the networks that save memory by it: two operations, of which nothing is recorded."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        context.save_for_backward(values)
        return values * torch.sigmoid(values)

    @staticmethod
    def backward(context: Any, error: Tensor) -> Tensor:
        gate = torch.sigmoid(context.saved_tensors[0])
        return error * (gate + context.saved_tensors[0] * gate * (1 - gate))


@torch.jit.script
def scripted_relu(values: Tensor) -> Tensor:
    return values * (values > 0)


@torch.jit.script
def scripted_swish(values: Tensor) -> Tensor:
    return values * torch.sigmoid(values)


@torch.jit.script
def scripted_block(values: Tensor) -> Tensor:
    return torch.relu(values).mean(dim=[2, 3])


def assigned(values: Tensor) -> Tensor:
    values = values.clone()
    values[values < 0] = 0
    return values


def gated_in_place(values: Tensor) -> Tensor:
    gate = values / 2**0.5
    gate.erf_()
    gate += 1
    gate *= values
    return gate * 0.5


def without_recording(values: Tensor) -> Tensor:
    with torch.no_grad():
        gate = (values > 0).float()
    return values * gate


# By hand, and the module that computes the same.
BY_HAND: dict[str, tuple[Callable[[Tensor], Tensor], nn.Module]] = {
    "x * (x > 0)": (lambda x: x * (x > 0), nn.ReLU()),
    "(x > 0) * x, as numbers": (lambda x: (x > 0).to(x.dtype) * x, nn.ReLU()),
    "gate without recording": (without_recording, nn.ReLU()),
    "gate of detached values": (lambda x: x * (x.detach() > 0), nn.ReLU()),
    "maximum": (lambda x: torch.maximum(x, torch.zeros_like(x)), nn.ReLU()),
    "max of two": (lambda x: torch.max(x, torch.zeros((), dtype=x.dtype)), nn.ReLU()),
    "where": (lambda x: torch.where(x > 0, x, 0.0), nn.ReLU()),
    "method where": (lambda x: x.where(x > 0, torch.zeros_like(x)), nn.ReLU()),
    "masked_fill": (lambda x: x.masked_fill(x < 0, 0.0), nn.ReLU()),
    "masked_fill_": (lambda x: x.clone().masked_fill_(x < 0, 0.0), nn.ReLU()),
    "assigned": (assigned, nn.ReLU()),
    "(x + |x|) / 2": (lambda x: (x + x.abs()) / 2, nn.ReLU()),
    "heaviside": (lambda x: x * torch.heaviside(x.detach(), torch.zeros((), dtype=x.dtype)), nn.ReLU()),
    "scripted": (scripted_relu, nn.ReLU()),
    "autograd.Function": (OwnRelu.apply, nn.ReLU()),
    "leaky where": (lambda x: torch.where(x > 0, x, 0.1 * x), nn.LeakyReLU(0.1)),
    "leaky maximum": (lambda x: torch.maximum(x, 0.1 * x), nn.LeakyReLU(0.1)),
    "exponential where": (lambda x: torch.where(x > 0, x, torch.expm1(x)), nn.ELU()),
    "swish": (lambda x: x * torch.sigmoid(x), nn.SiLU()),
    "swish by exp": (lambda x: x / (1 + torch.exp(-x)), nn.SiLU()),
    "scripted swish": (scripted_swish, nn.SiLU()),
    "swish as autograd.Function": (OwnSwish.apply, nn.SiLU()),
    "gelu": (lambda x: 0.5 * x * (1 + torch.erf(x / 2**0.5)), nn.GELU()),
    "gelu, gate first": (lambda x: x * (0.5 * (1 + torch.erf(x / 2**0.5))), nn.GELU()),
    "gelu in place": (gated_in_place, nn.GELU()),
    "gelu by tanh": (
        lambda x: 0.5 * x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * torch.pow(x, 3)))),
        nn.GELU("tanh"),
    ),
    "hard swish": (lambda x: x * functional.relu6(x + 3, inplace=True) / 6, nn.Hardswish()),
    "mish": (lambda x: x * torch.tanh(functional.softplus(x)), nn.Mish()),
    "sigmoid": (lambda x: 1 / (1 + torch.exp(-x)), nn.Sigmoid()),
    "tanh": (lambda x: (torch.exp(x) - torch.exp(-x)) / (torch.exp(x) + torch.exp(-x)), nn.Tanh()),
    "softplus": (lambda x: torch.log(1 + torch.exp(x)), nn.Softplus()),
    "softsign": (lambda x: x / (1 + x.abs()), nn.Softsign()),
    "prelu": (lambda x: torch.relu(x) - 0.25 * torch.relu(-x), nn.PReLU()),
}  # fmt: skip


@pytest.mark.parametrize("form", BY_HAND)
def test_a_nonlinearity_by_hand_is_filtered_as_the_module(form: str) -> None:
    function, module = BY_HAND[form]
    images, explanations, weights = seeded(4, 50, seed=3), seeded(4, 50, seed=4), seeded(50, 20, seed=5)
    found = []
    for one in (function, module.double()):
        network = Behind(one, weights).requires_grad_(False)
        found.append(gradient(network, explanations, recorded(network, images)))
        assert not torch.equal(found[-1], gradient(network, explanations)), "the filter blocks something"
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-12)
    assert torch.equal(found[0] == 0, found[1] == 0), "the same are blocked"


class Behind(nn.Module):
    """Two layers with a function between them that is called twice: scripted functions are optimized with time."""

    def __init__(self, function: Callable[[Tensor], Tensor], weights: Tensor) -> None:
        super().__init__()
        self.function, self.weights = function, weights

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.function(inputs.flip(1) * 1.0) @ self.weights
        return self.function(hidden * 0.2) @ self.weights.T


def test_maxout_and_gates_of_other_values_are_filtered() -> None:
    images, explanations, weights = seeded(4, 20, seed=3), seeded(4, 20, seed=4), seeded(20, 20, seed=5)

    def parts(x: Tensor) -> tuple[Tensor, Tensor]:
        return x @ weights, x.flip(1) @ weights

    forms: dict[str, Callable[[Tensor], Tensor]] = {
        "maximum": lambda x: torch.maximum(*parts(x)),
        "max over a dimension": lambda x: torch.stack(parts(x), dim=-1).max(dim=-1).values,
        "amax": lambda x: torch.stack(parts(x), dim=2).amax(dim=2),
        "where": lambda x: torch.where(parts(x)[0] > parts(x)[1], *parts(x)),
        "gate of another value": lambda x: parts(x)[0] * (parts(x)[1] > 0),
    }
    for form, function in forms.items():
        network = Single(function).requires_grad_(False)
        bounds = recorded(network, images, 0.0)
        assert len(bounds) == 2, form
        activations, largest = network(explanations), network(images)
        within = (activations >= largest.clamp(max=0)) & (activations <= largest.clamp(min=0))
        leaf = explanations.clone().requires_grad_()
        cotangent = seeded(*activations.shape, seed=9)
        (expected,) = torch.autograd.grad(network(leaf), leaf, cotangent * within)
        with filtering(network, bounds):
            outputs = network(leaf)
        torch.testing.assert_close(torch.autograd.grad(outputs, leaf, cotangent)[0], expected, msg=form)


def test_activations_are_not_taken_for_norms_nor_norms_for_activations() -> None:
    def layer_norm(x: Tensor) -> Tensor:
        centered = x - x.mean(dim=1, keepdim=True)
        return centered * torch.rsqrt(centered.pow(2).mean(dim=1, keepdim=True) + 1e-5)

    def softmax(x: Tensor) -> Tensor:
        weights = torch.exp(x - x.amax(dim=1, keepdim=True))
        return weights / weights.sum(dim=1, keepdim=True)

    forms: dict[str, tuple[Callable[[Tensor], Tensor], list[str]]] = {
        "layer norm": (layer_norm, []),
        "variance by squares": (lambda x: x / ((x * x).mean(1, True) - x.mean(1, True).square()).sqrt(), []),
        "softmax": (softmax, []),
        "L2": (lambda x: x / x.norm(dim=1, keepdim=True).clamp(min=1e-6), []),
        "magnitudes": (lambda x: x / x.abs().sum(dim=1, keepdim=True), []),
        "squared ReLU": (lambda x: torch.relu(x).square().flip(1), ["relu", "square"]),
        "mean of x * (x > 0)": (lambda x: (x * (x > 0)).mean(dim=1), ["mul"]),
        "mean of ReLUs": (lambda x: torch.relu(x).mean(dim=1), ["relu"]),
        "gate of another layer": (lambda x: x * torch.sigmoid(x.flip(1)), ["sigmoid"]),
        "a skip": (lambda x: x.flip(1) + torch.relu(x), ["relu"]),
    }
    for form, (function, names) in forms.items():
        listed = intercepted_nonlinearities(Single(function), seeded(2, 8))
        assert [call.name for call in listed] == names, form


@pytest.mark.parametrize(
    "function",
    [
        lambda values: values.softmax(dim=1),
        lambda values: functional.max_pool1d(values[:, None], 2)[:, 0],
        lambda values: values.clamp(min=1e-6),
        lambda values: values.clamp(max=100),
        lambda values: functional.normalize(values),
        lambda values: values * values.detach().long().clamp(min=0),
    ],
    ids=["softmax", "max-pool", "guard", "limit", "normalize", "integers"],
)
def test_no_activation_function(function: Callable[[Tensor], Tensor]) -> None:
    assert intercepted_nonlinearities(Single(function), seeded(2, 8)) == []


def test_writing_in_place_filters_as_writing_elsewhere() -> None:
    """In place on views, and of outputs that are changed in place afterwards."""
    images, explanations = seeded(3, 3, 6, 6, seed=1), seeded(3, 3, 6, 6, seed=2)
    in_place, elsewhere = own(), own(in_place=False)
    bounds = recorded(in_place, images)
    for bound, same in zip(bounds, recorded(elsewhere, images), strict=True):
        assert torch.equal(bound, same)
    filtered = gradient(in_place, explanations, bounds)
    torch.testing.assert_close(filtered, gradient(elsewhere, explanations, bounds), rtol=1e-12, atol=1e-14)
    for position in range(len(OWN_CALLS)):
        # Each call's own bounds matter: closing one of them only changes the gradient.
        closed = [torch.full_like(bound, torch.inf) for bound in bounds]
        reference = gradient(elsewhere, explanations, closed)
        closed[position] = torch.zeros_like(closed[position])
        closed[-1] = torch.zeros_like(closed[-1])
        torch.testing.assert_close(
            gradient(in_place, explanations, closed), gradient(elsewhere, explanations, closed), rtol=1e-12, atol=1e-14
        )
        assert not torch.allclose(gradient(in_place, explanations, closed), reference)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_forward_pass_is_unchanged_to_the_bit(layout: torch.memory_format) -> None:
    for network in (own().float(), resnet_with_folded_normalization(), torch.fx.symbolic_trace(own().float())):
        network = network.to(memory_format=layout)
        images = seeded(3, 3, 64, 64, dtype=torch.float32).to(memory_format=layout).requires_grad_()
        expected = network(images)
        with recording(network) as bounds:
            while_recording = network(images)
        with filtering(network, bounds):
            while_filtering = network(images)
            with torch.no_grad():
                without_gradients = network(images[:2])
        assert torch.equal(while_recording, expected) and torch.equal(while_filtering, expected)
        assert torch.equal(without_gradients, network(images[:2]))


def test_a_batch_filters_as_single_images() -> None:
    """Also when images enter and leave: rows of the bounds are selected, replaced and concatenated."""
    network = own()
    images, explanations = seeded(4, 3, 6, 6, seed=1), seeded(4, 3, 6, 6, seed=2)
    entering = [recorded(network, image[None]) for image in images]
    singles = torch.cat(
        [gradient(network, explanation[None], one) for explanation, one in zip(explanations, entering, strict=True)]
    )
    batch = gradient(network, explanations, recorded(network, images))
    torch.testing.assert_close(batch, singles, rtol=1e-10, atol=1e-13)
    joined = [torch.cat(rows) for rows in zip(*entering, strict=True)]
    torch.testing.assert_close(gradient(network, explanations, joined), singles, rtol=1e-10, atol=1e-13)
    order = torch.tensor([2, 0])
    selected = [bound[order] for bound in joined]
    torch.testing.assert_close(gradient(network, explanations[order], selected), singles[order], rtol=1e-10, atol=1e-13)
    for bound, row in zip(selected, entering[3], strict=True):
        bound[1:] = row
    torch.testing.assert_close(
        gradient(network, explanations[[2, 3]], selected), singles[[2, 3]], rtol=1e-10, atol=1e-13
    )
    assert not torch.allclose(gradient(network, explanations[[2, 0]], selected), singles[[2, 0]])


def resnet_with_folded_normalization() -> nn.Module:
    torch.manual_seed(0)
    network = torchvision.models.resnet18(weights=None).eval()
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
    return fold_batch_norms(network)[0]


def photographs(data_directory: Path) -> Tensor:
    with (data_directory / "imagenet" / "val.csv").open(newline="") as file:
        names = [row["file"] for row in csv.DictReader(file)][::40][:16]
    folder = data_directory / "imagenet" / "val"
    pictures = [np.asarray(Image.open(folder / name).convert("RGB").resize((96, 96))) for name in names]
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127 - 1


def assert_no_active_neuron_is_blocked(network: nn.Module, images: Tensor) -> None:
    """At m = 1 the gradient is unfiltered to the bit, whatever the batch size and layout of recording and filtering."""
    runs = [(size, layout) for size in (1, 16) for layout in LAYOUTS]
    recordings = []
    for size, layout in runs:
        network.to(memory_format=layout)
        parts = [recorded(network, part.contiguous(memory_format=layout)) for part in images.split(size)]
        recordings.append([torch.cat(rows) for rows in zip(*parts, strict=True)])
    for size, layout in runs:
        network.to(memory_format=layout)
        for start in range(0, 16, 5 if size == 1 else 16):
            part = images[start : start + size].contiguous(memory_format=layout)
            expected = gradient(network, part)
            assert expected.abs().flatten(1).amax(dim=1).min() > 0
            for bounds in recordings:
                assert torch.equal(gradient(network, part, [bound[start : start + size] for bound in bounds]), expected)


@pytest.mark.parametrize("name", ["demo", "resnet18 with folded batch normalization"])
def test_no_active_neuron_is_blocked_at_the_image_itself(name: str) -> None:
    network = load_demo_network().requires_grad_(False) if name == "demo" else resnet_with_folded_normalization()
    assert_no_active_neuron_is_blocked(network, seeded(16, 3, 64, 64, dtype=torch.float32))


@pytest.mark.parametrize("name", ["squeezenet1_1", "mobilenet_v2"])
def test_no_active_neuron_is_blocked_at_photographs(data_directory: Path, name: str) -> None:
    classifier = load_classifier(f"torchvision:{name}", data_directory / "weights" / f"{name}.safetensors")
    assert_no_active_neuron_is_blocked(classifier.module, photographs(data_directory))


def test_without_tolerance_rounding_alone_blocks_active_neurons() -> None:
    """What the tolerance is for: the same comparison as above with exact bounds loses gradients."""
    network = resnet_with_folded_normalization()
    images = seeded(16, 3, 64, 64, dtype=torch.float32)
    singles = [recorded(network, image[None], 0.0) for image in images]
    exact = [torch.cat(rows) for rows in zip(*singles, strict=True)]
    assert torch.equal(gradient(network, images[:1], singles[0]), gradient(network, images[:1]))
    network.to(memory_format=torch.channels_last)
    images = images.contiguous(memory_format=torch.channels_last)
    plain, filtered = gradient(network, images), gradient(network, images, exact)
    assert (filtered - plain).norm() > 0.1 * plain.norm()


def test_tolerance_is_a_share_of_each_images_largest_activation() -> None:
    """On both sides of both bounds of a signed function, and for the sign that a zero may have."""
    network = Single(nn.Hardtanh(-1e3, 1e3))
    scale = torch.tensor([[1e-3], [1.0], [1e2]], dtype=torch.float64)
    images = seeded(3, 200) * scale
    explanations = torch.where(seeded(3, 200, seed=1) > 0, images * 1.01, seeded(3, 200, seed=2) * 0.1 * scale)
    tolerance = 0.01 * images.abs().amax(dim=1, keepdim=True)
    within = (explanations <= images.clamp(min=0) + tolerance) & (explanations >= images.clamp(max=0) - tolerance)
    assert 0.1 < within.double().mean() < 0.95
    assert torch.equal(gradient(network, explanations, recorded(network, images, 0.01)) != 0, within)
    negative_zeros = torch.tensor([[-0.0, 1.0]])
    network = Single(lambda values: functional.relu6(values) * 1.0)
    assert gradient(network, negative_zeros + 1e-9, recorded(network, negative_zeros)).all()


def test_tolerance_stays_small() -> None:
    """An explanation that exceeds the image's activations by a thousandth of the largest is filtered."""
    network = Single(torch.relu)
    images = seeded(4, 50, dtype=torch.float32)
    bounds = recorded(network, images)
    assert gradient(network, images, bounds).eq(0).sum() == (images <= 0).sum()
    assert not gradient(network, images + 1e-3 * images.amax(dim=1, keepdim=True), bounds).any()


def condition(network: nn.Module) -> list[object]:
    """All that a context could leave behind."""
    hooks = [
        (name, attribute, dict(value) if isinstance(value, dict) else value)
        for name, module in network.named_modules()
        for attribute, value in vars(module).items()
        if attribute not in ("_parameters", "_buffers", "_modules", "fail")
    ]
    flags = [(name, parameter.requires_grad, parameter._version) for name, parameter in network.named_parameters()]
    return [hooks, flags, _get_current_function_mode_stack(), torch.is_grad_enabled()]


@pytest.mark.parametrize("failure", [None, RuntimeError("inside"), KeyboardInterrupt()])
@pytest.mark.parametrize("context", ["listing", "recording", "filtering"])
def test_the_network_is_left_as_found(context: str, failure: BaseException | None) -> None:
    network = own()
    images = seeded(2, 3, 6, 6)
    bounds = recorded(network, seeded(2, 3, 6, 6, seed=1))
    plain, filtered = gradient(network, images), gradient(network, images, bounds)
    before = condition(network)

    def run() -> None:
        if context == "listing":
            intercepted_nonlinearities(network, images)
        elif context == "recording":
            recorded(network, images)
        else:
            gradient(network, images, bounds)

    network.fail = failure
    if failure is None:
        run()
    else:
        with pytest.raises(type(failure)):
            run()
    network.fail = None
    assert condition(network) == before
    assert torch.equal(gradient(network, images), plain) and not torch.allclose(plain, filtered)
    assert torch.equal(gradient(network, images, bounds), filtered)
    product = images.requires_grad_() * 2
    assert torch.autograd.grad(product.square().sum(), images)[0].any(), "saved tensors must be kept again"


def test_a_failed_forward_pass_can_be_repeated_within_the_context() -> None:
    network = own()
    bounds = recorded(network, seeded(2, 3, 6, 6, seed=1))
    images = seeded(2, 3, 6, 6).requires_grad_()
    expected = gradient(network, images, bounds)
    with filtering(network, bounds):
        network.fail = RuntimeError("inside")
        with pytest.raises(RuntimeError, match="inside"):
            network(images)
        network.fail = None
        own_relu = torch.autograd.grad(torch.relu(images * 1e6).sum(), images)[0]
        logits = network(images)
    assert torch.equal(own_relu, (images > 0) * 1e6), "only the network's own nonlinearities are filtered"
    weights = seeded(5, seed=9)
    assert torch.equal(torch.autograd.grad((logits * weights).sum(), images)[0], expected)


class Repeating(nn.Module):
    """Calls as many nonlinearities as its input says."""

    def forward(self, images: Tensor) -> Tensor:
        for _ in range(int(images[0, 0].item())):
            images = images.relu()
        return images


class HiddenBlock(torch.autograd.Function):
    @staticmethod
    def forward(context: object, values: Tensor) -> Tensor:
        return torch.sigmoid(values).cumsum(dim=-1)

    @staticmethod
    def backward(context: object, error: Tensor) -> Tensor:
        return error


def test_other_calls_than_recorded_are_refused() -> None:
    network = Repeating()

    def images(calls: int, batch: int = 2, size: int = 4) -> Tensor:
        return torch.full((batch, size), float(calls))

    bounds = recorded(network, images(3))
    assert gradient(network, images(3), bounds).any()
    for wrong, message in [
        (images(2), "called 2 nonlinearities, but bounds of 3"),
        (images(4), "more nonlinearities than the 3"),
        (images(3, size=5), r"nonlinearity 1 .*relu.* gives \[2, 5\], but bounds \[2, 4\]"),
        (images(3, batch=1), r"gives \[1, 4\], but bounds \[2, 4\]"),
    ]:
        with pytest.raises(ClassifierError, match=message):
            gradient(network, wrong, bounds)
    with pytest.raises(ClassifierError, match="all tensors of a recording"):
        gradient(network, images(3), bounds[:-1])


def test_what_cannot_be_intercepted_is_refused() -> None:
    images = seeded(2, 3, 6, 6)
    network = own()
    with pytest.raises(ClassifierError, match="calls sigmoid where gradients are off"):
        recorded(Single(HiddenBlock.apply), images)
    with pytest.raises(ClassifierError, match=r"relu with an output \[6, 36\] for 2 images"):
        recorded(Single(lambda values: values.view(6, 36).relu().view(2, 108)), images)
    with pytest.raises(ClassifierError, match=r"tensor \[2, 3\] where its steps cannot be seen \(.*Relu"):
        recorded(Single(scripted_block), images)
    with pytest.raises(ClassifierError, match="the network .OptimizedModule."):
        recorded(torch.compile(network), images)
    with pytest.raises(ClassifierError, match="inside 1 .LSTM."):
        recorded(nn.Sequential(nn.Flatten(), nn.LSTM(108, 4)).requires_grad_(False), images)
    with pytest.raises(ClassifierError, match="freeze"):
        recorded(nn.Sequential(nn.Linear(6, 6), nn.ReLU()), images)
    with pytest.raises(ClassifierError, match="not called"), recording(network):
        network.forward(images)
    with pytest.raises(ClassifierError, match="not called"), filtering(network, recorded(network, images)):
        network.forward(images)
    with pytest.raises(ClassifierError, match="twice"), recording(network):
        network(images)
        network(images)
    with pytest.raises(ClassifierError, match="inference mode"), torch.inference_mode():
        recorded(network, images)
    with pytest.raises(ClassifierError, match="no default tolerance for activations in torch.bfloat16"):
        recorded(network.bfloat16(), images.bfloat16())
    with pytest.raises(ValueError, match="at least 0"):
        recorded(network, images, -1e-5)
