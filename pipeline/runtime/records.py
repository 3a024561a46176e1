"""The driver's bookkeeping: what is there already, manifests, the tables `errors` and `runs`, the tolerance."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pyarrow as pa
from rich.console import Console

from pipeline.runtime.failures import RunFailed
from pipeline.runtime.observability import RunWatch
from pipeline.runtime.provenance import host_resources, library_versions
from pipeline.runtime.settings import RunInputs, RunSettings
from pipeline.runtime.stage import Plan, Stage
from pipeline.runtime.units import Failure, Outcome, Unit, error_row
from pipeline.store.atomic import Write, write_atomically
from pipeline.store.tables import Shard, TableStore, digest
from schemas import make_table


@dataclass
class RunState:
    """What the driver knows while it walks the stages.

    `stages` are all that a run has, in order; `retries` says whether what may succeed another time is tried again.
    `weights` is what the table `runs` says that the stages computed with. `write` writes what runs overwrite beside
    the tables.
    """

    config: RunSettings
    inputs: RunInputs
    store: TableStore
    console: Console
    plan: Plan
    run: str
    stages: Sequence[Stage] = ()
    weights: str = ""
    watch: RunWatch | None = None
    earlier: dict[str, list[Shard]] = field(default_factory=dict)
    errors: dict[str, list[Shard]] = field(default_factory=dict)
    stage_rows: list[dict[str, Any]] = field(default_factory=list)
    lost_images: int = 0
    invalidated: bool = False
    retries: bool = True
    write: Write = write_atomically


def invalidate_after(state: RunState, stage: Stage) -> None:
    """Empty the manifests of later tables before anything changes: no reader may join old rows with new ones."""
    state.invalidated = True
    names = [other.name for other in state.stages]
    later = [other.writes for other in state.stages[names.index(stage.name) + 1 :]] if stage.name in names else []
    for table in filter(None, later):
        state.store.write_manifest(table, "", [], complete=False)


class Found:
    """What an earlier run left of a stage's table, listed once; what this run adds need not be in it."""

    def __init__(self, store: TableStore, stage: Stage, fingerprint: str) -> None:
        if stage.writes:
            self.shards, self.errors = store.listed(stage.writes), store.listed("errors")
            self.sizes = store.sizes(stage.writes, [fingerprint])
            self.error_sizes = store.sizes("errors", [fingerprint])


def find_outcomes(
    store: TableStore, stage: Stage, units: Sequence[Unit], found: Found, retries: bool = True
) -> dict[str, Outcome]:
    """The units whose complete shards are there from an earlier run, by name.

    With `retries` a shard that lacks something for a cause that may have passed (a crash, an unreadable file) is not
    one of them.
    """
    if not stage.writes:
        return {}
    outcomes = {}
    for unit in units:
        path = store.shard_path(stage.writes, unit.fingerprint, unit.label, unit.name)
        shard = store.find(stage.writes, path, unit.label, found.shards, found.sizes)
        if shard is not None:
            errors = store.find("errors", path, unit.label, found.errors, found.error_sizes)
            if retries and errors is not None and _may_succeed(store, path):
                continue
            outcomes[unit.name] = Outcome(unit, shard, errors, cached=True)
    return outcomes


def _may_succeed(store: TableStore, path: str) -> bool:
    """Whether one of the errors in a shard may be gone another time."""
    return any(store.read("errors", [path], ["retry"]).column("retry").to_pylist())


def write_manifest(
    state: RunState, stage: Stage, fingerprint: str, outcomes: Sequence[Outcome], complete: bool
) -> None:
    """Enter the stage's complete shards, in order, in its manifest."""
    if stage.writes:
        state.store.write_manifest(stage.writes, fingerprint, [outcome.shard for outcome in outcomes], complete)


def write_unit(
    store: TableStore, table: str, unit: Unit, rows: pa.Table | None, errors: list[dict[str, Any]]
) -> tuple[Shard | None, Shard | None]:
    """Write a unit's errors, then its rows: a complete shard always has its errors, and no others, beside it."""
    error_shard = None
    path = store.shard_path("errors", unit.fingerprint, unit.label, unit.name)
    if errors:
        error_shard = store.write("errors", path, make_table("errors", errors), unit.label)
    else:
        store.remove("errors", path)
    shard = None
    if rows is not None:
        path = store.shard_path(table, unit.fingerprint, unit.label, unit.name)
        shard = store.write(table, path, rows, unit.label)
    return shard, error_shard


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


def too_many(state: RunState, lost: int) -> bool:
    """Whether so many images left out are more than the configuration allows."""
    return lost > state.config.error_tolerance * state.inputs.image_count


def check_tolerance(state: RunState) -> None:
    """Fail when more images were left out than the configuration allows, or when nothing is left."""
    paths = [shard.path for shards in state.errors.values() for shard in shards]
    rows = state.store.read("errors", paths).to_pylist()
    failed = {(row["label"], row["uri"] or row["image_id"]) for row in rows if row["uri"] or row["image_id"]}
    total = state.inputs.image_count
    if total == 0:
        raise RunFailed(state.inputs.missing)
    lost = len(failed) + state.lost_images
    if too_many(state, lost):
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
) -> None:
    """Add the stage's row to `runs` and print its line; `seconds` from the first unit's beginning to the last one's."""
    cached = sum(outcome.cached for outcome in outcomes)
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
            "weights": state.weights,
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
