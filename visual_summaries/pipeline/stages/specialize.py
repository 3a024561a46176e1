"""Stage `specialize`: summaries → `specialists`: one linear machine per kept summary."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from visual_summaries.pipeline.config import RunConfig
from visual_summaries.pipeline.runtime.stage import Plan, Stage, units_per_class
from visual_summaries.pipeline.runtime.units import Output, Unit, error_row
from visual_summaries.pipeline.stages.constants import constants
from visual_summaries.pipeline.stages.context import WorkerContext
from visual_summaries.pipeline.summarize.specialists import train_specialist

OF_THE_CLASS = ("summaries", "members", "images")


class SpecializeStage(Stage):
    """Trains the specialists of a class against the negatives of all others."""

    name = "specialize"
    reads = (*OF_THE_CLASS, "negatives")
    writes = "specialists"
    version = 2

    def settings(self, config: RunConfig) -> Any:
        return [config.specialists.regularization, config.seed, constants(train_specialist)]

    def units(self, plan: Plan) -> list[Unit]:
        negatives = plan.shards["negatives"]
        contents = tuple(shard.content for shard in negatives)
        paths = {"negatives": tuple(shard.path for shard in negatives)}
        return [
            replace(unit, identity=(*unit.identity, contents), inputs={**unit.inputs, **paths})
            for unit in units_per_class(plan, OF_THE_CLASS)
        ]

    def compute(self, worker: WorkerContext, unit: Unit, items: Sequence[str]) -> Output:
        columns = ["summary", "cluster", "kept"]
        summaries = [row for row in worker.read(unit, "summaries", columns) if row["kept"]]
        if not summaries:
            return Output([])
        images_of = defaultdict(list)
        for row in worker.read(unit, "members", ["cluster", "image_id", "kept"]):
            if row["kept"]:
                images_of[row["cluster"]].append(row["image_id"])
        ids, own = _own_features(worker, unit)
        others = _negative_features(worker, unit, ids)
        output = Output(rows=[])
        for row in summaries:
            worker.step()
            positives = [image_id for image_id in images_of[row["cluster"]] if image_id in own]
            rest = {image_id for ids in images_of.values() for image_id in ids if image_id in own}
            siblings = sorted(rest - set(positives))
            negatives = [own[image_id] for image_id in siblings] + others
            if not positives or not negatives:
                reason = f"summary {row['summary']} has no image of another class or summary to be told from"
                output.errors.append(error_row(self.name, unit.label, reason))
                continue
            machine = train_specialist(
                np.stack([own[image_id] for image_id in positives]),
                np.stack(negatives),
                worker.config.specialists.regularization,
                worker.config.seed,
            )
            output.rows.append(
                {
                    "label": unit.label,
                    "summary": row["summary"],
                    "coefficients": machine.coefficients.tobytes(),
                    "intercept": machine.intercept,
                    "positives": len(positives),
                    "negatives": len(negatives),
                    "fit_accuracy": machine.fit_accuracy,
                }
            )
        return output


def _own_features(worker: WorkerContext, unit: Unit) -> tuple[set[str], dict[str, np.ndarray]]:
    """Ids of all the class's images, and features of those of the split `fit` by id."""
    rows = worker.read(unit, "images", ["image_id", "split", "features"])
    return {row["image_id"] for row in rows}, {
        row["image_id"]: np.frombuffer(row["features"], np.float16)
        for row in rows
        if row["split"] == "fit" and row["features"] is not None
    }


def _negative_features(worker: WorkerContext, unit: Unit, own: Collection[str]) -> list[np.ndarray]:
    """Features of the photographs drawn of all other classes, but for those `own` that are of this class as well."""
    return [
        np.frombuffer(row["features"], np.float16)
        for row in worker.read(unit, "negatives", ["label", "image_id", "features"])
        if row["label"] != unit.label and row["image_id"] not in own
    ]
