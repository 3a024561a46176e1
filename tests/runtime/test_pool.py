"""The worker pool on real Ray: workers that die, hang or raise; what kills them is found and left out."""

import contextlib
import fcntl
import os
import re
import signal
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
from ray import cloudpickle

from visual_summaries.pipeline.runtime.actor import Worker
from visual_summaries.pipeline.runtime.context import Context
from visual_summaries.pipeline.runtime.failures import ClusterError, PoolError
from visual_summaries.pipeline.runtime.pool import WorkerPool, advance, worker_count
from visual_summaries.pipeline.runtime.session import ray_session
from visual_summaries.pipeline.runtime.settings import RaySettings
from visual_summaries.pipeline.runtime.stage import Stage
from visual_summaries.pipeline.runtime.units import Failure, Output, Unit, error_row
from visual_summaries.pipeline.runtime.work import Work
from visual_summaries.pipeline.store.tables import StoreError, TableStore

cloudpickle.register_pickle_by_value(sys.modules[__name__])


class Fragile(Stage):
    """Writes one row per item; some items do terrible things."""

    name = "fragile"
    writes = "errors"

    def compute(self, worker, unit, items) -> Output:  # noqa: ANN001
        for item in items:
            if item.startswith("kill"):
                os.kill(os.getpid(), 9)
            if item.startswith("hang"):
                time.sleep(600)
            if item.startswith("raise"):
                raise ZeroDivisionError("of this item")
            if item == "full":
                raise StoreError("cannot write x: no space left")
        rows = [error_row("row", unit.label, "was there", image_id=item) for item in items]
        return Output(rows)


@pytest.fixture(scope="module")
def resources(tmp_path_factory):  # noqa: ANN201
    with ray_session(RaySettings(cpus=2, gpus=0)) as found:
        yield found


def run(tmp_path, *units: Unit, timeout: float = 60.0, attempts: int = 2):  # noqa: ANN201
    pool = WorkerPool(partial(Context, str(tmp_path)), size=2, cpus=1, gpus=0, attempts=attempts, timeout=timeout)
    results = []
    try:
        pool.run(Fragile(), list(units), results.append)
    finally:
        pool.close()
    return {result.unit.name: result for result in results}


def unit(name: str, *items: str, divisible: bool = True) -> Unit:
    return Unit("a", (), items, divisible=divisible, name=name, fingerprint="f", size=len(items))


def test_only_the_culprits_are_lost(resources, tmp_path) -> None:
    results = run(
        tmp_path,
        unit("good", "a", "b"),
        unit("bad", "c", "kill 1", "d", "raise 1", "e"),
        unit("lonely", "kill 2"),
        unit("whole", "raise 2", divisible=False),
    )
    store = TableStore(tmp_path)

    def items(shard) -> list[str]:  # noqa: ANN001
        return [row["image_id"] for row in store.read("errors", [shard.path]).to_pylist()]

    assert items(results["good"].shard) == ["a", "b"]
    assert items(results["bad"].shard) == ["c", "d", "e"]
    assert items(results["lonely"].shard) == []
    assert isinstance(results["whole"], Failure) and "of this item" in results["whole"].reason
    assert len(results) == 4


class Delicate(Context):
    """A process in which nothing works any more once it has divided by zero, as with an error of a GPU."""

    broken = False

    def spoiled(self, error: Exception) -> bool:
        return self.broken


class Breaks(Fragile):
    def compute(self, worker, unit, items) -> Output:  # noqa: ANN001
        worker.broken |= any(item.startswith("raise") for item in items)
        if worker.broken:
            raise RuntimeError("an illegal instruction was encountered")
        return super().compute(worker, unit, items)


def test_a_process_that_an_item_has_spoiled_takes_no_other(resources, tmp_path) -> None:
    pool = WorkerPool(partial(Delicate, str(tmp_path)), size=1, cpus=1, gpus=0, attempts=1, timeout=60)
    results = []
    pool.run(Breaks(), [unit("bad", "a", "raise 1", "b"), unit("good", "c")], results.append)
    pool.close()
    store = TableStore(tmp_path)
    found = {one.unit.name: store.read("errors", [one.shard.path]).to_pylist() for one in results}
    assert {name: [row["image_id"] for row in rows] for name, rows in found.items()} == {
        "bad": ["a", "b"], "good": ["c"]
    }  # fmt: skip


def test_the_reasons_are_written_beside(resources, tmp_path) -> None:
    class Recorded(Fragile):
        writes = "maps"

        def compute(self, worker, unit, items) -> Output:  # noqa: ANN001
            super().compute(worker, unit, items)
            return Output([])

    pool = WorkerPool(partial(Context, str(tmp_path)), size=1, cpus=1, gpus=0, attempts=2, timeout=60)
    results = []
    pool.run(Recorded(), [unit("bad", "c", "kill 1", "raise 1")], results.append)
    pool.close()
    reasons = {
        row["image_id"]: row["reason"]
        for row in TableStore(tmp_path).read("errors", [results[0].errors.path]).to_pylist()
    }
    assert set(reasons) == {"kill 1", "raise 1"}
    assert "crashed the worker" in reasons["kill 1"] and "ZeroDivisionError: of this item" in reasons["raise 1"]


def test_a_hung_worker_is_noticed(resources, tmp_path) -> None:
    results = run(tmp_path, unit("slow", "a", "hang"), unit("good", "b"), timeout=4.0, attempts=1)
    assert TableStore(tmp_path).read("errors", [results["slow"].shard.path]).num_rows == 1
    assert results["good"].shard.rows == 1


def test_a_worker_that_tells_of_progress_is_not_hanging(resources, tmp_path) -> None:
    class Slow(Fragile):
        def compute(self, worker, unit, items) -> Output:  # noqa: ANN001
            for item in items:
                time.sleep(1.25)
                worker.reach(unit, items.index(item) + 0.5)
                time.sleep(1.25)
                worker.advance(unit)
            return Output([])

    pool = WorkerPool(partial(Context, str(tmp_path)), size=1, cpus=1, gpus=0, attempts=1, timeout=6.0)
    results, told = [], []
    # Without the word of progress it would be stopped after 6 of its 10 seconds.
    units = [unit("slow", "a", "b", "c", "d")]
    pool.run(Slow(), units, results.append, lambda unit, images, work: told.append((images, work)))
    pool.close()
    assert not isinstance(results[0], Failure) and results[0].errors is None
    assert told == sorted(told) and set(told) <= {(n, n + part) for n in range(5) for part in (0.0, 0.5)}
    assert any(work > images for images, work in told) and told[-1][0] >= 2


class OfAClass(Stage):
    """Units of whole classes, named after what they do."""

    name = "of a class"
    writes = "features"

    def compute(self, worker, unit, items) -> Output:  # noqa: ANN001
        seen = Path(worker.output) / f"{unit.name} was here"
        if unit.name == "hang":
            time.sleep(600)
        if unit.name == "slow":
            for _ in range(6):
                time.sleep(1.5)
                worker.step()
        if unit.name == "long":
            time.sleep(8)
        if unit.name == "freeze" and not seen.exists():
            seen.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGSTOP)
            # Awake again it has other results than whoever did its unit meanwhile.
            return Output([])
        return Output([], [error_row("of a class", unit.label, f"seen by {os.getpid()}")])


class Watch:
    """Keeps what a `StageWatch` would log."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []

    def pool(self, queued: int, alive: int) -> None:
        pass

    def stalled(self, unit: Unit, reason: str) -> None:
        self.events.append(("stalled", unit.name))

    def retried(self, unit: Unit, reason: str) -> None:
        self.events.append(("retried", unit.name))

    def worker_died(self, reason: str, unit: Unit) -> None:
        self.events.append(("worker_died", unit.name))


def class_unit(name: str, size: int) -> Unit:
    return Unit("a", (), ("a",), name=name, fingerprint="f", size=size, quadratic=True)


def test_a_class_that_hangs_fails_in_its_time_and_one_that_moves_does_not(resources, tmp_path) -> None:
    pool = WorkerPool(partial(Context, str(tmp_path)), size=2, cpus=1, gpus=0, attempts=2, timeout=4.0)
    results, said, watch = {}, [], Watch()
    work = Work(
        OfAClass(),
        lambda result: results.update({result.unit.name: result}),
        watch=watch,
        stalled=lambda unit, reason: said.append((unit.name, reason)),
    )
    pool.add(work, [class_unit("slow", 4), class_unit("hang", 4)])
    try:
        started = time.monotonic()
        while pool.wanted:
            advance([pool])
        # Twice its time, and the start of three workers.
        assert time.monotonic() - started < 40
    finally:
        pool.close()
    assert results["slow"].shard is not None
    assert isinstance(results["hang"], Failure) and re.match(r"no progress for \d+ s$", results["hang"].reason)
    told = [reason for name, reason in said if name == "hang"]
    assert len(told) == 4 and all("it is given up after 4 s" in reason for reason in told[::2])
    assert all("its worker is stopped" in reason for reason in told[1::2])
    logged = [event for event, unit in watch.events if unit == "hang"]
    assert logged == ["stalled", "worker_died", "retried", "stalled", "worker_died"]


def test_a_frozen_worker_is_replaced_and_harms_nothing_when_it_wakes_up(resources, tmp_path, monkeypatch) -> None:
    """Though its class may take hours: its heart has stopped, while that of another that says nothing beats."""
    pool = WorkerPool(partial(Context, str(tmp_path)), size=2, cpus=1, gpus=0, attempts=2, timeout=60, silence=5.0)
    results: dict[str, Any] = {}
    said = []
    work = Work(
        OfAClass(),
        lambda result: results.update({result.unit.name: result}),
        stalled=lambda unit, reason: said.append((unit.name, reason)),
    )
    pool.add(work, [class_unit("freeze", 5000), class_unit("long", 5000)])
    frozen = None
    try:
        # Its node is out of reach: nobody can end it.
        with monkeypatch.context() as context:
            context.setattr(ray, "kill", lambda actor: None)
            while pool.wanted:
                advance([pool])
        assert said == [("freeze", said[0][1])] and "no sign of life for" in said[0][1]
        store = TableStore(tmp_path)
        frozen = psutil.Process(int((tmp_path / "freeze was here").read_text()))
        assert frozen.status() == psutil.STATUS_STOPPED
        paths = {table: store.folder(table) / results["freeze"].shard.path for table in ("features", "errors")}
        before = {table: path.read_bytes() for table, path in paths.items()}
        frozen.send_signal(signal.SIGCONT)
        psutil.wait_procs([frozen], timeout=30)
        assert not frozen.is_running()
        assert {table: path.read_bytes() for table, path in paths.items()} == before
        assert not list(tmp_path.rglob("*.tmp"))
    finally:
        if frozen is not None and frozen.is_running():
            frozen.kill()
        pool.close()


def test_a_full_disk_ends_the_run_at_once(resources, tmp_path) -> None:
    with pytest.raises(StoreError, match="no space left"):
        run(tmp_path, unit("one", "full"))


def test_needs_that_can_never_be_met_are_refused() -> None:
    assert worker_count(1, 0, None, {"CPU": 4}) == 4
    assert worker_count(1, 0.5, 3, {"CPU": 8, "GPU": 2}) == 3
    with pytest.raises(PoolError, match="needs 1 CPUs and 1 GPUs, and the cluster has 4 CPUs and 0 GPUs"):
        worker_count(1, 1, None, {"CPU": 4})


def test_everything_started_here_listens_on_loopback(resources) -> None:
    addresses = set()
    for process in psutil.Process().children(recursive=True):
        try:
            for connection in process.net_connections(kind="inet"):
                if connection.status == psutil.CONN_LISTEN:
                    addresses.add(connection.laddr.ip)
        except psutil.Error:
            continue
    assert addresses and addresses <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


def test_an_unreachable_cluster_is_one_message() -> None:
    session = ray_session(RaySettings(address="127.0.0.1:9"))
    with pytest.raises(ClusterError, match="cannot start or reach Ray at 127.0.0.1:9"):
        session.__enter__()


def test_whatever_ray_raises_at_its_start_is_one_message(monkeypatch) -> None:
    def timed_out(**options: object) -> None:
        # As Ray does where a node cannot write its files, an exception of no particular class.
        raise Exception("The current node timed out during startup.")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", timed_out)
    with pytest.raises(ClusterError, match="cannot start or reach Ray at this machine: The current node timed out"):
        ray_session(RaySettings()).__enter__()


class Doomed(Worker):
    """A worker that dies while it starts, as often as the file `lives` says."""

    def __init__(self, make_context, gpu: bool, board) -> None:  # noqa: ANN001
        lives = Path(make_context(gpu, board).output) / "lives"
        # One of them at a time, or two might count the same life.
        with lives.open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            left = int(file.read())
            file.seek(0)
            file.write(f"{max(0, left - 1):3}")
            file.flush()
        if left > 0:
            os.kill(os.getpid(), 9)
        super().__init__(make_context, gpu, board)


@pytest.mark.parametrize(("deaths", "enough"), [(5, True), (6, False)])
def test_workers_that_die_with_a_node_while_they_start_do_not_end_the_run(
    resources, tmp_path, deaths: int, enough: bool
) -> None:
    (tmp_path / "lives").write_text(f"{deaths:3}")
    pool = WorkerPool(partial(Context, str(tmp_path)), size=2, cpus=1, gpus=0, attempts=2, timeout=60)
    pool._actor = ray.remote(Doomed).options(num_cpus=1, max_restarts=0)
    results = []
    units = [unit("one", "a"), unit("two", "b")]
    if enough:
        pool.run(Fragile(), units, results.append)
        pool.close()
        assert {result.unit.name for result in results} == {"one", "two"}
    else:
        with pytest.raises(PoolError, match="cannot be started"):
            pool.run(Fragile(), units, results.append)


def test_the_board_comes_back_where_its_process_is_lost(resources, tmp_path) -> None:
    pool = WorkerPool(partial(Context, str(tmp_path)), size=1, cpus=1, gpus=0, attempts=1, timeout=60)
    try:
        ray.get(pool._board.tell.remote("worker", "one", 1, 0.5))
        ray.kill(pool._board, no_restart=False)
        deadline = time.monotonic() + 60
        counts, allowed = {}, None
        while "worker" not in counts and time.monotonic() < deadline:
            with contextlib.suppress(ray.exceptions.RayError):
                ray.get(pool._board.tell.remote("worker", "one", 2, 1.5))
                # Whom the driver has given up, the new process is told with the next question.
                allowed = ray.get(pool._board.may_write.remote("worker"))
                counts, _ = ray.get(pool._board.take.remote({"worker"}))
        assert counts == {"worker": ("one", 2, 1.5)} and allowed is None
        assert ray.get([pool._board.may_write.remote(name) for name in ("worker", "other")]) == [False, True]
    finally:
        pool.close()
