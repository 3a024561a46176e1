"""A small real run with hostile names, and the server on loopback."""

import json
import os
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import uvicorn

sys.path.insert(0, str(Path(__file__).parent))

from hostile_names import EVIL_CLASS, EVIL_FILE, EVIL_LABEL  # noqa: E402
from in_process import job_in_process  # noqa: E402

from visual_summaries.jobs.summarize import main  # noqa: E402
from visual_summaries.pipeline.commands.review import reviewed_run  # noqa: E402
from visual_summaries.pipeline.commands.stored import stored_run  # noqa: E402
from visual_summaries.pipeline.data.demo.scenes import NETWORK_CLASS_NAMES, write_demo_set  # noqa: E402
from visual_summaries.pipeline.review.answers import FILE, AnswerStore  # noqa: E402
from visual_summaries.pipeline.review.app import ReviewedRun, review_app  # noqa: E402
from visual_summaries.pipeline.review.questions import questionnaire  # noqa: E402

ROOT = Path(__file__).parents[2]
CLASSES = {"crested bird": EVIL_LABEL, "butterfly": "butterfly"}


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory) -> Path:
    """A run over two classes of the demo set, six pictures each, by the quickest explainer; not to be written into."""
    folder = tmp_path_factory.mktemp("review")
    write_demo_set(folder / "drawn", 6, seed=1)
    (folder / "set").mkdir()
    for name, label in CLASSES.items():
        shutil.move(folder / "drawn" / name, folder / "set" / label)
    for number, file in enumerate(sorted((folder / "set" / EVIL_LABEL).iterdir())):
        file.rename(file.with_name(EVIL_FILE.format(number)))
    names = [EVIL_CLASS if name == "crested bird" else name for name in NETWORK_CLASS_NAMES]
    (folder / "names.txt").write_text("\n".join(names))
    (folder / "map.json").write_text(json.dumps({EVIL_LABEL: NETWORK_CLASS_NAMES.index("crested bird")}))
    settings = [
        f"model.labels={folder / 'names.txt'}",
        f"data.class_map={folder / 'map.json'}",
        "explain.explainer=grad-cam",
        "summaries.sources=[proposals]",
        "summaries.selection=similarity",
        "explain.policy=all",
        "proposals.limit=100",
        "data.test=0",
        "data.held_out=0",
        "report.examples=1",
    ]
    options = ("--images", folder / "set", "--model", "demo", "--output", folder / "run")
    result = job_in_process(main, *options, *settings)
    assert result.returncode == 0, result.stdout + result.stderr
    return folder / "run"


@pytest.fixture(scope="session")
def known_run(finished_run) -> ReviewedRun:
    return reviewed_run(stored_run(str(finished_run)))


@pytest.fixture
def own_run(known_run, tmp_path) -> ReviewedRun:
    """The run in a folder of its own, without pages and answers of others."""
    for part in ("tables", "report"):
        shutil.copytree(known_run.folder / part, tmp_path / "run" / part)
    return replace(known_run, folder=tmp_path / "run")


@contextmanager
def serving(run: ReviewedRun, loopback: bool = True, token: str | None = None, seed: int = 0) -> Iterator[str]:
    """The address of a server for the run, without the last slash."""
    answers = AnswerStore(run.folder / FILE)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        questions = questionnaire(run.store, seed)
        app = review_app(run, questions, answers, loopback=loopback, token=token, port=port)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive()
                time.sleep(0.01)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            thread.join(timeout=20)
            answers.close()
    assert not thread.is_alive()


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """`serving` until the end of the test."""
    with ExitStack() as stack:
        yield lambda *arguments, **options: stack.enter_context(serving(*arguments, **options))


@contextmanager
def visitor(address: str, rater: str | None = None) -> Iterator[httpx.Client]:
    """A client that sends what a browser sends, answering as `rater`."""
    with httpx.Client(base_url=address, headers={"Origin": address}, timeout=30) as client:
        if rater is not None:
            response = client.post("/review/rater", data={"rater": rater})
            assert (response.status_code, response.headers["location"]) == (303, "/review")
        yield client


@pytest.fixture
def visit() -> Iterator[Callable[..., httpx.Client]]:
    """`visitor` until the end of the test."""
    with ExitStack() as stack:
        yield lambda *arguments: stack.enter_context(visitor(*arguments))


@pytest.fixture
def job_environment() -> dict[str, str]:
    return os.environ | {"PYTHONUNBUFFERED": "1", "COLUMNS": "140"}
