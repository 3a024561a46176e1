"""A photograph that something goes wrong with is lost alone, whatever goes wrong and in whichever stage."""

import json
import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from in_process import rows, run_in_process

from visual_summaries.pipeline.config import RunConfig, load_config
from visual_summaries.pipeline.data.demo.scenes import write_demo_set
from visual_summaries.pipeline.runtime.stage import Stage
from visual_summaries.pipeline.stages.context import WorkerContext
from visual_summaries.pipeline.stages.order import STAGES
from visual_summaries.pipeline.stages.report.stage import ReportStage
from visual_summaries.pipeline.stages.studies import STUDIES, StudiesStage

SETTINGS = (
    "model.name=demo",
    "explain.explainer=grad-cam",
    "explain.cam.layer=features",
    "explain.shard_size=4",
    "explain.policy=all",
    "summaries.sources=[regions, factors, proposals]",
    "summaries.resamples=0",
    "summaries.measured=3",
    "proposals.descriptor=hog",
    "proposals.components=40",
    "proposals.limit=25",
    "proposals.minimum_side=40",
    "pruning.minimum_members=2",
    "data.held_out=0",
    "data.test=0",
    "data.images_per_class=5",
    "data.classes=[pick-up, saxophone]",
    "evaluation.stability_images=3",
    "evaluation.subsamples=1",
)
STUDIED = ("faithfulness", "explanation maps", "map stability", "wholeness", "summaries")
ODD = "an array as nobody expected it"


def configured(folder: Path, output: Path, *settings: str) -> RunConfig:
    return load_config(None, [f"data.images={folder}", f"output={output}", *SETTINGS, *settings])


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    write_demo_set(folder, 5, seed=4)
    return folder


@pytest.fixture(scope="module")
def undisturbed(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of all stages, and of the studies that measure something here."""
    output = tmp_path_factory.mktemp("undisturbed") / "run"
    config = configured(photographs, output)
    state = run_in_process(config, [*STAGES, studies()])
    assert not state.lost and rows(output, "errors") == []
    return output


def studies() -> StudiesStage:
    return StudiesStage(STUDIES[name] for name in STUDIED)


@pytest.fixture(scope="module")
def victim(undisturbed: Path) -> dict[str, Any]:
    """The row of `images` of a photograph that is a kept member of a kept summary."""
    kept = {(row["label"], row["cluster"]) for row in rows(undisturbed, "summaries") if row["kept"]}
    members = [row for row in rows(undisturbed, "members") if row["kept"] and (row["label"], row["cluster"]) in kept]
    (found,) = [row for row in rows(undisturbed, "images") if row["image_id"] == members[0]["image_id"]]
    return found


def copied(undisturbed: Path, output: Path, stage: Stage) -> None:
    """The undisturbed run up to a stage."""
    shutil.copytree(undisturbed, output)
    names = [one.name for one in STAGES]
    for later in STAGES[names.index(stage.name) :] if stage.name in names else [stage]:
        shutil.rmtree(output / "tables" / later.writes)


def complete(output: Path, table: str) -> bool:
    return json.loads((output / "tables" / table / "manifest.json").read_text())["complete"]


def raises_for(original: Callable, is_victim: Callable[..., bool]) -> Callable:
    def replaced(*arguments: Any, **named: Any) -> Any:
        if is_victim(*arguments, **named):
            raise FloatingPointError(ODD)
        return original(*arguments, **named)

    return replaced


def square(undisturbed: Path, victim: dict[str, Any], photographs: Path) -> torch.Tensor:
    """What the classifier sees of the victim, `[3,S,S]` float32 in [0,1]."""
    from visual_summaries.pipeline.data.decode import read_image
    from visual_summaries.pipeline.stages.classifier import classifier_of

    preprocessing = classifier_of(configured(photographs, undisturbed)).preprocessing
    return preprocessing.analyzed_image(read_image(victim["uri"]).image).float().div(255)


def boxes_of(undisturbed: Path, victim: dict[str, Any]) -> np.ndarray:
    own = [row for row in rows(undisturbed, "proposals") if row["image_id"] == victim["image_id"]]
    return np.array([[row[edge] for edge in ("x0", "y0", "x1", "y1")] for row in own], np.float32)


# Stage, what it calls that raises, and how the victim is known there: by a function of the arguments to its id or uri,
# by its pixels, or by its boxes.
CASES = [
    ("images", "visual_summaries.pipeline.stages.images.read_image", "uri"),
    ("explain", "analyzed_image", "row"),
    ("regions", "analyzed_image", "row"),
    ("regions", "visual_summaries.pipeline.stages.regions.salient_mask", "first row"),
    ("features", "analyzed_image", "row"),
    ("features", "visual_summaries.pipeline.stages.features.salient_mask", "first row"),
    ("features", "visual_summaries.pipeline.stages.features.dense_features", "pixels"),
    ("alterations", "analyzed_image", "row"),
    ("propose", "visual_summaries.pipeline.stages.propose.salient_mask", "first row"),
    ("match", "visual_summaries.pipeline.stages.match.match_pairs", "proposals"),
    ("parts", "visual_summaries.pipeline.stages.parts.survivors", "boxes"),
    ("candidates", "visual_summaries.pipeline.stages.candidates.salient_mask", "first row"),
    ("members", "analyzed_image", "row"),
    ("members", "visual_summaries.pipeline.stages.members.salient_mask", "first row"),
    ("tags", "analyzed_image", "row"),
    ("studies", "analyzed_image", "row"),
    ("studies", "visual_summaries.pipeline.stages.studies.maps.deletion_curve", "pixels"),
    ("studies", "visual_summaries.pipeline.stages.studies.robustness.salient_mask", "first row"),
]
# Of these an image's rows follow from nothing but the image.
ALONE = ("images", "regions", "proposals")


def disturb(
    patches: pytest.MonkeyPatch, called: str, how: str, run: Path, photograph: dict[str, Any], photographs: Path
) -> None:
    """Have what a stage calls raise for one photograph of an undisturbed run."""
    pixels, boxes = square(run, photograph, photographs), boxes_of(run, photograph)
    known = {
        "uri": lambda uri: uri == photograph["uri"],
        "row": lambda worker, row, *rest, **named: row["image_id"] == photograph["image_id"],
        "first row": lambda row, config: row["image_id"] == photograph["image_id"],
        "pixels": lambda classifier, images, *rest, **named: any(torch.equal(one.cpu(), pixels) for one in images),
        "boxes": lambda own, *rest, **named: np.array_equal(own, boxes),
        "proposals": lambda images, *rest, **named: any(np.array_equal(one.boxes, boxes) for one in images),
    }
    if called == "analyzed_image":
        patches.setattr(WorkerContext, called, raises_for(getattr(WorkerContext, called), known[how]))
    else:
        module, _, name = called.rpartition(".")
        patches.setattr(called, raises_for(getattr(import_module(module), name), known[how]))


@pytest.mark.parametrize(("name", "called", "how"), CASES)
def test_it_alone_is_lost(
    undisturbed: Path,
    victim: dict[str, Any],
    photographs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    called: str,
    how: str,
) -> None:
    stage = studies() if name == "studies" else next(one for one in STAGES if one.name == name)
    output = tmp_path / "run"
    copied(undisturbed, output, stage)
    config = configured(photographs, output)
    disturb(monkeypatch, called, how, undisturbed, victim, photographs)
    through = [*STAGES, stage] if name == "studies" else STAGES[: STAGES.index(stage) + 1]
    state = run_in_process(config, through)
    assert not state.lost
    table, lost = stage.writes, victim["image_id"]
    errors = rows(output, "errors")
    assert errors and {(row["stage"], row["label"], row["retry"]) for row in errors} == {
        (name, victim["label"], True)
    }
    assert {row["image_id"] or row["uri"] for row in errors} == {victim["uri"] if name == "images" else lost}
    assert all(row["reason"] == f"FloatingPointError: {ODD}" for row in errors)
    # Several studies look at a photograph, each for itself.
    assert len(errors) == 1 or name == "studies"
    before, after = rows(undisturbed, table), rows(output, table)
    if name != "studies":
        assert lost not in {value for row in after for value in row.values() if isinstance(value, str)}
    of_others = [row for row in before if row["label"] != victim["label"]]
    assert without_measured(row for row in after if row["label"] != victim["label"]) == without_measured(of_others)
    if table in ALONE:
        others = [row for row in before if row["image_id"] != lost]
        assert without_measured(after) == without_measured(others)
    if table == "maps":
        # In a batch with one fewer; the last binary digits are another matter.
        others = {row["image_id"]: np.frombuffer(row["saliency"], np.uint8).astype(int) for row in before}
        found = {row["image_id"]: np.frombuffer(row["saliency"], np.uint8).astype(int) for row in after}
        assert found.keys() == others.keys() - {lost}
        assert all(abs(found[image_id] - others[image_id]).max() <= 1 for image_id in found)
    assert complete(output, table)


def without_measured(found: Any) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in found]


def test_what_lacks_in_one_table_stops_no_later_stage(
    undisturbed: Path, photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In each stage another photograph is lost, all of one class or the other."""
    losing = (
        ("regions", "visual_summaries.pipeline.stages.regions.salient_mask", "first row"),
        ("features", "visual_summaries.pipeline.stages.features.salient_mask", "first row"),
        ("propose", "visual_summaries.pipeline.stages.propose.salient_mask", "first row"),
        ("match", "visual_summaries.pipeline.stages.match.match_pairs", "proposals"),
        ("parts", "visual_summaries.pipeline.stages.parts.survivors", "boxes"),
        ("candidates", "visual_summaries.pipeline.stages.candidates.salient_mask", "first row"),
        ("members", "visual_summaries.pipeline.stages.members.salient_mask", "first row"),
    )
    images = rows(undisturbed, "images")
    chosen = [row["image_id"] for row in rows(undisturbed, "members")]
    images.sort(key=lambda row: (chosen.count(row["image_id"]), row["image_id"]))
    output = tmp_path / "run"
    copied(undisturbed, output, next(stage for stage in STAGES if stage.name == "regions"))
    shutil.rmtree(output / "tables" / "measurements")
    for (_, called, how), row in zip(losing, images[-len(losing) :], strict=True):
        disturb(monkeypatch, called, how, undisturbed, row, photographs)
    config = configured(photographs, output, "error_tolerance=1")
    state = run_in_process(config, [*STAGES, studies(), ReportStage()])
    assert not state.lost
    assert {card.label for card in state.last} == {"pick-up", "saxophone"}
    expected = {(name, row["image_id"]) for (name, _, _), row in zip(losing, images[-len(losing) :], strict=True)}
    # The study of summaries looks at a class's evidence as the stage does.
    expected |= {("studies", image_id) for name, image_id in expected if name == "candidates"}
    errors = rows(output, "errors")
    assert {(row["stage"], row["image_id"]) for row in errors} == expected and len(errors) == len(expected)
    assert all(complete(output, stage.writes) for stage in [*STAGES, studies()])
    assert rows(output, "metrics") and rows(output, "measurements")
