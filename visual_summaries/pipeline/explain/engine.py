"""Continuous batching: images are optimized together but enter and leave the batch one by one.

Every image has its own step counter, stage, learning rate and optimizer state, so that its result does not
depend on which images shared its batch (to rounding: kernels may add in another order for another batch size).
An image leaves as soon as its last stage is over, and the next in line takes its place. The host looks at the
device only when some image can be over; between two looks nothing waits.

Shapes: B images in the batch, n of them entering or leaving, H by W pixels.
"""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from visual_summaries.pipeline.explain.capacity import Capacity
from visual_summaries.pipeline.explain.interface import (
    Explainer,
    Explanation,
    LogitsFunction,
    require_gradient,
    validate_batch,
)
from visual_summaries.pipeline.explain.updates import UpdateRule
from visual_summaries.pipeline.explain.work_done import WorkDone

State = dict[str, Tensor]
"""What is known of the images in the batch: tensors by name, row b of each belongs to image b."""

# Waiting for the device costs a processor nothing, and a GPU about as much as one wasted pass of one image.
STEPS_BETWEEN_LOOKS = {"cpu": 1, "cuda": 4}
# Until the batch has found its size: a stage of many steps with few images is a waste.
STEPS_WHILE_GROWING = 2
# For explainers that do not optimize: images explained together, and passes after which there should be a result.
MOST_TOGETHER, PASSES_TOGETHER = 16, 1024


@dataclass(frozen=True)
class Stage:
    """A stretch of the optimization that moves one parameter.

    Attributes:
        parameter: name of the tensor in the state that is optimized, `[B,…]`.
        learning_rates: learning rate of each step; as many steps as there are rates, at most.
    """

    parameter: str
    learning_rates: tuple[float, ...]


class Method(ABC):
    """What one explainer brings to the engine: parameters, perturbation, objective, projection, stop rule."""

    stages: Sequence[Stage]
    update: UpdateRule
    can_converge = False

    @abstractmethod
    def start(
        self,
        classifier: LogitsFunction,
        images: Tensor,
        targets: Tensor,
        generators: Sequence[torch.Generator] | None,
    ) -> State:
        """State of `images` `[n,3,H,W]` that enter: each tensor `[n,…]`, the first stage's parameter among them."""

    @abstractmethod
    def objective(self, classifier: LogitsFunction, state: State, present: frozenset[int]) -> Tensor:
        """What each image minimizes, `[B]`, differentiable in the parameters of the stages `present` in the batch.

        Row b may depend on row b of the state alone. `state["stage"]` `[B]` int64 says which stage each is in.
        """

    @abstractmethod
    def project(self, state: State, stage: int) -> None:
        """Bring the parameter of `stage` back into its range, in place."""

    def rates(self, state: State, scheduled: Tensor) -> Tensor:
        """Learning rate of each image `[B]` float64 in this step; `scheduled` is that of the stage."""
        return scheduled

    def converged(self, state: State) -> Tensor:
        """Which images `[B]` bool may end their stage before its last step; asked if `can_converge`."""
        raise NotImplementedError

    def enter(self, state: State, stage: int) -> State:
        """For images (rows of `state`) that now begin `stage` ≥ 1: the entries of the state to replace."""
        raise NotImplementedError

    @abstractmethod
    def finish(self, classifier: LogitsFunction, state: State) -> Explanation:
        """The explanations of images that leave; `state["passes"]` `[n]` int64 counts their steps."""


@dataclass(frozen=True)
class Item:
    """An image to explain: `image` `[3,H,W]` float in [0,1], its target class, and a name to find it again."""

    key: Any
    image: Tensor
    target: int
    generator: torch.Generator | None = None


class Engine:
    """Optimizes a stream of images in a batch that stays full."""

    def __init__(
        self,
        method: Method,
        classifier: LogitsFunction,
        device: torch.device,
        batch_size: int | None = None,
    ) -> None:
        """`batch_size`: images optimized together; `None` finds it from the free memory while running."""
        self.method = method
        self.classifier = classifier
        self.device = device
        self.capacity = Capacity(device, batch_size)
        longest = max(len(stage.learning_rates) for stage in method.stages)
        rates = [[*stage.learning_rates, *[0.0] * (longest - len(stage.learning_rates))] for stage in method.stages]
        self._rates = torch.tensor(rates, device=device, dtype=torch.float64)
        self._lengths = torch.tensor([len(stage.learning_rates) for stage in method.stages], device=device)
        self._state: State = {}
        self._keys: list[Any] = []
        self._parked: list[tuple[list[Any], State]] = []

    def run(
        self, items: Iterable[Item], progress: Callable[[float], None] = lambda work: None
    ) -> Iterator[tuple[Any, Explanation]]:
        """Explain a stream of images of one size; gives (key, explanation of that one image) as each is done.

        Images are taken from the stream only when there is room for them. An image whose objective is not
        finite leaves at once, with scores that say so. `progress` is told after each step how much is done of the
        images taken so far: see `WorkDone`.

        Raises:
            torch.OutOfMemoryError: a single image does not fit.
        """
        waiting = iter(items)
        self._state, self._keys, self._parked = {}, [], []
        self._exhausted = False
        most = sum(len(stage.learning_rates) for stage in self.method.stages)
        self._done = WorkDone(most, self.method.can_converge, progress)
        while True:
            while self._parked and self._has_room():
                self._admit(*self._parked.pop())
            if not self._exhausted and self._has_room():
                self._exhausted = self._fill_from(waiting)
            if not self._keys:
                return
            try:
                self._run_to_next_look()
            except torch.OutOfMemoryError:
                if len(self._keys) == 1:
                    raise
                self._park_half()
            else:
                yield from self._look()

    # Images enter and leave.

    def _has_room(self) -> bool:
        # Entering in small groups would spend forward passes on batches of one.
        free = self.capacity.size - len(self._keys)
        return free >= max(1, self.capacity.size // 8)

    def _fill_from(self, waiting: Iterator[Item]) -> bool:
        """Fill the batch from the stream; whether the stream is at its end."""
        room = self.capacity.size - len(self._keys)
        entering = list(itertools.islice(waiting, room))
        self._start(entering)
        return len(entering) < room

    def _start(self, entering: list[Item]) -> None:
        if not entering:
            return
        images = torch.stack([item.image for item in entering]).to(self.device)
        targets = torch.tensor([item.target for item in entering], device=self.device)
        generators = [item.generator for item in entering if item.generator is not None]
        try:
            with torch.no_grad():
                state = self.method.start(self.classifier, images, targets, generators or None)
        except torch.OutOfMemoryError:
            if len(entering) == 1:
                raise
            half = len(entering) // 2
            self.capacity.shrink(len(self._keys) + half)
            self._start(entering[:half])
            self._start(entering[half:])
            return
        counter = torch.zeros_like(targets)
        state |= {name: counter.clone() for name in ("stage", "step", "passes")}
        state |= {name: counter.bool() for name in ("over", "failed")}
        for name in {stage.parameter for stage in self.method.stages}:
            state |= self._fresh_moments(name, state[name])
        self._admit([item.key for item in entering], state)

    def _fresh_moments(self, name: str, parameter: Tensor) -> State:
        return {f"{name}.{moment}": torch.zeros_like(parameter) for moment in self.method.update.moments}

    def _admit(self, keys: list[Any], state: State) -> None:
        self._state = {name: torch.cat([self._state[name], state[name]]) for name in state} if self._keys else state
        self._keys = self._keys + keys

    def _rows(self, rows: Sequence[int]) -> State:
        index = torch.tensor(rows, device=self.device)
        # Not index_select, which loses the memory format.
        return {name: value[index] for name, value in self._state.items()}

    def _keep(self, rows: Sequence[int]) -> None:
        self._state = self._rows(rows) if rows else {}
        self._keys = [self._keys[row] for row in rows]

    def _park_half(self) -> None:
        """Out of memory: half of the batch waits, its state unharmed, until there is room."""
        count = len(self._keys)
        half = count // 2
        self.capacity.shrink(half)
        self._parked.append((self._keys[half:], self._rows(range(half, count))))
        self._keep(range(half))

    def _look(self) -> Iterator[tuple[Any, Explanation]]:
        """Send on the images whose stage is over, to their next stage or out."""
        looked_at = [self._state[name] for name in ("stage", "over", "failed", "passes")]
        stages, over, failed, passes = torch.stack(looked_at).tolist()
        last = len(self.method.stages) - 1
        leaving = [row for row in range(len(stages)) if over[row] and (failed[row] or stages[row] == last)]
        with torch.no_grad():
            for stage in range(last):
                rows = [r for r in range(len(stages)) if over[r] and stages[r] == stage and r not in leaving]
                if rows:
                    self._enter(rows, stage + 1)
            if not leaving:
                return
            explanation = self.method.finish(self.classifier, self._rows(leaving))
            keys = [self._keys[row] for row in leaving]
            staying = sorted(set(range(len(stages))) - set(leaving))
            self._keep(staying)
        self._done.leave([passes[row] for row in leaving])
        self._done.under_way([passes[row] for row in staying])
        for number, key in enumerate(keys):
            yield key, explanation.rows(number, number + 1)

    def _enter(self, rows: list[int], stage: int) -> None:
        index = torch.tensor(rows, device=self.device)
        entering = self._rows(rows)
        changed = self.method.enter(entering, stage)
        name = self.method.stages[stage].parameter
        changed |= self._fresh_moments(name, changed.get(name, entering[name]))
        changed |= {
            "stage": torch.full_like(entering["stage"], stage),
            "step": torch.zeros_like(entering["step"]),
            "over": torch.zeros_like(entering["over"]),
        }
        for entry, value in changed.items():
            self._state[entry].index_copy_(0, index, value)

    # Steps.

    def _run_to_next_look(self) -> None:
        stages, steps, passes = torch.stack([self._state[name] for name in ("stage", "step", "passes")]).tolist()
        lengths = [len(stage.learning_rates) for stage in self.method.stages]
        count = min(lengths[stage] - step for stage, step in zip(stages, steps, strict=True))
        if self.method.can_converge:
            count = min(count, STEPS_BETWEEN_LOOKS.get(self.device.type, 1))
        if self.capacity.growing and not self._exhausted:
            count = min(count, STEPS_WHILE_GROWING)
        present = frozenset(stages)
        for further in range(1, count + 1):
            self._step(present)
            self._done.under_way(passes, further)
        self.capacity.observe(len(self._keys))

    def _step(self, present: frozenset[int]) -> None:
        state, method = self._state, self.method
        names = {number: method.stages[number].parameter for number in sorted(present)}
        parameters = {name: state[name].detach().requires_grad_(True) for name in names.values()}
        with torch.enable_grad():
            objective = method.objective(self.classifier, state | parameters, present)
            gradients = torch.autograd.grad(objective.sum(), list(parameters.values()))
        gradient_of = dict(zip(parameters, gradients, strict=True))
        with torch.no_grad():
            for number, name in names.items():
                moving = ~state["over"] & (state["stage"] == number)
                rates = self._rates[number].take(state["step"].clamp_max(self._rates.shape[1] - 1))
                rates = method.rates(state, rates)
                moments = {moment: state[f"{name}.{moment}"] for moment in method.update.moments}
                method.update.apply(state[name], gradient_of[name], moments, rates * moving, state["step"] + 1)
                method.project(state, number)
            running = ~state["over"]
            state["step"] += running
            state["passes"] += running
            state["failed"] |= ~objective.isfinite()
            state["over"] |= state["failed"] | (state["step"] >= self._lengths[state["stage"]])
            if method.can_converge:
                state["over"] |= method.converged(state)


class OptimizingExplainer(ABC):
    """An explainer whose maps are optimized: a method for the engine."""

    @property
    @abstractmethod
    def passes(self) -> int:
        """Passes through the network for an image, at most."""

    @abstractmethod
    def method(self) -> Method:
        """The method with this explainer's settings."""

    def explain(
        self,
        classifier: LogitsFunction,
        images: Tensor,
        targets: Tensor,
        generators: Sequence[torch.Generator] | None = None,
    ) -> Explanation:
        """Explain `targets` `[B]` int64 in `images` `[B,3,H,W]` float in [0,1], as many at once as memory allows.

        Raises:
            ValueError: shapes, dtypes or ranges do not fit.
            ClassifierError: no gradient gets from the scores to the image.
        """
        validate_batch(images, targets)
        if len(images):
            require_gradient(classifier, images[:1])
        drawn = generators or [None] * len(images)
        items = (
            Item(number, image, int(target), generator)
            for number, (image, target, generator) in enumerate(zip(images, targets, drawn, strict=True))
        )
        found = dict(Engine(self.method(), classifier, images.device).run(items))
        return Explanation.joined([found[number] for number in range(len(images))])


def explain_stream(
    explainer: Explainer,
    classifier: LogitsFunction,
    items: Iterable[Item],
    device: torch.device,
    batch_size: int | None = None,
    progress: Callable[[float], None] = lambda work: None,
) -> Iterator[tuple[Any, Explanation]]:
    """Explain a stream of images of one size with any explainer; gives (key, explanation of one image).

    An explainer that optimizes keeps its batch full, and tells `progress` after each step how much is done, in images,
    those in the batch by their shares. Any other takes the stream in batches. `batch_size` `None` lets the engine find
    it; other explainers then take 16 images, and fewer where each takes many passes by itself.
    """
    waiting = iter(items)
    if isinstance(explainer, OptimizingExplainer):
        for first in itertools.islice(waiting, 1):
            require_gradient(classifier, first.image[None].to(device))
            waiting = itertools.chain([first], waiting)
        yield from Engine(explainer.method(), classifier, device, batch_size).run(waiting, progress)
        return
    size = batch_size or max(1, min(MOST_TOGETHER, PASSES_TOGETHER // explainer.passes))
    while batch := list(itertools.islice(waiting, size)):
        images = torch.stack([item.image for item in batch]).to(device)
        targets = torch.tensor([item.target for item in batch], device=device)
        generators = [item.generator for item in batch if item.generator is not None]
        explanation = explainer.explain(classifier, images, targets, generators or None)
        for number, item in enumerate(batch):
            yield item.key, explanation.rows(number, number + 1)
