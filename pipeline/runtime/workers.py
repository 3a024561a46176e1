"""The workers of a run: a pool for the stages that take a GPU where there is one, one for all others."""

import time
from collections.abc import Callable, Mapping, Sequence

from pipeline.runtime.context import ContextFactory
from pipeline.runtime.failures import FATAL_IN_WORKER
from pipeline.runtime.pool import WorkerPool, advance, fitting, worker_count
from pipeline.runtime.settings import RaySettings
from pipeline.runtime.stage import Stage
from pipeline.runtime.units import Unit
from pipeline.runtime.work import Work

RESOURCES_SECONDS = 5.0
IDLE_SECONDS = 5.0


class Workers:
    """Takes work of any stage and does it, on as many workers as the cluster holds at the time.

    Those with a GPU come first: one processor is left for each, the others go to workers without, at least one. Ray is
    asked for their GPUs alone: on a node whose processors are all taken a worker with a GPU would never start. Workers
    that have had nothing to do for some seconds go, which gives back their GPU, processor and memory.
    """

    def __init__(
        self,
        settings: RaySettings,
        make_context: ContextFactory,
        resources: Callable[[], Mapping[str, float]],
        fatal: tuple[type[Exception], ...] = FATAL_IN_WORKER,
    ) -> None:
        """Start nothing yet; `resources` says what the cluster has now or may come to.

        `make_context` makes each worker's context; `fatal` are the errors of a worker that end the run.
        """
        self._settings, self._make_context, self._ask, self._fatal = settings, make_context, resources, fatal
        self._resources, self._asked = resources(), time.monotonic()
        self._gpus = settings.explain_gpus if self._resources.get("GPU", 0) > 0 else 0.0
        self._memory = (settings.memory_per_worker or 0.0) * 2**30
        self._pools: dict[bool, WorkerPool] = {}

    @property
    def pending(self) -> bool:
        """Whether anything is left to do."""
        return any(pool.wanted for pool in self._pools.values())

    def add(self, work: Work, units: Sequence[Unit]) -> None:
        """Take units to do.

        Raises:
            PoolError: not even one worker fits, now or ever.
        """
        self.pool(work.stage).add(work, units)

    def advance(self) -> None:
        """Wait a moment for workers and take what they have done.

        Raises:
            PoolError, StoreError: as `WorkerPool.end`.
        """
        self._fit()
        advance(list(self._pools.values()))

    def pool(self, stage: Stage) -> WorkerPool:
        """The pool for a stage; those that ask for a GPU get one where the cluster has any."""
        gpu = stage.resources.gpu and self._gpus > 0
        if gpu not in self._pools:
            settings = self._settings
            cpus, gpus = (0.0, self._gpus) if gpu else (1.0, 0.0)
            # Processors for the stages without GPUs, too: the run would be refused after hours on GPUs.
            size = worker_count(1.0, gpus, settings.workers, self._resources, self._memory)
            self._pools[gpu] = WorkerPool(
                self._make_context,
                size,
                cpus,
                gpus,
                settings.attempts,
                settings.unit_timeout,
                self._memory,
                self._fatal,
            )
        return self._pools[gpu]

    def close(self) -> None:
        """Kill the workers, if any."""
        for pool in self._pools.values():
            pool.close()
        self._pools = {}

    def _fit(self) -> None:
        """Let the pools be as large as the cluster holds them now."""
        if time.monotonic() - self._asked > RESOURCES_SECONDS:
            self._resources, self._asked = self._ask(), time.monotonic()
        with_gpu, without = self._pools.get(True), self._pools.get(False)
        taken: dict[str, float] = {}
        if with_gpu is not None:
            with_gpu.size = 0 if with_gpu.idle_seconds > IDLE_SECONDS else self._room(0.0, self._gpus)
            holding = max(with_gpu.alive, min(with_gpu.size, with_gpu.wanted))
            taken = {"CPU": float(holding), "memory": holding * self._memory}
        if without is not None:
            # There may be memory set aside for one kind alone; nothing else of theirs is in the way of the others.
            in_the_way = self._memory > 0 and with_gpu is not None and with_gpu.waiting > 0
            let_go = in_the_way and without.idle_seconds > IDLE_SECONDS
            without.size = 0 if let_go else self._room(1.0, 0.0, taken)

    def _room(self, cpus: float, gpus: float, taken: Mapping[str, float] | None = None) -> int:
        """How many workers fit now beside what is `taken`; one where nodes are lost, which waits for others."""
        left = {name: amount - (taken or {}).get(name, 0.0) for name, amount in self._resources.items()}
        return max(1, fitting(cpus, gpus, self._settings.workers, left, self._memory))
