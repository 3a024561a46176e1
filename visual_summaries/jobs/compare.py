"""Several classifiers or explainers side by side: which is right more often, and what only one of them looks at.

    visual-summaries compare --run runs/squeezenet --run runs/mobilenet --output runs/compared
"""

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from visual_summaries.jobs.command import run_command

if TYPE_CHECKING:
    from rich.console import Console


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="visual-summaries compare",
        description="Compare finished runs on the classes that all of them have: which is right more often, which "
        "summaries they share, which parts only one of two networks looks at.",
    )
    parser.add_argument(
        "--run", action="append", required=True, metavar="FOLDER", help="a finished run; give it twice or more"
    )
    parser.add_argument("--output", required=True, metavar="FOLDER", help="where the tables, the plot and the page go")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job; returns the exit status: 0 done, 1 failed, 2 the command line is wrong."""
    options = build_parser().parse_args(arguments)

    def action(console: "Console") -> None:
        from visual_summaries.pipeline.commands.compare import run_comparison

        table, page = run_comparison(options.run, options.output)
        console.print(f"Tables: {table}\nPage: {page}", markup=False, highlight=False, soft_wrap=True)

    return run_command(action)


if __name__ == "__main__":
    sys.exit(main())
