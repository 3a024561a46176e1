"""A local server for a run's report, with forms to name its summaries' parts, rate its maps and find images from them.

    python -m jobs.review --run runs/mine
    python -m jobs.review --run runs/mine --export

What is asked and what the figures mean: docs/review.md.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jobs.command import run_command

if TYPE_CHECKING:
    from rich.console import Console


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="visual-summaries review",
        description="Serve a finished run's report with forms to name parts, rate maps and find images from maps. "
        "The answers become the table ratings when the server ends.",
        epilog="Bound to anything but loopback, visitors need a token: one is made and printed, or taken from "
        "VISUAL_SUMMARIES_REVIEW_TOKEN.",
    )
    parser.add_argument("--run", required=True, metavar="FOLDER", help="a finished run")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; default: this machine only")
    parser.add_argument("--port", type=int, default=8765, help="port to listen on; 0: any free one; default: 8765")
    parser.add_argument("--export", action="store_true", help="write the table ratings, print the results and stop")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job; returns the exit status: 0 done, 1 failed, 2 the command line is wrong."""
    options = build_parser().parse_args(arguments)

    def action(console: "Console") -> None:
        from pipeline.commands.review import run_review

        run_review(options.run, options.host, options.port, options.export, console)

    return run_command(action)


if __name__ == "__main__":
    sys.exit(main())
