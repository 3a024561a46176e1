"""The explain stage on a worker of the test's own: what becomes of images that cannot be explained, and of the rest."""

import numpy as np
import pytest
import scipy.ndimage
import torch
from torch import Tensor

from visual_summaries.pipeline.config import load_config
from visual_summaries.pipeline.data.decode import DecodeError, read_image
from visual_summaries.pipeline.explain.registry import EXPLAINERS, make_explainer
from visual_summaries.pipeline.models.classifier import ClassifierError
from visual_summaries.pipeline.models.loading import load_classifier
from visual_summaries.pipeline.models.preparation import PreparedClassifier
from visual_summaries.pipeline.runtime.units import Unit
from visual_summaries.pipeline.stages.context import FATAL_IN_WORKER, prefetched
from visual_summaries.pipeline.stages.explain import ExplainStage, explainer_name, own_settings, preset_of
from visual_summaries.pipeline.stages.regions import cut_of, salient_mask
from visual_summaries.schemas import make_table

SIDE = 32


class Network:
    """Class 1 for contrast between neighbors; not a number for an image whose first pixel is pure red."""

    baseline = torch.tensor([0.5, 0.5, 0.5])

    def logits(self, images: Tensor) -> Tensor:
        contrast = (images[..., 1:] - images[..., :-1]).abs().mean(dim=(1, 2, 3))
        logits = torch.stack([torch.zeros_like(contrast), 60 * contrast - 10], dim=1)
        red = (images[:, 0, 0, 0] > 0.99) & (images[:, 1, 0, 0] < 0.01)
        return torch.where(red[:, None], torch.nan, logits)


class Worker:
    """Serves pictures by id and counts what it is told."""

    device = torch.device("cpu")
    prepared_classifier = Network()

    def __init__(self, pictures: dict[str, Tensor | None], *settings: str) -> None:
        self.pictures = pictures
        self.settings = settings
        self.config = load_config(None, ["explain.batch_size=2", *settings])
        self.advanced, self.prediction = 0, 1
        self.reached: list[float] = []

    def read(self, unit: Unit, table: str, columns: list[str]) -> list[dict]:
        row = {"class_index": 1, "prediction": self.prediction, "explained": True}
        return [row | {"image_id": name, "uri": f"{name}.png"} for name in self.pictures]

    def analyzed_image(self, row: dict, margin: int = 0) -> Tensor:
        if self.pictures[row["image_id"]] is None:
            raise DecodeError("broken file")
        return self.pictures[row["image_id"]]

    def advance(self, unit: Unit, images: int = 1) -> None:
        self.advanced += images

    def reach(self, unit: Unit, work: float) -> None:
        # An image that leaves counts whole before it is handed out.
        assert work >= self.advanced - sum(picture is None for picture in self.pictures.values())
        self.reached.append(work)


def pictures(count: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(2)
    drawn = torch.randint(1, 250, (count, 3, SIDE, SIDE), dtype=torch.uint8, generator=generator)
    return {f"image {number}": picture for number, picture in enumerate(drawn)}


def explain(worker: Worker):  # noqa: ANN201
    unit = Unit("label", (), tuple(worker.pictures), name="unit", size=len(worker.pictures))
    output = ExplainStage().compute(worker, unit, tuple(worker.pictures))
    make_table("maps", output.rows)
    return output


def test_bad_images_are_listed_and_the_others_are_as_ever() -> None:
    clean = explain(Worker(pictures(5), "explain.preset=fast"))
    assert [row["image_id"] for row in clean.rows] == list(pictures(5)) and not clean.errors
    spoiled = pictures(5)
    spoiled["image 1"] = spoiled["image 1"].clone()
    spoiled["image 1"][:, 0, 0] = torch.tensor([255, 0, 0])
    spoiled["image 3"] = None
    worker = Worker(spoiled, "explain.preset=fast")
    output = explain(worker)
    assert [(row["image_id"], row["retry"]) for row in output.errors] == [("image 1", False), ("image 3", True)]
    assert "not finite" in output.errors[0]["reason"] and output.errors[1]["reason"] == "broken file"
    # Of the four that could be read three took 58 steps and one was given up after its first, two at a time.
    assert worker.advanced == 5 and worker.reached[-1] == 4 and worker.reached == sorted(worker.reached)
    assert 100 < len(worker.reached) < 200 and worker.reached[0] == pytest.approx(2 / 58)
    kept = {row["image_id"]: row for row in clean.rows}
    assert [row["image_id"] for row in output.rows] == ["image 0", "image 2", "image 4"]
    for row in output.rows:
        found, expected = (np.frombuffer(r["saliency"], np.uint8).astype(int) for r in (row, kept[row["image_id"]]))
        assert np.abs(found - expected).max() <= 1 and expected.max() > 200
        assert row["iterations"] == kept[row["image_id"]]["iterations"] == 58


FEW = (
    "explain.preset=fast",
    "explain.glas.grid=8",
    "explain.glas.rounds=2",
    "explain.rise.masks=100",
    "explain.sampling={steps: 5, noisy_copies: 5, lime: 40}",
)


# The demo's network has two fully connected layers, for which there is no CAM.
@pytest.mark.parametrize("name", ["crisp:robust", *(name for name in EXPLAINERS if name != "cam")])
def test_every_explainer_fills_the_same_table(name: str, demo_folder) -> None:  # noqa: ANN001
    name, _, preset = name.partition(":")
    few = [*FEW, f"explain.preset={preset}"] if preset else FEW
    classifier = load_classifier("demo")
    files = sorted(demo_folder.rglob("*.png"))[:2]
    drawn = {file.stem: classifier.preprocessing.analyzed_image(read_image(str(file)).image) for file in files}
    worker = Worker(drawn, f"explain.explainer={name}", "explain.target=prediction", *few)
    # In double precision, because in single another batch size rounds differently, and an optimization carries that on.
    worker.prepared_classifier = PreparedClassifier(classifier, "float64")
    prediction = classifier.logits(torch.stack(list(drawn.values())).float() / 255).argmax(dim=1)
    assert (prediction == prediction[0]).all()
    worker.prediction = int(prediction[0])
    output = explain(worker)
    assert not output.errors and worker.advanced == 2
    channels = 3 if name in ("fgvis", "feature-cam") else 1
    assert [row["saliency_shape"] for row in output.rows] == [[channels, 128, 128]] * 2
    assert {row["explainer"].partition(":")[0] for row in output.rows} == {name}
    explainer = make_explainer(name, *own_settings(worker.config.explain))
    for row in output.rows:
        assert 1 <= row["iterations"] <= explainer.passes
        area = salient_mask(row, worker.config).mean()
        assert 0 < area < 0.5
        removes = name in ("crisp", "fgvis", "glas", "rglas", "meaningful-perturbation", "thresholded-perturbation")
        assert (row["score_after"] is not None) == (row["drop"] is not None) == removes
        assert not removes or row["score_after"] < 0.7 * row["score_before"]
    # Neither the memory of a pass nor the company changes a map.
    alone = Worker(dict([*drawn.items()][1:]), *worker.settings, "explain.pass_memory=200000")
    alone.prepared_classifier, alone.prediction = worker.prepared_classifier, worker.prediction
    (again,) = explain(alone).rows
    found, expected = (np.frombuffer(row["saliency"], np.uint8).astype(int) for row in (again, output.rows[1]))
    assert np.abs(found - expected).mean() < 1 and again["iterations"] == output.rows[1]["iterations"]


def test_the_preset_is_the_users_or_the_explainers_own() -> None:
    """By default robust for the crisp masks, fast for the perturbations, none where there is none."""

    def made(*settings: str) -> tuple[str, list]:
        config = load_config(None, [*settings])
        return explainer_name(config), own_settings(config.explain)

    assert made() == ("crisp:robust", ["robust", None])
    assert made("explain.preset=robust", "explain.blur=authors") == ("crisp:robust", ["robust", "authors"])
    assert made("explain.preset=fast", "explain.blur=paper") == ("crisp:fast", ["fast", "paper"])
    for name in ("meaningful-perturbation", "thresholded-perturbation"):
        assert made(f"explain.explainer={name}") == (f"{name}:fast", ["fast", None])
        assert made(f"explain.explainer={name}", "explain.preset=paper") == (f"{name}:paper", ["paper", None])
        # A run of the crisp masks is compared with others, each with what it has of the run's settings.
        compared = load_config(None, ["explain.preset=robust"]).explain.model_copy(update={"explainer": name})
        assert preset_of(compared) == "fast"
    assert preset_of(load_config(None, ["explain.explainer=grad-cam", "explain.preset=fast"]).explain) is None
    for name, entry in EXPLAINERS.items():
        assert (entry.preset is not None) == ("preset" in entry.settings), name


def test_a_network_that_the_explainer_cannot_explain_ends_the_run_at_once() -> None:
    worker = Worker(pictures(3), "explain.explainer=cam")
    worker.prepared_classifier = PreparedClassifier(load_classifier("demo"))
    with pytest.raises(ClassifierError, match="CAM needs global average pooling.* take grad-cam"):
        explain(worker)
    assert ClassifierError in FATAL_IN_WORKER


def test_prefetching_changes_nothing_and_passes_errors_on() -> None:
    assert list(prefetched(iter(range(100)), depth=3)) == list(range(100))

    def broken():  # noqa: ANN202
        yield 1
        raise OSError("gone")

    stream = prefetched(broken())
    assert next(stream) == 1
    with pytest.raises(OSError, match="gone"):
        next(stream)
    endless = prefetched(iter(int, 1), depth=2)
    assert next(endless) == 0
    endless.close()  # must not wait for ever


def test_maps_are_cut_the_explainers_way_unless_the_user_says_otherwise() -> None:
    """Against scipy's blur and numpy's quantile, on the mean over colors."""
    generator = np.random.default_rng(0)
    maps = (generator.random((3, 112, 112)) ** 8 * 255).astype(np.uint8)
    row = {"saliency": maps.tobytes(), "saliency_shape": [3, 112, 112]}
    mean = maps.mean(axis=0) / 255
    crisp = load_config(values={"explain.explainer": "crisp"})
    assert np.array_equal(salient_mask(row, crisp), mean > 0.5)
    fine = load_config(values={"explain.explainer": "fgvis"})
    # σ = 5 px of 224 are 2.5 px here.
    smooth = scipy.ndimage.gaussian_filter(mean, 2.5, mode="nearest", truncate=3)
    assert np.array_equal(salient_mask(row, fine), smooth > np.quantile(smooth, 0.9))
    given = load_config(values={"explain.explainer": "fgvis", "regions.threshold": 0.2, "regions.smoothing": 0.0})
    assert np.array_equal(salient_mask(row, given), mean > 0.2)
    shared = load_config(values={"regions.share": 0.3})
    assert np.array_equal(salient_mask(row, shared), mean > np.quantile(mean, 0.7))
    assert len({str(cut_of(config)) for config in (crisp, fine, given, shared)}) == 4
