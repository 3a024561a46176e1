"""What a run's tables have cost, whatever runs made them: killed, resumed, with other settings, with more to do."""

import imageless
import pytest
from imageless import Settings, inputs_of

from visual_summaries.pipeline.runtime import flow
from visual_summaries.pipeline.runtime.flow import run_stages
from visual_summaries.pipeline.runtime.records import RunState
from visual_summaries.pipeline.runtime.stage import Plan, Stage, units_per_class
from visual_summaries.pipeline.runtime.units import Outcome, Unit
from visual_summaries.pipeline.runtime.work import Work
from visual_summaries.pipeline.store.tables import TableStore
from visual_summaries.schemas import make_table


class First(Stage):
    """Two shards of each class."""

    name, writes = "first", "images"

    def settings(self, config: Settings) -> list:
        return [config.more]

    def units(self, plan: Plan) -> list[Unit]:
        return [
            Unit(group.label, (group.label, part), size=2) for group in plan.inputs.classes for part in range(2)
        ]


class Second(First):
    name, reads, writes = "second", ("images",), "regions"

    def units(self, plan: Plan) -> list[Unit]:
        return units_per_class(plan, ("images",))


STAGES = [First(), Second()]


class Killed(BaseException):
    """As with kill -9, nothing after it is done."""


class ByHand:
    """Does the units in turn, each in a second of a processor; ends the run after so many."""

    def __init__(self, store: TableStore, lives: int = 1000) -> None:
        self.store, self.lives = store, lives
        self.waiting: list[tuple[Work, Unit]] = []

    def add(self, work: Work, units: list[Unit]) -> None:
        self.waiting += [(work, unit) for unit in units]

    def advance(self) -> None:
        if not self.lives:
            raise Killed
        self.lives -= 1
        work, unit = self.waiting.pop(0)
        work.begun(unit)
        path = self.store.shard_path(work.stage.writes, unit.fingerprint, unit.label, unit.name)
        shard = self.store.write(work.stage.writes, path, make_table(work.stage.writes, []), unit.label)
        work.finished(Outcome(unit, shard, seconds=10.0, processor_seconds=1.0, peak_memory=len(unit.label)))


def walk(folder, run: str, labels: str = "ab", lives: int = 1000, **settings) -> RunState:  # noqa: ANN001, ANN003
    state = imageless.state_of(folder, STAGES, inputs_of(labels, 4), **settings)
    state.run = run
    state.__post_init__()
    run_stages(state, STAGES, ByHand(state.store, lives))
    return state


def costs(folder) -> dict[str, float]:  # noqa: ANN001
    """Processor seconds of each stage, by its last row."""
    return {row["stage"]: row["worker_seconds"] for row in TableStore(folder).read_all("runs").to_pylist()}


@pytest.fixture(autouse=True)
def at_once(monkeypatch) -> None:  # noqa: ANN001
    """What is done is entered before the next unit is waited for, as every few seconds in a run."""
    monkeypatch.setattr(flow, "MANIFEST_INTERVAL_SECONDS", 0.0)
    monkeypatch.setattr(flow, "MANIFEST_SHARE", 0)


def test_what_is_found_complete_keeps_its_cost(tmp_path) -> None:
    walk(tmp_path, "one")
    assert costs(tmp_path) == {"first": 4.0, "second": 2.0}
    for run in ("two", "three"):
        walk(tmp_path, run)
        assert costs(tmp_path) == {"first": 4.0, "second": 2.0}
    rows = TableStore(tmp_path).read_all("runs").to_pylist()
    assert [(row["run"], row["units_cached"]) for row in rows if row["stage"] == "first"] == [
        ("one", 0), ("two", 4), ("three", 4)
    ]  # fmt: skip
    assert all(row["peak_memory"] == 1 for row in rows)
    # The units of the first run took ten seconds each, side by side; to find them takes none.
    assert all(10 <= row["seconds"] < 12 for row in rows if row["run"] != "one")


@pytest.mark.parametrize("lives", [1, 3, 4, 5])
def test_a_run_killed_halfway_and_resumed_has_both_runs_costs(tmp_path, lives: int) -> None:
    with pytest.raises(Killed):
        walk(tmp_path, "killed", lives=lives)
    walk(tmp_path, "resumed")
    assert costs(tmp_path) == {"first": 4.0, "second": 2.0}
    store = TableStore(tmp_path)
    done = store.read_all("costs").to_pylist()
    assert [row["run"] for row in done].count("killed") == lives and len(done) == 6
    # A stage that the killed run had finished was recorded then; its row stays.
    recorded = {(row["run"], row["stage"]) for row in store.read_all("runs").to_pylist()}
    assert recorded == {("resumed", "first"), ("resumed", "second")} | ({("killed", "first")} if lives > 3 else set())


def test_nothing_is_counted_twice_or_of_tables_that_are_no_more(tmp_path) -> None:
    walk(tmp_path, "one")
    walk(tmp_path, "more classes", labels="abc")
    assert costs(tmp_path) == {"first": 6.0, "second": 3.0}
    walk(tmp_path, "other settings", more={"other": 1})
    assert costs(tmp_path) == {"first": 4.0, "second": 2.0}
    # Back again: what is there cost what it cost, without the settings between.
    walk(tmp_path, "back", labels="abc")
    assert costs(tmp_path) == {"first": 6.0, "second": 3.0}
    store = TableStore(tmp_path)
    for shard in store.manifest("images"):
        (store.folder("images") / shard.path).unlink()
    walk(tmp_path, "again", labels="abc")
    assert costs(tmp_path) == {"first": 6.0, "second": 3.0}


def test_what_is_lost_of_earlier_costs_keeps_nobody_from_the_rest(tmp_path) -> None:
    walk(tmp_path, "one")
    store = TableStore(tmp_path)
    for table in ("costs", "runs"):
        (shard,) = store.manifest(table)
        (store.folder(table) / shard.path).write_bytes(b"damaged")
    walk(tmp_path, "two", labels="abc")
    assert costs(tmp_path) == {"first": 2.0, "second": 1.0}


def test_many_units_are_written_in_parts_that_do_not_change(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("visual_summaries.pipeline.runtime.ledger.PART_ROWS", 2)
    walk(tmp_path, "one", labels="abc")
    store = TableStore(tmp_path)
    assert [shard.rows for shard in store.manifest("costs")] == [2, 2, 2, 2, 1]
    assert len({row["unit"] for row in store.read_all("costs").to_pylist()}) == 9
    walk(tmp_path, "two", labels="abc")
    assert costs(tmp_path) == {"first": 6.0, "second": 3.0}
