"""The job `evaluate` on real Ray, beside what a finished run left: figures, resume, and nothing of the run harmed."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import SETTINGS
from runs import ROOT, environment, stage_units, tables

from pipeline.config import load_config
from pipeline.data.decode import read_image
from pipeline.evaluate.adversarial import adversarial_targets, generate_adversarials
from pipeline.explain.engine import Item
from pipeline.models.preparation import PreparedClassifier
from pipeline.stages.evaluation import escaped
from pipeline.stages.worker import classifier_of
from pipeline.store.tables import TableStore

PHOTOGRAPHS, ITERATIONS = 5, 12
STUDY = (f"evaluation.photographs={PHOTOGRAPHS}", f"evaluation.iterations={ITERATIONS}")


def evaluate(output: Path, images: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "jobs.evaluate", "--paper", "fgvis", "--images", str(images), "--model", "demo"]
    command += ["--output", str(output), *SETTINGS, f"data.parts={images.parent / 'parts.csv'}", *STUDY]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, env=environment())


@pytest.fixture(scope="module")
def evaluated(whole_run, demo_folder, tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess]:  # noqa: ANN001
    output = tmp_path_factory.mktemp("evaluated") / "run"
    shutil.copytree(whole_run[0], output)
    result = evaluate(output, demo_folder)
    assert result.returncode == 0, result.stdout + result.stderr
    return output, result


@pytest.fixture(scope="module")
def classifier() -> PreparedClassifier:
    return PreparedClassifier(classifier_of(load_config(values={"model.name": "demo"})))


def seen(classifier: PreparedClassifier, uri: str) -> torch.Tensor:
    analyzed = classifier_of(load_config(values={"model.name": "demo"})).preprocessing.analyzed_image
    return analyzed(read_image(uri).image).float().div(255)


def test_the_surest_images_are_attacked_and_the_outcomes_are_the_functions(evaluated, classifier) -> None:  # noqa: ANN001
    output, _ = evaluated
    store = TableStore(output)
    images = {row["image_id"]: row for row in store.read_all("images").to_pylist()}
    right = [row for row in images.values() if row["prediction"] == row["class_index"]]
    rows = [row for row in store.read_all("measurements").to_pylist() if row["study"] == "adversarial"]
    chosen = sorted(right, key=lambda row: (-min(row["score"], 0.995), row["image_id"]))[:PHOTOGRAPHS]
    for variant, filtered in (("filter off", False), ("filter on", True)):
        found = {row["image_id"]: row for row in rows if row["variant"] == variant}
        assert set(found) == {row["image_id"] for row in chosen}
        for image_id, row in found.items():
            image = seen(classifier, images[image_id]["uri"])
            target = int(adversarial_targets(classifier, image[None]))
            items = [Item(0, image, target)]
            ((_, outcome),) = generate_adversarials(
                classifier, items, torch.device("cpu"), filtered, iterations=ITERATIONS, batch_size=1
            )
            protocol = json.loads(row["protocol"])
            assert row["value"] == outcome.generated and protocol["target"] == target
            assert protocol["iterations"] == ITERATIONS >= protocol["steps"] >= 1


def test_color_bias_is_what_the_classifier_says_of_swapped_images(evaluated, classifier) -> None:  # noqa: ANN001
    output, result = evaluated
    store = TableStore(output)
    images = {row["image_id"]: row for row in store.read_all("images").to_pylist()}
    rows = [row for row in store.read_all("measurements").to_pylist() if row["study"] == "color bias"]
    right = {image_id for image_id, row in images.items() if row["prediction"] == row["class_index"]}
    assert {(row["image_id"], row["variant"]) for row in rows} == {
        (image_id, variant) for image_id in right for variant in ("channels RBG", "channels GRB")
    }
    kept: dict[str, list[float]] = {}
    for row in rows:
        order = [1, 2, 0] if row["variant"].endswith("RBG") else [2, 0, 1]
        image = seen(classifier, images[row["image_id"]]["uri"])[order]
        expected = int(classifier.logits(image[None]).argmax()) == images[row["image_id"]]["class_index"]
        assert row["value"] == expected
        kept.setdefault(row["label"], []).append(row["value"])
    text = (output / "evaluation-fgvis.md").read_text()
    for label, values in kept.items():
        share = sum(values) / len(values)
        assert f"| demo | {escaped(label)} | {len(values) // 2} | {share:.1%} |" in text
    assert f"Tables: {output / 'evaluation-fgvis.md'}" in result.stdout.replace("\n", "")


def test_an_evaluation_adds_to_a_run_and_resumes(evaluated, whole_run, demo_folder) -> None:  # noqa: ANN001
    output, _ = evaluated
    before, after = tables(whole_run[0]), tables(output)
    assert all(after[name].equals(before[name]) for name in before)
    stages = {row["stage"] for row in TableStore(output).read_all("runs").to_pylist()}
    assert {"explain", "match", "studies"} <= stages
    planned, _ = stage_units(output)["studies"]
    text = (output / "evaluation-fgvis.md").read_text()
    again = evaluate(output, demo_folder)
    assert again.returncode == 0, again.stdout + again.stderr
    assert f"{planned} of {planned} units found complete" in again.stdout
    assert (output / "evaluation-fgvis.md").read_text() == text


def test_text_from_data_stays_text() -> None:
    assert escaped("a|b\n<script>*x*") == r"a\|b \<script\>\*x\*"
