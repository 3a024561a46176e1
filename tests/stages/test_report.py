"""The stage `report`: each class is told what is about it, and what that costs grows with the number of classes."""

import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from made_up import MadeUp

from visual_summaries.pipeline.report.class_pages import drawn_class, written_card
from visual_summaries.pipeline.review.questions import computed_from, shards_by_class
from visual_summaries.pipeline.runtime.stage import Plan
from visual_summaries.pipeline.stages.metrics import MetricsStage
from visual_summaries.pipeline.stages.negatives import NegativesStage
from visual_summaries.pipeline.stages.order import STAGES
from visual_summaries.pipeline.stages.report.content import class_content, class_told, rows_of_class
from visual_summaries.pipeline.stages.report.stage import (
    BY_CLASS,
    FOLDER,
    PagesStage,
    ReportStage,
    class_state,
    drawn_state,
    with_pages,
)
from visual_summaries.pipeline.stages.specialize import SpecializeStage


def told(folder: Path, classes: int) -> MadeUp:
    """A run that has something to say of every class, in shards of its own and in shards about all."""
    run = MadeUp(folder, classes)
    for stage in (NegativesStage(), SpecializeStage(), MetricsStage()):
        run.rows(stage)
    for label in run.labels:
        run.add("errors", label, [{"stage": "tags", "label": label, "reason": f"torn {label}"}], "tags")
        run.add("errors", label, [{"stage": "explain", "label": label, "reason": f"dark {label}"}], "explain")
        values = [{"label": label, "study": "faithfulness", "variant": "deletion", "value": 0.5, "image_id": "x"}]
        run.add("measurements", label, values)
    said = [{"stage": "catalog", "label": label, "reason": f"copy {label}"} for label in ("", *run.labels[::2])]
    run.add("errors", "", said, "catalog")
    run.manifest("errors")
    run.manifest("measurements")
    shards = shards_by_class(run.store, ("summaries", "maps"))
    for label in run.labels:
        protocol = json.dumps({"computed_from": computed_from("part name", label, shards)})
        named = {"label": label, "kind": "part name", "summary": 0, "text": f"wing of {label}", "protocol": protocol}
        run.add("ratings", label, [named | {"rater": "a", "answered": datetime(2026, 1, 1, tzinfo=UTC)}])
    run.manifest("ratings")
    return run


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> MadeUp:
    return told(tmp_path_factory.mktemp("small"), 4)


def test_a_class_is_told_all_that_is_about_it_in_order(small: MadeUp) -> None:
    for unit in small.units(ReportStage()):
        for table in ("errors", "metrics"):
            expected = [row for row in small.store.read_all(table).to_pylist() if row["label"] == unit.label]
            assert expected and rows_of_class(small.worker, unit, table) == expected
        content, told = class_content(small.worker, unit), class_told(small.worker, unit)
        reasons = [f"torn {unit.label}", f"dark {unit.label}"]
        reasons += [f"copy {unit.label}"] if unit.label in small.labels[::2] else []
        assert [error.reason for error in told.errors] == reasons
        assert [(figure.name, figure.value) for figure in told.evaluation] == [("deletion", 0.5)]
        assert content.summaries[0].number == 1 and told.names == {1: [(f"wing of {unit.label}", 1)]}


def test_each_mistake_is_told_by_the_machines_of_both_classes(small: MadeUp) -> None:
    machines = small.store.read_all("specialists").to_pylist()
    images = small.store.read_all("images").to_pylist()

    def decision(row: dict, machine: dict) -> float:
        features = np.frombuffer(row["features"], np.float16).astype(float)
        weights = np.frombuffer(machine["coefficients"], np.float32).astype(float)
        return features @ weights / np.linalg.norm(features) + machine["intercept"]

    told_of = 0
    for at, unit in enumerate(small.units(ReportStage())):
        found = class_told(small.worker, unit).mistakes
        counts = [confusion.count for confusion in found.confusions]
        own = [row for row in images if row["label"] == unit.label]
        assert counts == sorted(counts, reverse=True) and sum(counts) == sum(row["prediction"] != at for row in own)
        for confusion in found.confusions:
            assert confusion.label == small.labels[confusion.called]
            for row in own:
                if row["prediction"] != confusion.called:
                    assert row["image_id"] not in confusion.shows
                    continue
                shows, has = (
                    [one["summary"] + 1 for one in machines if one["label"] == label and decision(row, one) > 0]
                    for label in (confusion.label, unit.label)
                )
                assert sorted(confusion.shows[row["image_id"]]) == shows
                assert {*confusion.own} - {*confusion.lacks[row["image_id"]]} == {*has}
                told_of += 1
        apart = [row for row in own if row["split"] != "fit" and row["prediction"] == at]
        mine = [one for one in machines if one["label"] == unit.label]
        assert (found.asked, found.show) == (
            (len(apart), sum(any(decision(row, one) > 0 for one in mine) for row in apart)) if mine else (0, 0)
        )
    assert told_of > 8


def test_what_changes_of_a_class_draws_its_pages_again(small: MadeUp, tmp_path: Path) -> None:
    def states(run: MadeUp) -> list[str]:
        return [class_state(run.worker, unit) for unit in run.units(ReportStage())]

    before = states(small)
    assert states(small) == before and len(set(before)) == 4
    other = told(tmp_path, 4)
    assert states(other) == before
    label = other.labels[1]
    for table, row in (
        ("errors", {"stage": "match", "label": label, "reason": "torn"}),
        ("measurements", {"label": label, "value": 0.25}),
        ("metrics", {"label": label, "metric": "drop", "value": 0.5}),
    ):
        other.add(table, "" if table == "metrics" else label, [row], "another")
        other.manifest(table)
        changed = states(other)
        assert [one == two for one, two in zip(changed, before, strict=True)] == [True, False, True, True]
        before = changed


def test_what_is_read_for_the_report_grows_with_the_number_of_classes(tmp_path: Path) -> None:
    counts, inputs, machines = {}, {}, {}
    for classes in (4, 8, 16):
        run = told(tmp_path / str(classes), classes)
        run.store.counts.clear()
        units = run.units(ReportStage())
        planned = dict(run.store.counts)
        for unit in units:
            run.worker.store.counts["manifest"] = 0
            ReportStage().compute(run.worker, unit, unit.items)
            assert run.store.counts["manifest"] == 0
            assert written_card(tmp_path / str(classes) / FOLDER, unit.label, class_state(run.worker, unit)) is not None
        # Its own specialists, and those of each class that one of its six photographs is called.
        machines[classes] = run.store.counts.pop("specialists")
        counts[classes] = sum(run.store.counts.values())
        inputs[classes] = sum(len(paths) for unit in units for paths in unit.inputs.values())
        assert planned["manifest"] <= 8
    assert all(0 < machines[classes] <= 7 * classes for classes in counts)
    assert counts[16] - counts[8] == 2 * (counts[8] - counts[4])
    assert inputs[16] - inputs[8] == 2 * (inputs[8] - inputs[4])


def test_pages_are_drawn_of_a_class_alone_and_completed_once_all_is_known(tmp_path: Path) -> None:
    run, stage = told(tmp_path, 3), PagesStage()
    assert stage.by_class and not set(stage.reads) & {"metrics", "errors", "negatives", "specialists"}
    order = [one.name for one in with_pages(STAGES)]
    tables = {one.name: one.writes for one in STAGES}
    before, after = order[: order.index("pages")], order[order.index("pages") + 1 :]
    assert set(BY_CLASS) <= {tables[name] for name in before} and {"negatives", "metrics"} <= set(after)
    label = run.labels[1]
    alone = Plan(
        run.config, run.store, run.inputs.only(run.inputs.classes[1]),
        {table: [shard for shard in shards if shard.label == label] for table, shards in run.plan.shards.items()},
    )  # fmt: skip
    (early,) = stage.units(alone)
    assert not {path for paths in early.inputs.values() for path in paths} & {
        shard.path for shards in run.plan.shards.values() for shard in shards if shard.label != label
    }
    stage.compute(run.worker, early, early.items)
    (page,) = (tmp_path / FOLDER).rglob("index.html")
    assert "torn" not in page.read_text()
    units = {unit.label: unit for unit in run.units(ReportStage())}
    assert drawn_state(run.worker, early) == drawn_state(run.worker, units[label])
    assert drawn_class(tmp_path / FOLDER, label, drawn_state(run.worker, units[label]))
    drawn, run.store.counts = page.with_name("drawn.json").stat().st_mtime_ns, Counter()
    card = ReportStage().compute(run.worker, units[label], (label,)).value
    assert card.errors == 2 and "torn" in page.read_text()
    # Told, not drawn again: of what pictures are drawn from, what photographs are called and their features alone.
    assert set(run.store.counts) & set(BY_CLASS) == {"images"}
    assert page.with_name("drawn.json").stat().st_mtime_ns == drawn
    run.store.counts.clear()
    stage.compute(run.worker, early, early.items)
    assert not run.store.counts and "torn" in page.read_text()
