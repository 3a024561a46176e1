"""Rules of a run that need no Ray: what counts as complete, what fails a run, what readers see meanwhile."""

from dataclasses import replace
from types import SimpleNamespace

import imageless
import pytest
from imageless import inputs_of

from visual_summaries.pipeline.runtime.exclusive import exclusive
from visual_summaries.pipeline.runtime.failures import RunFailed
from visual_summaries.pipeline.runtime.records import (
    Found,
    check_tolerance,
    count_lost,
    error_shards,
    find_outcomes,
    invalidate_after,
    lost_images,
    write_unit,
)
from visual_summaries.pipeline.runtime.stage import Stage
from visual_summaries.pipeline.runtime.units import Unit, error_row
from visual_summaries.pipeline.store.tables import TableStore
from visual_summaries.schemas import TABLES, empty_table, make_table


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


class Whole(Stage):
    """Works on all that the table `maps` has of a class."""

    name = writes = "candidates"


def test_lost_units_count_against_the_tolerance(tmp_path) -> None:
    run = state(tmp_path)
    run.errors["explain"] = error_shards(run, "explain", [error_row("explain", "a", "no result", retry=True)])
    check_tolerance(run)
    count_lost(run, STAGES[0], replace(unit("n"), size=2))
    with pytest.raises(RunFailed, match=r"2 of 20 images were left out \(2 in images\).*\n.*a: no result"):
        check_tolerance(run)
    check_tolerance(state(tmp_path, error_tolerance=0.1))


def maps_of(run, *ids: str) -> str:  # noqa: ANN001
    """The path of a shard of `maps` of these images."""
    blank = dict.fromkeys(TABLES["maps"].schema.names)
    rows = [{**blank, "image_id": one, "label": "a", "saliency_shape": [1, 1, 1]} for one in ids]
    filled = {name: 0 for name in ("target", "score_before", "area", "binarization_error", "iterations", "seconds")}
    rows = [row | filled | {"explainer": "e", "saliency": b"0"} for row in rows]
    return write_unit(run.store, "maps", unit("".join(ids)), make_table("maps", rows), [])[0].path


def test_an_image_that_is_lost_twice_is_one(tmp_path) -> None:
    """By its id in a unit that failed, by id and address in a row of one stage, by its id alone in another's."""
    run = state(tmp_path, error_tolerance=0.1)
    run.errors["propose"] = error_shards(
        run, "propose", [error_row("propose", "a", "odd", "x", "x.jpg"), error_row("propose", "a", "odd", "y", "y.jpg")]
    )
    run.errors["regions"] = error_shards(run, "regions", [error_row("regions", "a", "crashed", "x")])
    taken_apart = replace(unit("n"), items=("x", "y"), divisible=True, size=2)
    count_lost(run, STAGES[2], taken_apart)
    count_lost(run, Whole(), replace(unit("m"), inputs={"maps": (maps_of(run, "x", "y"),)}, size=20))
    assert lost_images(run) == {("a", "x"), ("a", "y")}
    check_tolerance(run)
    count_lost(run, Whole(), replace(unit("o"), inputs={"maps": (maps_of(run, "y", "z"),)}, size=20))
    told = r"3 of 20 images were left out \(2 in matches, 3 in candidates, 2 in propose, 1 in regions\)"
    with pytest.raises(RunFailed, match=told):
        check_tolerance(run)


def test_a_page_that_cannot_be_drawn_loses_no_image(tmp_path) -> None:
    run, (pages,) = state(tmp_path, error_tolerance=0.0), stages("")
    count_lost(run, pages, replace(unit("n"), size=20))
    check_tolerance(run)


@pytest.mark.parametrize(
    ("images", "tolerance", "most"),
    [
        (8, 0.05, 1), (2, 0.05, 1), (1, 0.05, 0), (1, 1.0, 1), (39, 0.05, 1), (40, 0.05, 2),
        (8, 0.0, 0), (1_000_000, 0.0, 0), (100, 0.29, 29), (10, 0.3, 3), (10, 1.0, 10), (1_000_000, 1e-9, 1),
    ],
)  # fmt: skip
def test_a_share_of_the_images_may_be_lost_and_always_one_of_several_unless_it_is_none(
    tmp_path, images: int, tolerance: float, most: int
) -> None:
    run = imageless.state_of(tmp_path, STAGES, inputs_of((), 0), error_tolerance=tolerance)
    run.inputs = SimpleNamespace(image_count=images, missing="")
    run.lost["images"] = {("a", str(number)) for number in range(most)}
    check_tolerance(run)
    run.lost["images"].add(("a", "one more"))
    if most < images:
        with pytest.raises(RunFailed, match=rf"{most + 1} of {images} images .* allows \({most}\)"):
            check_tolerance(run)


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
