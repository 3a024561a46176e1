"""A pool of worker actors owned by the driver: replaces the dead, isolates what kills them, notices hangs."""

import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from pipeline.stages.board import Board
from pipeline.stages.failures import FATAL_IN_WORKER, PoolError
from pipeline.stages.observability import StageWatch
from pipeline.stages.stage import Stage
from pipeline.stages.units import Failure, Outcome, Unit
from pipeline.stages.worker import Worker, WorkerSetup

STARTUP_FAILURES = 3
STARTUP_SECONDS = 600.0
BOARD_SECONDS = 1.0


@dataclass
class Attempt:
    """A unit on its way: how often its worker died, what was found to be deadly, what remains to be probed."""

    unit: Unit
    deaths: int = 0
    excluded: dict[str, str] = field(default_factory=dict)
    probes: deque[str] | None = None

    @property
    def probe(self) -> str | None:
        return self.probes[0] if self.probes else None


class WorkerPool:
    """Up to `size` actors with the same resources; one unit in flight each."""

    def __init__(
        self,
        setup: WorkerSetup,
        size: int,
        cpus: float,
        gpus: float,
        attempts: int,
        timeout: float,
        memory: float = 0.0,
    ) -> None:
        """Start nothing yet; `attempts` worker deaths or errors are allowed per unit.

        `timeout` is how many seconds a unit may take without telling of progress, `memory` how many bytes Ray sets
        aside for each worker.
        """
        # It may be on a node that is lost: without it no unit could say that it is not hanging.
        self._board = ray.remote(Board).options(num_cpus=0, max_restarts=-1).remote()
        self._board_read = time.monotonic()
        self.setup = replace(setup, board=self._board)
        self.size, self.attempts, self.timeout = size, attempts, timeout
        self._actor = ray.remote(Worker).options(num_cpus=cpus, num_gpus=gpus, memory=memory or None, max_restarts=0)
        self._watch: StageWatch | None = None
        self._starting: dict[Any, Any] = {}
        self._idle: list[Any] = []
        self._busy: dict[Any, tuple[Any, Attempt, float]] = {}
        self._startup_failures = 0
        self._last_alive = time.monotonic()

    def run(
        self,
        stage: Stage,
        units: list[Unit],
        finished: Callable[[Outcome | Failure], None],
        told: Callable[[Unit, int], None] = lambda unit, images: None,
        watch: StageWatch | None = None,
    ) -> None:
        """Do all units in any order; `finished` is called once for each.

        `told` is called now and then with the images done so far of a unit that is not finished.

        Raises:
            PoolError: workers fail to start again and again.
            StoreError: the file system refuses; nothing else could be kept either.
        """
        queue = deque(Attempt(unit) for unit in units)
        self._watch = watch
        self._last_alive = time.monotonic()
        try:
            while queue or self._busy:
                self._start_workers(len(queue))
                while queue and self._idle:
                    self._submit(stage, self._idle.pop(), queue.popleft())
                self._collect(stage, queue, finished)
                self._read_board(told)
                if watch is not None:
                    watch.pool(len(queue), len(self._idle) + len(self._busy))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Kill all workers."""
        busy = [actor for actor, _, _ in self._busy.values()]
        for actor in [*self._idle, *self._starting.values(), *busy]:
            ray.kill(actor)
        self._idle, self._starting, self._busy = [], {}, {}
        ray.kill(self._board)

    def _read_board(self, told: Callable[[Unit, int], None]) -> None:
        """Pass on what the workers say of unfinished units; a unit that moves is not hanging."""
        now = time.monotonic()
        if now - self._board_read < BOARD_SECONDS:
            return
        self._board_read = now
        try:
            counts = ray.get(self._board.take.remote(), timeout=BOARD_SECONDS)
        except (RayError, TimeoutError):
            # Only the progress bar is the poorer for it.
            return
        for reference, (actor, attempt, _) in list(self._busy.items()):
            if attempt.unit.name in counts and attempt.probe is None:
                allowed = self.timeout if attempt.unit.bounded else math.inf
                self._busy[reference] = (actor, attempt, now + allowed)
                told(attempt.unit, counts[attempt.unit.name])

    def _start_workers(self, waiting: int) -> None:
        alive = len(self._idle) + len(self._busy) + len(self._starting)
        wanted = min(self.size, len(self._busy) + waiting)
        for _ in range(wanted - alive):
            actor = self._actor.remote(self.setup)
            self._starting[actor.ready.remote()] = actor

    def _submit(self, stage: Stage, actor: Any, attempt: Attempt) -> None:
        if attempt.probe is not None:
            reference = actor.probe.remote(stage, attempt.unit, attempt.probe)
        else:
            reference = actor.run.remote(stage, attempt.unit, attempt.excluded)
        allowed = self.timeout if attempt.unit.bounded else math.inf
        self._busy[reference] = (actor, attempt, time.monotonic() + allowed)

    def _collect(
        self, stage: Stage, queue: deque[Attempt], finished: Callable[[Outcome | Failure], None]
    ) -> None:
        """Take what has finished, died or run over its deadline."""
        ready, _ = ray.wait([*self._busy, *self._starting], num_returns=1, timeout=1.0)
        if ready or self._busy:
            self._last_alive = time.monotonic()
        elif time.monotonic() - self._last_alive > STARTUP_SECONDS:
            raise PoolError(
                f"no worker has started in {STARTUP_SECONDS:.0f} s: the cluster's processors or GPUs are taken by "
                "other jobs; free some, or run again later (what is done stays)"
            )
        for reference in ready:
            if reference in self._starting:
                self._welcome(reference)
            else:
                actor, attempt, _ = self._busy.pop(reference)
                try:
                    self._succeeded(ray.get(reference), attempt, queue, finished)
                    self._idle.append(actor)
                except RayTaskError as error:
                    if isinstance(error.cause, FATAL_IN_WORKER):
                        raise error.cause from None
                    self._idle.append(actor)
                    self._failed(attempt, describe(error.cause or error), queue, finished, certain=True)
                except RayError as error:
                    # Not only a dead actor: killed for memory, its node gone, its result lost.
                    ray.kill(actor)
                    reason = f"it crashed the worker ({type(error).__name__})"
                    self._died(reason, attempt)
                    self._failed(attempt, reason, queue, finished)
        now = time.monotonic()
        for reference, (actor, attempt, deadline) in list(self._busy.items()):
            if now > deadline:
                del self._busy[reference]
                ray.kill(actor)
                reason = f"no progress for {self.timeout:.0f} s"
                self._died(reason, attempt)
                self._failed(attempt, reason, queue, finished)

    def _welcome(self, reference: Any) -> None:
        actor = self._starting.pop(reference)
        try:
            ray.get(reference)
        except RayError as error:
            # Should it be only out of reach, it must not take a place when it comes back.
            ray.kill(actor)
            self._startup_failures += 1
            self._died(f"it did not start: {describe(error)}")
            # A lost node takes all the workers with it that are starting there; an error of our own would recur.
            own = getattr(error, "actor_init_failed", False)
            if self._startup_failures >= STARTUP_FAILURES * (1 if own else self.size):
                raise PoolError(f"workers cannot be started: {error}") from None
        else:
            self._startup_failures = 0
            self._idle.append(actor)

    def _died(self, reason: str, attempt: Attempt | None = None) -> None:
        if self._watch is not None:
            self._watch.worker_died(reason, attempt.unit if attempt else None)

    def _succeeded(
        self,
        result: Any,
        attempt: Attempt,
        queue: deque[Attempt],
        finished: Callable[[Outcome | Failure], None],
    ) -> None:
        if attempt.probe is None:
            finished(result)
        else:
            attempt.probes.popleft()
            queue.appendleft(attempt)

    def _failed(
        self,
        attempt: Attempt,
        reason: str,
        queue: deque[Attempt],
        finished: Callable[[Outcome | Failure], None],
        certain: bool = False,
    ) -> None:
        """Try again; after some attempts (at once for an error that would recur) look for the culprits."""
        if attempt.probe is not None:
            attempt.excluded[attempt.probes.popleft()] = reason
            queue.appendleft(attempt)
            self._retried(attempt, reason)
            return
        attempt.deaths += 1
        if not certain and attempt.deaths < self.attempts:
            queue.append(attempt)
            self._retried(attempt, reason)
            return
        already_taken_apart = attempt.probes is not None
        if attempt.unit.divisible and not already_taken_apart and len(attempt.unit.items) > 1:
            attempt.probes = deque(attempt.unit.items)
            queue.append(attempt)
        elif attempt.unit.divisible and not already_taken_apart:
            attempt.probes = deque()
            attempt.excluded = {item: reason for item in attempt.unit.items}
            queue.append(attempt)
        else:
            finished(Failure(attempt.unit, reason))
            return
        self._retried(attempt, reason)

    def _retried(self, attempt: Attempt, reason: str) -> None:
        if self._watch is not None:
            self._watch.retried(attempt.unit, reason)


def describe(error: BaseException) -> str:
    """An exception in one line for the `errors` table."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"


def worker_count(
    cpus: float, gpus: float, limit: int | None, resources: Mapping[str, float], memory: float = 0.0
) -> int:
    """How many workers of these needs the cluster can hold at once.

    Raises:
        PoolError: not even one fits, now or ever.
    """
    fits = [resources.get("CPU", 0) // cpus if cpus else float("inf")]
    if gpus:
        fits.append(resources.get("GPU", 0) // gpus)
    # A cluster that grows does not say how much memory it will have.
    if memory and "memory" in resources:
        fits.append(resources["memory"] // memory)
    count = int(min(fits))
    if count < 1:
        gib = 2**30
        needs = f" and {memory / gib:.3g} GiB" if memory else ""
        has = f" and {resources.get('memory', 0) / gib:.3g} GiB" if memory else ""
        raise PoolError(
            f"a worker needs {cpus:g} CPUs and {gpus:g} GPUs{needs}, and the cluster has "
            f"{resources.get('CPU', 0):g} CPUs and {resources.get('GPU', 0):g} GPUs{has}: start nodes that have them, "
            "lower ray.explain_gpus or ray.memory_per_worker, or, if the cluster grows, say by ray.cpus and ray.gpus "
            "how far"
        )
    return min(count, limit) if limit else count
