"""A paper's experiments on your images and classifier, and their tables.

    python -m jobs.evaluate --paper fgvis --images photographs/ --model torchvision:resnet50 --weights r50.safetensors
"""

import argparse
import sys
from collections.abc import Sequence

from jobs.arguments import run_config, run_parser
from jobs.command import run_command

# `pipeline.stages.evaluation` knows how; importing it takes the seconds that --help should not.
PAPERS = ("fgvis",)


def build_parser() -> argparse.ArgumentParser:
    parser = run_parser("evaluate", "Run a paper's experiments on images and a classifier; resumes what is there.")
    parser.add_argument("--paper", choices=PAPERS, required=True, help="fgvis: adversarial defense, color bias")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job; returns the exit status: 0 done, 1 failed, 2 the command line is wrong."""
    options = build_parser().parse_intermixed_args(arguments)
    return run_command(lambda console: _evaluate(options, console))


def _evaluate(options: argparse.Namespace, console) -> None:  # noqa: ANN001 - rich's Console
    from pipeline.config import annotated_default

    config = run_config(options)
    if options.print_config:
        print(annotated_default(config), end="")
        return
    from pipeline.stages.evaluation import run_evaluation

    path = run_evaluation(config, options.paper, console)
    console.print(f"Tables: {path}", markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
