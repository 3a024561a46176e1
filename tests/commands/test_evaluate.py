"""The job `evaluate` beside what a finished run left: figures, resume after kills, and nothing of the run harmed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import torch
from in_process import job_in_process
from runs import MEASURED, ROOT, SETTINGS, environment, stage_units, tables
from scipy import ndimage

from visual_summaries.jobs.evaluate import main
from visual_summaries.pipeline.config import RunConfig, load_config
from visual_summaries.pipeline.data.annotations import read_boxes, read_landmarks
from visual_summaries.pipeline.data.decode import read_image
from visual_summaries.pipeline.data.parts import read_parts
from visual_summaries.pipeline.evaluate.adversarial import adversarial_targets, generate_adversarials
from visual_summaries.pipeline.evaluate.explanation_maps import explanation_map_scores
from visual_summaries.pipeline.evaluate.faithfulness import deletion_curve, insertion_curve
from visual_summaries.pipeline.evaluate.localization import inside, landmark_distance, localization_point, maximum_point
from visual_summaries.pipeline.evaluate.map_stability import CHANGES
from visual_summaries.pipeline.explain.engine import Item
from visual_summaries.pipeline.models.classifier import Classifier
from visual_summaries.pipeline.models.preparation import PreparedClassifier
from visual_summaries.pipeline.models.preprocessing import Preprocessing
from visual_summaries.pipeline.report.evaluation import escaped
from visual_summaries.pipeline.stages.classifier import classifier_of
from visual_summaries.pipeline.stages.regions import salient_mask
from visual_summaries.pipeline.store.atomic import TEMPORARY_SUFFIX
from visual_summaries.pipeline.store.tables import TableStore

PHOTOGRAPHS, ITERATIONS = 5, 12
STUDY = (
    f"evaluation.photographs={PHOTOGRAPHS}",
    f"evaluation.iterations={ITERATIONS}",
    "evaluation.explainers=[grad-cam]",
)


def evaluate(output: Path, images: Path) -> subprocess.CompletedProcess:
    options = ("--paper", "fgvis", "--images", images, "--model", "demo", "--output", output)
    return job_in_process(main, *options, *SETTINGS, f"data.parts={images.parent / 'parts.csv'}", *STUDY)


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
        assert f"| {escaped(label)} | {len(values) // 2} | " in text
    mean = np.mean([row["value"] for row in rows if row["variant"] == "channels RBG"])
    assert f"| demo |  | {len(right)} images | {mean:.3f} |" in text
    assert f"Tables: {output / 'evaluation-fgvis.md'}" in result.stdout.replace("\n", "")


def test_an_evaluation_adds_to_a_run_and_resumes(evaluated, whole_run, demo_folder) -> None:  # noqa: ANN001
    output, _ = evaluated
    before, after = tables(whole_run[0]), tables(output)
    assert all(after[name].equals(before[name]) for name in before)
    stages = {row["stage"] for row in TableStore(output).read_all("runs").to_pylist()}
    assert {"explain", "match", "studies"} <= stages
    planned, _ = stage_units(output)["studies"]
    # The deletion metric of another explainer is measured in a folder of its own.
    apart = TableStore(output / "explainers" / "grad-cam")
    assert {row["explainer"] for row in apart.read_all("maps", ["explainer"]).to_pylist()} == {"grad-cam"}
    assert {row["study"] for row in apart.read_all("measurements", ["study"]).to_pylist()} == {"faithfulness"}
    text = (output / "evaluation-fgvis.md").read_text()
    again = evaluate(output, demo_folder)
    assert again.returncode == 0, again.stdout + again.stderr
    assert f"{planned} of {planned} units found complete" in again.stdout
    assert (output / "evaluation-fgvis.md").read_text() == text


OTHER_NETWORK = """
import torch
from visual_summaries.pipeline.data.demo.network import DEMO_MEAN, DEMO_STD, load_demo_network

def network():
    module, generator = load_demo_network(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weights in module.parameters():
            weights.add_(0.1 * weights.std() * torch.randn(weights.shape, generator=generator))
    return module, {"resize_side": 160, "crop_side": 160, "mean": DEMO_MEAN, "std": DEMO_STD}
"""
OTHER = "other_network:network"


@pytest.fixture(scope="module")
def measured(whole_run, demo_folder, tmp_path_factory) -> tuple[Path, list[dict]]:  # noqa: ANN001
    """A finished run evaluated on real Ray by its folder alone, with boxes and landmarks made up from the demo's parts,
    and with another network."""
    output = tmp_path_factory.mktemp("measured") / "run"
    shutil.copytree(whole_run[0], output)
    boxes, landmarks = ["file,x0,y0,x1,y1"], ["file,part,x,y,visible"]
    for file, parts in read_parts(demo_folder.parent / "parts.csv").items():
        for (_, part), ((x0, y0, x1, y1), _) in parts.items():
            boxes.append(f"{file},{x0},{y0},{x1},{y1}")
            landmarks.append(f"{file},{part},{(x0 + x1) / 2},{(y0 + y1) / 2},1")
    for name, lines in (("boxes", boxes), ("landmarks", landmarks)):
        (output.parent / f"{name}.csv").write_text("\n".join(lines) + "\n")
    annotated = [f"data.{name}={output.parent / name}.csv" for name in ("boxes", "landmarks")]
    (output.parent / "other_network.py").write_text(OTHER_NETWORK)
    own = environment()
    own["PYTHONPATH"] = os.pathsep.join([str(output.parent), *filter(None, [own.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "visual_summaries", "evaluate", "--run", str(output)]
    command += ["--other-model", OTHER, "--tagger", OTHER, *annotated]
    command += ["evaluation.subsamples=2", "evaluation.stability_images=2"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, env=own)
    assert result.returncode == 0, result.stdout + result.stderr
    return output, TableStore(output).read_all("measurements").to_pylist()


def test_a_finished_run_is_measured_by_its_folder_alone(measured, whole_run) -> None:  # noqa: ANN001
    output, rows = measured
    before, after = tables(whole_run[0]), tables(output)
    assert all(after[name].equals(before[name]) for name in before)
    studies = {"faithfulness", "explanation maps", "localization", "summaries", "specialists"}
    assert {row["study"] for row in rows} == studies | {"map stability", "wholeness", "transfer", "truth", "coherence"}
    assert {(row["model"], row["explainer"]) for row in rows} == {("demo", "crisp:fast"), ("demo", "")}
    assert (output / "evaluation.png").read_bytes().startswith(b"\x89PNG")
    table = pyarrow.parquet.read_table(output / "evaluation.parquet").to_pylist()
    deletion = [row["value"] for row in rows if row["variant"] == "deletion"]
    figure = next(row for row in table if row["variant"] == "deletion" and row["label"] == "")
    assert figure["n"] == len(deletion) and figure["mean"] == pytest.approx(np.mean(deletion))
    assert figure["low"] < figure["mean"] < figure["high"]
    assert f"| deletion | {len(deletion)} images | {figure['mean']:.3f} |" in (output / "evaluation.md").read_text()


def test_figures_of_maps_are_the_functions(measured, classifier) -> None:  # noqa: ANN001
    output, rows = measured
    store = TableStore(output)
    uris = {row["image_id"]: row["uri"] for row in store.read_all("images").to_pylist()}
    value = {(row["image_id"], row["variant"]): row for row in rows if row["image_id"]}
    maps = store.read_all("maps").to_pylist()
    boxes = read_boxes(output.parent / "boxes.csv")
    landmarks = read_landmarks(output.parent / "landmarks.csv")
    for row in maps[::3]:
        image = seen(classifier, uris[row["image_id"]])[None]
        saliency = np.frombuffer(row["saliency"], np.uint8).reshape(128, 128) / 255
        given = (classifier, image, torch.from_numpy(saliency)[None], torch.tensor([row["target"]]))
        for variant, curve in (("deletion", deletion_curve(*given)), ("insertion", insertion_curve(*given))):
            stored = value[row["image_id"], variant]
            assert stored["value"] == pytest.approx(float(curve.area), abs=1e-5)
            np.testing.assert_allclose(stored["curve"], curve.scores[0], atol=1e-5)
        assert value[row["image_id"], "drop"]["value"] == pytest.approx(row["drop"])
        found = explanation_map_scores(*given[:3])
        assert value[row["image_id"], "right"]["value"] == float(found.right)
        assert value[row["image_id"], "confidence"]["value"] == pytest.approx(float(found.confidence), abs=1e-5)
        # The demo's photographs are as large as what is analyzed.
        key = "/".join(Path(uris[row["image_id"]]).parts[-2:])
        hit = inside(localization_point(saliency), boxes[key])
        assert value[row["image_id"], "pointing game, glas"]["value"] == hit
        salient = salient_mask(row, load_config(values={"model.name": "demo"}))
        covered = [salient[y0:y1, x0:x1].mean() for x0, y0, x1, y1 in boxes[key].round().astype(int)]
        for least in (0.25, 0.5):
            # Edges within a pixel are rounded another way.
            if np.abs(np.array(covered) - least).min() > 0.05:
                found = value[row["image_id"], f"regions found, {least:.0%} covered"]["value"]
                assert found == (max(covered) >= least)
        point = maximum_point(saliency)
        for part, place in landmarks[key].items():
            expected = landmark_distance(point, [place])
            assert value[row["image_id"], f"distance to {part}"]["value"] == pytest.approx(expected, abs=1e-4)


def salient_masks(store: TableStore, config: RunConfig) -> dict[str, np.ndarray]:
    return {row["image_id"]: salient_mask(row, config) for row in store.read_all("maps").to_pylist()}


def test_maps_that_do_not_move_overlap_with_themselves(measured) -> None:  # noqa: ANN001
    output, rows = measured
    rows = [row for row in rows if row["study"] == "map stability"]
    found = {(row["image_id"], row["variant"]): row["value"] for row in rows}
    chosen = {image_id for image_id, _ in found}
    assert len(chosen) == 4 and len(found) == len(rows) == 4 * 2 * len(CHANGES)
    labels = {row["image_id"]: row["label"] for row in TableStore(output).read_all("images").to_pylist()}
    assert sorted(labels[image_id] for image_id in chosen) == sorted(2 * list(set(labels.values())))
    for name in CHANGES:
        overlap, correlation = (
            np.array([found[image_id, f"{figure}, {name}"] for image_id in chosen])
            for figure in ("overlap", "rank correlation")
        )
        # These masks draw no random numbers; the demo's parts are as clear after a change as before.
        least = 0.97 if name in ("another seed", "last bit") else 0.6
        assert overlap.min() > least and correlation.min() > least and max(overlap.max(), correlation.max()) <= 1
    moved = np.array([found[image_id, "overlap, horizontal flip"] for image_id in chosen])
    assert 0.6 < moved.min() and moved.max() < 1


def test_wholeness_is_that_of_scipys_labels(measured) -> None:  # noqa: ANN001
    output, rows = measured
    masks = salient_masks(TableStore(output), load_config(values={"model.name": "demo"}))
    found = {(row["image_id"], row["variant"]): row["value"] for row in rows if row["study"] == "wholeness"}
    assert {image_id for image_id, _ in found} == set(masks)
    for image_id, salient in masks.items():
        labels, _ = ndimage.label(salient, structure=np.ones((3, 3)))
        sizes = np.bincount(labels.ravel())[1:]
        large = sizes[sizes >= 0.01 * salient.size]
        assert found[image_id, "salient share of the image"] == pytest.approx(salient.mean())
        assert found[image_id, "number of regions of at least 1%"] == len(large) >= 1
        share = found[image_id, "share of the salient pixels in regions of at least 1%"]
        assert share == pytest.approx(large.sum() / sizes.sum())


def test_other_networks_are_shown_the_same_photographs(measured, classifier) -> None:  # noqa: ANN001
    output, rows = measured
    store = TableStore(output)
    images = {row["image_id"]: row for row in store.read_all("images").to_pylist()}
    targets = {row["image_id"]: row["target"] for row in store.read_all("maps").to_pylist()}
    masks = salient_masks(store, load_config(values={"model.name": "demo"}))
    scope: dict = {}
    exec(OTHER_NETWORK, scope)
    module, settings = scope["network"]()
    names = tuple(map(str, range(module.output.out_features)))
    other = PreparedClassifier(Classifier(module, Preprocessing(**settings), names))
    found = {(row["image_id"], row["variant"]): row for row in rows if row["study"] == "transfer"}
    for name, network, side in (("demo", classifier, 128), (OTHER, other, 160)):
        controls = []
        for image_id, target in targets.items():
            image = seen(classifier, images[image_id]["uri"])[None]
            whole = torch.nn.functional.interpolate(image, (side, side), mode="bilinear", antialias=True)
            right = int(network.logits(whole).argmax()) == target
            row = found.get((image_id, f"drop on {name}"))
            assert (row is not None) == right
            if not right:
                continue
            protocol = json.loads(row["protocol"])
            control = protocol["map of"]
            controls.append(control)
            assert protocol["perturbation"] == "authors" and images[control]["label"] == row["label"]
            # 11 px of σ = 10 px at 224 px are 7 px of σ = 5.7 px at 128 px.
            sigma = 10 * 128 / 224
            channels = [ndimage.gaussian_filter(own, sigma, mode="mirror", radius=3) for own in image[0].numpy()]
            blurred = torch.from_numpy(np.stack(channels))
            drops = {}
            for variant, mask in (("", masks[image_id]), (", another image's map", masks[control])):
                removed = torch.where(torch.from_numpy(mask), blurred, image[0])[None]
                removed = torch.nn.functional.interpolate(removed, (side, side), mode="bilinear", antialias=True)
                scores = network.logits(torch.cat([whole, removed.clamp(0, 1)])).softmax(dim=1)[:, target]
                drops[variant] = float(1 - scores[1] / scores[0])
            drops[", beyond another image's map"] = drops[""] - drops[", another image's map"]
            for variant, drop in drops.items():
                if variant and control == image_id:
                    assert (image_id, f"drop on {name}{variant}") not in found
                else:
                    assert found[image_id, f"drop on {name}{variant}"]["value"] == pytest.approx(drop, abs=2e-3)
        assert len(controls) > 5 and (name != "demo" or len(set(controls)) == len(controls))
    text = (output / "evaluation.md").read_text()
    assert f"| {escaped(f'drop on {OTHER}')} |" in text and "What is evidence for the class" in text


def test_another_network_tags_each_summary(measured) -> None:  # noqa: ANN001
    output, rows = measured
    store = TableStore(output)
    summaries = store.read_all("summaries").to_pylist()
    kept = {(row["label"], row["cluster"]): row["summary"] for row in summaries if row["kept"]}
    sizes: dict[tuple[str, int], int] = defaultdict(int)
    for row in store.read_all("members").to_pylist():
        if row["kept"] and (row["label"], row["cluster"]) in kept:
            sizes[row["label"], kept[row["label"], row["cluster"]]] += 1
    found = [row for row in rows if row["study"] == "coherence"]
    assert {(row["label"], row["summary"]) for row in found} == {one for one, size in sizes.items() if size > 1}
    # Of tags and features, of whole images and crops: of the summary, random, and the difference.
    assert len(found) == 12 * len({(row["label"], row["summary"]) for row in found})
    for row in found:
        assert row["variant"].endswith(f", by {OTHER}") and row["model"] == "demo"
        assert json.loads(row["protocol"])["members"] == sizes[row["label"], row["summary"]]
    assert "to a network that is not the one explained?" in (output / "evaluation.md").read_text()


def test_summaries_are_measured_once_each(measured) -> None:  # noqa: ANN001
    output, rows = measured
    kept = [row for row in TableStore(output).read_all("summaries").to_pylist() if row["kept"]]
    assert kept
    landmarks = read_landmarks(output.parent / "landmarks.csv")
    uris = {row["image_id"]: row["uri"] for row in TableStore(output).read_all("images").to_pylist()}
    own = {(row["label"], row["summary"], row["variant"]): row["value"] for row in rows if row["summary"] is not None}
    for row in kept:
        for name in ("tags", "features"):
            within = own[row["label"], row["summary"], f"distance of {name} within the summary"]
            chance = own[row["label"], row["summary"], f"distance of {name} within random members of the class"]
            assert 0 <= within <= 1 and 0 <= chance <= 1 and (name == "tags" or chance > 0)
        entropy = own.get((row["label"], row["summary"], "entropy of landmarks in the boxes"))
        boxes = {
            member["image_id"]: [member[edge] for edge in ("x0", "y0", "x1", "y1")]
            for member in TableStore(output).read_all("members", label=row["label"]).to_pylist()
            if member["kept"] and member["cluster"] == row["cluster"]
        }
        # The demo's photographs are as large as what is analyzed.
        inside_box = [
            x0 <= x < x1 and y0 <= y < y1
            for image_id, (x0, y0, x1, y1) in boxes.items()
            for x, y in landmarks["/".join(Path(uris[image_id]).parts[-2:])].values()
        ]
        assert (entropy is not None) == any(inside_box) and (entropy or 0) >= 0
    same = [row["value"] for row in rows if row["variant"] == "adjusted Rand index, another seed"]
    fewer = [row["value"] for row in rows if row["variant"] == "adjusted Rand index, 80% of the images"]
    # Seeds only break ties; leaving images out changes clusters, but not all of them.
    assert same == [1.0] * 2 and len(fewer) == 4 and 0 < np.mean(fewer) <= 1
    assert {row["value"] for row in rows if row["variant"] == "clusters found again, another seed"} == {1.0}
    variants = [f"part purity{what}" for what in ("", " of random salient boxes", ", gain over random salient boxes")]
    for row in kept:
        found = [own.get((row["label"], row["summary"], variant)) for variant in variants]
        # Fewer than three members say nothing of purity.
        assert (None in found) == (row["members"] < 3)
        if None not in found:
            purity, chance, gain = found
            assert 0 < purity <= 1 and 0 < chance <= 1 and gain == pytest.approx(purity - chance)


def test_the_truth_of_the_parts_is_that_of_the_metrics(measured) -> None:  # noqa: ANN001
    output, rows = measured
    stored = TableStore(output).read_all("metrics").to_pylist()
    metrics = {(row["label"], row["metric"]): row["value"] for row in stored}
    truth = {(row["label"], row["variant"]): row["value"] for row in rows if row["study"] == "truth"}
    labels = {label for label, _ in truth}
    assert len(labels) == 2
    for label in labels:
        for name in ("precision", "recall", "F1"):
            assert truth.get((label, f"part {name} of a class, overlap ≥ 0.5")) == metrics[label, f"part {name}"]


def test_specialists_figures_are_those_of_the_run(measured) -> None:  # noqa: ANN001
    output, rows = measured
    images = {row["image_id"]: row for row in TableStore(output).read_all("images").to_pylist()}
    found = {(row["image_id"], row["variant"]): row for row in rows if row["study"] == "specialists"}
    tested = {image_id for image_id, row in images.items() if row["split"] == "test"}
    assert {image_id for image_id, _ in found} == tested and tested
    for image_id in tested:
        row = images[image_id]
        before, after = (found[image_id, f"right {when}"]["value"] for when in ("before", "after"))
        assert before == (row["prediction"] == row["class_index"])
        assert found[image_id, "gained"]["value"] == after - before
        assert found[image_id, "corrected"]["value"] == (after > before)
        assert found[image_id, "spoiled"]["value"] == (after < before)
        assert found[image_id, "right after"]["label"] == row["label"]
    metrics = TableStore(output).read_all("metrics").to_pylist()
    overall = {row["metric"]: row["value"] for row in metrics if not row["label"]}
    after = [found[image_id, "right after"]["value"] for image_id in tested]
    assert overall["accuracy after specialists"] == pytest.approx(np.mean(after))


def paper_command(output: Path, images: Path) -> list[str]:
    command = [sys.executable, "-m", "visual_summaries", "evaluate", "--paper", "feature-cam", "--images", str(images)]
    command += ["--model", "demo", "--output", str(output), *SETTINGS]
    return [*command, "evaluation.explainers=[grad-cam, grad-cam++]"]


def kill_evaluation(output: Path, images: Path, table: Path, shards: int) -> None:
    """Start the job and kill its driver once a table of one of its folders has so many shards on disk."""
    process = subprocess.Popen(
        paper_command(output, images),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(),
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 300
        while len(list((output / table).rglob("*.parquet"))) < shards and time.monotonic() < deadline:
            assert process.poll() is None, f"ended before {table} had {shards} shards"
            time.sleep(0.005)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_whole_evaluation_killed_half_way_ends_in_the_same_tables(demo_folder, tmp_path) -> None:  # noqa: ANN001
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    result = job_in_process(main, *paper_command(whole, demo_folder)[4:])
    assert result.returncode == 0, result.stdout + result.stderr
    for explainer, table, shards in (("grad-cam", "maps", 1), ("grad-cam++", "measurements", 2)):
        kill_evaluation(killed, demo_folder, Path("explainers", explainer, "tables", table), shards)
    result = subprocess.run(paper_command(killed, demo_folder), cwd=ROOT, capture_output=True, env=environment())
    assert result.returncode == 0, result.stdout
    for explainer in ("grad-cam", "grad-cam++"):
        stores = [TableStore(output / "explainers" / explainer) for output in (whole, killed)]
        for table in ("images", "maps", "measurements"):
            kept = [store.read_all(table).drop_columns(MEASURED.get(table, [])) for store in stores]
            assert kept[0] == kept[1] and kept[0].num_rows
    assert not list(killed.rglob(f"*{TEMPORARY_SUFFIX}"))
    names = sorted(path.name for path in whole.glob("evaluation-*.*"))
    assert "evaluation-feature-cam.md" in names
    for name in names:
        if not name.endswith((".png", ".parquet")):
            assert (killed / name).read_bytes() == (whole / name).read_bytes()


def test_text_from_data_stays_text() -> None:
    assert escaped("a|b\n<script>*x*") == r"a\|b \<script\>\*x\*"
