"""The main job: all stages, then the report."""

from rich.console import Console

from visual_summaries.pipeline.commands.opened import opened_run
from visual_summaries.pipeline.commands.report import draw_report
from visual_summaries.pipeline.config import RunConfig
from visual_summaries.pipeline.runtime.flow import run_stages
from visual_summaries.pipeline.runtime.records import write_errors_manifest
from visual_summaries.pipeline.stages.order import STAGES
from visual_summaries.pipeline.stages.report.stage import with_pages


def run_pipeline(config: RunConfig, console: Console) -> str:
    """Run all stages on Ray, resuming whatever is complete; return the path of the report.

    Raises:
        RunFailed: more images failed than `error_tolerance` allows, or a stage gave nothing to go on with.
        PoolError, ClusterError, StoreError, ConfigurationError and the loaders' errors: see there.
    """
    with opened_run(config, console) as (state, workers):
        run_stages(state, with_pages(STAGES), workers)
        write_errors_manifest(state, complete=True)
        return draw_report(state, workers)
