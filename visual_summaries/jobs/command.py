"""The console script `visual-summaries <verb>`, and what all verbs share: messages instead of tracebacks."""

import argparse
import errno
import importlib
import sys
from collections.abc import Callable, Iterable, Sequence

PLAIN_WIDTH = 110
# What a path that a person wrote can be guilty of, wherever it is noticed.
WRONG_PATH = (errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM)

VERBS = {
    "summarize": "photographs → maps → visual summaries → report",
    "volumes": "scans in three dimensions and an atlas → scores of its segments → report",
    "evaluate": "figures of runs, and the papers' experiments on your images and classifier",
    "compare": "several finished runs side by side",
    "report": "the report drawn again from a run's tables",
    "review": "a local server for the report, with forms to name parts and rate maps",
    "export": "regions and maps for other tools: COCO-style JSON, FiftyOne",
    "clean": "what no manifest of a run lists any more, listed and removed",
    "cluster": "a job submitted to a cluster: its output again, its status, its end",
}

DEMO = "visual-summaries summarize --images demo --model demo --output runs/demo summaries.price=0.2"


def main(arguments: Sequence[str] | None = None) -> int:
    """Dispatch to the verb's job."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: visual-summaries <verb> …\n")
        for verb, description in VERBS.items():
            print(f"  {verb:<12} {description}")
        print(f"\nvisual-summaries <verb> --help says more. To see it work on drawn pictures:\n\n  {DEMO}")
        return 0 if arguments else 2
    if arguments[0] not in VERBS:
        hint = f"; the demo is: {DEMO}" if arguments[0] == "demo" else ""
        print(f"visual-summaries: {unknown('verb', arguments[0], VERBS)}{hint}", file=sys.stderr)
        return 2
    return importlib.import_module(f"visual_summaries.jobs.{arguments[0]}").main(arguments[1:])


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """What is said of a name that is none of the `known` ones."""
    from visual_summaries.pipeline.suggestions import did_you_mean

    known = tuple(known)
    return f"unknown {what} {name!r}; known: {', '.join(known)}{did_you_mean(name, known)}"


def one_of(what: str, known: Iterable[str]) -> Callable[[str], str]:
    """The `type` of an option that takes one of the `known` names."""

    def checked(name: str) -> str:
        if name not in known:
            raise argparse.ArgumentTypeError(unknown(what, name, known))
        return name

    return checked


def run_command(action: Callable[..., int | None]) -> int:
    """Call `action(console)`; print foreseeable errors as one message and return the exit status.

    0: done, or what `action` returns. 1: failed. 2: the command line, the configuration or the images are wrong. 3: the
    cluster failed, not the run: the same command goes on where it was. 130: interrupted.
    """
    from rich.console import Console

    from visual_summaries.pipeline.commands.failures import FORESEEN, RESUMABLE, USAGE, message_of

    console = Console()
    if not console.is_terminal:
        console = Console(width=PLAIN_WIDTH)
    try:
        status = action(console)
    except FORESEEN as error:
        print(f"visual-summaries: {message_of(error)}", file=sys.stderr)
        return 2 if isinstance(error, USAGE) else 3 if isinstance(error, RESUMABLE) else 1
    except OSError as error:
        if error.errno not in WRONG_PATH or error.filename is None:
            raise
        told = OSError(f"{error.filename}: {error.strerror}; name another")
        print(f"visual-summaries: {message_of(told)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("visual-summaries: interrupted; run the same command again to go on from here", file=sys.stderr)
        return 130
    return status or 0
