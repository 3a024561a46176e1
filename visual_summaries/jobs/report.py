"""The report drawn again from a run's tables: after `evaluate` or `review`, or when its folder was lost.

    visual-summaries report --run runs/mine
"""

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from visual_summaries.jobs.arguments import settings_given
from visual_summaries.jobs.command import run_command
from visual_summaries.jobs.submission import add_submit, is_submitted, submit_job

if TYPE_CHECKING:
    from rich.console import Console


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="visual-summaries report",
        description="Draw a run's report again from its tables; classes whose pages are up to date are left alone.",
    )
    parser.add_argument("--run", required=True, metavar="FOLDER", help="a finished run, with its own configuration")
    add_submit(parser)
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="settings, e.g. report.members=20")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job; returns the exit status, as `run_command` says it."""
    parser = build_parser()
    options = parser.parse_intermixed_args(arguments)
    submitted = is_submitted(parser, options)

    def action(console: "Console") -> int | None:
        if submitted:
            from visual_summaries.pipeline.config import load_config

            return submit_job(parser, arguments, load_config(overrides=options.overrides))
        from visual_summaries.pipeline.commands.report import run_report
        from visual_summaries.pipeline.commands.stored import REPORT, reopened, stored_run

        run = stored_run(options.run)
        path = run_report(run, reopened(run, settings_given(options), REPORT, runs_network=False), console)
        console.print(f"Report: {path}", markup=False, highlight=False, soft_wrap=True)
        return None

    return run_command(action)


if __name__ == "__main__":
    sys.exit(main())
