"""Tables of a finished run under a job that adds to it: used as they are, or the job ends before it changes any."""

import pytest
from imageless import inputs_of
from test_flow import STAGES, ByHand, First, names_alone, state_of

from visual_summaries.pipeline.runtime.failures import RunFailed
from visual_summaries.pipeline.runtime.flow import run_stages
from visual_summaries.pipeline.runtime.kept import kept_tables
from visual_summaries.pipeline.runtime.records import RunState
from visual_summaries.pipeline.runtime.stage import Plan
from visual_summaries.pipeline.runtime.units import Unit
from visual_summaries.pipeline.store.tables import TableStore


class Measures(First):
    """A further table, of a job that adds."""

    name, reads, writes = "measures", ("maps",), "measurements"
    def units(self, plan: Plan) -> list[Unit]:
        return [Unit(shard.label, (shard.path,), (shard.path,), size=1) for shard in plan.shards["maps"]]


def first(waiting: list) -> int:
    return 0


def finished(folder, failing: tuple[str, ...] = ()) -> None:  # noqa: ANN001
    state = state_of(folder, error_tolerance=1.0)
    run_stages(state, STAGES, ByHand(state.store, first, failing))


def adding(folder, inputs=None) -> RunState:  # noqa: ANN001
    state = state_of(folder)
    if inputs is not None:
        state.inputs = state.plan.inputs = inputs
    state.earlier = {table: list(state.store.listed(table).values()) for table in ("errors", "runs")}
    state.kept = kept_tables(state.store, STAGES)
    return state


def contents(folder) -> dict[str, bytes]:  # noqa: ANN001
    names = [stage.writes for stage in STAGES] + ["errors"]
    return {name: (folder / "tables" / name / "manifest.json").read_bytes() for name in names}


def errors(folder) -> list[str]:  # noqa: ANN001
    return TableStore(folder).read_all("errors").column("reason").to_pylist()


def test_what_is_measured_comes_beside_what_is_there(tmp_path) -> None:
    finished(tmp_path)
    before = contents(tmp_path)
    state = adding(tmp_path)
    assert set(state.kept) == {stage.writes for stage in STAGES}
    workers = ByHand(state.store, first)
    run_stages(state, [*STAGES[:2], Measures()], workers)
    assert {stage for stage, _ in workers.did} == {"measures"} and len(workers.did) == 6
    after = contents(tmp_path)
    assert {name: after[name] for name in after if name != "errors"} == {
        name: before[name] for name in before if name != "errors"
    }


@pytest.mark.parametrize("labels", ["ab", "abcd"])
def test_classes_that_went_or_came_end_the_job(tmp_path, labels: str) -> None:
    finished(tmp_path)
    before = contents(tmp_path)
    state = adding(tmp_path, inputs_of(labels, 4))
    workers = ByHand(state.store, first)
    with pytest.raises(RunFailed, match=r"table images .* has changed since \([cd]\).*run summarize again"):
        run_stages(state, [*STAGES[:2], Measures()], workers)
    assert contents(tmp_path) == before and not workers.did


def test_a_lost_shard_is_not_made_anew_by_the_way(tmp_path) -> None:
    finished(tmp_path)
    store = TableStore(tmp_path)
    shard = store.manifest("maps")[3]
    (store.folder("maps") / shard.path).unlink()
    before = contents(tmp_path)
    state = adding(tmp_path)
    with pytest.raises(RunFailed, match="missing or damaged.*table maps"):
        run_stages(state, [*STAGES[:2], Measures()], ByHand(state.store, first))
    assert contents(tmp_path) == before


def test_what_a_finished_run_has_lost_is_left_to_it(tmp_path) -> None:
    finished(tmp_path, failing=("b",))
    before, said = names_alone(tmp_path), errors(tmp_path)
    assert any("by request" in reason for reason in said) and before["metrics"]
    state = adding(tmp_path)
    workers = ByHand(state.store, first)
    run_stages(state, [*STAGES[:2], Measures()], workers)
    assert {label for _, label in workers.did} == {"a", "c"}
    assert names_alone(tmp_path) == before and errors(tmp_path) == said


def test_an_unfinished_run_is_completed_as_far_as_it_is_needed(tmp_path) -> None:
    finished(tmp_path)
    store = TableStore(tmp_path)
    whole = store.manifest("maps")
    for table, shards in (("maps", whole[:2]), ("regions", []), ("metrics", [])):
        store.write_manifest(table, "", shards, complete=False)
    (store.folder("maps") / whole[4].path).unlink()
    images = contents(tmp_path)["images"]
    state = adding(tmp_path)
    assert set(state.kept) == {"images"}
    workers = ByHand(state.store, first)
    run_stages(state, [*STAGES[:2], Measures()], workers)
    assert workers.did[0] == ("per shard", "c") and len(workers.did) == 1 + 6
    assert names_alone(tmp_path)["maps"] == [shard.path for shard in whole]
    assert contents(tmp_path)["images"] == images
