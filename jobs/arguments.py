"""The options that every job on a run shares, and the configuration that they make."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.config import RunConfig

SHORTCUTS = {
    "images": "data.images",
    "manifest": "data.manifest",
    "model": "model.name",
    "weights": "model.weights",
    "output": "output",
    "address": "ray.address",
}


def run_parser(verb: str, description: str) -> argparse.ArgumentParser:
    """A parser with the shared options; parse with `parse_intermixed_args`."""
    parser = argparse.ArgumentParser(
        prog=f"visual-summaries {verb}",
        description=description,
        epilog="Every setting can be given as section.key=value; --print-config lists them all.",
    )
    parser.add_argument("--config", metavar="FILE", help="YAML file with the settings that differ from the default")
    parser.add_argument("--images", metavar="FOLDER", help="folder <class>/**/*.jpg, or 'demo' (data.images)")
    parser.add_argument("--manifest", metavar="FILE", help="CSV or Parquet: uri, label (data.manifest)")
    parser.add_argument("--model", metavar="SPEC", help="torchvision:<name>, module:function or demo (model.name)")
    parser.add_argument("--weights", metavar="FILE", help="weights file, enum name or random (model.weights)")
    parser.add_argument("--output", metavar="FOLDER", help="where tables and report go (output)")
    parser.add_argument("--address", metavar="ADDRESS", help="Ray cluster; default: this machine (ray.address)")
    parser.add_argument("--print-config", action="store_true", help="print the annotated configuration and stop")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="settings, e.g. matching.score=phm")
    return parser


def run_config(options: argparse.Namespace) -> "RunConfig":
    """The configuration of the file, the options and the overrides.

    Raises:
        ConfigurationError: it cannot be used.
    """
    from pipeline.config import load_config

    given = {key: getattr(options, name) for name, key in SHORTCUTS.items()}
    shortcuts = {key: value for key, value in given.items() if value is not None}
    return load_config(options.config, options.overrides, shortcuts)
