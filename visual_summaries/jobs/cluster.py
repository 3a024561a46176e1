"""Jobs that were submitted to a cluster: look at their output again, ask how they are, stop them.

    visual-summaries cluster logs raysubmit_… --address 127.0.0.1:8265
"""

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from visual_summaries.jobs.command import one_of, run_command

if TYPE_CHECKING:
    from rich.console import Console

ACTIONS = {"logs": "follow the output to its end", "status": "one line", "stop": "stop it; what it has done stays"}


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="visual-summaries cluster",
        description="Look at a submitted job again, or stop it.",
        epilog="The exit status of logs, and of the status of a job that has ended, is the job's own.",
    )
    actions = "; ".join(f"{name}: {what}" for name, what in ACTIONS.items())
    parser.add_argument("action", type=one_of("action", ACTIONS), metavar="ACTION", help=actions)
    parser.add_argument("job", metavar="ID", help="as --submit said it")
    parser.add_argument(
        "--address", default="127.0.0.1:8265", help="of the cluster's dashboard; default: 127.0.0.1:8265"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job; returns the exit status: the submitted job's, or as those of docs/how-to/cluster.md."""
    options = build_parser().parse_args(arguments)

    def action(console: "Console") -> int:
        from visual_summaries.pipeline.commands.submission import INTERRUPTED, Jobs, flush_and_write

        jobs = Jobs(options.address)
        if options.action == "stop":
            print(jobs.stop(options.job))
            return 0
        if options.action == "status":
            print(jobs.status(options.job), flush=True)
            return jobs.exit_status(options.job) or 0
        try:
            return jobs.follow(options.job, sys.stdout)
        except KeyboardInterrupt:
            flush_and_write(f"job {options.job} goes on\n{jobs.advice(options.job)}")
            return INTERRUPTED

    return run_command(action)


if __name__ == "__main__":
    sys.exit(main())
