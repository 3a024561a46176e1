"""Whoever changes what a stage writes must raise its version: its rows are compared with stored ones."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import golden_stages
import pytest
from pyarrow import parquet

from visual_summaries.pipeline.stages import (
    crops,
    explain,
    images,
    members,
    metrics,
    neighbors,
    propose,
    regions,
    summarize,
)
from visual_summaries.pipeline.stages import features as features_stage
from visual_summaries.pipeline.stages.order import STAGES
from visual_summaries.pipeline.stages.studies import STUDIES, maps
from visual_summaries.pipeline.summarize import local_offsets, part_selection, whitening

GUARDED = golden_stages.guarded()


@pytest.mark.parametrize("name", GUARDED)
def test_rows_are_those_of_the_stages_version(name: str) -> None:
    found = list(golden_stages.complaints(GUARDED[name]))
    assert not found, "\n".join(found)


def test_no_stage_and_no_study_is_left_out_but_those_that_say_why() -> None:
    everything = {stage.name for stage in STAGES} | {f"study {name}" for name in STUDIES}
    assert everything - set(GUARDED) == set(golden_stages.LEFT_OUT) == {
        "study coherence", "study localization", "study transfer"
    }  # fmt: skip
    assert list(golden_stages.stored_versions()) == list(GUARDED)
    files = [path for path in golden_stages.FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 700_000


Patch = Callable[[pytest.MonkeyPatch], None]


def _number(module: Any, name: str, value: Any) -> Patch:
    return lambda patch: patch.setattr(module, name, value)


def _instead(owner: Any, name: str, change: Callable[..., Any]) -> Patch:
    """A function's result, changed."""
    before = getattr(owner, name)
    return lambda patch: patch.setattr(owner, name, lambda *args, **named: change(before(*args, **named)))


BROKEN: dict[str, tuple[str, Patch]] = {
    "images": ("images", _instead(images.WorkerContext, "model_input", lambda batch: batch.pow(1.02))),
    "maps": ("explain", _instead(explain, "stored_saliency", lambda stored: stored // 2 * 2)),
    "regions": ("regions", _instead(regions, "blurred_drops", lambda drops: [drop * 1.01 for drop in drops])),
    "features": ("features", _number(features_stage, "SALIENT_SHARE", 0.6)),
    "proposals": ("propose", _instead(propose, "salient_shares", lambda shares: shares * 0.99)),
    "whitening": ("propose", _instead(whitening.Whitener, "whiten", lambda found: found * 1.01)),
    "neighbors": ("neighbors", _instead(neighbors, "pair_graph", lambda graph: _similar(graph))),
    "matching": ("match", _number(local_offsets, "_DISTANCE_WEIGHT", 0.06)),
    "candidates": ("candidates", _number(part_selection, "CONFLICT", 0.4)),
    "members": ("members", _instead(members, "convex_hull", lambda hull: hull + 1)),
    "summaries": ("summarize", _instead(summarize, "wilson_interval", lambda pair: (pair[0] * 0.98, pair[1]))),
    "tags": ("tags", _instead(crops.functional, "resize", lambda crop: crop.flip(-2))),
    "metrics": ("metrics", _number(metrics, "OVER_IMAGES", " over images")),
    "a study": ("study faithfulness", _instead(maps, "deletion_curve", lambda curve: _raised(curve))),
}


def _similar(graph: Any) -> Any:
    return replace(graph, similarity=graph.similarity**2)


def _raised(curve: Any) -> Any:
    return replace(curve, scores=curve.scores * 1.01)


@pytest.mark.parametrize("what", BROKEN)
def test_a_stage_that_is_changed_a_bit_is_noticed(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, patch = BROKEN[what]
    patch(monkeypatch)
    way = golden_stages.SIMILARITY if what == "whitening" else golden_stages.EVIDENCE
    monkeypatch.setattr(golden_stages, "ways", lambda one: (way,))
    found = list(golden_stages.complaints(GUARDED[name]))
    assert found and "raise its `version`" in found[0] and found[0].startswith(name)


def test_rounding_is_no_difference_and_everything_else_is() -> None:
    stored = parquet.read_table(golden_stages.file_of(golden_stages.EVIDENCE, "study explanation maps"))
    rows = stored.to_pylist()
    assert not list(golden_stages.differences(stored, stored))

    def away(**changes: Any) -> list[str]:
        changed = type(stored).from_pylist([rows[0] | changes, *rows[1:]], schema=stored.schema)
        return list(golden_stages.differences(changed, stored))

    value, protocol = rows[0]["value"], rows[0]["protocol"]
    assert not away(value=value + 1e-4) and away(value=value + 0.01) and away(value=float("nan"))
    assert not away(protocol=protocol.replace("0.9999", "0.9998")) and away(protocol=protocol.replace("0.99", "0.98"))
    assert away(protocol=protocol.replace('"predicted": 0', '"predicted": 1')) and away(variant="another")
    assert list(golden_stages.differences(stored.slice(1), stored)) == ["23 rows instead of 24"]


def test_other_rows_are_not_written_under_the_same_version(monkeypatch: pytest.MonkeyPatch) -> None:
    one = GUARDED["neighbors"]
    monkeypatch.setattr(golden_stages, "guarded", lambda: {one.name: one})
    monkeypatch.setattr(golden_stages.parquet, "write_table", lambda *args, **named: pytest.fail("written"))
    BROKEN["neighbors"][1](monkeypatch)
    with pytest.raises(SystemExit, match="neighbors .*column similarity.*\nraise the version of each of these"):
        golden_stages.write()


def test_another_version_than_the_stored_one_is_noticed() -> None:
    (told,) = golden_stages.complaints(replace(GUARDED["neighbors"], version=[99]))
    assert told.startswith("neighbors is at version [99], its stored rows at [1]: run `python")
    new = replace(GUARDED["neighbors"], name="new stage")
    assert "no rows of new stage are stored: run" in next(golden_stages.complaints(new))
