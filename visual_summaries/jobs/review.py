"""A local server for a run's report, with forms to name its summaries' parts, rate its maps and find images from them.

    visual-summaries review --run runs/mine
    visual-summaries review --run runs/mine --export

What is asked and what the figures mean: docs/how-to/review.md.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from visual_summaries.jobs.command import run_command

if TYPE_CHECKING:
    from rich.console import Console

HOST, PORT = "127.0.0.1", 8765


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="visual-summaries review",
        description="Serve a finished run's report with forms to name parts, rate maps and find images from maps. "
        "The answers become the table ratings when the server ends.",
        epilog="Bound to anything but loopback, visitors need a token: one is made and printed, or taken from "
        "VISUAL_SUMMARIES_REVIEW_TOKEN.",
    )
    parser.add_argument("--run", required=True, metavar="FOLDER", help="a finished run")
    parser.add_argument("--host", help="address to listen on; default: this machine only")
    parser.add_argument("--port", type=int, help="port to listen on; 0: any free one; default: 8765")
    parser.add_argument("--export", action="store_true", help="write the table ratings, print the results and stop")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job; returns the exit status: 0 done, 1 failed, 2 the command line is wrong."""
    options = build_parser().parse_args(arguments)

    def action(console: "Console") -> None:
        from visual_summaries.pipeline.commands.review import run_review
        from visual_summaries.pipeline.config import ConfigurationError

        given = {"--host": options.host, "--port": options.port}
        if options.export and (useless := [name for name, value in given.items() if value is not None]):
            raise ConfigurationError(f"{' and '.join(useless)} without effect: --export serves nothing")
        host = HOST if options.host is None else options.host
        port = PORT if options.port is None else options.port
        run_review(options.run, host, port, options.export, console)

    return run_command(action)


if __name__ == "__main__":
    sys.exit(main())
