"""The same command on a cluster, through Ray's job client: submitted, followed to its end, looked at again, stopped."""

import asyncio
import contextlib
import logging
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TextIO

from visual_summaries.pipeline.commands.sent import Chosen
from visual_summaries.pipeline.config import ConfigurationError, RunConfig
from visual_summaries.pipeline.models.own_code import is_code, own_folder
from visual_summaries.pipeline.runtime.failures import ClusterError, RunFailed
from visual_summaries.pipeline.settings import ModelSettings

POLL_SECONDS = 0.5
SETTLE_SECONDS = 30.0
RECONNECTS = 5
INTERRUPTED = 130
CHATTY = (
    "ray._private.runtime_env.packaging",
    "ray._private.runtime_env.working_dir",
    "ray.dashboard.modules.dashboard_sdk",
    "ray.dashboard.modules.job.sdk",
)


class Jobs:
    """A cluster's jobs."""

    def __init__(self, address: str) -> None:
        """Reach the cluster at `address`, that of its dashboard: host:port or http(s)://host:port.

        Raises:
            ConfigurationError: the packages of the job client are missing, or the address is not one.
            ClusterError: nothing answers there, or it refuses the token.
        """
        self.address = _http(address)
        with _told(self.address), _without_other_addresses():
            try:
                import aiohttp  # noqa: F401 - Ray's job client follows logs with it
                from ray.job_submission import JobSubmissionClient
            except ImportError:
                raise ConfigurationError(
                    "jobs are submitted by ray[default], which is not installed here: "
                    "pip install 'visual-summaries[cluster]'"
                ) from None
            # They tell of each file that is left behind, and of the end of a connection.
            for name in CHATTY:
                logging.getLogger(name).setLevel(logging.ERROR)
            self._client = JobSubmissionClient(self.address)

    def submit(self, arguments: Sequence[str], chosen: Chosen) -> str:
        """Start `python` with these arguments on the cluster, in a folder with the chosen files; returns the job's id.

        Raises:
            ConfigurationError: the files are too large, or cannot be read.
            ClusterError: the cluster does not take the job.
        """
        environment = {"PYTHONUNBUFFERED": "1", "RAY_USAGE_STATS_ENABLED": "0"}
        with TemporaryDirectory() as folder, _told(self.address):
            # Not as a folder, of which Ray would leave out what a .gitignore in it names.
            package = Path(folder) / "files.zip"
            chosen.pack(package)
            return self._client.submit_job(
                entrypoint=shlex.join(["python", *arguments]),
                runtime_env={"working_dir": str(package), "env_vars": environment},
            )

    def follow(self, job: str, out: TextIO) -> int:
        """Copy the job's output to `out` until the job ends; returns what `exit_status` says.

        Raises:
            ClusterError: the cluster does not answer any more, or does not know the job.
            KeyboardInterrupt: the job goes on.
        """
        with _noted_interrupts() as interrupts:
            self._copy_all(job, out, interrupts)
        if interrupts:
            raise KeyboardInterrupt
        return self._ended(job)

    def _copy_all(self, job: str, out: TextIO, interrupts: Sequence[int]) -> None:
        """Copy the output until it ends or there is an interrupt; connect again where the connection breaks."""
        shown, failures = 0, 0
        while not interrupts:
            with _told(self.address):
                try:
                    shown = asyncio.run(self._copy(job, out, shown, interrupts))
                    return
                except RuntimeError:
                    # The connection broke, or there is no such job; the cluster says which.
                    failures += 1
                    if self._client.get_job_info(job).status.is_terminal() or failures > RECONNECTS:
                        return
                    time.sleep(POLL_SECONDS)

    async def _copy(self, job: str, out: TextIO, skip: int, interrupts: Sequence[int]) -> int:
        """Copy the output from its character number `skip` on, until there is an interrupt; returns how many
        characters there were."""
        seen = 0
        texts = aiter(self._client.tail_job_logs(job))
        while not interrupts:
            following = asyncio.ensure_future(anext(texts, None))
            while not following.done() and not interrupts:
                await asyncio.wait({following}, timeout=POLL_SECONDS)
            if not following.done():
                following.cancel()
                break
            text = following.result()
            if text is None:
                break
            new = text[max(0, skip - seen) :]
            seen += len(text)
            out.write(new)
            out.flush()
        return max(seen, skip)

    def _ended(self, job: str) -> int:
        deadline = time.monotonic() + SETTLE_SECONDS
        while True:
            status = self.exit_status(job)
            if status is not None:
                return status
            if time.monotonic() > deadline:
                raise ClusterError(f"the output of job {job} ended, the job goes on: look again\n{self.advice(job)}")
            time.sleep(POLL_SECONDS)

    def exit_status(self, job: str) -> int | None:
        """The exit status of an ended job's own process, 130 if it was stopped; None while it goes on.

        Raises:
            ClusterError: it ended without one, because the cluster lost it.
            RunFailed: it never began.
        """
        with _told(self.address):
            information = self._client.get_job_info(job)
        if not information.status.is_terminal():
            return None
        if information.status.value == "STOPPED":
            return INTERRUPTED
        code = information.driver_exit_code
        if information.status.value == "SUCCEEDED":
            return 0
        if code is not None:
            # Killed by a signal: as a shell says it.
            return 128 - code if code < 0 else code
        said = (information.message or "it does not say why").strip()
        if information.error_type and "RUNTIME_ENV" in str(information.error_type):
            raise RunFailed(f"job {job} never began: {said}")
        raise ClusterError(f"the cluster lost job {job}: {said}")

    def status(self, job: str) -> str:
        """One line: PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED, and what Ray says of it."""
        with _told(self.address):
            information = self._client.get_job_info(job)
        message = " ".join((information.message or "").split())
        code = information.driver_exit_code
        ended = f", exit status {code}" if code is not None else ""
        return f"{job}: {information.status.value}{ended}{': ' if message else ''}{message}"

    def stop(self, job: str) -> str:
        """Stop a job, wait for its end and return its line; what it has done stays."""
        with _told(self.address):
            self._client.stop_job(job)
            deadline = time.monotonic() + SETTLE_SECONDS
            while not self._client.get_job_status(job).is_terminal() and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
        return self.status(job)

    def advice(self, job: str) -> str:
        """How to look at the job again and how to stop it."""
        where = f"{job} --address {self.address}"
        return f"look again: visual-summaries cluster logs {where}\nstop it: visual-summaries cluster stop {where}"


@contextmanager
def _noted_interrupts() -> Iterator[list[int]]:
    """Ctrl-C as an entry of a list: raised in the middle of the client's own code it may be lost there."""
    noted: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield noted
        return
    before = signal.signal(signal.SIGINT, lambda number, frame: noted.append(number))
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, before)


def submit(
    address: str, arguments: Sequence[str], chosen: Chosen, say: Callable[[str], Any], out: TextIO
) -> int:
    """Submit, follow and return the job's exit status; says what was sent; Ctrl-C leaves the job running and says so.

    Raises:
        As `Jobs` and its methods.
    """
    jobs = Jobs(address)
    job = jobs.submit(arguments, chosen)
    say(chosen.described())
    advice = jobs.advice(job)
    say(f"job {job} submitted to {jobs.address}\n{advice}")
    try:
        status = jobs.follow(job, out)
    except KeyboardInterrupt:
        say(f"job {job} goes on\n{advice}")
        return INTERRUPTED
    say(f"job {job} ended with exit status {status}")
    return status


def named_files(config: RunConfig) -> dict[str, str | None]:
    """Settings that name files or folders to be read, where they do."""
    data, model = config.data, config.model
    further = {}
    for section, other in config.evaluation.networks.items():
        further[f"{section}.name"] = own_folder(other.name)
        further[f"{section}.weights"] = _weights_file(other)
        further[f"{section}.labels"] = other.labels_file
    return further | {
        "data.images": None if data.images == "demo" else data.images,
        "data.manifest": data.manifest,
        "data.class_map": data.class_map,
        "data.parts": data.parts,
        "data.boxes": data.boxes,
        "data.landmarks": data.landmarks,
        "model.name": own_folder(model.name),
        "model.weights": _weights_file(model),
        "model.labels": model.labels_file,
        "explain.cam.edges": config.explain.cam.edges,
    }


def _weights_file(model: ModelSettings) -> str | None:
    return None if model.weights_or_file is model.weights else model.weights


def named_modules(config: RunConfig) -> list[str]:
    """The modules that networks are made by, where they are made by a module:function."""
    names = [model.name for model in (config.model, *config.evaluation.networks.values())]
    return [name.partition(":")[0] for name in names if is_code(name)]


def unseen_files(paths: Mapping[str, str | None], chosen: Chosen) -> list[str]:
    """Settings whose relative paths a submitted job will not see: what they name is not among the files that are sent.

    `paths`: setting → local path or URI, None for none.
    """
    return [
        f"{setting} ({path})"
        for setting, path in paths.items()
        if path and "://" not in path and not path.startswith(("/", "~")) and not chosen.holds(path)
    ]


def _http(address: str) -> str:
    """The address with a scheme.

    Raises:
        ConfigurationError: it is no dashboard's.
    """
    if "://" not in address:
        address = f"http://{address}"
    if not address.startswith(("http://", "https://")):
        raise ConfigurationError(
            f"jobs are submitted to the address of the cluster's dashboard, such as http://127.0.0.1:8265, "
            f"not to {address}"
        )
    return address.rstrip("/")


@contextmanager
def _without_other_addresses() -> Iterator[None]:
    """Ray's client prefers these variables to the address that it is given."""
    names = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
    hidden = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)


@contextmanager
def _told(address: str) -> Iterator[None]:
    """Ray's errors as messages that say what to do."""
    try:
        yield
    except (ConfigurationError, ClusterError, RunFailed):
        raise
    except Exception as error:
        # Of many kinds: requests', aiohttp's, Ray's own, RuntimeErrors with a response's text.
        raise ClusterError(_advice(address, error)) from error


def _advice(address: str, error: Exception) -> str:
    text = str(error)
    said = next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)
    if "uthenticat" in text or "status code 401" in text or "status code 403" in text:
        missing = "no authentication token" in text or "401" in text or "required" in text
        fault = "asks for a token, and none was sent" if missing else "refuses the token"
        return (
            f"the cluster at {address} {fault}: set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN (or RAY_AUTH_TOKEN_PATH) "
            "to the cluster's own token; `ray get-auth-token` on its head prints it"
        )
    if isinstance(error, ConnectionError):
        return (
            f"nothing answers at {address}: is the cluster up, and its dashboard's port forwarded to here? "
            "(ray dashboard cluster.yaml, or kubectl port-forward)"
        )
    return f"the cluster at {address} says: {said}"


def flush_and_write(text: str) -> None:
    """A line to a person on standard error, after what the job printed."""
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    print(f"visual-summaries: {text}", file=sys.stderr, flush=True)
