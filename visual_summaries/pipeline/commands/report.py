"""The report: drawn at the end of a run, and again from a finished run's tables."""

from rich.console import Console

from visual_summaries.pipeline.commands.opened import opened_run
from visual_summaries.pipeline.commands.stored import StoredRun
from visual_summaries.pipeline.config import RunConfig
from visual_summaries.pipeline.runtime.flow import TakesWork, run_stages
from visual_summaries.pipeline.runtime.records import RunState, write_errors_manifest
from visual_summaries.pipeline.runtime.stage import PlannedShard
from visual_summaries.pipeline.stages.order import STAGES
from visual_summaries.pipeline.stages.recorded import recorded_inputs
from visual_summaries.pipeline.stages.report.stage import ReportStage, write_report
from visual_summaries.pipeline.store.tables import StoreError, TableStore

ADDED = ("alterations",)
"""Tables of the report that runs of earlier versions do not have."""


def run_report(run: StoredRun, config: RunConfig, console: Console) -> str:
    """Draw the report again from a run's tables, computing nothing; classes whose pages are there are left alone.

    Args:
        config: the run's, with the settings of pages and workers that are wanted now.

    Returns:
        The path of the overview.

    Raises:
        StoreError: a table is missing, or the run is not finished. As `run_pipeline` otherwise.
    """
    store = TableStore(run.folder)
    if not store.manifest(STAGES[-1].writes):
        raise StoreError(
            f"the run in {run.folder} is not finished, its table {STAGES[-1].writes} is empty: run summarize again, "
            "which draws the report at its end"
        )
    inputs = recorded_inputs(config, run.recorded, store)
    with opened_run(config, console, adds=(), inputs=inputs) as (state, workers):
        for table in {stage.writes for stage in STAGES}.intersection(ReportStage.reads):
            # A run of an earlier version lacks what later ones added.
            added = table in ADDED and not (state.store.folder(table) / "manifest.json").is_file()
            found = [] if added else state.store.manifest(table)
            state.plan.shards[table] = [
                PlannedShard(shard.path, shard.label, shard.rows, shard.content or shard.sha256) for shard in found
            ]
        return draw_report(state, workers)


def draw_report(state: RunState, workers: TakesWork) -> str:
    """Draw the pages of the run whose tables are complete; return the overview's path."""
    outcomes = run_stages(state, [ReportStage()], workers)
    write_errors_manifest(state, complete=True)
    return write_report(state, [outcome.value for outcome in outcomes if outcome.value is not None])
