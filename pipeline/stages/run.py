"""The run: a plain list of stages in the order of the data, and the driver that walks it."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from rich.console import Console

from pipeline.config import RunConfig
from pipeline.objects import ObjectPath
from pipeline.stages.cluster import ClusterStage
from pipeline.stages.exclusive import exclusive
from pipeline.stages.explain import ExplainStage
from pipeline.stages.failures import RunFailed, room_to_write
from pipeline.stages.images import ImagesStage
from pipeline.stages.inputs import Inputs, gather_inputs
from pipeline.stages.match import MatchStage
from pipeline.stages.members import MembersStage
from pipeline.stages.metrics import MetricsStage
from pipeline.stages.neighbors import NeighborsStage
from pipeline.stages.observability import RunWatch, watched_run
from pipeline.stages.parts import PartsStage
from pipeline.stages.progress import StageProgress
from pipeline.stages.propose import ProposeStage
from pipeline.stages.provenance import host_resources, library_versions
from pipeline.stages.regions import RegionsStage
from pipeline.stages.report import FOLDER, draw_report
from pipeline.stages.session import ray_session
from pipeline.stages.specialize import SpecializeStage
from pipeline.stages.stage import Plan, PlannedShard, Stage
from pipeline.stages.summarize import SummarizeStage
from pipeline.stages.tags import TagsStage
from pipeline.stages.units import Failure, Outcome, Unit, error_row
from pipeline.stages.worker import WorkerSetup, write_unit
from pipeline.store.atomic import TEMPORARY_SUFFIX
from pipeline.store.tables import Shard, TableStore, digest
from schemas import make_table

STAGES: list[Stage] = [
    ImagesStage(),
    ExplainStage(),
    RegionsStage(),
    ProposeStage(),
    NeighborsStage(),
    MatchStage(),
    PartsStage(),
    ClusterStage(),
    MembersStage(),
    SummarizeStage(),
    TagsStage(),
    SpecializeStage(),
    MetricsStage(),
]

MANIFEST_INTERVAL_SECONDS = 2.0


@dataclass
class RunState:
    """What the driver knows while it walks the stages."""

    config: RunConfig
    inputs: Inputs
    store: TableStore
    console: Console
    plan: Plan
    run: str
    watch: RunWatch | None = None
    earlier: dict[str, list[Shard]] = field(default_factory=dict)
    errors: dict[str, list[Shard]] = field(default_factory=dict)
    stage_rows: list[dict[str, Any]] = field(default_factory=list)
    lost_images: int = 0
    invalidated: bool = False


def run_pipeline(config: RunConfig, console: Console) -> str:
    """Run all stages on Ray, resuming whatever is complete; return the path of the report.

    Raises:
        RunFailed: more images failed than `error_tolerance` allows, or a stage gave nothing to go on with.
        PoolError, ClusterError, StoreError, ConfigurationError and the loaders' errors: see there.
    """
    with opened_run(config, console) as (state, workers):
        for stage in STAGES:
            run_stage(state, stage, workers)
            check_tolerance(state)
        write_errors_manifest(state, complete=True)
        return draw_report(state, workers)


@contextmanager
def opened_run(
    config: RunConfig, console: Console, adds: bool = False
) -> Iterator[tuple["RunState", "Workers"]]:
    """The run's state and its workers on Ray, the only ones to write into the output folder.

    `adds`: to what another job made there; its rows of `errors` and `runs` stay in those tables.
    """
    with exclusive(config.output) as still_ours, room_to_write(config.output):
        inputs = gather_inputs(config)
        state = start_state(config, inputs, console, still_ours)
        remove_unfinished(state)
        if adds:
            state.earlier = {table: list(state.store.listed(table).values()) for table in ("errors", "runs")}
        catalog_errors(state)
        with (
            ray_session(config.ray) as resources,
            watched_run(config, state.run, inputs.image_count, resources) as state.watch,
        ):
            workers = Workers(state, resources)
            try:
                yield state, workers
            finally:
                workers.close()
                # What the killed among the workers left.
                remove_unfinished(state)


def remove_unfinished(state: "RunState") -> None:
    """Remove what writers of tables and pages left that were killed."""
    state.store.remove_unfinished()
    root = state.store.root
    for path in () if isinstance(root, ObjectPath) else (root / FOLDER).glob(f"**/.*{TEMPORARY_SUFFIX}"):
        with suppress(OSError):
            path.unlink()


def start_state(
    config: RunConfig, inputs: Inputs, console: Console, still_ours: Callable[[], None] | None = None
) -> RunState:
    """The state of a run that has done nothing yet."""
    store = TableStore(config.output, still_ours)
    started = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    run = f"{started}-{digest(config.model_dump(mode='json'))[:8]}"
    plan = Plan(config, store, inputs, shards={})
    return RunState(config, inputs, store, console, plan, run)


class Workers:
    """The pool of workers, kept from stage to stage while the needed resources are the same."""

    def __init__(self, state: RunState, resources: dict[str, float]) -> None:
        self._state, self._resources = state, resources
        self._key: tuple[float, float, float] | None = None
        self._pool: Any = None

    def pool(self, stage: Stage) -> Any:
        """The pool for a stage; model stages take GPUs where the cluster has any."""
        # Imported late: Ray takes a second that a dry run need not spend.
        from pipeline.stages.pool import WorkerPool, worker_count

        settings = self._state.config.ray
        gpus = settings.explain_gpus if stage.uses_model and self._resources.get("GPU", 0) > 0 else 0.0
        memory = settings.memory_per_worker * 2**30 if settings.memory_per_worker else 0.0
        key = (1.0, gpus, memory)
        if key != self._key:
            # Two pools would compete for the same processors: only one is alive at a time.
            self.close()
            inputs = self._state.inputs
            setup = WorkerSetup(
                self._state.config,
                str(self._state.store.root.absolute()),
                inputs.preprocessing,
                inputs.weights_digest,
                inputs.class_names,
                gpu=gpus > 0,
            )
            size = worker_count(1.0, gpus, settings.workers, self._resources, memory)
            self._pool = WorkerPool(setup, size, 1.0, gpus, settings.attempts, settings.unit_timeout, memory)
            self._key = key
        return self._pool

    def close(self) -> None:
        """Kill the workers, if any."""
        if self._pool is not None:
            self._pool.close()
        self._key = self._pool = None


def run_stage(state: RunState, stage: Stage, workers: Workers) -> list[Outcome]:
    """Do what is missing of a stage, write its manifest, and let the plan know its shards."""
    started, clock = datetime.now(UTC), time.perf_counter()
    stage_fingerprint = stage.fingerprint(state.config, state.inputs)
    units = stage.named_units(state.plan, stage_fingerprint)
    done = find_outcomes(state.store, stage, units)
    missing = [unit for unit in units if unit.name not in done]
    if missing and not state.invalidated:
        invalidate_after(state, stage)
    cached = len(done)
    failures: list[Failure] = []
    manifest_time = 0.0
    total = sum(unit.size for unit in units)
    there = total - sum(unit.size for unit in missing)
    with (
        StageProgress(state.console, stage.name, total, there, stage.counts) as progress,
        state.watch.stage(stage.name, units, missing) as watch,
    ):

        def finished(result: Outcome | Failure) -> None:
            nonlocal manifest_time
            progress.finish(result.unit)
            watch.finished(result)
            if isinstance(result, Failure):
                failures.append(result)
                return
            done[result.unit.name] = result
            if time.monotonic() - manifest_time > MANIFEST_INTERVAL_SECONDS:
                write_manifest(state, stage, stage_fingerprint, units, done, complete=False)
                manifest_time = time.monotonic()

        def told(unit: Unit, images: int) -> None:
            progress.tell(unit, images)
            watch.told(unit, images)

        if missing:
            workers.pool(stage).run(stage, missing, finished, told, watch)
    outcomes = [done[unit.name] for unit in units if unit.name in done]
    write_manifest(state, stage, stage_fingerprint, units, done, complete=not failures)
    record_errors(state, stage, units, outcomes, failures)
    record_stage(state, stage, outcomes, started, time.perf_counter() - clock, len(units), cached)
    if failures and not outcomes:
        raise RunFailed(f"stage {stage.name} failed everywhere, first with: {failures[0].reason}")
    return outcomes


def invalidate_after(state: RunState, stage: Stage) -> None:
    """Empty the manifests of later tables before anything changes: no reader may join old rows with new ones."""
    state.invalidated = True
    names = [other.name for other in STAGES]
    later = [other.writes for other in STAGES[names.index(stage.name) + 1 :]] if stage.name in names else []
    for table in later:
        state.store.write_manifest(table, "", [], complete=False)


def find_outcomes(store: TableStore, stage: Stage, units: Sequence[Unit]) -> dict[str, Outcome]:
    """The units whose complete shards are there from an earlier run, by name.

    A shard that lacks something for a cause that may have passed (a crash, an unreadable file) is not one of them.
    """
    if not stage.writes:
        return {}
    listed, listed_errors = store.listed(stage.writes), store.listed("errors")
    fingerprints = {unit.fingerprint for unit in units}
    sizes, error_sizes = store.sizes(stage.writes, fingerprints), store.sizes("errors", fingerprints)
    found = {}
    for unit in units:
        path = store.shard_path(stage.writes, unit.fingerprint, unit.label, unit.name)
        shard = store.find(stage.writes, path, unit.label, listed, sizes)
        if shard is not None:
            errors = store.find("errors", path, unit.label, listed_errors, error_sizes)
            if errors is not None and any(store.read("errors", [path], ["retry"]).column("retry").to_pylist()):
                continue
            found[unit.name] = Outcome(unit, shard, errors, cached=True)
    return found


def write_manifest(
    state: RunState,
    stage: Stage,
    stage_fingerprint: str,
    units: Sequence[Unit],
    done: dict[str, Outcome],
    complete: bool,
) -> None:
    """Enter the stage's complete shards, in order, in its manifest and in the plan."""
    if not stage.writes:
        return
    outcomes = [done[unit.name] for unit in units if unit.name in done]
    shards = [outcome.shard for outcome in outcomes]
    state.store.write_manifest(stage.writes, stage_fingerprint, shards, complete)
    state.plan.shards[stage.writes] = [
        PlannedShard(outcome.shard.path, outcome.shard.label, outcome.unit.size) for outcome in outcomes
    ]


def catalog_errors(state: RunState) -> None:
    """Say which classes are empty or too small to have summaries."""
    rows = []
    minimum = state.config.pruning.minimum_members
    for group in state.inputs.classes:
        fit = sum(entry.split == "fit" for entry in group.entries)
        if not group.entries:
            rows.append(error_row("catalog", group.label, "the class has no images"))
        elif fit < minimum:
            noun = "image" if fit == 1 else "images"
            reason = f"{fit} {noun} to explain: maps are made, but a summary needs {minimum} images"
            rows.append(error_row("catalog", group.label, reason))
    state.errors["catalog"] = error_shards(state, "catalog", rows)


def error_shards(state: RunState, stage: str, rows: list[dict[str, Any]]) -> list[Shard]:
    """Write the driver's own rows of `errors`."""
    if not rows:
        return []
    unit = Unit("", (), name=digest(rows), fingerprint=digest("driver", stage))
    _, shard = write_unit(state.store, "errors", unit, None, rows)
    return [shard]


def record_errors(
    state: RunState, stage: Stage, units: Sequence[Unit], outcomes: Sequence[Outcome], failures: Sequence[Failure]
) -> None:
    """Gather the stage's rows of `errors`, in place of those of its last time, and write the table's manifest."""
    own = {state.store.shard_path("errors", unit.fingerprint, unit.label, unit.name) for unit in units}
    # What the driver said of the stage is named after the stage alone.
    said = digest("driver", stage.name)
    state.earlier["errors"] = [
        shard
        for shard in state.earlier.get("errors", ())
        if shard.path not in own and not shard.path.startswith(f"{said}/")
    ]
    shards = [outcome.errors for outcome in outcomes if outcome.errors is not None]
    rows = [
        error_row(stage.name, failure.unit.label, f"{failure.reason}; run again to retry", retry=True)
        for failure in failures
    ]
    state.errors[stage.name] = shards + error_shards(state, stage.name, rows)
    if stage.counts == "images":
        state.lost_images += sum(failure.unit.size for failure in failures)
    write_errors_manifest(state, complete=False)


def write_errors_manifest(state: RunState, complete: bool) -> None:
    """Enter the rows of `errors` of all stages so far; complete once every stage has had its say."""
    own = [shard for shards in state.errors.values() for shard in shards]
    gathered = {shard.path: shard for shard in (*state.earlier.get("errors", ()), *own)}
    state.store.write_manifest("errors", "", gathered.values(), complete)


def check_tolerance(state: RunState) -> None:
    """Fail when more images were left out than the configuration allows, or when nothing is left."""
    paths = [shard.path for shards in state.errors.values() for shard in shards]
    rows = state.store.read("errors", paths).to_pylist()
    failed = {(row["label"], row["uri"] or row["image_id"]) for row in rows if row["uri"] or row["image_id"]}
    total = state.inputs.image_count
    if total == 0:
        raise RunFailed("there are no images: check data.images or data.manifest")
    lost = len(failed) + state.lost_images
    if lost > state.config.error_tolerance * total:
        told = [row for row in rows if row["stage"] != "catalog"][:10]
        reasons = "\n".join(f"  {row['uri'] or row['image_id'] or row['label']}: {row['reason']}" for row in told)
        raise RunFailed(
            f"{lost} of {total} images were left out, more than error_tolerance = "
            f"{state.config.error_tolerance:g} allows. The first of them:\n{reasons}\n"
            f"All are in the table errors in {state.config.output}/tables. Mend them, or raise error_tolerance."
        )


def record_stage(
    state: RunState,
    stage: Stage,
    outcomes: Sequence[Outcome],
    started: datetime,
    seconds: float,
    units: int,
    cached: int,
) -> None:
    """Add the stage's row to `runs` and print its line."""
    rows = sum(outcome.shard.rows for outcome in outcomes if outcome.shard)
    state.stage_rows.append(
        {
            "run": state.run,
            "stage": stage.name,
            "started": started,
            "seconds": seconds,
            "worker_seconds": sum(outcome.processor_seconds for outcome in outcomes),
            "peak_memory": max((outcome.peak_memory for outcome in outcomes), default=0),
            "units": units,
            "units_cached": cached,
            "rows": rows,
            "seed": state.config.seed,
            "weights": state.inputs.weights_digest,
            "configuration": json.dumps(state.config.model_dump(mode="json")),
            "versions": json.dumps(library_versions()),
            "host": json.dumps(host_resources()),
        }
    )
    shard = state.store.write(
        "runs", f"{digest(state.run)}/label=/run.parquet", make_table("runs", state.stage_rows), ""
    )
    state.store.write_manifest("runs", digest(state.run), [*state.earlier.get("runs", ()), shard], complete=True)
    note = f", {cached} of {units} units found complete" if cached else ""
    state.console.print(
        f"{stage.name:<11} {seconds:7.1f} s  {rows} rows{note}", markup=False, highlight=False
    )
