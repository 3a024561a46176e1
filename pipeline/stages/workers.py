"""The workers of a run: a pool for the stages that use the classifier where there are GPUs, one for all others."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from pipeline.config import RunConfig
from pipeline.stages.pool import WorkerPool, advance, fitting, worker_count
from pipeline.stages.stage import Stage
from pipeline.stages.units import Unit
from pipeline.stages.work import Work
from pipeline.stages.worker import WorkerSetup

RESOURCES_SECONDS = 5.0
IDLE_SECONDS = 5.0


@dataclass(frozen=True)
class Shares:
    """Processors that a worker of each kind counts for, and GPUs that one of the first kind has."""

    with_gpu: float
    gpus: float
    without_gpu: float = 1.0


def shares(resources: Mapping[str, float], gpus: float) -> Shares:
    """What workers count for, so that there is room beside one on every GPU for one without."""
    processors = resources.get("CPU", 0)
    if not gpus:
        return Shares(0.0, 0.0)
    most = resources.get("GPU", 0) // gpus
    if most < 1 or processors >= most + 1:
        return Shares(1.0, gpus)
    # Rounded down: Ray counts in ten-thousandths.
    return Shares(int(500 * processors / most) / 1000, gpus, min(1.0, processors / 2))


class Workers:
    """Takes work of any stage and does it, on as many workers as the cluster holds at the time.

    Workers with GPUs come first: the others get the processors that those leave, all of them once nothing waits for a
    GPU any more. So stages of either kind never wait for one another's workers.
    """

    def __init__(
        self, config: RunConfig, setup: WorkerSetup, resources: Callable[[], Mapping[str, float]]
    ) -> None:
        """Start nothing yet; `resources` says what the cluster has now or may come to."""
        self._config, self._setup, self._ask = config, setup, resources
        self._resources, self._asked = resources(), time.monotonic()
        has_gpus = self._resources.get("GPU", 0) > 0
        self._shares = shares(self._resources, config.ray.explain_gpus if has_gpus else 0.0)
        self._memory = (config.ray.memory_per_worker or 0.0) * 2**30
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
        """The pool for a stage; model stages take GPUs where the cluster has any."""
        gpu = stage.uses_model and self._shares.gpus > 0
        if gpu not in self._pools:
            own, settings = self._shares, self._config.ray
            cpus, gpus = (own.with_gpu, own.gpus) if gpu else (own.without_gpu, 0.0)
            size = worker_count(cpus, gpus, settings.workers, self._resources, self._memory)
            setup = replace(self._setup, gpu=gpu)
            self._pools[gpu] = WorkerPool(
                setup, size, cpus, gpus, settings.attempts, settings.unit_timeout, self._memory
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
        own = self._shares
        with_gpu, without = self._pools.get(True), self._pools.get(False)
        taken: dict[str, float] = {}
        if with_gpu is not None:
            others_wait = without is not None and without.waiting > 0
            let_go = others_wait and with_gpu.idle_seconds > IDLE_SECONDS
            with_gpu.size = 0 if let_go else self._room(own.with_gpu, own.gpus)
            holding = max(with_gpu.alive, min(with_gpu.size, with_gpu.wanted))
            taken = {"CPU": holding * own.with_gpu, "memory": holding * self._memory}
        if without is not None:
            without.size = self._room(own.without_gpu, 0.0, taken)

    def _room(self, cpus: float, gpus: float, taken: Mapping[str, float] | None = None) -> int:
        """How many workers fit now beside what is `taken`; one where nodes are lost, which waits for others."""
        left = {name: amount - (taken or {}).get(name, 0.0) for name, amount in self._resources.items()}
        return max(1, fitting(cpus, gpus, self._config.ray.workers, left, self._memory))
