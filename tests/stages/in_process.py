"""Runs of the real stages in the test's own process, where what they call can be replaced."""

import io
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from rich.console import Console

from visual_summaries.pipeline.commands import opened
from visual_summaries.pipeline.commands.opened import remove_unfinished, start_state, worker_setup
from visual_summaries.pipeline.config import RunConfig
from visual_summaries.pipeline.runtime.actor import perform
from visual_summaries.pipeline.runtime.context import Context
from visual_summaries.pipeline.runtime.failures import describe
from visual_summaries.pipeline.runtime.flow import run_stages
from visual_summaries.pipeline.runtime.records import RunState, error_shards, write_errors_manifest
from visual_summaries.pipeline.runtime.stage import Stage
from visual_summaries.pipeline.runtime.units import Failure, Outcome, Unit
from visual_summaries.pipeline.runtime.work import Work
from visual_summaries.pipeline.stages.context import FATAL_IN_WORKER
from visual_summaries.pipeline.stages.inputs import catalog_errors, gather_inputs
from visual_summaries.pipeline.store.tables import TableStore


class Unwatched:
    """Stands where `RunWatch` and `StageWatch` do, which need Ray."""

    def stage(self, name: str) -> "Unwatched":
        return self

    def __getattr__(self, name: str):  # noqa: ANN204
        return lambda *arguments, **named: None


class InProcess:
    """Does units one by one, those of the earliest stage first; takes apart what raises, as `WorkerPool` does."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.waiting: list[tuple[Work, Unit]] = []

    def add(self, work: Work, units: Sequence[Unit]) -> None:
        self.waiting += [(work, unit) for unit in units]

    def advance(self) -> None:
        work, unit = self.waiting.pop(min(range(len(self.waiting)), key=lambda at: self.waiting[at][0].rank))
        work.begun(unit)
        result = self._perform(work.stage, unit, {})
        if isinstance(result, Failure) and unit.divisible:
            reasons = {item: self._probe(work.stage, unit, item) for item in unit.items}
            result = self._perform(work.stage, unit, {item: reason for item, reason in reasons.items() if reason})
        work.finished(result)

    def _probe(self, stage: Stage, unit: Unit, item: str) -> str | None:
        try:
            stage.compute(self.context, unit, (item,))
        except FATAL_IN_WORKER:
            raise
        except Exception as error:
            return describe(error)
        return None

    def _perform(self, stage: Stage, unit: Unit, excluded: Mapping[str, str]) -> Outcome | Failure:
        try:
            return perform(self.context, stage, unit, excluded)
        except FATAL_IN_WORKER:
            raise
        except Exception as error:
            return Failure(unit, describe(error))


def run_in_process(config: RunConfig, stages: Sequence[Stage]) -> RunState:
    """All that is missing of the stages; their tables are in `config.output`.

    The state's `last` is what the last stage gave, if that has no table.
    """
    inputs = gather_inputs(config)
    state = start_state(config, inputs, Console(file=io.StringIO()))
    state.watch = Unwatched()
    state.errors["catalog"] = error_shards(state, "catalog", catalog_errors(config, inputs))
    context = worker_setup(state)(False, None)
    try:
        state.last = [outcome.value for outcome in run_stages(state, stages, InProcess(context))]
    finally:
        context.close()
    write_errors_manifest(state, complete=True)
    return state


@contextmanager
def _workers_here(
    state: RunState, still_ours: object, setup: Callable[..., Context], model: str
) -> Iterator[InProcess]:
    state.watch = Unwatched()
    context = setup(False, None)
    try:
        yield InProcess(context)
    finally:
        context.close()
        remove_unfinished(state)


def job_in_process(main: Callable[[Sequence[str]], int], *arguments: str | Path) -> subprocess.CompletedProcess:
    """What a verb's `main` does and says where this process does the work of Ray's workers; no log is kept."""
    said, wrong = io.StringIO(), io.StringIO()
    given = [str(argument) for argument in arguments]
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(said), redirect_stderr(wrong):
        patch.setattr(opened, "workers_of", _workers_here)
        patch.setenv("COLUMNS", "120")
        status = main(given)
    return subprocess.CompletedProcess(given, status, said.getvalue(), wrong.getvalue())


def rows(folder: Path, table: str) -> list[dict]:
    return TableStore(folder).read_all(table).to_pylist()
