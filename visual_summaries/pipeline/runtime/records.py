"""The driver's bookkeeping: what is there already, manifests, the tables `errors` and `runs`, the tolerance."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

import pyarrow as pa
from rich.console import Console

from visual_summaries.pipeline.names import shown
from visual_summaries.pipeline.runtime.failures import RunFailed
from visual_summaries.pipeline.runtime.kept import Kept
from visual_summaries.pipeline.runtime.ledger import Ledger
from visual_summaries.pipeline.runtime.observability import RunWatch
from visual_summaries.pipeline.runtime.provenance import host_resources, library_versions
from visual_summaries.pipeline.runtime.settings import RunInputs, RunSettings
from visual_summaries.pipeline.runtime.stage import Plan, Stage
from visual_summaries.pipeline.runtime.units import Failure, Outcome, Unit, UnitName, error_row
from visual_summaries.pipeline.store.atomic import Write, write_atomically
from visual_summaries.pipeline.store.tables import Shard, TableStore, digest
from visual_summaries.schemas import make_table


@dataclass
class RunState:
    """What the driver knows while it walks the stages.

    `stages` are all that a run has, in order; `kept` are tables that stay as they are. `weights` is what the table
    `runs` says that the stages computed with, `recorded` what it says of all inputs: JSON. `lost` are the images of
    units that failed, (class, image id) by stage; `incomplete` the tables that lack something by that. `write` writes
    what runs overwrite beside the tables.
    """

    config: RunSettings
    inputs: RunInputs
    store: TableStore
    console: Console
    plan: Plan
    run: str
    stages: Sequence[Stage] = ()
    weights: str = ""
    recorded: str = "{}"
    watch: RunWatch | None = None
    earlier: dict[str, list[Shard]] = field(default_factory=dict)
    errors: dict[str, list[Shard]] = field(default_factory=dict)
    stage_rows: list[dict[str, Any]] = field(default_factory=list)
    lost: dict[str, set[tuple[str, str]]] = field(default_factory=dict)
    incomplete: set[str] = field(default_factory=set)
    invalidated: bool = False
    kept: Mapping[str, Kept] = field(default_factory=dict)
    write: Write = write_atomically

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.store, self.run)


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
            outcomes[unit.name] = Outcome(unit.called, shard, errors, cached=True)
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
    state: RunState, stage: Stage, units: Sequence[UnitName], outcomes: Sequence[Outcome], failures: Sequence[Failure]
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
    write_errors_manifest(state, complete=False)


def write_errors_manifest(state: RunState, complete: bool) -> None:
    """Enter the rows of `errors` of all stages so far; complete once every stage has had its say."""
    own = [shard for shards in state.errors.values() for shard in shards]
    gathered = {shard.path: shard for shard in (*state.earlier.get("errors", ()), *own)}
    state.store.write_manifest("errors", "", gathered.values(), complete)


def count_lost(state: RunState, stage: Stage, unit: Unit) -> None:
    """Enter the images of a unit that failed; a page that cannot be drawn loses none."""
    if stage.writes:
        # Those that nobody can name are told apart by their unit.
        named = stage.lost(state.store, unit) or [f"{unit.name} {number}" for number in range(unit.size)]
        state.lost.setdefault(stage.name, set()).update((unit.label, one) for one in named)


def lost_images(state: RunState) -> set[tuple[str, str]]:
    """The images of all units that failed, each once."""
    return set().union(*state.lost.values())


def allowed(state: RunState) -> int:
    """How many images may be left out: the share `error_tolerance` of all; one of several always, unless it is 0."""
    tolerance, total = state.config.error_tolerance, state.inputs.image_count
    # Of 100 images 0.29 is 29, whatever the last binary digit says.
    return max(min(1, total - 1), math.floor(tolerance * total + 1e-9)) if tolerance else 0


def too_many(state: RunState, lost: int) -> bool:
    """Whether so many images left out are more than the configuration allows."""
    return lost > allowed(state)


def check_tolerance(state: RunState) -> None:
    """Fail when more images were left out than the configuration allows, or when nothing is left."""
    total = state.inputs.image_count
    if total == 0:
        raise RunFailed(state.inputs.missing)
    paths = [shard.path for shards in state.errors.values() for shard in shards]
    rows = state.store.read("errors", paths).to_pylist()
    by_stage = {stage: set(images) for stage, images in state.lost.items()}
    for row in rows:
        if row["uri"] or row["image_id"]:
            by_stage.setdefault(row["stage"], set()).add((row["label"], row["uri"] or row["image_id"]))
    # What one stage calls by its address another may call by its id: it is one image all the same.
    places = {(row["label"], row["image_id"]): row["uri"] for row in rows if row["uri"] and row["image_id"]}
    by_stage = {
        stage: {(label, places.get((label, one), one)) for label, one in images} for stage, images in by_stage.items()
    }
    lost = min(total, len(set().union(*by_stage.values())))
    if too_many(state, lost):
        told = [row for row in rows if row["stage"] != "catalog"][:10]
        reasons = "\n".join(
            shown(f"  {row['uri'] or row['image_id'] or row['label']}: {row['reason']}") for row in told
        )
        order = [stage.name for stage in state.stages]
        stages = sorted(by_stage, key=lambda name: order.index(name) if name in order else len(order))
        where = ", ".join(f"{len(by_stage[stage])} in {stage}" for stage in stages)
        raise RunFailed(
            f"{lost} of {total} images were left out ({where}), more than error_tolerance = "
            f"{state.config.error_tolerance:g} allows ({allowed(state)}). The first of them:\n{reasons}\n"
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
    """Add the stage's row to `runs`, with what earlier runs have done of its table, and print its line.

    `seconds`: of this run, from the first unit's beginning to the last one's end.
    """
    cached = sum(outcome.cached for outcome in outcomes)
    rows = sum(outcome.shard.rows for outcome in outcomes if outcome.shard)
    state.ledger.write()
    cost = state.ledger.cost(stage.name, outcomes, seconds)
    state.stage_rows.append(
        {
            "run": state.run,
            "stage": stage.name,
            "started": started,
            **asdict(cost),
            "units": units,
            "units_cached": cached,
            "rows": rows,
            "seed": state.config.seed,
            "weights": state.weights,
            "configuration": json.dumps(state.config.model_dump(mode="json")),
            "inputs": state.recorded,
            "versions": json.dumps(library_versions()),
            "host": json.dumps(host_resources()),
        }
    )
    state.ledger.write_runs(state.stage_rows)
    note = f", {cached} of {units} units found complete" if cached else ""
    state.console.print(
        f"{stage.name:<11} {seconds:7.1f} s  {rows} rows{note}", markup=False, highlight=False
    )
