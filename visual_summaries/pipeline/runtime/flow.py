"""The driver's walk: each class goes from stage to stage on its own, so that no worker waits for other classes."""

import heapq
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Protocol

from visual_summaries.pipeline.runtime.failures import RunFailed
from visual_summaries.pipeline.runtime.kept import check_kept, units_as_kept
from visual_summaries.pipeline.runtime.progress import RunProgress, StageProgress
from visual_summaries.pipeline.runtime.records import (
    Found,
    RunState,
    check_tolerance,
    count_lost,
    find_outcomes,
    invalidate_after,
    lost_images,
    record_errors,
    record_stage,
    too_many,
    write_manifest,
)
from visual_summaries.pipeline.runtime.stage import Plan, PlannedShard, Stage
from visual_summaries.pipeline.runtime.units import Failure, Outcome, Unit, UnitName
from visual_summaries.pipeline.runtime.work import Work

MANIFEST_INTERVAL_SECONDS = 2.0
MANIFEST_SHARE = 20
PLAN_SECONDS = 4.0
"""For how long classes are planned before workers are given what is there: of a million files it takes minutes."""

EVERYTHING = 0


class TakesWork(Protocol):
    """What does the units: `pipeline.runtime.workers.Workers`, or a simulation of it."""

    def add(self, work: Work, units: Sequence[Unit]) -> None: ...

    def advance(self) -> None: ...


def run_stages(state: RunState, stages: Sequence[Stage], workers: TakesWork) -> list[Outcome]:
    """Do what is missing of the stages, write their manifests; return what came of the last one, in order.

    A class goes on to a stage as soon as it is through those whose tables this one reads; a stage about all classes
    waits for them all. Units of earlier stages go first.

    Raises:
        RunFailed: more images were left out than `error_tolerance` allows, or a stage failed everywhere.
        PoolError, StoreError: see there.
    """
    with RunProgress(state.console) as progress:
        walks = [StageWalk(state, stage, rank, workers, progress) for rank, stage in enumerate(stages)]
        try:
            _Flow(walks, workers).run()
        finally:
            for walk in walks:
                walk.leave()
    return walks[-1].outcomes


class StageWalk:
    """One stage's way through the classes, or its one step where it is about all of them."""

    def __init__(
        self, state: RunState, stage: Stage, rank: int, workers: TakesWork, progress: RunProgress
    ) -> None:
        self.state, self.stage, self.rank = state, stage, rank
        self._workers, self._progress = workers, progress
        self.parts = len(state.inputs.classes) if stage.by_class else 1
        self.settled: set[int] = set()
        self.shards: dict[int, list[PlannedShard]] = {}
        self.outcomes: list[Outcome] = []
        self.on_settled: Callable[[int], None] = lambda part: None
        self._part_of = {group.label: part for part, group in enumerate(state.inputs.classes)}
        self._fingerprint = stage.fingerprint(state.config, state.inputs)
        self._kept = state.kept.get(stage.writes)
        self._work = Work(stage, self._finished, self._told, rank=rank, begun=self._begin, stalled=self._stalled)
        self._found: Found | None = None
        self._units: dict[int, list[UnitName]] = {}
        self._missing: dict[str, Unit] = {}
        self._left: dict[int, int] = {}
        self._done: dict[str, Outcome] = {}
        self._planned: dict[str, PlannedShard] = {}
        self._failures: list[Failure] = []
        self._line: StageProgress | None = None
        self._started: tuple[datetime, float] | None = None
        self._seconds = 0.0
        self._begun = self._changed = False

    @property
    def asked(self) -> bool:
        """Whether the workers have something to do for it."""
        return bool(self._missing)

    @property
    def over(self) -> bool:
        """Whether all of it is done or given up."""
        return len(self.settled) == self.parts

    def plan(self, part: int, plan: Plan) -> None:
        """Find out what there is to do for a class, or for all of them, and have the missing done."""
        if self._found is None:
            self._started = datetime.now(UTC), time.perf_counter()
            self._found = Found(self.state.store, self.stage, self._fingerprint)
        units = self.stage.named_units(plan, self._fingerprint)
        there = find_outcomes(self.state.store, self.stage, units, self._found, retries=self._kept is None)
        if self._kept is not None:
            units = units_as_kept(self._kept, self.stage, units, there, self.state.store)
        missing = [unit for unit in units if unit.name not in there]
        self._units[part], self._left[part] = [unit.called for unit in units], len(missing)
        self._missing |= {unit.name: unit for unit in missing}
        if self.stage.writes:
            own = {unit.name: unit for unit in units if unit.name in there}
            self._planned |= {name: PlannedShard.of(there[name].shard, unit) for name, unit in own.items()}
        self._done |= there
        self._changed = True
        if missing and self.stage.writes and not self.state.invalidated:
            invalidate_after(self.state, self.stage)
            self.write_manifest()
        if self._line is not None:
            self._show_planned(self._units[part])
        elif missing:
            self._open()
        if missing:
            self._workers.add(self._work, missing)
        else:
            self._settle(part)

    def write_manifest(self) -> None:
        """Let readers find what is done so far, if that has changed."""
        if self._changed and self._kept is None:
            write_manifest(self.state, self.stage, self._fingerprint, self._outcomes(), complete=False)
            self._changed = False

    def close(self) -> None:
        """Say what came of the stage: manifest, errors, cost.

        Raises:
            RunFailed: it failed everywhere, or more images were left out than the configuration allows.
        """
        outcomes, units = self._record()
        wanted = self.stage.wanted(self.state.config)
        if self._line is None and wanted:
            self._open()
        self.leave()
        started = self._started[0] if self._started else datetime.now(UTC)
        if wanted:
            record_stage(self.state, self.stage, outcomes, started, self._seconds, len(units))
        if self.stage.writes:
            check_tolerance(self.state)
        self.outcomes = outcomes

    def forget(self) -> None:
        """Let go of what only the stage itself needed to know."""
        self.outcomes = []
        self._units, self._done, self._found = {}, {}, None

    def leave(self) -> None:
        """Take the stage's line off the terminal, and end its watch."""
        if self._line is not None:
            self._line.close()
            self._work.watch.close()
            self._line = self._work.watch = None

    def _record(self) -> tuple[list[Outcome], list[UnitName]]:
        """Write manifest and errors; what they were written of."""
        outcomes, units = self._outcomes(), self._all_units()
        incomplete = not self.over or self._failures or self.state.incomplete.intersection(self.stage.reads)
        if incomplete:
            self.state.incomplete.add(self.stage.writes)
        if self._kept is not None:
            check_kept(self._kept, self.stage, outcomes, self.state.store)
            return outcomes, units
        write_manifest(self.state, self.stage, self._fingerprint, outcomes, complete=not incomplete)
        record_errors(self.state, self.stage, units, outcomes, self._failures)
        return outcomes, units

    def _outcomes(self) -> list[Outcome]:
        return [self._done[unit.name] for unit in self._all_units() if unit.name in self._done]

    def _all_units(self) -> list[UnitName]:
        return [unit for part in sorted(self._units) for unit in self._units[part]]

    def _open(self) -> None:
        """Begin to tell of the stage, though no worker may have started."""
        self._work.watch = self.state.watch.stage(self.stage.name)
        self._line = StageProgress(self._progress, self.stage.name, self.stage.counts)
        self._show_planned(self._all_units())

    def _begin(self, unit: Unit) -> None:
        if not self._begun:
            self._begun = True
            self._started = datetime.now(UTC), time.perf_counter()
            self._work.watch.begun()
        self._line.begin(unit)

    def _show_planned(self, units: Sequence[UnitName]) -> None:
        missing = [unit for unit in units if unit.name not in self._done]
        self._work.watch.planned(units, missing)
        there = sum(unit.size for unit in units) - sum(unit.size for unit in missing)
        self._line.plan(missing, there, more=len(self._units) < self.parts)

    def _told(self, unit: Unit, images: int, work: float) -> None:
        self._line.tell(unit, images, work)
        self._work.watch.told(unit, images)

    def _stalled(self, unit: Unit, reason: str) -> None:
        of = f"class {unit.label}: " if unit.label else ""
        self.state.console.print(f"{self.stage.name}: {of}{reason}", markup=False, highlight=False)

    def _finished(self, result: Outcome | Failure) -> None:
        unit = self._missing.pop(result.unit.name)
        self._line.finish(unit, failed=isinstance(result, Failure))
        self._work.watch.finished(result)
        if isinstance(result, Failure):
            if not self.stage.tried_again:
                self._failures.append(result)
                count_lost(self.state, self.stage, unit)
                self._check_failures()
        else:
            # A worker's result comes with its own copy of every text.
            shard = result.shard and replace(result.shard, label=unit.label)
            result = self._done[unit.name] = replace(result, unit=unit.called, shard=shard)
            self._changed = True
            if self.stage.writes:
                self._planned[unit.name] = PlannedShard.of(result.shard, unit)
                self.state.ledger.enter(self.stage.name, result)
        part = self._part_of[unit.label] if self.stage.by_class else EVERYTHING
        self._left[part] -= 1
        if self._left[part] == 0:
            self._settle(part)

    def _check_failures(self) -> None:
        """End the run as soon as it is lost; stages before this one may go on for hours."""
        everywhere = len(self._units) == self.parts and not self._done
        everywhere = everywhere and len(self._failures) == sum(len(units) for units in self._units.values())
        if everywhere or too_many(self.state, len(lost_images(self.state))):
            self._record()
            if everywhere:
                raise RunFailed(f"stage {self.stage.name} failed everywhere, first with: {self._failures[0].reason}")
            check_tolerance(self.state)

    def _settle(self, part: int) -> None:
        if self.stage.writes:
            names = (unit.name for unit in self._units[part])
            self.shards[part] = [self._planned.pop(name) for name in names if name in self._planned]
        self.settled.add(part)
        if self.over:
            self._seconds = time.perf_counter() - self._started[1]
            if self.stage.writes:
                own = [shard for one in sorted(self.shards) for shard in self.shards[one]]
                self.state.plan.shards[self.stage.writes] = own
        self.on_settled(part)


class _Flow:
    """Which class may go on to which stage."""

    def __init__(self, walks: Sequence[StageWalk], workers: TakesWork) -> None:
        self._walks, self._workers = walks, workers
        self._state = walks[0].state
        writers = {walk.stage.writes: walk for walk in walks if walk.stage.writes}
        self._before = {
            walk.rank: [writers[table] for table in walk.stage.reads if table in writers and writers[table] is not walk]
            for walk in walks
        }
        # In order of stages: what is missing of the earliest one is known before any later one is looked at.
        self._ready: list[tuple[int, int]] = []
        self._seen: set[tuple[int, int]] = set()
        self._closed, self._manifests_due = 0, 0.0

    def run(self) -> None:
        for walk in self._walks:
            walk.on_settled = lambda part, walk=walk: self._settled(walk, part)
            for part in range(walk.parts):
                self._offer(walk, part)
        self._go_on()
        while self._closed < len(self._walks):
            self._workers.advance()
            self._go_on()
            self._write_manifests()

    def _write_manifests(self) -> None:
        """Now and then, and of earlier stages first: what a manifest lists was made from what the earlier ones list."""
        if time.monotonic() < self._manifests_due:
            return
        # Even where nothing has changed: who waits for workers that another run has should not wait for ever.
        self._state.store.check_ours()
        started = time.monotonic()
        self._state.ledger.write()
        for walk in self._walks[self._closed :]:
            walk.write_manifest()
        # Of many shards it takes seconds, in which nothing else is done.
        seconds = time.monotonic() - started
        self._manifests_due = time.monotonic() + max(MANIFEST_INTERVAL_SECONDS, MANIFEST_SHARE * seconds)

    def _go_on(self) -> None:
        """Plan what has become ready, close what is over; one may lead to the other. What is left is for next time."""
        self._close()
        until = time.monotonic() + PLAN_SECONDS
        # Where nothing is there to do yet, there is nothing to wait for.
        while self._ready and (time.monotonic() < until or not any(walk.asked for walk in self._walks)):
            rank, part = heapq.heappop(self._ready)
            walk = self._walks[rank]
            walk.plan(part, self._plan(walk, part))
            self._close()

    def _close(self) -> None:
        """Close the stages that are over, in their order."""
        while self._closed < len(self._walks) and self._walks[self._closed].over:
            walk = self._walks[self._closed]
            walk.close()
            self._closed += 1
            if walk is not self._walks[-1]:
                walk.forget()

    def _settled(self, settled: StageWalk, part: int) -> None:
        for walk in self._walks[settled.rank + 1 :]:
            if settled not in self._before[walk.rank]:
                continue
            alone = walk.stage.by_class and settled.stage.by_class
            for each in (part,) if alone else range(walk.parts):
                self._offer(walk, each)

    def _offer(self, walk: StageWalk, part: int) -> None:
        if (walk.rank, part) not in self._seen and all(
            part in other.settled if walk.stage.by_class and other.stage.by_class else other.over
            for other in self._before[walk.rank]
        ):
            self._seen.add((walk.rank, part))
            heapq.heappush(self._ready, (walk.rank, part))

    def _plan(self, walk: StageWalk, part: int) -> Plan:
        """What the stage sees: all, or of one class alone its shards and those about all classes."""
        whole = self._state.plan
        if not walk.stage.by_class:
            return whole
        group = whole.inputs.classes[part]
        own = {other.stage.writes: other.shards[part] for other in self._before[walk.rank] if other.stage.by_class}
        rest = {
            table: [shard for shard in shards if shard.label in (group.label, "")]
            for table, shards in whole.shards.items()
            if table in walk.stage.reads and table not in own
        }
        return Plan(whole.config, whole.store, whole.inputs.only(group), own | rest)
