"""The review server: a finished run's report with forms for people's answers, and the table of those answers."""

import contextlib
import os
import secrets
import signal
import socket

import uvicorn
from rich.console import Console

from visual_summaries.pipeline.commands.stored import StoredRun, stored_run
from visual_summaries.pipeline.config import ConfigurationError
from visual_summaries.pipeline.evaluate.ratings import study_results
from visual_summaries.pipeline.objects import is_remote, place
from visual_summaries.pipeline.review.answers import FILE, AnswerStore
from visual_summaries.pipeline.review.app import ReviewedRun, review_app
from visual_summaries.pipeline.review.export import current_ratings, export_answers
from visual_summaries.pipeline.review.guard import is_loopback
from visual_summaries.pipeline.review.questions import questionnaire
from visual_summaries.pipeline.review.results import results_table
from visual_summaries.pipeline.runtime.exclusive import exclusive
from visual_summaries.pipeline.runtime.failures import RunFailed
from visual_summaries.pipeline.stages.explain import explainer_name, preset_of
from visual_summaries.pipeline.store.links import check_links
from visual_summaries.pipeline.store.tables import StoreError, TableStore

TOKEN_VARIABLE = "VISUAL_SUMMARIES_REVIEW_TOKEN"
SHORTEST_TOKEN = 16


def run_review(folder: str, host: str, port: int, export: bool, console: Console) -> None:
    """Serve a finished run until Ctrl-C or SIGTERM, then write the table `ratings`; with `export` the table alone.

    Raises:
        ConfigurationError: the run is in an object store, or the token in the environment can be guessed.
        StoreError: there is no finished run, or nothing to export.
        RunFailed: the address cannot be listened on.
    """
    if is_remote(folder):
        raise ConfigurationError(
            f"{folder} is in an object store, and answers need a disk: copy the run to one, with its tables and "
            "report, and review that"
        )
    # Before the file of answers is made: a mistyped folder must not become a run.
    TableStore(folder).manifest("summaries")
    check_links(place(folder))
    if export and not (place(folder) / FILE).exists():
        raise StoreError(f"nobody has answered anything about {folder} yet")
    answers = AnswerStore(place(folder) / FILE)
    try:
        if not export:
            _serve(folder, host, port, answers, console)
        if export or answers.raters():
            _export(folder, answers, console)
    finally:
        answers.close()


def reviewed_run(run: StoredRun) -> ReviewedRun:
    """The run as the review server wants it."""
    config, known = run.config, run.recorded
    facts = {
        "model": known.classifier,
        "weights": known.weights,
        "explainer": explainer_name(config),
        "preset": preset_of(config.explain) or "",
    }
    return ReviewedRun(config.output.path, known.preprocessing.value(), known.class_names, facts)


def _serve(folder: str, host: str, port: int, answers: AnswerStore, console: Console) -> None:
    """Serve until Ctrl-C or SIGTERM."""
    loopback = is_loopback(host)
    token, made = _token(loopback)
    stored = stored_run(folder)
    run = reviewed_run(stored)
    questions = questionnaire(run.store, stored.config.seed)
    with _listening(host, port) as listener:
        port = listener.getsockname()[1]
        app = review_app(run, questions, answers, loopback=loopback, token=token, port=port)
        # No log of requests: it would hold the token of the address that visitors open first.
        server = uvicorn.Server(
            uvicorn.Config(app, access_log=False, log_level="warning", server_header=False, lifespan="off")
        )
        asked = ", ".join(f"{kind}: {len(own)}" for kind, own in questions.questions.items())
        console.print(f"Questions: {asked}", markup=False, highlight=False, soft_wrap=True)
        address = f"http://{_visible(host)}:{port}/"
        # Not through the console: a terminal's address must be one piece, and a recorded console would keep the token.
        print(f"Review: {address}" + (f"?token={token}" if made else ""), flush=True)
        if token and not made:
            print(f"The token is the one in {TOKEN_VARIABLE}: open the address with ?token=… once.", flush=True)
        print("Ctrl-C ends it.", flush=True)
        # uvicorn shuts down cleanly at a signal, then raises it again, which would end the process.
        previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            with contextlib.suppress(KeyboardInterrupt):
                server.run(sockets=[listener])
        finally:
            signal.signal(signal.SIGTERM, previous)


def _token(loopback: bool) -> tuple[str | None, bool]:
    """The token that visitors need, None for none; and whether it was made here.

    Raises:
        ConfigurationError: the one in the environment can be guessed.
    """
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


def _export(folder: str, answers: AnswerStore, console: Console) -> None:
    """Write the table and print what came out."""
    store = TableStore(folder)
    with exclusive(place(folder)):
        written, left_out = export_answers(answers, store)
    console.print(results_table(study_results(current_ratings(store))))
    note = f"; {left_out} about what the run does not have any more were left out" if left_out else ""
    line = f"Ratings: {written} {'answer' if written == 1 else 'answers'} in {store.folder('ratings')}{note}"
    console.print(line, markup=False, highlight=False, soft_wrap=True)
