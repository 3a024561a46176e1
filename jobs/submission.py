"""`--submit ADDRESS`: the same command on a cluster instead of here."""

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.config import RunConfig
    from pipeline.settings import ModelSettings


def add_submit(parser: argparse.ArgumentParser) -> None:
    """The option of the jobs that run on Ray."""
    parser.add_argument(
        "--submit",
        metavar="ADDRESS",
        help="run on the cluster whose dashboard is at ADDRESS, e.g. 127.0.0.1:8265, and follow its output",
    )


def submit_job(parser: argparse.ArgumentParser, arguments: Sequence[str] | None, config: "RunConfig") -> int:
    """Send the command without --submit to the cluster, where Ray is the cluster's own; returns its exit status.

    Raises:
        As `pipeline.commands.submission.submit`.
    """
    from pipeline.commands.submission import flush_and_write, submit, unseen_files

    arguments = list(sys.argv[1:] if arguments is None else arguments)
    options = parser.parse_intermixed_args(arguments)
    verb = parser.prog.split()[-1]
    paths = named_files(config) | {"--config": getattr(options, "config", None)}
    runs = getattr(options, "run", None) or []
    runs = [runs] if isinstance(runs, str) else runs
    unseen = unseen_files(paths | {f"--run {run}": run for run in runs})
    if not runs and "://" not in config.output and not config.output.startswith("/"):
        unseen.append(f"output ({config.output}, which ends with the job)")
    if unseen:
        flush_and_write(f"on the cluster these are not the files of this machine: {', '.join(unseen)}")
    # As a setting, not as --address, which evaluate's and report's stored configurations would win over.
    command = ["-m", f"jobs.{verb}", *without_submit(arguments), "ray.address=auto"]
    return submit(options.submit, command, flush_and_write, sys.stdout)


def named_files(config: "RunConfig") -> dict[str, str | None]:
    """Settings that name files or folders to be read, where they do."""
    data, model = config.data, config.model
    further = {}
    for number, other in enumerate(config.evaluation.other_models):
        further[f"evaluation.other_models.{number}.weights"] = _weights_file(other)
        further[f"evaluation.other_models.{number}.labels"] = other.labels
    return further | {
        "data.images": None if data.images == "demo" else data.images,
        "data.manifest": data.manifest,
        "data.class_map": data.class_map,
        "data.parts": data.parts,
        "data.boxes": data.boxes,
        "data.landmarks": data.landmarks,
        "model.weights": _weights_file(model),
        "model.labels": model.labels,
        "explain.cam.edges": config.explain.cam.edges,
    }


def _weights_file(model: "ModelSettings") -> str | None:
    return model.weights if model.weights and model.weights.endswith((".safetensors", ".pt", ".pth")) else None


def without_submit(arguments: Sequence[str]) -> list[str]:
    """The arguments without --submit and its address, in whichever form argparse takes them."""
    kept, skip = [], False
    for argument in arguments:
        name = argument.partition("=")[0]
        if skip:
            skip = False
        elif len(name) > len("--s") and "--submit".startswith(name):
            skip = "=" not in argument
        else:
            kept.append(argument)
    return kept
