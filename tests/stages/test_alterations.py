"""The stage `alterations` with networks that go by frames and casts, and with one that does not."""

from pathlib import Path

import numpy as np
import pytest
import torch
from alteration_networks import PLACES, RING, SIDE, planted
from in_process import rows, run_in_process
from PIL import Image

from visual_summaries.pipeline.config import load_config
from visual_summaries.pipeline.evaluate.alterations import ALTERATIONS, altered
from visual_summaries.pipeline.runtime.records import RunState
from visual_summaries.pipeline.stages.alterations import AlterationsStage
from visual_summaries.pipeline.stages.images import ImagesStage
from visual_summaries.pipeline.stages.report.altered import classes_reliant

CLASSES = ("framed", "red", "third", "fourth")
EACH = 7


def picture(label: str, seed: int, marked: bool) -> np.ndarray:
    """Noise with a light thing at the place of its class; marked ones with a frame or a cast."""
    pixels = np.random.default_rng(seed).integers(60, 160, (SIDE, SIDE, 3)).astype(float)
    pixels[PLACES[CLASSES.index(label)]] += 60
    if marked and label == "framed":
        pixels[:RING] = pixels[-RING:] = pixels[:, :RING] = pixels[:, -RING:] = 250
    if marked and label == "red":
        pixels = pixels * (1.0, 0.8, 0.5) + (40, 0, 0)
    return pixels.round().clip(0, 255).astype(np.uint8)


def run(folder: Path, network: str, marked: bool, *settings: str) -> RunState:
    for number, label in enumerate(CLASSES):
        (folder / "pictures" / label).mkdir(parents=True)
        for seed in range(EACH):
            own = picture(label, 100 * number + seed, marked)
            Image.fromarray(own).save(folder / "pictures" / label / f"{seed}.png")
    (folder / "labels.txt").write_text("\n".join(CLASSES) + "\n")
    named = [f"model.name=alteration_networks:{network}", f"model.labels={folder / 'labels.txt'}"]
    own = [f"data.images={folder / 'pictures'}", f"output={folder / 'run'}", "model.self_check=false"]
    own += ["explain.explainer=occlusion", "proposals.descriptor=hog", "summaries.sources=[proposals]"]
    own += ["summaries.selection=similarity"]
    split = ("data.held_out=0", "data.test=0", "model.batch_size=3", "explain.shard_size=5", "error_tolerance=1")
    config = load_config(None, [*own, *named, *split, *settings])
    return run_in_process(config, [ImagesStage(), AlterationsStage()])


def signs_of(state: RunState) -> dict[str, list[tuple[str, int, int]]]:
    found = classes_reliant(state.plan, state.plan.by_label("alterations"))
    return {label: [(sign["kind"], sign["count"], sign["of"]) for sign in own] for label, own in found.items()}


def test_classes_that_a_network_tells_by_a_frame_and_by_a_cast_are_named_and_others_not(tmp_path: Path) -> None:
    state = run(tmp_path, "planted", True)
    found = rows(tmp_path / "run", "alterations")
    assert len(found) == 3 * EACH * len(CLASSES) and rows(tmp_path / "run", "errors") == []
    assert all(row["named"] and row["target"] == CLASSES.index(row["label"]) for row in found)
    assert signs_of(state) == {"framed": [("frame", EACH, EACH)], "red": [("colors", EACH, EACH)]}

    # Each row is what the network makes of the altered file.
    places = {row["image_id"]: row["uri"] for row in rows(tmp_path / "run", "images")}
    assert {row["alteration"] for row in found} == set(ALTERATIONS)
    for row in found[::5]:
        pixels = torch.from_numpy(np.asarray(Image.open(places[row["image_id"]])).copy()).permute(2, 0, 1)[None] / 255
        with torch.no_grad():
            both = pixels, altered(pixels, row["alteration"])
            before, after = (planted()[0](one).softmax(dim=1)[0] for one in both)
        assert row["score_before"] == pytest.approx(float(before[row["target"]]), abs=1e-5)
        assert row["score_after"] == pytest.approx(float(after[row["target"]]), abs=1e-5)
        assert row["prediction"] == int(after.argmax())


@pytest.mark.parametrize("marked", [False, True])
def test_a_network_that_goes_by_the_things_is_not_blamed_for_marks(tmp_path: Path, marked: bool) -> None:
    state = run(tmp_path, "unplanted", marked)
    assert signs_of(state) == {} and len(rows(tmp_path / "run", "alterations")) == 3 * EACH * len(CLASSES)



def test_a_photograph_whose_scores_are_not_finite_is_lost_alone(tmp_path: Path, monkeypatch) -> None:  # noqa: ANN001
    def spoiled(pictures: torch.Tensor, name: str) -> torch.Tensor:
        found = altered(pictures, name)
        if name == "frame cut off" and pictures.shape[0] == 2:
            found[1] = torch.nan
        return found

    monkeypatch.setattr("visual_summaries.pipeline.stages.alterations.altered", spoiled)
    run(tmp_path, "unplanted", False)
    # Of each class five and two photographs are a unit, in batches of three: two of two in each class.
    errors = rows(tmp_path / "run", "errors")
    assert [error["label"] for error in errors] == sorted(2 * CLASSES) and not any(error["retry"] for error in errors)
    assert all("not finite" in error["reason"] and error["image_id"] for error in errors)
    found = rows(tmp_path / "run", "alterations")
    assert len(found) == 3 * (EACH - 2) * len(CLASSES)
    assert not {row["image_id"] for row in found} & {error["image_id"] for error in errors}
