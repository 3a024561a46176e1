"""The workers of a run: a pool for the stages that take a GPU where there is one, one for all others."""

import time
from collections.abc import Callable, Mapping, Sequence

from visual_summaries.pipeline.runtime.context import ContextFactory
from visual_summaries.pipeline.runtime.failures import FATAL_IN_WORKER
from visual_summaries.pipeline.runtime.growth import Growth, needed
from visual_summaries.pipeline.runtime.pool import WorkerPool, advance, fitting, worker_count
from visual_summaries.pipeline.runtime.settings import RaySettings
from visual_summaries.pipeline.runtime.stage import Stage
from visual_summaries.pipeline.runtime.units import Unit
from visual_summaries.pipeline.runtime.work import Work

RESOURCES_SECONDS = 5.0
IDLE_SECONDS = 5.0
ROOM_SECONDS = 1.0
GROWTH_SECONDS = 300.0
"""How long a run waits for the first node of a cluster that holds none of its workers yet."""


class Workers:
    """Takes work of any stage and does it, on as many workers as the cluster holds at the time.

    Those with a GPU come first: one processor is left for each, the others go to workers without, at least one. Ray is
    asked for their GPUs alone: on a node whose processors are all taken a worker with a GPU would never start. Workers
    that have had nothing to do for some seconds go, which gives back their GPU, processor and memory. A cluster, unlike
    this machine alone, is asked to grow to what the waiting units could use.
    """

    def __init__(
        self,
        settings: RaySettings,
        make_context: ContextFactory,
        resources: Callable[[], Mapping[str, float]],
        fatal: tuple[type[Exception], ...] = FATAL_IN_WORKER,
        growth: Growth | None = None,
        waits: Callable[[str], None] = lambda reason: None,
    ) -> None:
        """Start nothing yet; `resources` says what the cluster has now or may come to.

        `growth` asks the cluster for more, where it may have more; `waits` is told what the run waits for.

        `make_context` makes each worker's context; `fatal` are the errors of a worker that end the run.
        """
        self._settings, self._make_context, self._ask, self._fatal = settings, make_context, resources, fatal
        self._resources, self._asked = resources(), time.monotonic()
        self._gpus = settings.explain_gpus if self._resources.get("GPU", 0) > 0 else 0.0
        self._memory = (settings.memory_per_worker or 0.0) * 2**30
        self._pools: dict[bool, WorkerPool] = {}
        self._growth, self._waits = growth, waits

    @property
    def pending(self) -> bool:
        """Whether anything is left to do."""
        return any(pool.wanted for pool in self._pools.values())

    def add(self, work: Work, units: Sequence[Unit]) -> None:
        """Take units to do.

        Raises:
            PoolError: not even one worker fits, now or ever; of a cluster that may grow, in `GROWTH_SECONDS`.
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
            self._await_room(gpus)
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
        if self._growth is not None:
            self._growth.close()

    def _await_room(self, gpus: float) -> None:
        """Wait for a node that holds a worker, where the cluster may grow; it need not be of this run's asking."""
        deadline, told = time.monotonic() + GROWTH_SECONDS, False
        while self._growth is not None and time.monotonic() < deadline:
            if fitting(1.0, gpus, None, self._resources, self._memory):
                return
            if not told:
                self._waits(
                    f"no node of the cluster holds a worker yet, which needs {_listed(self._needs(gpus))}: asked for "
                    f"one, waiting for it {GROWTH_SECONDS:.0f} s at most"
                )
                told = True
            self._growth.ask(needed(1, 1, self._needs(gpus), {}))
            time.sleep(ROOM_SECONDS)
            self._resources = self._ask()

    def _needs(self, gpus: float) -> dict[str, float]:
        """What a node must have for a worker; a processor for one with a GPU, too."""
        return {"CPU": 1.0, "GPU": gpus, "memory": self._memory}

    def _ask_for_room(self) -> None:
        """Let the cluster grow to what the units that are left could use, and let go of what they cannot use."""
        most = {"CPU": float(self._settings.cpus or 0), "GPU": self._settings.gpus or 0.0}
        bundles = []
        for gpu, pool in sorted(self._pools.items(), reverse=True):
            needs = self._needs(self._gpus if gpu else 0.0)
            bundles += needed(pool.wanted, self._settings.workers, needs, most)
        self._growth.ask(bundles)

    def _fit(self) -> None:
        """Let the pools be as large as the cluster holds them now."""
        if time.monotonic() - self._asked > RESOURCES_SECONDS:
            self._resources, self._asked = self._ask(), time.monotonic()
            if self._growth is not None:
                self._ask_for_room()
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


def _listed(needs: Mapping[str, float]) -> str:
    """Resources in words."""
    memory = needs["memory"] / 2**30
    parts = [f"{needs['CPU']:g} processor", f"{needs['GPU']:g} GPU", f"{memory:.3g} GiB of memory"]
    return " and ".join(part for part in parts if not part.startswith("0 "))
