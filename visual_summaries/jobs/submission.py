"""`--submit ADDRESS`: the same command on a cluster instead of here, with the files that it needs."""

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from visual_summaries import __version__

if TYPE_CHECKING:
    from visual_summaries.pipeline.config import RunConfig


def add_submit(parser: argparse.ArgumentParser) -> None:
    """The option of the jobs that run on Ray."""
    parser.add_argument(
        "--submit",
        metavar="ADDRESS",
        help="run on the cluster whose dashboard is at ADDRESS, e.g. 127.0.0.1:8265, and follow its output; what git "
        "tracks here is sent, the files that the command names, and the module that a network comes from",
    )
    parser.add_argument(
        "--send", action="append", metavar="PATH", help="with --submit, a further file or folder; can be repeated"
    )


def is_submitted(parser: argparse.ArgumentParser, options: argparse.Namespace) -> bool:
    """Whether the command goes to a cluster; ends with a usage error where only files are named for one."""
    if options.send and not options.submit:
        parser.error("--send names files for a cluster: it goes with --submit ADDRESS")
    return options.submit is not None


def submit_job(parser: argparse.ArgumentParser, arguments: Sequence[str] | None, config: "RunConfig") -> int:
    """Send the command without --submit to the cluster, where Ray is the cluster's own; returns its exit status.

    Raises:
        As `pipeline.commands.submission.submit`.
    """
    from visual_summaries.pipeline.commands.sent import chosen_files
    from visual_summaries.pipeline.commands.submission import (
        flush_and_write,
        named_files,
        named_modules,
        submit,
        unseen_files,
    )

    arguments = list(sys.argv[1:] if arguments is None else arguments)
    options = parser.parse_intermixed_args(arguments)
    verb = parser.prog.split()[-1]
    paths = named_files(config) | {"--config": getattr(options, "config", None)}
    runs = getattr(options, "run", None) or []
    runs = [runs] if isinstance(runs, str) else runs
    chosen = chosen_files(".", [path for path in paths.values() if path], named_modules(config), options.send or ())
    unseen = unseen_files(paths | {f"--run {run}": run for run in runs}, chosen)
    if not runs and "://" not in config.output and not config.output.startswith(("/", "~")):
        unseen.append(f"output ({config.output}, which ends with the job)")
    if unseen:
        flush_and_write(f"on the cluster these are not the files of this machine: {', '.join(unseen)}")
    if not chosen.holds_program():
        flush_and_write(
            "visual-summaries itself is not sent, as this folder is no checkout of it: the job runs the one that is "
            f"installed on the cluster's nodes, which should be version {__version__}, as here"
        )
    # As a setting, not as --address, which evaluate's and report's stored configurations would win over.
    command = ["-m", "visual_summaries", verb, *without_submit(arguments), "ray.address=auto"]
    return submit(options.submit, command, chosen, flush_and_write, sys.stdout)


def without_submit(arguments: Sequence[str]) -> list[str]:
    """The arguments without --submit and --send and their values, in whichever form argparse takes them."""
    kept, skip = [], False
    for argument in arguments:
        name = argument.partition("=")[0]
        if skip:
            skip = False
        elif len(name) > len("--s") and any(option.startswith(name) for option in ("--submit", "--send")):
            skip = "=" not in argument
        else:
            kept.append(argument)
    return kept
