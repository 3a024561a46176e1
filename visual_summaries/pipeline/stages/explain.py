"""Stage `explain`: images → `maps`: one saliency map per image, on the GPU where there is one."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any

import numpy as np
import torch

from visual_summaries.pipeline.config import RunConfig
from visual_summaries.pipeline.explain.crisp import binarization_error
from visual_summaries.pipeline.explain.engine import Item, explain_stream
from visual_summaries.pipeline.explain.interface import Explanation
from visual_summaries.pipeline.explain.registry import EXPLAINERS, make_explainer
from visual_summaries.pipeline.explain_settings import ExplainSettings
from visual_summaries.pipeline.runtime.settings import Location
from visual_summaries.pipeline.runtime.stage import Plan, Resources, Stage
from visual_summaries.pipeline.runtime.units import Output, Unit, error_row
from visual_summaries.pipeline.stages.constants import effective_settings
from visual_summaries.pipeline.stages.context import WorkerContext, chunks, decoded_images
from visual_summaries.pipeline.store.tables import digest

NOT_FINITE = "the explanation is not finite (NaN or infinity): check the image and the network"
NO_PREDICTION = "no class has a score of at least ½, so that there is no prediction to explain: explain.target=label"


class ExplainStage(Stage):
    """One saliency map per explained image, in shards of a class."""

    name = "explain"
    reads = ("images",)
    writes = "maps"
    resources = Resources(gpu=True)
    depends_on = ("classifier",)
    version = 4

    def settings(self, config: RunConfig) -> Any:
        return [*method_of(config), config.explain.target, config.explain.precision, config.seed]

    def units(self, plan: Plan) -> list[Unit]:
        return units_of_explained(plan)

    def compute(self, worker: WorkerContext, unit: Unit, items: Sequence[str]) -> Output:
        columns = ["image_id", "uri", "class_index", "prediction", "explained"]
        rows = {row["image_id"]: row for row in worker.read(unit, "images", columns) if row["explained"]}
        settings, output = worker.config.explain, Output(rows=[])
        targets = {image_id: explained_class(worker.config, rows[image_id]) for image_id in items}
        wanted = [image_id for image_id in items if targets[image_id] is not None]
        for image_id in set(items) - set(wanted):
            row = rows[image_id]
            output.errors.append(error_row(self.name, unit.label, NO_PREDICTION, image_id, row["uri"]))
            worker.advance(unit)

        def stream() -> Iterator[Item]:
            for image_id, image in decoded_images(worker, self.name, unit, rows, wanted, output):
                generator = image_generator(worker.config.seed, image_id, worker.device)
                yield Item(image_id, image, targets[image_id], generator)

        started = time.perf_counter()
        explainer = make_explainer(settings.explainer, *own_settings(settings), memory=settings.pass_memory)
        found = explain_stream(
            explainer,
            worker.prepared_classifier,
            stream(),
            worker.device,
            settings.batch_size,
            progress=lambda work: worker.reach(unit, work),
        )
        for image_id, explanation in found:
            self._add(worker, unit.label, rows[image_id], explanation, output)
            worker.advance(unit)
        order = {image_id: number for number, image_id in enumerate(items)}
        output.rows.sort(key=lambda row: order[row["image_id"]])
        output.errors.sort(key=lambda row: order[row["image_id"]])
        seconds = (time.perf_counter() - started) / max(1, len(output.rows))
        for row in output.rows:
            row["seconds"] = seconds
        return output

    def _add(
        self, worker: WorkerContext, label: str, row: dict[str, Any], explanation: Explanation, output: Output
    ) -> None:
        """One image's explanation as a row of `maps`, or of `errors`."""
        figures = figures_of(explanation)
        if not all(math.isfinite(value) for value in figures.values()):
            output.errors.append(error_row(self.name, label, NOT_FINITE, row["image_id"], row["uri"]))
            return
        stored = stored_saliency(explanation)
        output.rows.append(
            {
                "image_id": row["image_id"],
                "label": label,
                "explainer": explainer_name(worker.config),
                "target": explained_class(worker.config, row),
                "saliency": stored.tobytes(),
                "saliency_shape": list(stored.shape),
                "iterations": int(explanation.iterations),
                "score_after": None,
                "drop": None,
            }
            | figures
        )


def units_of_explained(plan: Plan) -> list[Unit]:
    """Units of the photographs that are to be explained, class by class."""
    units = []
    for label, paths in plan.by_label("images").items():
        rows = plan.store.read("images", paths, ["image_id", "class_index", "explained"]).to_pylist()
        chosen = {row["image_id"]: row["class_index"] for row in rows if row["explained"]}
        for ids in chunks(sorted(chosen), plan.config.explain.shard_size):
            units.append(
                Unit(
                    label=label,
                    identity=tuple((image_id, chosen[image_id]) for image_id in ids),
                    items=tuple(ids),
                    inputs={"images": paths},
                    divisible=True,
                    size=len(ids),
                )
            )
    return units


def explained_class(config: RunConfig, row: Mapping[str, Any]) -> int | None:
    """Index of the class that is explained, of a row of `images`; None where nothing is predicted."""
    return row["class_index"] if config.explain.target == "label" else row["prediction"]


def figures_of(explanation: Explanation) -> dict[str, float]:
    """One image's figures as the table `maps` names them: `score_before`, `area`, `binarization_error`, and where the
    method perturbs the image by its map `score_after` and `drop`. Any of them may not be finite."""
    before = float(explanation.score_before)
    figures = {
        "score_before": before,
        "area": float(explanation.saliency.mean()),
        "binarization_error": float(binarization_error(explanation.saliency)),
    }
    if explanation.score_after is not None:
        after = float(explanation.score_after)
        figures |= {"score_after": after, "drop": (before - after) / before if before else math.nan}
    return figures


def stored_saliency(explanation: Explanation) -> np.ndarray:
    """One image's map `[C,H,W]` uint8, as the table `maps` holds it."""
    return explanation.saliency[0].mul(255).round().byte().cpu().numpy()


def method_of(config: RunConfig) -> list[Any]:
    """What the run's maps are made by: name, version, and what its settings and presets stand for.

    Raises:
        ClassifierError: the file of an edge detector cannot be read or does not fit.
    """
    explain = config.explain
    effective = effective_settings(make_explainer(explain.explainer, *own_settings(explain)))
    return [explainer_name(config), EXPLAINERS[explain.explainer].version, effective]


def explainer_name(config: RunConfig) -> str:
    """Method and preset, as the tables name the run's explainer."""
    return ":".join([config.explain.explainer, *map(str, filter(None, own_settings(config.explain)[:1]))])


def own_settings(settings: ExplainSettings) -> list[Any]:
    """What the run's explainer is made with."""
    names = EXPLAINERS[settings.explainer].settings
    own = [preset_of(settings) if name == "preset" else attrgetter(name)(settings) for name in names]
    return [value.path if isinstance(value, Location) else value for value in own]


def preset_of(settings: ExplainSettings) -> str | None:
    """The preset of the run's explainer: the user's or its own; None where it has none."""
    own = EXPLAINERS[settings.explainer].preset
    given = settings.preset
    if given == "robust" and own != "robust":
        # A paper's experiments go through several explainers with the settings of one run.
        given = None
    return own and (given or own)


def image_generator(seed: int, image_id: str, device: torch.device) -> torch.Generator:
    """Random numbers of one image: by (run seed, image id), whatever its batch, order or worker."""
    number = int(digest(seed, image_id)[:15], 16)
    return torch.Generator(device=device).manual_seed(number)
