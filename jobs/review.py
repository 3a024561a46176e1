"""A local server for a run's report, with forms to name its summaries' parts, rate its maps and find images from them.

    python -m jobs.review --run runs/mine
    python -m jobs.review --run runs/mine --export

What is asked and what the figures mean: docs/review.md.
"""

import argparse
import os
import secrets
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.command import run_command

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.review.answers import AnswerStore

TOKEN_VARIABLE = "VISUAL_SUMMARIES_REVIEW_TOKEN"
SHORTEST_TOKEN = 16


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="visual-summaries review",
        description="Serve a finished run's report with forms to name parts, rate maps and find images from maps. "
        "The answers become the table ratings when the server ends.",
        epilog=f"Bound to anything but loopback, visitors need a token: one is made and printed, or taken from "
        f"{TOKEN_VARIABLE}.",
    )
    parser.add_argument("--run", required=True, metavar="FOLDER", help="a finished run")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; default: this machine only")
    parser.add_argument("--port", type=int, default=8765, help="port to listen on; 0: any free one; default: 8765")
    parser.add_argument("--export", action="store_true", help="write the table ratings, print the results and stop")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job; returns the exit status: 0 done, 1 failed, 2 the command line is wrong."""
    options = build_parser().parse_args(arguments)

    def action(console: "Console") -> None:
        from pipeline.config import ConfigurationError
        from pipeline.objects import is_remote
        from pipeline.review.answers import FILE, AnswerStore
        from pipeline.store.tables import StoreError, TableStore

        if is_remote(options.run):
            raise ConfigurationError(
                f"{options.run} is in an object store, and answers need a disk: copy the run to one, with its tables "
                "and report, and review that"
            )
        # Before the file of answers is made: no folder becomes a run by a slip of the pen.
        TableStore(options.run).manifest("summaries")
        if options.export and not (Path(options.run) / FILE).exists():
            raise StoreError(f"nobody has answered anything about {options.run} yet")
        answers = AnswerStore(Path(options.run) / FILE)
        try:
            if not options.export:
                _serve(options, answers, console)
            if options.export or answers.raters():
                _export(options.run, answers, console)
        finally:
            answers.close()

    return run_command(action)


def _serve(options: argparse.Namespace, answers: "AnswerStore", console: "Console") -> None:
    """Serve until Ctrl-C or SIGTERM."""
    import uvicorn

    from pipeline.commands.evaluate import stored_config
    from pipeline.commands.review import reviewed_run
    from pipeline.review.app import review_app
    from pipeline.review.guard import is_loopback
    from pipeline.review.questions import questionnaire

    loopback = is_loopback(options.host)
    token, made = _token(loopback)
    config = stored_config(options.run)
    run = reviewed_run(config)
    questions = questionnaire(run.store, config.seed)
    with _listening(options.host, options.port) as listener:
        port = listener.getsockname()[1]
        app = review_app(run, questions, answers, loopback=loopback, token=token, port=port)
        # No log of requests: it would hold the token of the address that visitors open first.
        server = uvicorn.Server(
            uvicorn.Config(app, access_log=False, log_level="warning", server_header=False, lifespan="off")
        )
        asked = ", ".join(f"{kind}: {len(own)}" for kind, own in questions.questions.items())
        console.print(f"Questions: {asked}", markup=False, highlight=False, soft_wrap=True)
        address = f"http://{_visible(options.host)}:{port}/"
        # Not through the console: a terminal's address must be one piece, and a recorded console would keep the token.
        print(f"Review: {address}" + (f"?token={token}" if made else ""), flush=True)
        if token and not made:
            print(f"The token is the one in {TOKEN_VARIABLE}: open the address with ?token=… once.", flush=True)
        print("Ctrl-C ends it.", flush=True)
        # uvicorn ends well at a signal and then raises it again, for whom it would end the process.
        previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            server.run(sockets=[listener])
        except KeyboardInterrupt:
            pass
        finally:
            signal.signal(signal.SIGTERM, previous)


def _token(loopback: bool) -> tuple[str | None, bool]:
    """The token that visitors need, None for none; and whether it was made here.

    Raises:
        ConfigurationError: the one in the environment can be guessed.
    """
    from pipeline.config import ConfigurationError

    given = os.environ.get(TOKEN_VARIABLE)
    if given is None:
        return (None, False) if loopback else (secrets.token_urlsafe(32), True)
    if len(given) < SHORTEST_TOKEN or not given.isascii() or not given.replace("-", "").replace("_", "").isalnum():
        raise ConfigurationError(
            f"{TOKEN_VARIABLE} must hold at least {SHORTEST_TOKEN} letters, digits, hyphens and underscores"
        )
    return given, False


def _listening(host: str, port: int) -> socket.socket:
    """A socket that listens already, so that the address is printed only when it works.

    Raises:
        RunFailed: the address is taken, or not one of this machine's.
    """
    from pipeline.runtime.failures import RunFailed

    try:
        family, *_, address = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family)
    except (OSError, OverflowError) as error:
        raise RunFailed(f"cannot listen on {host}, port {port}: {error}; choose others by --host and --port") from None


def _visible(host: str) -> str:
    """How the host is written in an address that a visitor opens."""
    host = host.strip("[]")
    if host in ("0.0.0.0", "::"):
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host


def _export(folder: str, answers: "AnswerStore", console: "Console") -> None:
    """Write the table and print what came out."""
    from pipeline.evaluate.ratings import study_results
    from pipeline.review.export import current_ratings, export_answers
    from pipeline.review.results import results_table
    from pipeline.runtime.exclusive import exclusive
    from pipeline.store.tables import TableStore

    store = TableStore(folder)
    with exclusive(Path(folder)):
        written, left_out = export_answers(answers, store)
    console.print(results_table(study_results(current_ratings(store))))
    note = f"; {left_out} about what the run does not have any more were left out" if left_out else ""
    line = f"Ratings: {written} {'answer' if written == 1 else 'answers'} in {store.folder('ratings')}{note}"
    console.print(line, markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
