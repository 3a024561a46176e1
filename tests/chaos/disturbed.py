"""Runs of the real job on a small Ray cluster whose processes are killed and frozen, and what must be true of them
afterwards, on a disk or in a bucket."""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from pyarrow import parquet

from visual_summaries.pipeline.runtime.units import error_row
from visual_summaries.pipeline.store.atomic import TEMPORARY_SUFFIX
from visual_summaries.pipeline.store.tables import Shard, TableStore
from visual_summaries.schemas import TABLES, make_table, validate
from visual_summaries.schemas.volumes import VOLUME_TABLES

ROOT = Path(__file__).parents[2]
CLASSES = ("n01531178", "n02672831", "n04254680")
IMAGES_PER_CLASS = 6
SETTINGS = (
    "explain.explainer=grad-cam",
    "explain.shard_size=2",
    "explain.policy=all",
    "proposals.limit=80",
    # More deaths of one unit than a round causes: none may be taken for the fault of a photograph.
    "ray.attempts=20",
    # Shorter than a freeze.
    "ray.unit_timeout=12",
)
# Measured, so the same in no two runs.
MEASURED = {"maps": ["seconds"]}
# What the run says of itself, and what other jobs add.
NOT_COMPARED = ("runs", "costs", "measurements", "ratings", *(table.name for table in VOLUME_TABLES))
KILLS = ("worker", "actor", "node", "driver")
FREEZES = ("frozen actor", "frozen driver")
KINDS = (*KILLS, *FREEZES)
RUN_SECONDS = 900.0
# Longer than a unit may stand still and than a claim lives that is not renewed, see `short_claims.py`.
FREEZE_SECONDS = 20.0
GIVES_UP_SECONDS = 60.0
NODE_GONE_SECONDS = 4.0


class SmallCluster:
    """The nodes' process, and the processes below it."""

    def __init__(self, process: subprocess.Popen) -> None:
        self._process = process
        self.address = self._answer("address").split()[1]

    def _answer(self, word: str) -> str:
        for line in self._process.stdout:
            if line.startswith(word):
                return line
        raise RuntimeError("the nodes' process has ended")

    def tell(self, word: str) -> None:
        """`lose` a node or `add` one, and wait for it."""
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()
        self._answer(f"done {word}")

    def workers(self, title: str = "ray::Worker") -> list[psutil.Process]:
        """Worker processes whose title, which says what they do, begins so."""
        found = []
        for process in psutil.Process(self._process.pid).children(recursive=True):
            try:
                if process.cmdline()[:1] and process.cmdline()[0].startswith(title):
                    found.append(process)
            except psutil.Error:
                continue
        return sorted(found, key=lambda process: process.pid)


@contextmanager
def small_cluster(log: Path, below: Sequence[str] = ()) -> Iterator[tuple[SmallCluster, dict[str, str]]]:
    """The cluster, and the environment that a job needs to be let in; `below`: a command that starts it."""
    environment = os.environ | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
        # By this Ray's sockets, the job's as well, bind the loopback interface alone.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "PYTHONUNBUFFERED": "1",
        "COLUMNS": "120",
    }
    with log.open("w") as errors:
        process = subprocess.Popen(
            [*below, sys.executable, str(Path(__file__).with_name("nodes.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment,
            cwd=ROOT,
        )
        try:
            yield SmallCluster(process), environment
        finally:
            remaining = psutil.Process(process.pid).children(recursive=True)
            process.stdin.close()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            for left in remaining:
                if left.is_running():
                    left.kill()
            process.stdout.close()


def choose_photographs(data: Path, folder: Path) -> Path:
    """A few photographs of three classes, copied, so that each output is of the same files."""
    for label in CLASSES:
        (folder / label).mkdir(parents=True)
        for path in sorted((data / "photos" / label).iterdir())[:IMAGES_PER_CLASS]:
            shutil.copy2(path, folder / label)
    return folder


@dataclass
class Job:
    """The command, and what its processes printed."""

    command: list[str]
    environment: dict[str, str]
    log: Path
    process: subprocess.Popen | None = None
    holder: Callable[[], int | None] | None = None
    """Which process holds the claim on the bucket, if the output is in one."""
    outlived: list[int] = field(default_factory=list)
    """Exit statuses of drivers that were frozen while another took over."""

    def start(self) -> None:
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                self.command, stdout=log, stderr=log, env=self.environment, cwd=ROOT, start_new_session=True
            )

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def freeze(self) -> None:
        os.killpg(self.process.pid, signal.SIGSTOP)

    @property
    def running(self) -> bool:
        return self.process.poll() is None


def job(
    data: Path,
    photographs: Path,
    output: Path,
    cluster: SmallCluster,
    environment: dict[str, str],
    bucket: str | None = None,
    holder: Callable[[], int | None] | None = None,
) -> Job:
    """The job over the photographs, by the cluster's address; its output below `bucket`, where that is given."""
    options = {
        "--images": photographs,
        "--model": "torchvision:squeezenet1_1",
        "--weights": data / "weights" / "squeezenet1_1.safetensors",
        "--output": f"{bucket}/{output.name}" if bucket else output,
        "--address": cluster.address,
    }
    listed = [str(part) for option in options.items() for part in option]
    command = [sys.executable, str(Path(__file__).with_name("short_claims.py")), *listed, *SETTINGS]
    return Job(command, environment, output.with_name(f"{output.name}.log"), holder=holder)


@dataclass
class Disturbances:
    """What was done to a run: (seconds since its start, kind) of each, and how long it took in all."""

    done: list[tuple[float, str]] = field(default_factory=list)
    seconds: float = 0.0


def disturbed(
    running: Job, cluster: SmallCluster, planned: Sequence[tuple[float, str]], choose: Callable[[int], int]
) -> Disturbances:
    """Start the job and do to it what is planned as (seconds since its start, kind), until it ends.

    `choose(n)` picks one of n victims. Where there is none at the time, the next one that appears is taken.
    """
    started = time.monotonic()
    happened = Disturbances()
    waiting = sorted(planned)
    frozen: list[tuple[float, psutil.Process]] = []
    running.start()
    try:
        while running.running:
            now = time.monotonic() - started
            if now > RUN_SECONDS:
                raise TimeoutError(f"the run hangs, after {happened.done}: see {running.log}")
            for moment, process in [one for one in frozen if now >= one[0]]:
                frozen.remove((moment, process))
                with suppress(psutil.NoSuchProcess):
                    process.resume()
            if waiting and now >= waiting[0][0]:
                kind = waiting[0][1]
                if kind == "frozen actor":
                    victim = _frozen_actor(cluster, choose)
                    frozen += [(now + FREEZE_SECONDS, victim)] if victim else []
                    done = victim is not None
                else:
                    done = _disturb(kind, running, cluster, choose)
                if done:
                    happened.done.append((now, waiting.pop(0)[1]))
            time.sleep(0.01)
    finally:
        for _, process in frozen:
            with suppress(psutil.NoSuchProcess):
                process.resume()
        if running.running:
            running.kill()
    happened.seconds = time.monotonic() - started
    return happened


def _disturb(kind: str, running: Job, cluster: SmallCluster, choose: Callable[[int], int]) -> bool:
    """Do it, if there is a victim."""
    if kind == "driver":
        running.kill()
        running.start()
    elif kind == "frozen driver":
        _freeze_driver(running)
    elif kind == "node":
        cluster.tell("lose")
        # The other one works on alone until the loss has been noticed.
        time.sleep(NODE_GONE_SECONDS)
        cluster.tell("add")
    else:
        victims = cluster.workers("ray::Worker.run" if kind == "actor" else "ray::Worker")
        if not victims:
            return False
        try:
            victims[choose(len(victims))].kill()
        except psutil.NoSuchProcess:
            return False
    return True


def _frozen_actor(cluster: SmallCluster, choose: Callable[[int], int]) -> psutil.Process | None:
    """A worker stopped in the middle of a unit, if any is in one."""
    victims = cluster.workers("ray::Worker.run")
    if not victims:
        return None
    victim = victims[choose(len(victims))]
    try:
        victim.suspend()
    except psutil.NoSuchProcess:
        return None
    return victim


def _freeze_driver(running: Job) -> None:
    """Freeze the driver. In a bucket, where no lock tells that it lives, the same command is started beside it and
    takes over; only then does the frozen one wake up, and it must end by itself."""
    first = running.process
    running.freeze()
    try:
        if running.holder is None:
            time.sleep(FREEZE_SECONDS)
        else:
            running.start()
            deadline = time.monotonic() + GIVES_UP_SECONDS
            while running.running and running.holder() != running.process.pid and time.monotonic() < deadline:
                time.sleep(0.2)
            time.sleep(FREEZE_SECONDS / 4)
    finally:
        os.killpg(first.pid, signal.SIGCONT)
    if running.holder is not None:
        try:
            running.outlived.append(first.wait(GIVES_UP_SECONDS))
        except subprocess.TimeoutExpired:
            os.killpg(first.pid, signal.SIGKILL)
            running.outlived.append(first.wait())


def compared(name: str) -> bool:
    return name not in NOT_COMPARED


def shards(output: Path) -> dict[str, list[Shard]]:
    """What the manifests say, of every table that a run must repeat byte for byte."""
    store = TableStore(output)
    return {name: store.manifest(name) for name in TABLES if compared(name)}


def differences(output: Path, expected: Path) -> list[str]:
    """What is not as in the undisturbed run; nothing, if all is well."""
    found = []
    wanted, store, other = shards(expected), TableStore(output), TableStore(expected)
    for name, present in shards(output).items():
        if name in MEASURED:
            if [shard.path for shard in present] != [shard.path for shard in wanted[name]]:
                found.append(f"{name}: other shards")
            elif store.read_all(name).drop_columns(MEASURED[name]) != other.read_all(name).drop_columns(MEASURED[name]):
                found.append(f"{name}: other rows")
        elif present != wanted[name]:
            paths = {shard.path for shard in set(present) ^ set(wanted[name])}
            found.append(f"{name}: other shards or bytes: {sorted(paths)}" if paths else f"{name}: another order")
    found += [f"temporary file {path}" for path in output.rglob("*") if path.name.endswith(TEMPORARY_SUFFIX)]
    for name in TABLES:
        for path in store.folder(name).rglob("*.parquet"):
            try:
                validate(name, parquet.ParquetFile(path).read())
            except Exception as error:
                found.append(f"{path} is not whole: {error}")
    for page in ("index.html", *(f"classes/{label}/index.html" for label in CLASSES)):
        if not (output / "report" / page).is_file():
            found.append(f"no page {page} in the report")
    return found


def write_small_tables(output: Path, reasons: Sequence[str]) -> None:
    """Tables of which only `errors` has rows, one for each reason."""
    store = TableStore(output)
    for name in TABLES:
        rows = [error_row("stage", "label", reason) for reason in reasons] if name == "errors" else []
        shard = store.write(name, store.shard_path(name, "f", "label", "unit"), make_table(name, rows), "label")
        store.write_manifest(name, "f", [shard], complete=True)
