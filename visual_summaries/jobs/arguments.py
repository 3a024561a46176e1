"""The options that every job on a run shares, and what is done with them."""

import argparse
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from visual_summaries.jobs.command import run_command
from visual_summaries.jobs.submission import add_submit, is_submitted, submit_job
from visual_summaries.pipeline.commands.options import NETWORKS, OPTIONS

if TYPE_CHECKING:
    from rich.console import Console

    from visual_summaries.pipeline.config import RunConfig

# Where argparse keeps what was given → the setting.
SHORTCUTS = {
    **{option.removeprefix("--"): setting for setting, option in OPTIONS.items()},
    **{setting.rpartition(".")[2]: setting for setting in NETWORKS},
}


class _RunParser(argparse.ArgumentParser):
    """What is written as an option and is a setting gets a hint how settings are written."""

    def error(self, message: str) -> NoReturn:
        before, mark, options = message.partition("unrecognized arguments: ")
        if mark and not before and (settings := _settings_called(options.split())):
            message += f"; settings are written without dashes: {settings[0]}=…"
            message += f", or {', '.join(settings[1:])}" if settings[1:] else ""
        super().error(message)


def _settings_called(options: Sequence[str]) -> list[str]:
    """Settings whose last word is that of an option, such as model.labels of --labels."""
    from visual_summaries.pipeline.config import valid_names

    words = {option.lstrip("-").split("=")[0].replace("-", "_") for option in options if option.startswith("--")}
    return [name for name in valid_names() if name in words or name.rpartition(".")[2] in words]


def run_parser(verb: str, description: str) -> argparse.ArgumentParser:
    """A parser with the shared options, for `run_job`."""
    parser = _RunParser(
        prog=f"visual-summaries {verb}",
        description=description,
        epilog="Every setting can be given as section.key=value; --print-config lists them all.",
    )
    parser.add_argument("--config", metavar="FILE", help="YAML file with the settings that differ from the default")
    parser.add_argument(
        "--images", metavar="PLACE", help="folder <class>/**/*.jpg, .tar or .parquet files, or 'demo' (data.images)"
    )
    parser.add_argument("--manifest", metavar="FILE", help="CSV or Parquet: uri, label (data.manifest)")
    parser.add_argument(
        "--model",
        metavar="SPEC",
        help="torchvision:<name>, timm:<name>, hf:<repository or folder>, module:function or demo (model.name)",
    )
    parser.add_argument("--weights", metavar="FILE", help="weights file, enum name or random (model.weights)")
    parser.add_argument("--preset", metavar="NAME", help="paper: the papers' own chain and settings (preset)")
    parser.add_argument("--output", metavar="FOLDER", help="where tables and report go (output)")
    parser.add_argument("--address", metavar="ADDRESS", help="Ray cluster; default: this machine (ray.address)")
    add_submit(parser)
    parser.add_argument("--print-config", action="store_true", help="print the annotated configuration and stop")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="settings, e.g. matching.score=phm")
    return parser


def run_job(
    parser: argparse.ArgumentParser,
    arguments: Sequence[str] | None,
    job: Callable[[argparse.Namespace, "RunConfig", "Console"], None],
) -> int:
    """Parse, make the configuration, print it or do the job; returns the exit status as `run_command`."""
    options = parser.parse_intermixed_args(arguments)
    submitted = is_submitted(parser, options)

    def action(console: "Console") -> int | None:
        from visual_summaries.pipeline.config import ConfigurationError, annotated_default, load_config

        if options.print_config and getattr(options, "run", None):
            raise ConfigurationError("--print-config shows the configuration of a run to be made: leave out --run")
        config = load_config(options.config, options.overrides, _shortcuts(options))
        if options.print_config:
            print(annotated_default(config), end="")
        elif submitted:
            return submit_job(parser, arguments, config)
        else:
            job(options, config, console)
        return None

    return run_command(action)


def settings_given(options: argparse.Namespace) -> dict[str, Any]:
    """What the file, the options and the overrides of this command line say, and nothing else.

    Raises:
        ConfigurationError: as `given_settings`.
    """
    from visual_summaries.pipeline.config import given_settings

    return given_settings(getattr(options, "config", None), options.overrides, _shortcuts(options))


def _shortcuts(options: argparse.Namespace) -> dict[str, Any]:
    given = {key: getattr(options, name, None) for name, key in SHORTCUTS.items()}
    return {key: value for key, value in given.items() if value is not None}
