"""The main job: photographs → maps → visual summaries → report.

    python -m jobs.summarize --images photographs/ --model torchvision:resnet50 --weights resnet50.safetensors
"""

import argparse
import sys
from collections.abc import Sequence

from jobs.command import run_command


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="visual-summaries summarize",
        description="Explain an image classifier over a whole data set: maps, visual summaries, tables, report.",
        epilog="Every setting can be given as section.key=value; --print-config lists them all.",
    )
    parser.add_argument("--config", metavar="FILE", help="YAML file with the settings that differ from the default")
    parser.add_argument("--images", metavar="FOLDER", help="folder <class>/**/*.jpg, or 'demo' (data.images)")
    parser.add_argument("--manifest", metavar="FILE", help="CSV or Parquet: uri, label (data.manifest)")
    parser.add_argument("--model", metavar="SPEC", help="torchvision:<name>, module:function or demo (model.name)")
    parser.add_argument("--weights", metavar="FILE", help="weights file, enum name or random (model.weights)")
    parser.add_argument("--output", metavar="FOLDER", help="where tables and report go (output)")
    parser.add_argument("--address", metavar="ADDRESS", help="Ray cluster; default: this machine (ray.address)")
    parser.add_argument("--dry-run", action="store_true", help="print the plan and its cost, compute nothing")
    parser.add_argument("--print-config", action="store_true", help="print the annotated configuration and stop")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="settings, e.g. matching.score=phm")
    return parser


SHORTCUTS = {
    "images": "data.images",
    "manifest": "data.manifest",
    "model": "model.name",
    "weights": "model.weights",
    "output": "output",
    "address": "ray.address",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job; returns the exit status: 0 done, 1 failed, 2 the command line is wrong."""
    options = build_parser().parse_intermixed_args(arguments)
    return run_command(lambda console: _summarize(options, console))


def _summarize(options: argparse.Namespace, console) -> None:  # noqa: ANN001 - rich's Console
    from pipeline.config import annotated_default, load_config

    given = {key: getattr(options, name) for name, key in SHORTCUTS.items()}
    shortcuts = {key: value for key, value in given.items() if value is not None}
    config = load_config(options.config, options.overrides, shortcuts)
    if options.print_config:
        print(annotated_default(config), end="")
        return
    if options.dry_run:
        from pipeline.stages.dry_run import print_plan

        print_plan(config, console)
        return
    from pipeline.stages.run import run_pipeline

    report = run_pipeline(config, console)
    from pipeline.stages.outcome import print_outcome

    print_outcome(config, console)
    console.print(f"Report: {report}", markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
