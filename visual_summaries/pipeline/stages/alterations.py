"""Stage `alterations`: images → `alterations`: what each photograph is named without its frame, and in even colors."""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch

from visual_summaries.pipeline.config import RunConfig
from visual_summaries.pipeline.evaluate.alterations import ALTERATIONS, altered
from visual_summaries.pipeline.explain.interface import class_scores
from visual_summaries.pipeline.runtime.stage import Plan, Resources, Stage
from visual_summaries.pipeline.runtime.units import Output, Unit, error_row
from visual_summaries.pipeline.stages.constants import constants
from visual_summaries.pipeline.stages.context import WorkerContext, decoded_images
from visual_summaries.pipeline.stages.explain import explained_class, units_of_explained
from visual_summaries.pipeline.stages.images import predicted_class

COLUMNS = ["image_id", "uri", "class_index", "prediction", "prediction_score", "score", "explained"]
NOT_FINITE = "the scores of the altered photograph are not finite (NaN or infinity): check the network"


class AlterationsStage(Stage):
    """Names every photograph that is to be explained again after each alteration, a pass through the network each."""

    name = "alterations"
    reads = ("images",)
    writes = "alterations"
    resources = Resources(gpu=True)
    depends_on = ("classifier",)

    def settings(self, config: RunConfig) -> Any:
        return [config.explain.target, constants(__name__, altered)]

    def units(self, plan: Plan) -> list[Unit]:
        return units_of_explained(plan)

    def compute(self, worker: WorkerContext, unit: Unit, items: Sequence[str]) -> Output:
        rows = {row["image_id"]: row for row in worker.read(unit, "images", COLUMNS) if row["explained"]}
        targets = {image_id: explained_class(worker.config, rows[image_id]) for image_id in items}
        # Where nothing is predicted there is nothing to explain either; the stage `explain` reports it.
        wanted = [image_id for image_id in items if targets[image_id] is not None]
        worker.advance(unit, len(items) - len(wanted))
        output = Output(rows=[])
        decoded = decoded_images(worker, self.name, unit, rows, wanted, output)
        while batch := list(islice(decoded, worker.config.model.batch_size)):
            pictures = torch.stack([picture for _, picture in batch]).to(worker.device)
            after = {name: self._scores(worker, altered(pictures, name)) for name in ALTERATIONS}
            for at, (image_id, _) in enumerate(batch):
                own = {name: scores[at] for name, scores in after.items()}
                if all(np.isfinite(scores).all() for scores in own.values()):
                    output.rows += _rows(worker, unit.label, rows[image_id], targets[image_id], own)
                else:
                    uri = rows[image_id]["uri"]
                    output.errors.append(error_row(self.name, unit.label, NOT_FINITE, image_id, uri))
            worker.advance(unit, len(batch))
        return output

    def _scores(self, worker: WorkerContext, pictures: torch.Tensor) -> np.ndarray:
        worker.step()
        with torch.no_grad():
            logits = worker.classifier.logits(pictures)
            return class_scores(worker.classifier, logits).cpu().numpy()


def _rows(
    worker: WorkerContext, label: str, row: Mapping[str, Any], target: int, after: Mapping[str, np.ndarray]
) -> list[dict[str, Any]]:
    """One row an alteration; `target`: the class that is explained; `after`: scores `[K]` by its name."""
    before = row["score"] if target == row["class_index"] else row["prediction_score"]
    return [
        {
            "image_id": row["image_id"],
            "label": label,
            "alteration": name,
            "target": target,
            "named": row["prediction"] == target,
            "score_before": before,
            "score_after": float(scores[target]),
            "prediction": predicted_class(scores, target, worker.setup.independent),
        }
        for name, scores in after.items()
    ]
