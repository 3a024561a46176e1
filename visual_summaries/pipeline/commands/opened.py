"""A run opened for writing: inputs, state, workers."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from visual_summaries.pipeline.commands.unchanged import check_unchanged
from visual_summaries.pipeline.config import ConfigurationError, RunConfig
from visual_summaries.pipeline.names import shown, shown_lines
from visual_summaries.pipeline.objects import ObjectPath
from visual_summaries.pipeline.runtime.exclusive import exclusive
from visual_summaries.pipeline.runtime.failures import room_to_write
from visual_summaries.pipeline.runtime.kept import kept_tables
from visual_summaries.pipeline.runtime.observability import watched_run
from visual_summaries.pipeline.runtime.records import RunState, error_shards
from visual_summaries.pipeline.runtime.session import ray_session, resources_now
from visual_summaries.pipeline.runtime.sight import Sight
from visual_summaries.pipeline.runtime.stage import Plan, Stage
from visual_summaries.pipeline.stages.context import FATAL_IN_WORKER, WorkerSetup
from visual_summaries.pipeline.stages.inputs import Inputs, catalog_errors, gather_inputs
from visual_summaries.pipeline.stages.networks import network_name
from visual_summaries.pipeline.stages.order import STAGES
from visual_summaries.pipeline.stages.recorded import recorded
from visual_summaries.pipeline.stages.report.stage import FOLDER
from visual_summaries.pipeline.stages.volumes.context import VolumeSetup
from visual_summaries.pipeline.stages.volumes.order import VOLUME_STAGES
from visual_summaries.pipeline.store.atomic import TEMPORARY_SUFFIX, Ours, write_atomically
from visual_summaries.pipeline.store.links import check_links
from visual_summaries.pipeline.store.tables import TableStore, digest

if TYPE_CHECKING:
    from visual_summaries.pipeline.runtime.workers import Workers

Setup = WorkerSetup | VolumeSetup


@contextmanager
def opened_run(
    config: RunConfig, console: Console, adds: Sequence[Stage] | None = None, inputs: Inputs | None = None
) -> Iterator[tuple[RunState, "Workers"]]:
    """The run's state and its workers on Ray, the only ones to write into the output folder.

    Args:
        adds: for a job that adds to what another made there, whose finished tables and rows of `errors` and `runs`
            stay as they are: the stages of that other job that it needs.
        inputs: what the run starts from, where it is known; else it is gathered as the configuration says.

    Raises:
        ConfigurationError: what is needed there was made with something else, or is a run over volumes.
        StoreError: a link leads out of the output folder.
    """
    check_links(config.output.path)
    with exclusive(config.output.path) as still_ours, room_to_write(config.output):
        check_kind(config.output.path, VOLUME_STAGES[0].writes, "volumes")
        # Whoever goes on with a run, or adds to one, has been told.
        first = adds is None and not TableStore(config.output.path).listed(STAGES[0].writes)
        inputs = inputs or gather_inputs(config, self_check=first)
        doubt = inputs.doubt and f"Self-check: {shown(inputs.doubt)}"
        for said in filter(None, (inputs.found, *inputs.notes, doubt)):
            console.print(shown_lines(said), markup=False, highlight=False, soft_wrap=True)
        state = start_state(config, inputs, console, still_ours)
        remove_unfinished(state)
        if adds is not None:
            state.earlier = {"errors": list(state.store.listed("errors").values())}
            state.kept = kept_tables(state.store, STAGES)
            check_unchanged(state, adds)
        if inputs.answers:
            network_name(config.output.path, inputs.weights_digest, inputs.answers, remember=state.write)
        if STAGES[0].writes not in state.kept:
            state.errors["catalog"] = error_shards(state, "catalog", catalog_errors(config, inputs))
        with workers_of(state, still_ours, worker_setup(state), config.model.name) as workers:
            if inputs.doubt:
                state.watch.warn("self-check", reason=inputs.doubt)
            yield state, workers


@contextmanager
def workers_of(state: RunState, still_ours: Ours, setup: Setup, model: str) -> Iterator["Workers"]:
    """Ray, and on it the workers of a run, which is watched; `setup` is what each of them is started with.

    The run's configuration says `ray`, `log` and `output` as `RunConfig` does.

    Raises:
        ClusterError: as `ray_session`.
    """
    config = state.config
    with (
        ray_session(config.ray) as resources,
        watched_run(
            config.output.path, state.run, state.inputs.image_count, resources, config.log == "json", model=model
        ) as state.watch,
    ):
        # Imported late: Ray takes a second that a dry run need not spend.
        from visual_summaries.pipeline.runtime.growth import Growth
        from visual_summaries.pipeline.runtime.workers import Workers

        if still_ours.unfenced:
            state.watch.warn("late writes are not refused", reason=still_ours.unfenced)
        setup = replace(setup, sight=Sight.of(config.output.path, still_ours))
        workers = Workers(
            config.ray,
            setup,
            partial(resources_now, config.ray),
            FATAL_IN_WORKER,
            growth=None if config.ray.address is None else Growth(),
            waits=partial(state.console.print, markup=False, highlight=False),
        )
        try:
            yield workers
        finally:
            workers.close()
            # What killed workers have left behind.
            remove_unfinished(state)


def check_kind(root: Path | ObjectPath, table: str, what: str) -> None:
    """Raise a ConfigurationError where the folder holds a run of another kind, which has this table: their tables
    `errors` and `runs` and their reports would take each other's places."""
    if (root / "tables" / table / "manifest.json").is_file():
        raise ConfigurationError(f"{root} holds a run over {what}; name another --output")


def remove_unfinished(state: RunState) -> None:
    """Remove what writers of tables and pages left that were killed."""
    state.store.remove_unfinished()
    root = state.store.root
    for path in () if isinstance(root, ObjectPath) else (root / FOLDER).glob(f"**/.*{TEMPORARY_SUFFIX}"):
        with suppress(OSError):
            path.unlink()


def start_state(
    config: RunConfig, inputs: Inputs, console: Console, still_ours: Ours | None = None
) -> RunState:
    """The state of a run that has done nothing yet."""
    write = write_atomically if still_ours is None else still_ours.write
    store = TableStore(config.output.path, still_ours, write)
    started = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    run = f"{started}-{digest(config.model_dump(mode='json'))[:8]}"
    plan = Plan(config, store, inputs, shards={})
    recorded_inputs = recorded(inputs)
    return RunState(
        config, inputs, store, console, plan, run, STAGES, inputs.weights_digest, recorded_inputs, write=write
    )


def worker_setup(state: RunState) -> WorkerSetup:
    """What the run's workers are started with."""
    inputs, root = state.inputs, state.store.root.absolute()
    return WorkerSetup(
        state.config,
        root,
        inputs.preprocessing,
        inputs.weights_digest,
        inputs.class_names,
        answers=inputs.answers,
        head=inputs.head,
    )
