"""What a run's folder no longer needs: shards that no manifest lists, files that killed processes left.

    visual-summaries clean --run runs/mine
    visual-summaries clean --run runs/mine --remove
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
        prog="visual-summaries clean",
        description="List what no manifest of a run lists any more, by table: what earlier settings or photographs "
        "have left, and killed processes. Nothing is removed without --remove. What a setting "
        "made that is put back later has to be computed again then.",
    )
    parser.add_argument("--run", required=True, metavar="FOLDER", help="a run that nothing is writing into")
    parser.add_argument("--remove", action="store_true", help="remove what is listed")
    parser.add_argument(
        "--force",
        action="store_true",
        help="also files younger than an hour, and those of tables that no run has finished, which it would find again",
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job; returns the exit status: 0 done, 1 failed, 2 the command line is wrong."""
    options = build_parser().parse_args(arguments)

    def action(console: "Console") -> None:
        from visual_summaries.pipeline.commands.clean import run_clean

        run_clean(options.run, console, options.remove, options.force)

    return run_command(action)


if __name__ == "__main__":
    sys.exit(main())
