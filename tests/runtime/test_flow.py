"""Classes go from stage to stage on their own: who may go on when, whatever the order, and on real workers."""

import gc
import json
import random
import sys
import time
from dataclasses import replace
from functools import partial

import imageless
import pyarrow as pa
import pytest
from imageless import Settings, inputs_of
from ray import cloudpickle

from visual_summaries.pipeline.runtime import flow
from visual_summaries.pipeline.runtime.context import Context
from visual_summaries.pipeline.runtime.failures import RunFailed
from visual_summaries.pipeline.runtime.flow import run_stages
from visual_summaries.pipeline.runtime.observability import watched_run
from visual_summaries.pipeline.runtime.records import RunState
from visual_summaries.pipeline.runtime.session import ray_session
from visual_summaries.pipeline.runtime.settings import RaySettings
from visual_summaries.pipeline.runtime.stage import (
    Plan,
    PlannedShard,
    Resources,
    Stage,
    units_per_class,
    units_per_shard,
)
from visual_summaries.pipeline.runtime.units import Failure, Outcome, Output, Unit
from visual_summaries.pipeline.runtime.work import PLENTY, Work, next_work
from visual_summaries.pipeline.runtime.workers import IDLE_SECONDS, Workers
from visual_summaries.pipeline.store.tables import Shard, StoreError, TableStore, digest
from visual_summaries.schemas import TABLES, make_table

for module in (imageless, sys.modules[__name__]):
    cloudpickle.register_pickle_by_value(module)

LABELS = ("a", "b", "c")


class First(Stage):
    """Two shards of each class, of the catalog alone."""

    name, writes = "first", "images"
    resources = Resources(gpu=True)
    seconds = 0.0

    def settings(self, config: Settings) -> list:
        return []

    def units(self, plan: Plan) -> list[Unit]:
        return [
            Unit(group.label, (group.label, part), (f"{group.label}{part}",), size=2)
            for group in plan.inputs.classes
            for part in range(2)
        ]

    def compute(self, worker: Context, unit: Unit, items: tuple[str, ...]) -> Output:
        time.sleep(self.seconds)
        return Output([])


class PerShard(First):
    name, reads, writes = "per shard", ("images",), "maps"

    def units(self, plan: Plan) -> list[Unit]:
        return units_per_shard(plan, "images")


class PerClass(First):
    name, reads, writes = "per class", ("images", "maps"), "regions"
    resources = Resources()

    def units(self, plan: Plan) -> list[Unit]:
        return units_per_class(plan, ("maps", "images"))


class AboutAll(First):
    name, reads, writes, by_class = "about all", ("regions",), "metrics", False
    resources = Resources()

    def units(self, plan: Plan) -> list[Unit]:
        paths = tuple(shard.path for shard in plan.shards["regions"])
        contents = tuple(shard.content for shard in plan.shards["regions"])
        return [Unit("", contents, inputs={"regions": paths}, size=len(paths))]


STAGES = [First(), PerShard(), PerClass(), AboutAll()]
EXAMPLES = {
    "string": "", "int32": 0, "int64": 0, "float": 0.0, "double": 0.0, "bool": False, "binary": b"",
    "list<item: int32>": [0], "list<element: int32>": [0],
}  # fmt: skip


class ByHand:
    """Does the unit that `choose` picks of all that wait."""

    def __init__(self, store: TableStore, choose, failing: tuple[str, ...] = ()) -> None:  # noqa: ANN001
        self.store, self.choose, self.failing = store, choose, failing
        self.salt = 0.0
        self.waiting: list[tuple[Work, Unit]] = []
        self.did: list[tuple[str, str]] = []

    def add(self, work: Work, units: list[Unit]) -> None:
        self.waiting += [(work, unit) for unit in units]

    def advance(self) -> None:
        work, unit = self.waiting.pop(self.choose(self.waiting))
        work.begun(unit)
        self.did.append((work.stage.name, unit.label))
        if unit.label in self.failing:
            work.finished(Failure(unit, "by request"))
            return
        work.finished(Outcome(unit, written(self.store, work.stage, unit, self.salt)))


def written(store: TableStore, stage: Stage, unit: Unit, salt: float = 0.0) -> Shard:
    """The shard of a unit: a row for each image that says which unit it is of, so that what it holds differs."""
    schema = TABLES[stage.writes].schema
    row = {field.name: EXAMPLES[str(field.type)] for field in schema if not field.nullable} | {"label": unit.label}
    said = next(field.name for field in schema if field.type == pa.string() and field.name != "label")
    number = next(field.name for field in schema if field.type in (pa.float32(), pa.float64()))
    rows = [row | {said: f"{unit.identity} {image}", number: salt} for image in range(unit.size)]
    path = store.shard_path(stage.writes, unit.fingerprint, unit.label, unit.name)
    return store.write(stage.writes, path, make_table(stage.writes, rows), unit.label)


def state_of(folder, stages=STAGES, **settings) -> RunState:  # noqa: ANN001, ANN003
    return imageless.state_of(folder, stages, inputs_of(LABELS, 4), **settings)


def names_alone(folder) -> dict[str, list[str]]:  # noqa: ANN001
    store = TableStore(folder)
    return {stage.writes: [shard.path for shard in store.manifest(stage.writes)] for stage in STAGES}


def sequential(folder) -> dict[str, list[str]]:  # noqa: ANN001
    """What the stages plan one after another, each about all classes: the brute-force reference."""
    state = state_of(folder)
    for stage in STAGES:
        units = stage.named_units(state.plan, stage.fingerprint(state.config, state.inputs))
        state.plan.shards[stage.writes] = [
            PlannedShard.of(written(state.store, stage, unit), unit) for unit in units
        ]
    return {stage.writes: [shard.path for shard in state.plan.shards[stage.writes]] for stage in STAGES}


@pytest.mark.parametrize("seed", range(20))
def test_any_order_ends_in_the_same_tables(tmp_path, seed: int) -> None:
    generator = random.Random(seed)
    state = state_of(tmp_path / "out")
    workers = ByHand(state.store, lambda waiting: generator.randrange(len(waiting)))
    (outcome,) = run_stages(state, STAGES, workers)
    assert outcome.unit.size == 3 and len(workers.did) == 6 + 6 + 3 + 1
    assert names_alone(tmp_path / "out") == sequential(tmp_path / "other")
    rows = TableStore(tmp_path / "out").read_all("runs").to_pylist()
    assert [(row["stage"], row["units"], row["units_cached"]) for row in rows] == [
        ("first", 6, 0), ("per shard", 6, 0), ("per class", 3, 0), ("about all", 1, 0)
    ]  # fmt: skip
    # Again: nothing is left to do.
    again = state_of(tmp_path / "out")
    idle = ByHand(again.store, None)
    run_stages(again, STAGES, idle)
    assert idle.did == [] and again.stage_rows[0]["units_cached"] == 6


def test_a_unit_that_makes_no_progress_is_told_on_the_terminal(tmp_path) -> None:
    class Slow(ByHand):
        def advance(self) -> None:
            work, unit = self.waiting[0]
            work.stalled(unit, "no progress for [5] s")
            super().advance()

    state = state_of(tmp_path)
    run_stages(state, STAGES, Slow(state.store, lambda waiting: 0))
    said = state.console.file.getvalue().splitlines()
    assert "first: class a: no progress for [5] s" in said and "about all: no progress for [5] s" in said


def test_a_class_goes_on_alone_and_what_is_about_all_waits(tmp_path) -> None:
    state = state_of(tmp_path)
    workers = ByHand(state.store, lambda waiting: len(waiting) - 1)
    run_stages(state, STAGES, workers)
    # The last that came first: every class is through the first three stages before the next is begun.
    a_class = ["first", "first", "per shard", "per shard", "per class"]
    assert workers.did == [(name, label) for label in reversed(LABELS) for name in a_class] + [("about all", "")]


def test_of_a_unit_that_is_done_the_driver_keeps_its_name(tmp_path) -> None:
    """Not what it read: a unit over all classes names the shards of all."""

    class Returned(ByHand):
        def advance(self) -> None:
            gc.collect()
            kept.append(sum(type(one) is Unit for one in gc.get_objects()) - before - len(self.waiting))
            super().advance()

    kept = []
    before = sum(type(one) is Unit for one in gc.get_objects())
    state = state_of(tmp_path)
    run_stages(state, STAGES, Returned(state.store, lambda waiting: 0))
    assert len(kept) == 16 and max(kept) <= 0


def test_a_class_is_shown_what_is_about_all_classes_and_not_what_is_about_others(tmp_path) -> None:
    class AfterAll(PerClass):
        name, reads, writes = "after all", ("maps", "metrics"), "tags"

        def units(self, plan: Plan) -> list[Unit]:
            seen.append({table: [shard.label for shard in shards] for table, shards in plan.shards.items()})
            return units_per_class(plan, ("maps",))

    seen = []
    stages = [*STAGES, AfterAll()]
    state = state_of(tmp_path, stages)
    workers = ByHand(state.store, lambda waiting: len(waiting) - 1)
    run_stages(state, stages, workers)
    assert seen == [{"maps": [label, label], "metrics": [""]} for label in LABELS]
    assert workers.did[-4:] == [("about all", "")] + [("after all", label) for label in reversed(LABELS)]


@pytest.mark.parametrize("seed", range(3))
def test_the_first_units_are_done_while_other_classes_are_looked_at(tmp_path, monkeypatch, seed: int) -> None:
    expected = sequential(tmp_path / "sequential")
    monkeypatch.setattr(flow, "PLAN_SECONDS", -1.0)
    planned, known = [], []

    class Looked(First):
        def units(self, plan: Plan) -> list[Unit]:
            planned.extend(group.label for group in plan.inputs.classes)
            return super().units(plan)

    def choose(waiting) -> int:  # noqa: ANN001
        known.append(len(planned))
        return random.Random(f"{seed} {len(known)}").randrange(len(waiting))

    state = state_of(tmp_path / "run")
    run_stages(state, [Looked(), *STAGES[1:]], ByHand(state.store, choose))
    assert known[:5] == [1, 1, 2, 2, 3] and planned == list(LABELS)
    assert names_alone(tmp_path / "run") == expected


@pytest.mark.parametrize("seconds", [flow.PLAN_SECONDS, -1.0])
def test_earlier_stages_are_planned_first(tmp_path, monkeypatch, seconds: float) -> None:
    monkeypatch.setattr(flow, "PLAN_SECONDS", seconds)
    run_stages(state_of(tmp_path), STAGES, ByHand(TableStore(tmp_path), lambda waiting: 0))
    before = names_alone(tmp_path)
    # One shard of the second stage is lost: its class's later ones are the same, by their names, and are not redone,
    # but no manifest promises them before.
    lost = before["maps"][0]
    (tmp_path / "tables" / "maps" / lost).unlink()
    state = state_of(tmp_path)
    promised = {}

    def look(waiting) -> int:  # noqa: ANN001
        store = TableStore(tmp_path)
        promised.update({stage.writes: len(store.manifest(stage.writes)) for stage in STAGES})
        return 0

    workers = ByHand(state.store, look)
    run_stages(state, STAGES, workers)
    assert workers.did == [("per shard", lost.partition("label=")[2][0])]
    assert promised["maps"] < 6 and promised["regions"] == promised["metrics"] == 0
    assert names_alone(tmp_path) == before


def test_a_run_that_another_has_replaced_does_not_wait_for_its_workers(tmp_path, monkeypatch) -> None:
    class Idle(ByHand):
        """Nobody works: another run has all processors."""

        waited = 0

        def advance(self) -> None:
            time.sleep(0.02)
            self.waited += 1
            assert self.waited < 200

    def replaced() -> None:
        if workers.waited > 2:
            raise StoreError("the claim is lost")

    monkeypatch.setattr("visual_summaries.pipeline.runtime.flow.MANIFEST_INTERVAL_SECONDS", 0.0)
    state = state_of(tmp_path)
    workers = Idle(state.store, None)
    state.store = state.plan.store = TableStore(tmp_path, replaced)
    with pytest.raises(StoreError, match="the claim is lost"):
        run_stages(state, STAGES, workers)


def test_what_is_computed_again_the_same_ends_there(tmp_path) -> None:
    """A stage does its units anew: those that read them are named by what they hold, not by why they were made."""
    run_stages(state_of(tmp_path), STAGES, ByHand(TableStore(tmp_path), lambda waiting: 0))
    again = [First(), PerShard(), PerClass(), AboutAll()]
    again[0].version = 2
    workers = ByHand(TableStore(tmp_path), lambda waiting: 0)
    run_stages(state_of(tmp_path, again), again, workers)
    assert [name for name, _ in workers.did] == ["first"] * 6
    # The same, but one class's rows differ: that class's later units, and what is about all.
    again[0].version = 3

    def changed(waiting) -> int:  # noqa: ANN001
        workers.salt = 1.0 if waiting[0][1].label == "b" else 0.0
        return 0

    workers = ByHand(TableStore(tmp_path), changed)
    run_stages(state_of(tmp_path, again), again, workers)
    assert sorted(workers.did) == sorted(
        [("first", label) for label in LABELS for _ in range(2)]
        + [("per shard", "b")] * 2 + [("per class", "b"), ("about all", "")]
    )  # fmt: skip


def test_units_of_all_classes_are_planned_by_going_through_the_shards_a_few_times(tmp_path) -> None:
    class Counted(list):
        times = 0

        def __iter__(self):  # noqa: ANN204
            Counted.times += 1
            return super().__iter__()

    shards = Counted(PlannedShard(f"{label}{n}", label, n) for label in map(str, range(50)) for n in (1, 2))
    units = units_per_class(Plan(None, None, None, {"images": shards}), ("images",))
    assert [unit.size for unit in units] == [3] * 50 and Counted.times <= 4


def test_two_shards_that_hold_the_same_are_two_units(tmp_path) -> None:
    state = state_of(tmp_path)
    state.plan.shards["images"] = [PlannedShard(path, "a", 1, content="nothing") for path in ("one", "two")]
    units = PerShard().named_units(state.plan, "f")
    assert [unit.inputs["images"] for unit in units] == [("one",), ("two",)]
    assert len({unit.name for unit in units}) == 2
    assert units == PerShard().named_units(state.plan, "f")


def test_nobody_joins_new_rows_with_old_ones(tmp_path) -> None:
    """Settings changed and changed back, a shard lost: whatever a manifest lists was made from what others list."""
    run_stages(state_of(tmp_path), STAGES, ByHand(TableStore(tmp_path), lambda waiting: 0))
    other = [First(), PerShard(), PerClass(), AboutAll()]
    other[1].version = 2
    run_stages(state_of(tmp_path, other), other, ByHand(TableStore(tmp_path), lambda waiting: 0))
    state = state_of(tmp_path)
    paths = {
        unit.label: state.store.shard_path("maps", unit.fingerprint, unit.label, unit.name)
        for stage in STAGES[1:2]
        for unit in stage.named_units(
            replace(state.plan, shards={"images": images_of(tmp_path)}), stage.fingerprint(state.config, state.inputs)
        )
    }
    (tmp_path / "tables" / "maps" / paths["c"]).unlink()
    seen = []

    def look(waiting) -> int:  # noqa: ANN001
        manifests = {
            table: json.loads((tmp_path / "tables" / table / "manifest.json").read_text())
            for table in ("maps", "regions")
        }
        listed = {table: {shard["path"] for shard in one["shards"]} for table, one in manifests.items()}
        seen.append((manifests["maps"]["complete"], listed))
        return 0

    run_stages(state, STAGES, ByHand(state.store, look))
    fingerprint = STAGES[1].fingerprint(state.config, state.inputs)
    assert seen and not any(complete for complete, _ in seen)
    for _, listed in seen:
        assert all(path.startswith(fingerprint) for path in listed["maps"])
        labels = {path.split("/")[1] for path in listed["maps"]}
        assert {path.split("/")[1] for path in listed["regions"]} <= labels


def images_of(folder) -> list[PlannedShard]:  # noqa: ANN001
    return [PlannedShard(shard.path, shard.label, 2, shard.content) for shard in TableStore(folder).manifest("images")]


def test_a_lost_run_ends_before_earlier_stages_do(tmp_path) -> None:
    class Doomed(ByHand):
        def advance(self) -> None:
            ranks = [work.rank for work, _ in self.waiting]
            self.failing = LABELS if max(ranks) == 1 else ()
            super().advance()

    state = state_of(tmp_path, error_tolerance=0.1)
    workers = Doomed(state.store, lambda waiting: max(range(len(waiting)), key=lambda place: waiting[place][0].rank))
    with pytest.raises(RunFailed, match="2 of 12 images were left out.*\n.*by request"):
        run_stages(state, STAGES, workers)
    # The second stage's first unit: the first stage has two classes to go.
    assert len(workers.did) == 3
    assert state.store.read_all("errors").num_rows == 1


def test_a_class_that_fails_leaves_the_others(tmp_path) -> None:
    state = state_of(tmp_path, error_tolerance=0.5)
    run_stages(state, STAGES, ByHand(state.store, lambda waiting: 0, failing=("b",)))
    assert [shard.label for shard in state.store.manifest("regions")] == ["a", "c"]
    errors = [row for row in state.store.read_all("errors").to_pylist() if row["stage"] == "first"]
    assert {(row["label"], row["reason"]) for row in errors} == {("b", "by request; run again to retry")}
    with pytest.raises(RunFailed, match="stage first failed everywhere, first with: by request"):
        other = state_of(tmp_path / "other", error_tolerance=1.0)
        run_stages(other, STAGES, ByHand(other.store, lambda waiting: 0, failing=LABELS))


class Pairs(PerClass):
    """A stage that counts something else, as `match` does."""

    counts = "pairs"


def test_with_no_tolerance_every_failed_unit_ends_the_run_whatever_its_stage_counts(tmp_path) -> None:
    class Fails(ByHand):
        def advance(self) -> None:
            self.failing = LABELS[:2] if self.waiting[0][0].stage.counts == "pairs" else ()
            super().advance()

    stages = [First(), PerShard(), Pairs(), AboutAll()]
    state = state_of(tmp_path, stages, error_tolerance=0.0)
    with pytest.raises(RunFailed, match=r"4 of 12 images were left out \(4 in per class\), .* allows \(0\)"):
        run_stages(state, stages, Fails(state.store, lambda waiting: 0))


def test_what_is_made_of_an_incomplete_table_is_not_complete(tmp_path) -> None:
    def complete(folder) -> dict[str, bool]:  # noqa: ANN001
        tables = (stage.writes for stage in STAGES)
        return {one: json.loads((folder / "tables" / one / "manifest.json").read_text())["complete"] for one in tables}

    class Fails(ByHand):
        def advance(self) -> None:
            self.failing = ("b",) if self.waiting[0][0].stage.name == "per shard" else ()
            super().advance()

    state = state_of(tmp_path, error_tolerance=0.5)
    run_stages(state, STAGES, Fails(state.store, lambda waiting: 0))
    assert complete(tmp_path) == {"images": True, "maps": False, "regions": False, "metrics": False}
    # Tried again, and well this time.
    state = state_of(tmp_path, error_tolerance=0.5)
    run_stages(state, STAGES, ByHand(state.store, lambda waiting: 0))
    assert all(complete(tmp_path).values())


def test_a_page_that_cannot_be_drawn_leaves_the_others(tmp_path) -> None:
    class Pages(PerClass):
        name, reads, writes = "pages", ("images",), ""

        def units(self, plan: Plan) -> list[Unit]:
            return units_per_class(plan, ("images",))

    class Drawing(ByHand):
        def advance(self) -> None:
            work, unit = self.waiting[0]
            if work.stage.writes:
                super().advance()
                return
            del self.waiting[0]
            work.begun(unit)
            work.finished(Failure(unit, "no ink") if unit.label == "b" else Outcome(unit, value=unit.label))

    state = state_of(tmp_path)
    outcomes = run_stages(state, [First(), Pages()], Drawing(state.store, lambda waiting: 0))
    assert [outcome.value for outcome in outcomes] == ["a", "c"]
    assert state.store.read_all("errors").column("stage").to_pylist() == ["pages"]

    class Early(Pages):
        tried_again = True

    # What a later stage tries again is no loss yet; and a page about what is there makes no table out of date.
    stages = [First(), Early(), PerShard()]
    for _ in range(2):
        state = state_of(tmp_path / "again", stages, error_tolerance=0.0)
        run_stages(state, stages, Drawing(state.store, lambda waiting: 0))
        assert state.store.read_all("errors").num_rows == 0
        assert len(state.store.manifest("maps")) == 6
    assert not state.invalidated


def test_a_class_that_is_begun_is_finished_before_others_are(tmp_path) -> None:
    labels = tuple(f"class {number:02}" for number in range(20))
    workers, last_waiting = 2, []

    def in_turn(waiting) -> int:  # noqa: ANN001
        queues = {work: [unit for other, unit in waiting if other is work] for work, _ in waiting}
        if len(queues) == 1:
            last_waiting.append(len(waiting))
        return [work for work, _ in waiting].index(next_work(queues, workers))

    state = imageless.state_of(tmp_path, STAGES, inputs_of(labels, 4))
    hand = ByHand(state.store, in_turn)
    run_stages(state, STAGES, hand)
    order = [stage for stage, _ in hand.did]
    assert "per shard" not in order[:40] and order[:40].count("first") == 40
    through = {label: hand.did.index(("per class", label)) for label in labels}
    begun = {label: hand.did.index(("per shard", label)) for label in labels}
    # One class after another, until so little waits that workers would have nothing to do beside the last one's stages.
    early = (40 - PLENTY * workers) // 2
    assert all(through[one] < begun[next_one] for one, next_one in zip(labels[:early], labels[1:early], strict=False))
    assert order[-5:] == ["per class"] * 4 + ["about all"]


@pytest.fixture(scope="module")
def resources():  # noqa: ANN201
    with ray_session(RaySettings(cpus=2, gpus=1)) as found:
        yield found


def test_stages_without_gpu_do_not_wait_behind_those_with(resources, tmp_path) -> None:
    """Real workers: two of one class can be done, and the class after them, while the GPU has the next one."""
    slow, quick = First(), PerClass()
    slow.seconds, quick.reads = 1.0, ("images",)
    quick.units = lambda plan: units_per_class(plan, ("images",))
    state = state_of(tmp_path)
    with watched_run(state.store.root, state.run, 12, resources) as watch:
        state.watch = watch
        workers = Workers(RaySettings(), partial(Context, str(tmp_path)), lambda: dict(resources))
        with_gpu, without = workers.pool(slow), workers.pool(quick)
        try:
            # A worker that has started already.
            without.add(Work(quick, lambda result: None), [Unit("a", (), name="warm", fingerprint="f")])
            while workers.pending:
                workers.advance()
            run_stages(state, [slow, quick], workers)
            (log,) = (tmp_path / "logs").iterdir()
            events = [json.loads(line) for line in log.read_text().splitlines()]
            order = [(one["stage"], one["class"]) for one in events if one["event"] == "unit finished"]
            last = max(place for place, (stage, _) in enumerate(order) if stage == "first")
            assert ("per class", "a") in order[:last]
            assert (with_gpu.size, without.size) == (1, 1)
            # Nothing waits for a GPU any more: its worker makes room.
            deadline = time.monotonic() + 60
            quick.seconds = 0.3
            units = [Unit("a", (), name=digest(n), fingerprint="f") for n in range(1000)]
            without.add(Work(quick, lambda result: None), units)
            while without.size < 2:
                assert time.monotonic() < deadline
                workers.advance()
            assert with_gpu.alive == 0 and with_gpu.idle_seconds > IDLE_SECONDS
        finally:
            workers.close()


def test_workers_come_with_nodes(resources, tmp_path, monkeypatch) -> None:
    """The pools follow what the cluster has; where all of it is gone for now, they wait."""
    monkeypatch.setattr("visual_summaries.pipeline.runtime.workers.RESOURCES_SECONDS", -1.0)
    cluster = {"CPU": 2.0, "memory": 2.0**40}
    workers = Workers(RaySettings(), partial(Context, str(tmp_path)), lambda: dict(cluster))
    try:
        pool = workers.pool(PerClass())
        sizes = []
        for cpus in (2.0, 6.0, 1.0, 0.0, 4.0):
            cluster["CPU"] = cpus
            workers._fit()
            sizes.append(pool.size)
        assert sizes == [2, 6, 1, 1, 4]
    finally:
        workers.close()
