"""All stages with networks of other heads: photographs of several classes, and one logit as the two that it is."""

import math
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from in_process import rows, run_in_process
from PIL import Image

from visual_summaries.pipeline.config import RunConfig, load_config
from visual_summaries.pipeline.data.class_map import CatalogError
from visual_summaries.pipeline.models.classifier import ClassifierError
from visual_summaries.pipeline.stages.alterations import AlterationsStage
from visual_summaries.pipeline.stages.inputs import gather_inputs
from visual_summaries.pipeline.stages.order import STAGES
from visual_summaries.pipeline.stages.recorded import read_recorded, recorded
from visual_summaries.pipeline.stages.report.stage import ReportStage, write_report
from visual_summaries.pipeline.stages.studies import STUDIES, StudiesStage

SETTINGS = (
    "explain.explainer=grad-cam",
    "explain.policy=all",
    "summaries.sources=[proposals]",
    "summaries.selection=similarity",
    "proposals={descriptor: hog, limit: 15, minimum_side: 12}",
    "pruning.minimum_members=2",
    "data.held_out=0",
    "data.test=0",
    "evaluation.sanity_images=1",
    "evaluation.sanity_steps=1",
    "evaluation.photographs=2",
    "evaluation.iterations=4",
)
STUDIED = ("faithfulness", "explanation maps", "sanity", "adversarial", "color bias", "specialists")
COLORS = {"red": (230, 40, 40), "green": (40, 230, 40)}
# What is in each picture, and what it is labeled as. Of `both` red is the larger, so that a softmax would say red;
# `green-5` has red that its label does not tell of, `green-6` no green at all.
PICTURES = {
    **{f"both-{number}": (("red", "green"), ("red", "green")) for number in range(3)},
    **{f"red-{number}": (("red",), ("red",)) for number in range(3, 5)},
    "green-4": (("green",), ("green",)),
    "green-5": (("red", "green"), ("green",)),
    "green-6": ((), ("green",)),
}


def draw(path: Path, shown: tuple[str, ...], seed: int) -> None:
    noise = np.random.default_rng(seed).integers(110, 146, (64, 64, 1))
    pixels = np.broadcast_to(noise, (64, 64, 3)).astype(np.uint8).copy()
    for name in shown:
        side, corner = (26, 4) if name == "red" else (22, 38)
        pixels[corner + seed % 3 :, corner:][:side, :side] = COLORS[name]
    Image.fromarray(pixels).save(path)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pictures, with a manifest that lists those of several classes once for each, another that lists each
    picture once, and the classes."""
    folder = tmp_path_factory.mktemp("pictures")
    lines = ["uri,label"]
    for seed, (name, (shown, labels)) in enumerate(PICTURES.items()):
        draw(folder / f"{name}.png", shown, seed)
        lines += [f"{name}.png,{label}" for label in labels]
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    one = [f"{name}.png,{labels[0]}" for name, (_, labels) in PICTURES.items()]
    (folder / "one.csv").write_text("\n".join(["uri,label", *one]) + "\n")
    (folder / "labels.txt").write_text("red\ngreen\n")
    return folder


def configured(pictures: Path, output: Path, network: str, *settings: str) -> RunConfig:
    own = [f"model.name=head_networks:{network}", f"model.labels={pictures / 'labels.txt'}", f"output={output}"]
    return load_config(None, [f"data.manifest={pictures / 'manifest.csv'}", *own, *SETTINGS, *settings])


def test_photographs_of_several_classes_go_through_all_stages(pictures: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    config = configured(pictures, output, "apart")
    state = run_in_process(config, [*STAGES, StudiesStage(STUDIES[name] for name in STUDIED), ReportStage()])
    write_report(state, state.last)
    assert not state.lost and rows(output, "errors") == []
    assert state.inputs.head == "sigmoid" and "Head sigmoid: the network has outputs that are sig" in state.inputs.found

    images = {(row["label"], Path(row["uri"]).stem): row for row in rows(output, "images")}
    assert Counter(label for label, _ in images) == {"red": 5, "green": 6}
    for (label, name), row in images.items():
        shown, labels = PICTURES[name]
        assert label in labels
        found = np.frombuffer(row["probabilities"], np.float32)
        assert [share >= 0.5 for share in found] == [color in shown for color in COLORS]
        own = label in shown
        assert row["score"] == found[row["class_index"]]
        expected = row["class_index"] if own else None
        assert row["prediction"] == expected and row["prediction_name"] == (label if own else None)

    maps = rows(output, "maps")
    assert len(maps) == 11 and {row["label"] for row in maps} == {"red", "green"}
    for row in maps:
        assert row["score_before"] == pytest.approx(images[row["label"], name_of(row, images)]["score"], abs=1e-4)
        assert all(math.isfinite(row[name]) for name in ("score_before", "area", "binarization_error"))
        shown = PICTURES[name_of(row, images)][0]
        if row["label"] in shown:
            # Its own color, wherever the other one is.
            saliency = np.frombuffer(row["saliency"], np.uint8).reshape(64, 64).astype(float)
            at = (slice(4, 32), slice(4, 32)) if row["label"] == "red" else (slice(37, 64), slice(37, 64))
            assert saliency[at].sum() > 0.75 * saliency.sum()

    assert {row["label"] for row in rows(output, "specialists")} == {"red", "green"}
    assert {row["tag"] for row in rows(output, "tags")} <= {"red", "green"}
    figures = {(row["label"], row["metric"]): (row["value"], row["n"]) for row in rows(output, "metrics")}
    assert figures["red", "labels predicted"] == (1.0, 5)
    assert figures["green", "labels predicted"] == (pytest.approx(5 / 6), 6)
    assert figures["", "labels predicted"] == (pytest.approx(10 / 11), 11)
    # Five with the label, and green-5 without.
    assert figures["red", "predictions right"] == (pytest.approx(5 / 6), 6)
    assert figures["green", "predictions right"] == (1.0, 5)
    assert figures["", "predictions right"] == (pytest.approx(10 / 11), 11)
    assert not any("accuracy" in metric for _, metric in figures)

    measured = rows(output, "measurements")
    assert {row["study"] for row in measured} == set(STUDIED) - {"specialists"}
    assert all(row["value"] is not None and math.isfinite(row["value"]) for row in measured)
    biases = [row for row in measured if row["study"] == "color bias"]
    # Of the right ones: without red or green, in another channel, nothing is left to be predicted.
    assert len(biases) == 2 * 10

    page = (output / "report" / "methods.html").read_text()
    assert "the sigmoid of its own logit" in page and "its probability by the softmax" not in page
    assert re.search(r"<dt>Head</dt>\s*<dd[^>]*>sigmoid</dd>", page)
    overview = (output / "report" / "index.html").read_text()
    assert "accuracy 100.0%" in overview and "accuracy 83.3" in overview
    for page in (output / "report").rglob("*.html"):
        assert ">nan" not in page.read_text().lower()


def name_of(row: dict, images: dict) -> str:
    return next(name for (_, name), image in images.items() if image["image_id"] == row["image_id"])


TABLES = ("images", "maps", "regions", "summaries", "members", "metrics", "measurements", "tags", "specialists")


def test_one_logit_gives_the_tables_of_its_two(pictures: Path, tmp_path: Path) -> None:
    found = {}
    manifest = f"data.manifest={pictures / 'one.csv'}"
    for network in ("one", "two"):
        config = configured(pictures, tmp_path / network, network, manifest, "data.test=0.2")
        # Not `sanity`, which gives the last layer random weights: there are as many as it has outputs.
        studies = StudiesStage(STUDIES[name] for name in STUDIED if name != "sanity")
        state = run_in_process(config, [*STAGES, studies])
        assert not state.lost
        found[network] = {table: rows(tmp_path / network, table) for table in TABLES}
        assert state.inputs.head == ("binary" if network == "one" else "softmax")
    scores = [row["score"] for row in found["one"]["images"]]
    assert min(scores) < 0.4 and max(scores) > 0.7
    for table in TABLES:
        assert len(found["one"][table]) == len(found["two"][table]) > 0, table
        for own, other in zip(found["one"][table], found["two"][table], strict=True):
            for name in own.keys() - {"seconds", "model"}:
                if isinstance(own[name], float):
                    assert own[name] == pytest.approx(other[name], rel=1e-4, abs=1e-5), (table, name)
                elif name == "probabilities":
                    pair = [np.frombuffer(row[name], np.float32) for row in (own, other)]
                    np.testing.assert_allclose(*pair, rtol=1e-5)
                elif name == "saliency":
                    pair = [np.frombuffer(row[name], np.uint8).astype(int) for row in (own, other)]
                    assert np.abs(pair[0] - pair[1]).max() <= 1
                elif not isinstance(own[name], (dict, list, str, bytes)):
                    assert own[name] == other[name], (table, name)


def test_what_tables_depend_on_includes_the_head(pictures: Path, tmp_path: Path) -> None:
    """The same weights and the same logits, with another meaning."""
    manifest = f"data.manifest={pictures / 'one.csv'}"
    kinds = {}
    for head in ("auto", "softmax", "sigmoid"):
        kinds[head] = gather_inputs(configured(pictures, tmp_path, "apart_logits", manifest, f"model.head={head}"))
    identities = {head: inputs.identity(("classifier",)) for head, inputs in kinds.items()}
    assert identities["auto"] == identities["softmax"] != identities["sigmoid"]
    assert kinds["softmax"].network == kinds["sigmoid"].network
    assert read_recorded(recorded(kinds["sigmoid"]), "run").head == "sigmoid"
    with pytest.raises(ClassifierError, match=r"apart has no head softmax .*model\.head=sigmoid, or auto"):
        gather_inputs(configured(pictures, tmp_path, "apart", manifest, "model.head=softmax"))


def test_a_photograph_of_two_classes_needs_a_head_for_them(pictures: Path, tmp_path: Path) -> None:
    """Declared or found; what is refused names the row, and the setting that would take it."""
    said = r"line 3: gives both-0\.png the label 'green', an earlier one 'red'.*say model\.head=sigmoid"
    for settings in ((), ("model.head=softmax",)):
        with pytest.raises(CatalogError, match=said):
            gather_inputs(configured(pictures, tmp_path, "apart_logits", *settings))
    inputs = gather_inputs(configured(pictures, tmp_path, "apart_logits", "model.head=sigmoid"))
    assert inputs.image_count == 11


def test_a_prediction_that_there_is_not_is_not_explained(pictures: Path, tmp_path: Path) -> None:
    config = configured(pictures, tmp_path / "run", "apart", "explain.target=prediction")
    run_in_process(config, [*STAGES[:2], AlterationsStage()])
    (error,) = rows(tmp_path / "run", "errors")
    assert Path(error["uri"]).stem == "green-6" and "no prediction to explain: explain.target=label" in error["reason"]
    assert len(rows(tmp_path / "run", "maps")) == 10
    after = rows(tmp_path / "run", "alterations")
    assert len(after) == 30 and all(row["named"] for row in after)
    # Of several classes the one that is asked for counts, whatever else there is.
    assert all((row["prediction"] == row["target"]) == (row["score_after"] >= 0.5) for row in after)
