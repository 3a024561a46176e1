"""Stage `specialize`: summaries → `specialists`: one linear machine per kept summary."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.config import RunConfig
from pipeline.runtime.stage import Plan, Stage
from pipeline.runtime.units import Output, Unit, error_row
from pipeline.stages.constants import constants
from pipeline.stages.context import WorkerContext
from pipeline.store.tables import digest
from pipeline.summarize.specialists import train_specialist

IMAGE_COLUMNS = ["image_id", "label", "split", "features"]


class SpecializeStage(Stage):
    """Trains the specialists of a class against images of all others."""

    name = "specialize"
    reads = ("images", "members", "summaries")
    writes = "specialists"
    by_class = False

    def settings(self, config: RunConfig) -> Any:
        return [config.specialists.model_dump(), config.seed, constants(train_specialist)]

    def units(self, plan: Plan) -> list[Unit]:
        images = plan.by_label("images")
        everything = tuple(path for paths in images.values() for path in paths)
        members, summaries = plan.by_label("members"), plan.by_label("summaries")
        contents = {table: plan.contents(table) for table in ("members", "summaries")}
        others = digest(list(plan.contents("images").items()))
        return [
            Unit(
                label=label,
                identity=(contents["members"][label], contents["summaries"][label], others),
                items=(label,),
                size=plan.images_in("summaries", label),
                inputs={"members": members[label], "summaries": paths, "images": everything},
                quadratic=True,
            )
            for label, paths in summaries.items()
        ]

    def compute(self, worker: WorkerContext, unit: Unit, items: Sequence[str]) -> Output:
        settings, seed = worker.config.specialists, worker.config.seed
        columns = ["summary", "cluster", "kept"]
        summaries = [row for row in worker.read(unit, "summaries", columns) if row["kept"]]
        images_of = defaultdict(list)
        for row in worker.read(unit, "members", ["cluster", "image_id", "kept"]):
            if row["kept"]:
                images_of[row["cluster"]].append(row["image_id"])
        own, others = self._features(worker, unit, settings.negatives_per_class)
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
                settings.regularization,
                seed,
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

    def _features(
        self, worker: WorkerContext, unit: Unit, limit: int
    ) -> tuple[dict[str, np.ndarray], list[np.ndarray]]:
        """Features of the class's own images by id, and of at most `limit` images of each other class.

        Only images of the split `fit` are used; shards are read one by one.
        """
        own: dict[str, np.ndarray] = {}
        others: dict[str, list[tuple[str, np.ndarray]]] = defaultdict(list)
        for path in unit.inputs["images"]:
            worker.step()
            for row in worker.store.read("images", [path], IMAGE_COLUMNS).to_pylist():
                if row["split"] != "fit" or row["features"] is None:
                    continue
                features = np.frombuffer(row["features"], np.float16)
                if row["label"] == unit.label:
                    own[row["image_id"]] = features
                else:
                    rank = digest(worker.config.seed, row["image_id"], "negative")
                    others[row["label"]].append((rank, features))
            for label, candidates in others.items():
                others[label] = sorted(candidates, key=lambda candidate: candidate[0])[:limit]
        return own, [features for label in sorted(others) for _, features in others[label]]
