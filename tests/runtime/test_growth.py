"""A cluster is asked for what the waiting units could use, and it is taken back."""

import time
from functools import partial
from pathlib import Path

import pytest

from visual_summaries.pipeline.runtime import growth
from visual_summaries.pipeline.runtime import workers as module
from visual_summaries.pipeline.runtime.context import Context
from visual_summaries.pipeline.runtime.failures import PoolError
from visual_summaries.pipeline.runtime.growth import MOST_ASKED, Asker, needed
from visual_summaries.pipeline.runtime.settings import RaySettings
from visual_summaries.pipeline.runtime.stage import Resources, Stage
from visual_summaries.pipeline.runtime.workers import Workers


class WithGpu(Stage):
    resources = Resources(gpu=True)


class Waiting:
    """Stands where a pool does of which units wait."""

    def __init__(self, wanted: int) -> None:
        self.wanted = wanted


class Told:
    """Stands where `Growth` does."""

    def __init__(self) -> None:
        self.asked: list[list[dict[str, float]]] = []

    def ask(self, bundles: list[dict[str, float]]) -> None:
        self.asked.append(bundles)


def test_as_many_workers_are_asked_for_as_units_could_use() -> None:
    cpu = {"CPU": 1.0, "GPU": 0.0, "memory": 0.0}
    assert needed(0, None, cpu, {}) == []
    assert needed(1, None, cpu, {}) == [{"CPU": 1.0}]
    assert len(needed(9, None, cpu, {})) == 3 and len(needed(10**6, None, cpu, {})) == MOST_ASKED
    assert len(needed(10**6, 7, cpu, {})) == 7
    gpu = {"CPU": 1.0, "GPU": 0.5, "memory": 2.0**30}
    assert needed(10**6, None, gpu, {"CPU": 0.0, "GPU": 2.0}) == [gpu] * 4
    assert len(needed(10**6, None, gpu, {"CPU": 3.0, "GPU": 2.0})) == 3


def test_both_kinds_of_workers_are_asked_for_together(tmp_path: Path) -> None:
    told = Told()
    settings = RaySettings(address="auto", memory_per_worker=2, gpus=4)
    workers = Workers(settings, partial(Context, str(tmp_path)), lambda: {"CPU": 1.0, "GPU": 1.0}, growth=told)
    workers._pools = {True: Waiting(400), False: Waiting(5)}
    workers._ask_for_room()
    memory = 2.0 * 2**30
    assert told.asked == [[{"CPU": 1.0, "GPU": 1.0, "memory": memory}] * 4 + [{"CPU": 1.0, "memory": memory}] * 2]
    workers._pools = {True: Waiting(0), False: Waiting(0)}
    workers._ask_for_room()
    assert told.asked[-1] == []


def test_a_head_alone_waits_for_the_first_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROOM_SECONDS", 0.01)
    sizes, said, told = iter([{}, {}, {}, {"CPU": 2.0}]), [], Told()
    context = partial(Context, str(tmp_path))
    workers = Workers(RaySettings(address="auto"), context, lambda: next(sizes), growth=told, waits=said.append)
    workers._await_room(0.0)
    assert told.asked == [[{"CPU": 1.0}]] * 3 and workers._resources == {"CPU": 2.0}
    assert len(said) == 1 and "needs 1 processor" in said[0]
    monkeypatch.setattr(module, "GROWTH_SECONDS", 0.05)
    workers = Workers(RaySettings(address="auto"), partial(Context, str(tmp_path)), dict, growth=told)
    with pytest.raises(PoolError, match="was asked for them: none came"):
        workers.pool(WithGpu())


def test_what_was_asked_for_is_taken_back_when_nothing_is_heard_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    requests, ended = [], []
    monkeypatch.setattr(growth, "_request", lambda bundles: requests.append(list(bundles)))
    monkeypatch.setattr(growth.ray, "kill", ended.append)
    monkeypatch.setattr(growth.ray, "get_runtime_context", lambda: type("Context", (), {"current_actor": "itself"}))
    asker = Asker(lease=0.4)
    for _ in range(4):
        asker.ask([{"CPU": 1.0}])
        time.sleep(0.2)
    assert requests == [[{"CPU": 1.0}]] * 4
    deadline = time.monotonic() + 10
    while not ended:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert requests[4:] == [[]] and ended == ["itself"]
