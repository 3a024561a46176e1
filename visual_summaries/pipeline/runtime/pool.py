"""A pool of worker actors owned by the driver: replaces the dead, isolates what kills them, notices hangs."""

import math
import secrets
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import ray
from ray.exceptions import RayError, RayTaskError

from visual_summaries.pipeline.runtime.actor import Worker
from visual_summaries.pipeline.runtime.board import Board, Line
from visual_summaries.pipeline.runtime.context import ContextFactory
from visual_summaries.pipeline.runtime.failures import FATAL_IN_WORKER, PoolError, describe
from visual_summaries.pipeline.runtime.observability import StageWatch
from visual_summaries.pipeline.runtime.stage import Stage
from visual_summaries.pipeline.runtime.units import Failure, Outcome, Unit
from visual_summaries.pipeline.runtime.vigil import SILENCE_SECONDS, Vigil
from visual_summaries.pipeline.runtime.work import Work, next_work

STARTUP_FAILURES = 3
STARTUP_SECONDS = 600.0
BOARD_SECONDS = 1.0
WAIT_SECONDS = 1.0
IDLE_WAIT_SECONDS = 0.1
CLOSE_SECONDS = 5.0


@dataclass
class Attempt:
    """A unit on its way: how often its worker died, what was found to be deadly, what remains to be probed."""

    work: Work
    unit: Unit
    deaths: int = 0
    excluded: dict[str, str] = field(default_factory=dict)
    probes: deque[str] | None = None

    @property
    def probe(self) -> str | None:
        return self.probes[0] if self.probes else None


class Hand(NamedTuple):
    """A worker: its actor, and its name on the board."""

    actor: Any
    name: str


class WorkerPool:
    """Up to `size` actors with the same resources; one unit in flight each. `size` may change at any time."""

    def __init__(
        self,
        make_context: ContextFactory,
        size: int,
        cpus: float,
        gpus: float,
        attempts: int,
        timeout: float,
        memory: float = 0.0,
        fatal: tuple[type[Exception], ...] = FATAL_IN_WORKER,
        silence: float = SILENCE_SECONDS,
    ) -> None:
        """Start nothing yet; `attempts` worker deaths or errors are allowed per unit.

        `timeout` is how many seconds a unit may take without telling of progress (see `patience`), `silence` for how
        many a worker may show no sign of life, `memory` how many bytes Ray sets aside for each worker, `fatal` which
        errors of a worker end the run.
        """
        # It may be on a node that is lost: without it no unit could say that it is not hanging.
        self._board = ray.remote(Board).options(num_cpus=0, max_restarts=-1).remote()
        self._asked, self._asked_at = None, -math.inf
        self._vigil, self._given_up = Vigil(timeout, silence), set()
        self._make_context, self._gpu, self._fatal = make_context, gpus > 0, fatal
        self.size, self.attempts, self.timeout = size, attempts, timeout
        self._actor = ray.remote(Worker).options(num_cpus=cpus, num_gpus=gpus, memory=memory or None, max_restarts=0)
        self._waiting: dict[Work, deque[Attempt]] = {}
        self._starting: dict[Any, Hand] = {}
        self._idle: list[Hand] = []
        self._busy: dict[Any, tuple[Hand, Attempt]] = {}
        self._startup_failures = 0
        self._last_alive = self._last_needed = time.monotonic()

    @property
    def waiting(self) -> int:
        """Units that no worker has begun."""
        return sum(len(queue) for queue in self._waiting.values())

    @property
    def wanted(self) -> int:
        """Workers that could do something now."""
        return len(self._busy) + self.waiting

    @property
    def alive(self) -> int:
        """Workers that have been asked for and not been found dead."""
        return len(self._idle) + len(self._busy) + len(self._starting)

    @property
    def idle_seconds(self) -> float:
        """Seconds for which there has been nothing to do."""
        return 0.0 if self.wanted else time.monotonic() - self._last_needed

    def add(self, work: Work, units: Sequence[Unit]) -> None:
        """Take units of work; `advance` does them."""
        if not self.wanted:
            self._last_alive = time.monotonic()
        self._waiting.setdefault(work, deque()).extend(Attempt(work, unit) for unit in units)

    def run(
        self,
        stage: Stage,
        units: Sequence[Unit],
        finished: Callable[[Outcome | Failure], None],
        told: Callable[[Unit, int, float], None] = lambda unit, images, work: None,
        watch: StageWatch | None = None,
    ) -> None:
        """Do all units of one stage in any order; raises as `advance`."""
        self.add(Work(stage, finished, told, watch), units)
        try:
            while self.wanted:
                advance([self])
        except BaseException:
            self.close()
            raise

    def begin(self) -> list[Any]:
        """Start the workers that are wanted, stop those too many, give out units; what to wait for then."""
        for _ in range(self.alive - self.size):
            if self._idle:
                ray.kill(self._idle.pop().actor)
            elif self._starting:
                ray.kill(self._starting.pop(next(reversed(self._starting))).actor)
        for _ in range(min(self.size, self.wanted) - self.alive):
            name = secrets.token_hex(8)
            actor = self._actor.remote(self._make_context, self._gpu, Line(self._board, name))
            self._starting[actor.ready.remote()] = Hand(actor, name)
        while self._idle and (attempt := self._next()) is not None:
            self._submit(self._idle.pop(), attempt)
        return [*self._busy, *self._starting]

    @property
    def busy(self) -> bool:
        """Whether a worker has a unit in hand."""
        return bool(self._busy)

    def end(self, ready: Sequence[Any], patient: bool = False) -> None:
        """Take what has finished, died or run over its deadline.

        `patient`: that no worker starts may be because of the run's own other workers.

        Raises:
            PoolError: workers fail to start again and again.
            StoreError: the file system refuses; nothing else could be kept either.
        """
        if self.wanted:
            self._last_needed = time.monotonic()
        if ready or self._busy or patient or not self.wanted:
            self._last_alive = time.monotonic()
        elif time.monotonic() - self._last_alive > STARTUP_SECONDS:
            raise PoolError(
                f"no worker has started in {STARTUP_SECONDS:.0f} s: the cluster's processors or GPUs are taken by "
                "other jobs; free some, or run again later (what is done stays)"
            )
        self._collect(ready)
        self._read_board()
        self._give_up_the_stalled()
        for work, queue in self._waiting.items():
            if work.watch is not None:
                work.watch.pool(len(queue), len(self._idle) + len(self._busy))

    def close(self) -> None:
        """Kill all workers, those that wait for work after they have cleaned up."""
        if self._idle:
            closing = [hand.actor.close.remote() for hand in self._idle]
            ray.wait(closing, num_returns=len(closing), timeout=CLOSE_SECONDS)
        for hand in [*self._idle, *self._starting.values(), *(hand for hand, _ in self._busy.values())]:
            ray.kill(hand.actor)
        self._idle, self._starting, self._busy = [], {}, {}
        ray.kill(self._board)

    def _next(self) -> Attempt | None:
        """The attempt whose turn it is. Work of which nothing waits or runs any more is forgotten."""
        work = next_work(self._waiting, self.size)
        if work is not None:
            return self._waiting[work].popleft()
        running = {attempt.work for _, attempt in self._busy.values()}
        self._waiting = {work: queue for work, queue in self._waiting.items() if work in running}
        return None

    def _read_board(self) -> None:
        """Pass on what the workers say of unfinished units; a unit that moves is not hanging."""
        now = time.monotonic()
        if self._asked is None and now - self._asked_at >= BOARD_SECONDS:
            self._asked, self._asked_at = self._board.take.remote(self._given_up), now
        if self._asked is None or not ray.wait([self._asked], timeout=0)[0]:
            return
        asked, self._asked = self._asked, None
        try:
            counts, heard = ray.get(asked)
        except RayError:
            # It comes back; until then the vigil's time stands still.
            return
        told = [(hand, attempt) for hand, attempt in self._busy.values() if hand.name in counts]
        told = [(hand, attempt) for hand, attempt in told if counts[hand.name][0] == attempt.unit.name]
        self._vigil.answered({hand.name for hand, _ in told}, heard)
        for hand, attempt in told:
            if attempt.probe is None:
                attempt.work.told(attempt.unit, *counts[hand.name][1:])

    def _submit(self, hand: Hand, attempt: Attempt) -> None:
        attempt.work.begun(attempt.unit)
        stage = attempt.work.stage
        if attempt.probe is not None:
            reference = hand.actor.probe.remote(stage, attempt.unit, attempt.probe)
        else:
            reference = hand.actor.run.remote(stage, attempt.unit, attempt.excluded)
        self._busy[reference] = hand, attempt
        self._vigil.begin(hand.name, attempt.unit)

    def _collect(self, ready: Sequence[Any]) -> None:
        for reference in ready:
            if reference in self._starting:
                self._welcome(reference)
            else:
                hand, attempt = self._busy.pop(reference)
                self._vigil.end(hand.name)
                try:
                    self._succeeded(ray.get(reference), attempt)
                    self._idle.append(hand)
                except RayTaskError as error:
                    if isinstance(error.cause, self._fatal):
                        raise error.cause from None
                    self._idle.append(hand)
                    self._failed(attempt, describe(error.cause or error), certain=True)
                except RayError as error:
                    # Not only a dead actor: killed for memory, its node gone, its result lost.
                    self._give_up(hand)
                    reason = f"it crashed the worker ({type(error).__name__})"
                    self._died(reason, attempt)
                    self._failed(attempt, reason)

    def _give_up_the_stalled(self) -> None:
        """Say which units make no progress, and take those that may have lasted too long from their workers."""
        by_name = {hand.name: (reference, hand, attempt) for reference, (hand, attempt) in self._busy.items()}
        for stall in self._vigil.stalls():
            reference, hand, attempt = by_name[stall.worker]
            attempt.work.stalled(attempt.unit, stall.reason + ("; its worker is stopped" if stall.over else ""))
            if stall.over:
                del self._busy[reference]
                self._give_up(hand)
                self._died(stall.reason, attempt)
                self._failed(attempt, stall.reason)
            elif attempt.work.watch is not None:
                attempt.work.watch.stalled(attempt.unit, stall.reason)

    def _give_up(self, hand: Hand) -> None:
        """Let a worker go that may yet live somewhere: what it has in hand is not its own any more."""
        self._vigil.end(hand.name)
        self._given_up.add(hand.name)
        ray.kill(hand.actor)

    def _welcome(self, reference: Any) -> None:
        hand = self._starting.pop(reference)
        try:
            ray.get(reference)
        except RayError as error:
            # Should it be only out of reach, it must not take a place when it comes back.
            self._give_up(hand)
            self._startup_failures += 1
            self._died(f"it did not start: {describe(error)}")
            # A lost node takes all the workers with it that are starting there; an error of our own would recur.
            own = getattr(error, "actor_init_failed", False)
            if self._startup_failures >= STARTUP_FAILURES * (1 if own else max(1, self.size)):
                raise PoolError(f"workers cannot be started: {error}") from None
        else:
            self._startup_failures = 0
            self._idle.append(hand)

    def _died(self, reason: str, attempt: Attempt | None = None) -> None:
        """Say that a worker is gone; one that never started was wanted for the work that is first in line."""
        work = attempt.work if attempt else next_work(self._waiting, self.size)
        if work is not None and work.watch is not None:
            work.watch.worker_died(reason, attempt.unit if attempt else None)

    def _succeeded(self, result: Any, attempt: Attempt) -> None:
        if attempt.probe is None:
            attempt.work.finished(result)
        else:
            attempt.probes.popleft()
            self._back(attempt, first=True)

    def _back(self, attempt: Attempt, first: bool = False) -> None:
        queue = self._waiting.setdefault(attempt.work, deque())
        (queue.appendleft if first else queue.append)(attempt)

    def _failed(self, attempt: Attempt, reason: str, certain: bool = False) -> None:
        """Try again; after some attempts (at once for an error that would recur) look for the culprits."""
        if attempt.probe is not None:
            attempt.excluded[attempt.probes.popleft()] = reason
            self._back(attempt, first=True)
            self._retried(attempt, reason)
            return
        attempt.deaths += 1
        if not certain and attempt.deaths < self.attempts:
            self._back(attempt)
            self._retried(attempt, reason)
            return
        already_taken_apart = attempt.probes is not None
        if attempt.unit.divisible and not already_taken_apart and len(attempt.unit.items) > 1:
            attempt.probes = deque(attempt.unit.items)
            self._back(attempt)
        elif attempt.unit.divisible and not already_taken_apart:
            attempt.probes = deque()
            attempt.excluded = {item: reason for item in attempt.unit.items}
            self._back(attempt)
        else:
            attempt.work.finished(Failure(attempt.unit, reason))
            return
        self._retried(attempt, reason)

    def _retried(self, attempt: Attempt, reason: str) -> None:
        if attempt.work.watch is not None:
            attempt.work.watch.retried(attempt.unit, reason)


def advance(pools: Sequence[WorkerPool]) -> None:
    """Wait a moment for one of the pools' workers and take what it has done; raises as `WorkerPool.end`."""
    references = {reference: pool for pool in pools for reference in pool.begin()}
    if references:
        ready, _ = ray.wait(list(references), num_returns=1, timeout=WAIT_SECONDS)
    else:
        ready = []
        time.sleep(IDLE_WAIT_SECONDS)
    busy = any(pool.busy for pool in pools)
    for pool in pools:
        pool.end([reference for reference in ready if references[reference] is pool], patient=busy)


def worker_count(
    cpus: float, gpus: float, limit: int | None, resources: Mapping[str, float], memory: float = 0.0
) -> int:
    """How many workers of these needs the cluster can hold at once.

    Raises:
        PoolError: not even one fits, now or ever.
    """
    count = fitting(cpus, gpus, limit, resources, memory)
    if count < 1:
        gib = 2**30
        needs = f" and {memory / gib:.3g} GiB" if memory else ""
        has = f" and {resources.get('memory', 0) / gib:.3g} GiB" if memory else ""
        raise PoolError(
            f"a worker needs {cpus:g} CPUs and {gpus:g} GPUs{needs}, and the cluster has "
            f"{resources.get('CPU', 0):g} CPUs and {resources.get('GPU', 0):g} GPUs{has}: start nodes that have them, "
            "or lower ray.explain_gpus or ray.memory_per_worker (a cluster that grows was asked for them: none came)"
        )
    return count


def fitting(cpus: float, gpus: float, limit: int | None, resources: Mapping[str, float], memory: float = 0.0) -> int:
    """How many workers of these needs the resources hold at once, at most `limit`; may be none."""
    fits = [resources.get("CPU", 0) // cpus if cpus else math.inf]
    if gpus:
        fits.append(resources.get("GPU", 0) // gpus)
    # A cluster that grows does not say how much memory it will have.
    if memory and "memory" in resources:
        fits.append(resources["memory"] // memory)
    if limit:
        fits.append(limit)
    return max(0, int(min(fits)))
