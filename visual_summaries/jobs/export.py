"""A finished run in the formats of other tools: masks over photographs for COCO's and FiftyOne's, tables for SQL.

    visual-summaries export --run runs/mine --format coco --output exported
    visual-summaries export --run runs/mine --run runs/other --format duckdb --output exported
"""

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from visual_summaries.jobs.command import one_of, run_command

if TYPE_CHECKING:
    from rich.console import Console

FORMATS = {
    "coco": "regions.json and summaries.json, COCO object detection",
    "fiftyone": "folders regions and summaries, FiftyOneImageDetectionDataset",
    "duckdb": "run.duckdb, tables and views for SQL clients",
}


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="visual-summaries export", description="Write a finished run in a format that other tools open."
    )
    parser.add_argument(
        "--run", action="append", required=True, metavar="FOLDER", help="a finished run; several for the format duckdb"
    )
    formats = "; ".join(f"{name}: {what}" for name, what in FORMATS.items())
    parser.add_argument("--format", required=True, type=one_of("format", FORMATS), metavar="NAME", help=formats)
    parser.add_argument("--output", required=True, metavar="FOLDER", help="where the files go; made if missing")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job; returns the exit status: 0 done, 1 failed, 2 the command line is wrong."""
    options = build_parser().parse_args(arguments)

    def action(console: "Console") -> None:
        from visual_summaries.pipeline.commands.export import run_export

        said = run_export(options.run, options.format, options.output, console)
        console.print(said, markup=False, highlight=False, soft_wrap=True)

    return run_command(action)


if __name__ == "__main__":
    sys.exit(main())
