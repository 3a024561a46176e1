"""How far to trust maps and summaries: figures of finished runs, or a paper's experiments, as tables and plots.

    python -m jobs.evaluate --run runs/mine --run runs/other
    python -m jobs.evaluate --paper fgvis --images photographs/ --model torchvision:resnet50 --weights r50.safetensors
"""

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jobs.arguments import run_job, run_parser

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.config import RunConfig

# `pipeline.stages.evaluation` knows how; importing it takes the seconds that --help should not.
PAPERS = ("fgvis", "glas", "feature-cam", "visual-summaries")


def build_parser() -> argparse.ArgumentParser:
    parser = run_parser(
        "evaluate", "Measure a run's maps and summaries, or run a paper's experiments; resumes what is there."
    )
    parser.add_argument(
        "--run", action="append", metavar="FOLDER", help="a finished run, with its own configuration; can be repeated"
    )
    parser.add_argument("--paper", choices=PAPERS, help="that paper's experiments, beside its published figures")
    parser.add_argument(
        "--study", action="append", metavar="NAME", help="a study; can be repeated; default: all that can be done"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job; returns the exit status, as `run_command` says it."""
    return run_job(build_parser(), arguments, _evaluate)


def _evaluate(options: argparse.Namespace, config: "RunConfig", console: "Console") -> None:
    from pipeline.stages.evaluation import run_evaluation, stored_config

    runs = [stored_config(folder, options.overrides) for folder in options.run or ()]
    for path in run_evaluation(runs or [config], console, options.paper, options.study or ()):
        console.print(f"Tables: {path}", markup=False, highlight=False, soft_wrap=True)
    for folder in () if options.paper else options.run or ():
        console.print(f"On the report: visual-summaries report --run {folder}", markup=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
