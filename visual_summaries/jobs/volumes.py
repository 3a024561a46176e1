"""Scans in three dimensions: which segments of an atlas does a classifier's score rest on, scan by scan and by class?

    visual-summaries volumes --scans scans/ --atlas aal.nii.gz --names aal.csv --model networks:build --output runs/mri
"""

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from visual_summaries.jobs.command import run_command

if TYPE_CHECKING:
    from rich.console import Console

SETTINGS = {"address": "ray.address", "workers": "ray.workers"}


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="visual-summaries volumes",
        description="Score the segments of an atlas in every scan (GLAS), and rank them by class.",
    )
    add = parser.add_argument
    add("--scans", required=True, metavar="FOLDER", help="folder <class>/**/*.nii.gz, .nii, .npy or .npz")
    add("--atlas", required=True, metavar="FILE", help="volume of integer labels in the scans' space, 0: no segment")
    add("--names", metavar="FILE", help="names of the segments: CSV with the columns label and name")
    add(
        "--model",
        required=True,
        metavar="SPEC",
        help="module:function that returns a torch.nn.Module which takes [B, C, D, H, W] and gives logits, or that "
        "itself takes volumes and gives scores [B, K]",
    )
    add("--weights", metavar="FILE", help="weights of the module: .safetensors, .pt or .pth")
    add("--labels", metavar="FILE", help="names of the classifier's classes, in order: .txt, .csv or .json")
    add("--class-map", metavar="FILE", help="which class a folder is: CSV, JSON or YAML of label and class_index")
    add("--output", required=True, metavar="FOLDER", help="where tables and report go")
    add("--light", type=float, metavar="VOXELS", help="σ of the light (default: 10)")
    add("--shadow", type=float, metavar="VOXELS", help="σ of the shadow (default: 15)")
    add("--mode", metavar="NAME", help="fusion (default), light or shadow alone")
    add(
        "--dark",
        type=float,
        metavar="VALUE",
        help="value of darkness, e.g. --dark=-1000 for Hounsfield units (default: 0, and no scan may go below it)",
    )
    add("--error-tolerance", type=float, metavar="SHARE", help="share of scans that may be lost (default: 0.05)")
    add("--address", metavar="ADDRESS", help="Ray cluster; default: this machine")
    add("--workers", type=int, metavar="N", help="workers; default: as many as fit")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job; returns the exit status, as `run_command` says it."""
    options = vars(build_parser().parse_args(arguments))
    given = {SETTINGS.get(name, name): value for name, value in options.items() if value is not None}

    def action(console: "Console") -> None:
        from visual_summaries.pipeline.commands.volumes import run_volumes, volume_config

        page = run_volumes(volume_config(given), console)
        console.print(f"Report: {page}", markup=False, highlight=False, soft_wrap=True)

    return run_command(action)


if __name__ == "__main__":
    sys.exit(main())
