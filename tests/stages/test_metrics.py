"""The stage `metrics`: class by class the same as of all tables at once, whatever the number of classes."""

import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from made_up import MadeUp

from visual_summaries.pipeline.evaluate.intervals import mean_interval
from visual_summaries.pipeline.stages import fusion
from visual_summaries.pipeline.stages.copies import copies_between_labels
from visual_summaries.pipeline.stages.fusion import fused_predictions
from visual_summaries.pipeline.stages.metrics import MetricsStage
from visual_summaries.pipeline.stages.negatives import NegativesStage
from visual_summaries.pipeline.stages.specialize import SpecializeStage
from visual_summaries.pipeline.stages.studies import STUDIES, StudiesStage
from visual_summaries.pipeline.summarize.mixtures import MIXTURES
from visual_summaries.pipeline.summarize.specialists import Specialist, SpecializedClasses

CLASSES = 7


def specialized(folder: Path, classes: int, *settings: str) -> MadeUp:
    run = MadeUp(folder, classes, 8, *settings)
    run.rows(NegativesStage())
    run.rows(SpecializeStage())
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> MadeUp:
    return specialized(tmp_path_factory.mktemp("run"), CLASSES)


@pytest.fixture(scope="module")
def convex_run(tmp_path_factory: pytest.TempPathFactory) -> MadeUp:
    return specialized(tmp_path_factory.mktemp("convex"), CLASSES, "specialists.fusion=convex")


def everything(run: MadeUp, split: str) -> tuple[np.ndarray, ...]:
    """Probabilities, features and classes of a split, all at once."""
    rows = [row for row in run.store.read_all("images").to_pylist() if row["split"] == split]
    probabilities = np.stack([np.frombuffer(row["probabilities"], np.float32) for row in rows])
    features = np.stack([np.frombuffer(row["features"], np.float16) for row in rows])
    return probabilities, features, np.array([row["class_index"] for row in rows])


@pytest.mark.parametrize("way", MIXTURES)
@pytest.mark.parametrize("at_once", [1, 3, 1000])
def test_fusion_is_the_same_in_batches_of_any_size(
    run: MadeUp, convex_run: MadeUp, at_once: int, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = {"logarithmic": run, "convex": convex_run}[way]
    monkeypatch.setattr(fusion, "AT_ONCE", at_once)
    (unit,) = run.units(MetricsStage())
    found = fused_predictions(run.worker, unit, unit.payload.labels)
    machines = defaultdict(list)
    for row in run.store.read_all("specialists").to_pylist():
        coefficients = np.frombuffer(row["coefficients"], np.float32)
        machines[run.labels.index(row["label"])].append(Specialist(coefficients, row["intercept"], 1.0))
    classes = np.array(sorted(machines))
    assert classes.tolist() == [0, 2, 4, 6]
    judged, mixture = SpecializedClasses([machines[index] for index in classes]), MIXTURES[way]
    probabilities, features, truth = everything(run, "held-out")
    strength = mixture.best(mixture.costs(probabilities, judged.decisions(features), classes, truth))
    assert (found.way, found.strength, found.held_out) == (way, strength, len(truth)) and strength > 0
    probabilities, features, truth = everything(run, "test")
    together = mixture.together(probabilities, judged.decisions(features), classes, strength)
    after = together.argmax(axis=1)
    assert found.truth.tolist() == truth.tolist() and found.after.tolist() == after.tolist()
    assert found.before.tolist() == probabilities.argmax(axis=1).tolist() != after.tolist()
    expected = [(run.labels[index], 0) if index in machines else None for index in after]
    assert found.deciding == expected and None in expected


def test_among_the_classes_of_the_run_no_other_is_predicted(run: MadeUp) -> None:
    """Of a network with more classes than the run: all but two labels are asked about."""
    (unit,) = run.units(MetricsStage())
    kept = [(label, index) for label, index in unit.payload.labels if index != 1]
    found = fused_predictions(run.worker, unit, kept)
    probabilities, _, _ = everything(run, "test")
    probabilities[:, 1] = 0
    assert found.before_among.tolist() == probabilities.argmax(axis=1).tolist() != found.before.tolist()
    inside = found.after != 1
    assert inside.any() and (found.after_among[inside] == found.after[inside]).all() and 1 not in found.after_among


def test_the_study_tells_of_each_test_photograph(run: MadeUp) -> None:
    (unit,) = run.units(MetricsStage())
    found = fused_predictions(run.worker, unit, unit.payload.labels)
    stage = StudiesStage([STUDIES["specialists"]])
    (unit,) = run.units(stage)
    rows = stage.compute(run.worker, unit, unit.items).table.to_pylist()
    told = {(row["image_id"], row["variant"]): row["value"] for row in rows}
    pairs = {"": (found.before, found.after), " among the classes of the run": (found.before_among, found.after_among)}
    for which, (before, after) in pairs.items():
        for number, image_id in enumerate(found.image_ids):
            was, now = before[number] == found.truth[number], after[number] == found.truth[number]
            expected = [was, now, float(now) - float(was)]
            assert [told[image_id, f"{name}{which}"] for name in ("right before", "right after", "gained")] == expected
    assert len(told) == len(rows) == 8 * len(found.image_ids)
    protocol = json.loads(rows[0]["protocol"])
    assert (protocol["fusion"], protocol["strength"]) == ("logarithmic", found.strength)


def test_the_figures_are_those_of_all_rows_together(run: MadeUp) -> None:
    (unit,) = run.units(MetricsStage())
    rows = MetricsStage().compute(run.worker, unit, unit.items).rows
    found = {(row["label"], row["metric"]): (row["value"], row["low"], row["high"], row["n"]) for row in rows}
    assert len(found) == len(rows)
    maps = run.store.read_all("maps").to_pylist()
    for label in ("", *run.labels):
        for figure in ("drop", "area"):
            values = np.array([row[figure] for row in maps if label in ("", row["label"])])
            assert found[label, figure] == (*mean_interval(values, run.config.seed), len(values))
    kept = [1, 0, 1, 0, 1, 0, 1]
    assert [found[label, "summaries"][0] for label in run.labels] == kept
    assert [found[label, "accounted for"][0] for label in run.labels] == [0.25 * one for one in kept]
    result = fused_predictions(run.worker, unit, unit.payload.labels)
    right = result.after == result.truth
    name = "accuracy after specialists"
    assert found["", name] == (*mean_interval(right.astype(float), run.config.seed), CLASSES)
    shares = [float(right[result.labels == label].mean()) for label in run.labels]
    assert [found[label, name][0] for label in run.labels] == shares
    # Over all classes first, then of each, figure by figure.
    drops = [(row["label"], row["metric"]) for row in rows[:6]]
    first = [("", run.labels[0])[at] for at in (0, 1)]
    assert drops == [(label, name) for name in ("drop", "area", "binarization error") for label in first]


@pytest.mark.parametrize("alike", [(), ((0, 0, 3),), ((0, 0, 3), (0, 1, 5), (2, 2, 5))])
def test_copies_under_several_labels_are_said(tmp_path: Path, alike: tuple[tuple[int, int, int], ...]) -> None:
    run = specialized(tmp_path, CLASSES)
    for source, number, target in alike:
        row = run.store.read_all("images", label=run.labels[source]).to_pylist()[number]
        copied = row | {"label": run.labels[target], "uri": f"/copy/{source}/{number}"}
        run.add("images", run.labels[target], [copied], f"copy {source} {number}")
    run.manifest("images")
    (unit,) = run.units(MetricsStage())
    errors = MetricsStage().compute(run.worker, unit, unit.items).errors
    said = copies_between_labels(run.store.read_all("images"))
    assert {row["label"]: row["reason"] for row in errors} == said
    assert sorted(said) == sorted({run.labels[at] for source, _, target in alike for at in (source, target)})


def test_one_class_is_held_at_a_time_and_reading_grows_with_their_number(tmp_path: Path) -> None:
    counts = {}
    for classes in (4, 8, 16):
        run = specialized(tmp_path / str(classes), classes)
        (unit,) = run.units(MetricsStage())
        run.store.counts.clear()
        run.store.most.clear()
        MetricsStage().compute(run.worker, unit, unit.items)
        counts[classes] = sum(run.store.counts.values())
        assert max(run.store.most[table] for table in ("images", "maps", "members", "summaries")) == 1
    assert counts[16] - counts[8] == 2 * (counts[8] - counts[4])
    assert counts[16] <= 7 * 16
