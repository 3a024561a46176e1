"""Rules of a run that need no Ray: what counts as complete, what fails a run, what readers see meanwhile."""

from dataclasses import replace

import imageless
import pytest
from imageless import inputs_of

from pipeline.runtime.exclusive import exclusive
from pipeline.runtime.failures import RunFailed
from pipeline.runtime.records import Found, check_tolerance, error_shards, find_outcomes, invalidate_after, write_unit
from pipeline.runtime.stage import Stage
from pipeline.runtime.units import Unit, error_row
from pipeline.store.tables import TableStore
from schemas import empty_table


def stages(*tables: str) -> list[Stage]:
    """Stages of which nothing is known but the tables that they write."""
    found = []
    for table in tables:
        stage = Stage()
        stage.name = stage.writes = table
        found.append(stage)
    return found


STAGES = stages("images", "proposals", "matches", "summaries")


def state(tmp_path, **settings):  # noqa: ANN001, ANN003, ANN201
    return imageless.state_of(tmp_path, STAGES, inputs_of("a", 20), **settings)


def unit(name: str) -> Unit:
    return Unit("a", (), ("x",), name=name, fingerprint="f")


def test_what_may_succeed_next_time_is_not_complete(tmp_path) -> None:
    store, (stage,) = TableStore(tmp_path), stages("maps")
    for name, errors in (
        ("clean", []),
        ("undecodable", [error_row("explain", "a", "truncated", "x")]),
        ("crashed", [error_row("explain", "a", "it crashed the worker", "x", retry=True)]),
    ):
        write_unit(store, stage.writes, unit(name), empty_table(stage.writes), errors)
    units = [unit(name) for name in ("clean", "undecodable", "crashed", "never done")]
    assert set(find_outcomes(store, stage, units, Found(store, stage, "f"))) == {"clean", "undecodable"}
    # To someone who only measures what is there, it is.
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


def test_a_run_without_anything_fails(tmp_path) -> None:
    with pytest.raises(RunFailed, match="there is nothing to count"):
        check_tolerance(imageless.state_of(tmp_path, STAGES, inputs_of((), 0)))


def test_what_a_stage_depends_on_is_in_its_fingerprint(tmp_path) -> None:
    class Settled(Stage):
        name, writes = "settled", "maps"

        def settings(self, config) -> list:  # noqa: ANN001
            return [config.seed]

    class Dependent(Settled):
        depends_on = ("version",)

    first, second = inputs_of("a", 1), replace(inputs_of("a", 1), version="2")
    config, other = (imageless.Settings(str(tmp_path), seed=seed) for seed in (0, 1))
    assert Settled().fingerprint(config, first) == Settled().fingerprint(config, second)
    assert Dependent().fingerprint(config, first) != Dependent().fingerprint(config, second)
    assert Settled().fingerprint(config, first) != Settled().fingerprint(other, first)


def test_readers_never_join_new_rows_with_old_ones(tmp_path) -> None:
    run = state(tmp_path)
    shard, _ = write_unit(run.store, "summaries", unit("old"), empty_table("summaries"), [])
    for table in ("proposals", "matches", "summaries"):
        run.store.write_manifest(table, "f", [shard], complete=True)
    invalidate_after(run, STAGES[1])
    assert run.store.manifest("matches") == run.store.manifest("summaries") == []
    assert run.store.manifest("proposals") == [shard]


def test_two_runs_do_not_share_a_folder(tmp_path) -> None:
    with exclusive(tmp_path / "out"):
        with pytest.raises(RunFailed, match="another run is writing"), exclusive(tmp_path / "out"):
            pass
    with exclusive(tmp_path / "out"):
        pass
