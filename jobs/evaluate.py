"""A paper's experiments on your images and classifier, and their tables.

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
PAPERS = ("fgvis",)


def build_parser() -> argparse.ArgumentParser:
    parser = run_parser("evaluate", "Run a paper's experiments on images and a classifier; resumes what is there.")
    parser.add_argument("--paper", choices=PAPERS, required=True, help="fgvis: adversarial defense, color bias")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job; returns the exit status: 0 done, 1 failed, 2 the command line is wrong."""
    return run_job(build_parser(), arguments, _evaluate)


def _evaluate(options: argparse.Namespace, config: "RunConfig", console: "Console") -> None:
    from pipeline.stages.evaluation import run_evaluation

    path = run_evaluation(config, options.paper, console)
    console.print(f"Tables: {path}", markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
