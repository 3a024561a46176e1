"""The run: a plain list of stages in the order of the data, and the driver that walks it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from rich.console import Console

from pipeline.config import RunConfig
from pipeline.objects import ObjectPath
from pipeline.runtime.exclusive import exclusive
from pipeline.runtime.failures import room_to_write
from pipeline.runtime.flow import run_stages
from pipeline.runtime.observability import watched_run
from pipeline.runtime.records import RunState, catalog_errors, write_errors_manifest
from pipeline.runtime.session import ray_session, resources_now
from pipeline.runtime.stage import Plan, Stage
from pipeline.stages.candidates import CandidatesStage
from pipeline.stages.cluster import ClusterStage
from pipeline.stages.context import WorkerSetup
from pipeline.stages.explain import ExplainStage
from pipeline.stages.features import FeaturesStage
from pipeline.stages.images import ImagesStage
from pipeline.stages.inputs import Inputs, gather_inputs
from pipeline.stages.match import MatchStage
from pipeline.stages.members import MembersStage
from pipeline.stages.metrics import MetricsStage
from pipeline.stages.neighbors import NeighborsStage
from pipeline.stages.parts import PartsStage
from pipeline.stages.propose import ProposeStage
from pipeline.stages.regions import RegionsStage
from pipeline.stages.report.stage import FOLDER, draw_report
from pipeline.stages.specialize import SpecializeStage
from pipeline.stages.summarize import SummarizeStage
from pipeline.stages.tags import TagsStage
from pipeline.store.atomic import TEMPORARY_SUFFIX
from pipeline.store.tables import TableStore, digest

if TYPE_CHECKING:
    from pipeline.runtime.workers import Workers

STAGES: list[Stage] = [
    ImagesStage(),
    ExplainStage(),
    RegionsStage(),
    FeaturesStage(),
    ProposeStage(),
    NeighborsStage(),
    MatchStage(),
    PartsStage(),
    ClusterStage(),
    CandidatesStage(),
    MembersStage(),
    SummarizeStage(),
    TagsStage(),
    SpecializeStage(),
    MetricsStage(),
]


def run_pipeline(config: RunConfig, console: Console) -> str:
    """Run all stages on Ray, resuming whatever is complete; return the path of the report.

    Raises:
        RunFailed: more images failed than `error_tolerance` allows, or a stage gave nothing to go on with.
        PoolError, ClusterError, StoreError, ConfigurationError and the loaders' errors: see there.
    """
    with opened_run(config, console) as (state, workers):
        run_stages(state, STAGES, workers)
        write_errors_manifest(state, complete=True)
        return draw_report(state, workers)


@contextmanager
def opened_run(
    config: RunConfig, console: Console, adds: bool = False
) -> Iterator[tuple[RunState, "Workers"]]:
    """The run's state and its workers on Ray, the only ones to write into the output folder.

    `adds`: to what another job made there; its rows of `errors` and `runs` stay in those tables.
    """
    with exclusive(config.output) as still_ours, room_to_write(config.output):
        inputs = gather_inputs(config)
        state = start_state(config, inputs, console, still_ours)
        remove_unfinished(state)
        if adds:
            state.earlier = {table: list(state.store.listed(table).values()) for table in ("errors", "runs")}
            # A finished run is measured as it is: what it lacks is for its own job to try again.
            state.retries = not state.store.listed(STAGES[-1].writes)
        catalog_errors(state)
        with (
            ray_session(config.ray) as resources,
            watched_run(config, state.run, inputs.image_count, resources) as state.watch,
        ):
            # Imported late: Ray takes a second that a dry run need not spend.
            from pipeline.runtime.workers import Workers

            workers = Workers(config, worker_setup(state), partial(resources_now, config.ray))
            try:
                yield state, workers
            finally:
                workers.close()
                # What the killed among the workers left.
                remove_unfinished(state)


def remove_unfinished(state: RunState) -> None:
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
    return RunState(config, inputs, store, console, plan, run, STAGES)


def worker_setup(state: RunState) -> WorkerSetup:
    """What the run's workers are started with."""
    inputs, root = state.inputs, str(state.store.root.absolute())
    return WorkerSetup(state.config, root, inputs.preprocessing, inputs.weights_digest, inputs.class_names)
