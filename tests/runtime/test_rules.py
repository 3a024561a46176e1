"""Rules of a run that need no Ray: what counts as complete, what fails a run, what readers see meanwhile."""

import io

import pytest
from rich.console import Console

from pipeline.commands.summarize import STAGES, start_state
from pipeline.config import RunConfig
from pipeline.data.catalog import CatalogError
from pipeline.data.parts import read_parts
from pipeline.models.preprocessing import Preprocessing
from pipeline.runtime.exclusive import exclusive
from pipeline.runtime.failures import RunFailed
from pipeline.runtime.records import Found, check_tolerance, error_shards, find_outcomes, invalidate_after
from pipeline.runtime.units import Unit, error_row
from pipeline.stages.context import write_unit
from pipeline.stages.inputs import Inputs
from pipeline.stages.members import EVIDENCE
from pipeline.stages.summarize import _summary
from pipeline.store.tables import TableStore
from schemas import empty_table


class Group:
    label, class_index, entries = "a", 0, (None,) * 20


def state(tmp_path, **settings):  # noqa: ANN001, ANN003, ANN201
    config = RunConfig(output=str(tmp_path), **settings)
    inputs = Inputs((Group(),), None, Preprocessing(), "weights", "network", ("a",))
    return start_state(config, inputs, Console(file=io.StringIO()))


def unit(name: str) -> Unit:
    return Unit("a", (), ("x",), name=name, fingerprint="f")


def test_what_may_succeed_next_time_is_not_complete(tmp_path) -> None:
    store, stage = TableStore(tmp_path), STAGES[1]
    for name, errors in (
        ("clean", []),
        ("undecodable", [error_row("explain", "a", "truncated", "x")]),
        ("crashed", [error_row("explain", "a", "it crashed the worker", "x", retry=True)]),
    ):
        write_unit(store, stage.writes, unit(name), empty_table(stage.writes), errors)
    units = [unit(name) for name in ("clean", "undecodable", "crashed", "never done")]
    assert set(find_outcomes(store, stage, units, Found(store, stage, "f"))) == {"clean", "undecodable"}
    # To who only measures what is there, it is.
    assert set(find_outcomes(store, stage, units, Found(store, stage, "f"), retries=False)) == {
        "clean", "undecodable", "crashed"
    }  # fmt: skip
    # A later attempt without errors leaves none behind.
    write_unit(store, stage.writes, unit("crashed"), empty_table(stage.writes), [])
    found = find_outcomes(store, stage, units, Found(store, stage, "f"))
    assert set(found) == {"clean", "undecodable", "crashed"}


def test_lost_units_count_against_the_tolerance(tmp_path) -> None:
    run = state(tmp_path)
    run.errors["explain"] = error_shards(run, "explain", [error_row("explain", "a", "no result", retry=True)])
    check_tolerance(run)
    run.lost_images = 2
    with pytest.raises(RunFailed, match="2 of 20 images were left out.*\n.*a: no result"):
        check_tolerance(run)
    check_tolerance(state(tmp_path, error_tolerance=0.1))


def test_readers_never_join_new_rows_with_old_ones(tmp_path) -> None:
    run = state(tmp_path)
    shard, _ = write_unit(run.store, "summaries", unit("old"), empty_table("summaries"), [])
    for table in ("proposals", "matches", "summaries"):
        run.store.write_manifest(table, "f", [shard], complete=True)
    propose = next(stage for stage in STAGES if stage.writes == "proposals")
    invalidate_after(run, propose)
    assert run.store.manifest("matches") == run.store.manifest("summaries") == []
    assert run.store.manifest("proposals") == [shard]


def test_two_runs_do_not_share_a_folder(tmp_path) -> None:
    with exclusive(tmp_path / "out"):
        with pytest.raises(RunFailed, match="another run is writing"), exclusive(tmp_path / "out"):
            pass
    with exclusive(tmp_path / "out"):
        pass


def test_a_cluster_may_lose_all_its_members_one_by_one() -> None:
    member = dict.fromkeys(("cluster", "proposal", "x0", "y0", "x1", "y1", "similarity", "drop", *EVIDENCE), 0) | {
        "image_id": "i",
        "source": "proposals",
        "cluster_ssim": 0.5,
        "class_ssim": 0.5,
        "kept": False,
        "reason": "100% of its SSIMs below the class's 0.500",
        "cluster_reason": "0 of 3 members left by SSIM, fewer than 3",
    }
    row = _summary("a", [member | {"rank": rank} for rank in range(3)], explained=5, seed=0)
    assert row["reason"] == "0 of 3 members left by SSIM, fewer than 3" and not row["kept"]
    assert (row["members"], row["members_before"], row["support"]) == (0, 3, 0)


def test_part_boxes_are_checked_before_the_run(tmp_path) -> None:
    path = tmp_path / "parts.csv"
    path.write_text("file,class,part,x0,y0,x1,y1,discriminative\na/1.png,a,head,1,2,3,4,true\n")
    assert read_parts(str(path)) == {"a/1.png": {("a", "head"): ([1.0, 2.0, 3.0, 4.0], True)}}
    path.write_text("file,class,part\n")
    with pytest.raises(CatalogError, match="lacks the columns discriminative, x0"):
        read_parts(str(path))
    path.write_text("file,class,part,x0,y0,x1,y1,discriminative\na/1.png,a,head,1,2,?,4,true\n")
    with pytest.raises(CatalogError, match="line 2: a box is not four numbers"):
        read_parts(str(path))
    with pytest.raises(CatalogError, match="cannot read the part boxes"):
        read_parts(str(tmp_path / "missing.csv"))
