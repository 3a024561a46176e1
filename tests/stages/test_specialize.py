"""The stages `negatives` and `specialize`: which photographs specialists are told apart from, and what that costs."""

import random
from pathlib import Path

import numpy as np
import pytest
from made_up import MadeUp

from visual_summaries.pipeline.stages.negatives import Draw, NegativesStage, Photograph
from visual_summaries.pipeline.stages.specialize import SpecializeStage
from visual_summaries.pipeline.store.tables import digest


def drawn(run: MadeUp, of_a_class: int, in_all: int) -> list[tuple[str, str]]:
    """The rule, written down: (class, image) of each class's first by hash, and of those the first of all."""
    candidates = []
    for label in run.labels:
        own = [row for row in run.store.read_all("images", label=label).to_pylist() if row["split"] == "fit"]
        ranked = sorted((digest(run.config.seed, row["image_id"], "negative"), label, row["image_id"]) for row in own)
        candidates += ranked[:of_a_class]
    chosen = sorted(candidates)[:in_all]
    return [(label, image_id) for label in run.labels for _, own, image_id in chosen if own == label]


@pytest.mark.parametrize(("of_a_class", "in_all"), [(50, 5000), (2, 5000), (3, 10), (50, 7), (1, 1)])
def test_the_negatives_are_the_first_by_hash(tmp_path: Path, of_a_class: int, in_all: int) -> None:
    settings = f"specialists={{negatives_per_class: {of_a_class}, negatives: {in_all}}}"
    run = MadeUp(tmp_path, 8, 7, settings, "seed=5")
    rows = run.rows(NegativesStage())
    assert [(row["label"], row["image_id"]) for row in rows] == drawn(run, of_a_class, in_all)
    features = {row["image_id"]: row["features"] for row in run.store.read_all("images").to_pylist()}
    assert all(row["features"] == features[row["image_id"]] for row in rows)


@pytest.mark.parametrize("seed", range(30))
def test_a_draw_does_not_depend_on_the_order_in_which_photographs_come(seed: int) -> None:
    generator = random.Random(seed)
    of_a_class, in_all = generator.randint(1, 5), generator.randint(1, 15)
    # Copies have one rank under all their labels.
    everyone = {(f"{generator.randint(0, 60):02}", generator.choice("abcdef")) for _ in range(120)}
    photographs = [Photograph(rank, label, rank, b"") for rank, label in sorted(everyone)]
    first = [one for label in "abcdef" for one in [other for other in photographs if other.label == label][:of_a_class]]
    expected = sorted(sorted(first)[:in_all], key=lambda one: (one.label, one.rank))
    generator.shuffle(photographs)
    draw = Draw(of_a_class, in_all)
    while photographs:
        size = generator.randint(1, 9)
        draw.add(photographs[:size])
        assert sum(map(len, draw._held.values())) <= 2 * in_all
        del photographs[:size]
    assert draw.chosen() == expected


def test_specialists_are_told_from_the_negatives_of_other_classes_and_from_siblings(tmp_path: Path) -> None:
    run = MadeUp(tmp_path, 6, 6, "specialists.negatives_per_class=2")
    negatives = run.rows(NegativesStage())
    found = run.rows(SpecializeStage())
    assert [(row["label"], row["summary"]) for row in found] == [(label, 0) for label in run.labels[::2]]
    for row in found:
        others = [one for one in negatives if one["label"] != row["label"]]
        assert (row["positives"], row["negatives"]) == (2, len(others)) == (2, 10)
        features = [np.frombuffer(one["features"], np.float16).astype(np.float32) for one in others]
        scores = [one @ np.frombuffer(row["coefficients"], np.float32) / np.linalg.norm(one) for one in features]
        wrong = np.mean(np.array(scores) + row["intercept"] > 0)
        # Balanced accuracy over both sides, of which this is one.
        assert row["fit_accuracy"] <= 1 - wrong / 2 + 1e-6


def test_a_photograph_of_the_class_as_well_is_no_negative(tmp_path: Path) -> None:
    """Whatever split it is in under the class's own label."""
    run = MadeUp(tmp_path, 4, 6, "specialists.negatives_per_class=2")
    drawn_of_another = next(row for row in run.rows(NegativesStage()) if row["label"] == run.labels[1])
    (own,) = [
        row
        for row in run.store.read_all("images", label=run.labels[1]).to_pylist()
        if row["image_id"] == drawn_of_another["image_id"]
    ]
    both = own | {"label": run.labels[0], "class_index": 0, "split": "test", "explained": False}
    run.add("images", run.labels[0], [both], of="both")
    run.manifest("images")
    counts = {row["label"]: row["negatives"] for row in run.rows(SpecializeStage())}
    assert counts == {run.labels[0]: 5, run.labels[2]: 6}


def test_what_is_read_grows_with_the_number_of_classes(tmp_path: Path) -> None:
    counts = {}
    for classes in (4, 8, 16):
        run = MadeUp(tmp_path / str(classes), classes)
        run.store.counts.clear()
        run.rows(NegativesStage())
        run.rows(SpecializeStage())
        counts[classes] = sum(run.store.counts.values())
        # All images once; of each class its summaries, of every second one its members and images and the negatives.
        assert counts[classes] == classes + classes + 3 * classes // 2
        inputs = [paths for unit in run.units(SpecializeStage()) for paths in unit.inputs.values()]
        assert sum(map(len, inputs)) == 4 * classes


def test_a_class_without_summaries_reads_nothing_else(tmp_path: Path) -> None:
    run = MadeUp(tmp_path, 4)
    run.rows(NegativesStage())
    run.store.counts.clear()
    assert run.rows(SpecializeStage(), {run.labels[1]}) == []
    assert dict(run.store.counts) == {"summaries": 1}
