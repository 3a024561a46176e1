"""The main job: photographs → maps → visual summaries → report.

    visual-summaries summarize --images photographs/ --model torchvision:resnet50 --weights resnet50.safetensors
"""

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from visual_summaries.jobs.arguments import run_job, run_parser

if TYPE_CHECKING:
    from rich.console import Console

    from visual_summaries.pipeline.config import RunConfig


def build_parser() -> argparse.ArgumentParser:
    parser = run_parser(
        "summarize", "Explain an image classifier over a whole data set: maps, visual summaries, tables, report."
    )
    parser.add_argument("--dry-run", action="store_true", help="print the plan and its cost, compute nothing")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job; returns the exit status, as `run_command` says it."""
    return run_job(build_parser(), arguments, _summarize)


def _summarize(options: argparse.Namespace, config: "RunConfig", console: "Console") -> None:
    if options.dry_run:
        from visual_summaries.pipeline.commands.dry_run import print_plan

        print_plan(config, console)
        return
    from visual_summaries.pipeline.commands.summarize import run_pipeline

    report = run_pipeline(config, console)
    from visual_summaries.pipeline.commands.outcome import print_outcome

    print_outcome(config, console)
    console.print(f"Report: {report}", markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
