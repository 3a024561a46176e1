"""Stage `metrics`: all tables → `metrics`: the run's figures, per class and over all classes."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.config import RunConfig
from pipeline.evaluate.intervals import mean_interval
from pipeline.evaluate.part_truth import part_scores
from pipeline.runtime.stage import Plan, Stage
from pipeline.runtime.units import Output, Unit, error_row
from pipeline.stages.constants import constants
from pipeline.stages.context import WorkerContext
from pipeline.stages.copies import copies_between_labels
from pipeline.stages.fusion import fused_predictions
from pipeline.stages.metric_rows import mean_row, metric_row
from pipeline.stages.part_truth import class_truths, truth_digest, truth_rows
from pipeline.summarize.specialists import choose_alpha

TABLES_READ = ("images", "maps", "members", "summaries", "specialists")

MAP_FIGURES = {
    "drop": (
        "share",
        "relative drop of the target's score when the salient pixels are removed as the explainer removes them; mean",
    ),
    "area": ("share", "mean saliency, share of pixels; mean"),
    "binarization_error": ("0..1", "mean 4m(1−m) of the map, 0 for a binary one; mean"),
}
OVER_IMAGES = " over explained images, 95 % bootstrap interval over images"


class MetricsStage(Stage):
    """One unit over all classes."""

    name = "metrics"
    reads = TABLES_READ
    writes = "metrics"
    by_class = False
    version = 4

    def settings(self, config: RunConfig) -> Any:
        counted = constants(__name__, class_truths, mean_interval, part_scores, choose_alpha)
        return [config.seed, config.summaries.selection, counted]

    def units(self, plan: Plan) -> list[Unit]:
        inputs = {table: tuple(shard.path for shard in plan.shards[table]) for table in TABLES_READ}
        contents = [[table, [shard.content for shard in plan.shards[table]]] for table in TABLES_READ]
        parts = plan.inputs.parts
        truth = truth_digest(parts) if parts else None
        labels = [(group.label, group.class_index) for group in plan.inputs.classes]
        return [
            Unit(
                label="",
                identity=(contents, truth, labels),
                items=("",),
                inputs=inputs,
                payload=(labels, parts),
                quadratic=True,
                size=sum(shard.size for shard in plan.shards["images"]),
            )
        ]

    def compute(self, worker: WorkerContext, unit: Unit, items: Sequence[str]) -> Output:
        labels, parts = unit.payload
        rows = [
            *self._map_figures(worker, unit),
            *self._summary_figures(worker, unit, [label for label, _ in labels]),
            *self._specialization(worker, unit, labels),
        ]
        if parts:
            rows += truth_rows(class_truths(worker, unit, parts), worker.config.seed)
        images = worker.store.read("images", unit.inputs["images"], ["image_id", "uri", "label"])
        said = copies_between_labels(images)
        return Output(rows, [error_row(self.name, label, reason) for label, reason in said.items()])

    def _map_figures(self, worker: WorkerContext, unit: Unit) -> list[dict[str, Any]]:
        values = defaultdict(list)
        for row in worker.read(unit, "maps", ["label", *MAP_FIGURES]):
            for figure in MAP_FIGURES:
                if row[figure] is not None:
                    values["", figure].append(row[figure])
                    values[row["label"], figure].append(row[figure])
        return [
            self._mean_row(worker, label, figure.replace("_", " "), numbers, unit_of, method + OVER_IMAGES)
            for (label, figure), numbers in values.items()
            for unit_of, method in (MAP_FIGURES[figure],)
        ]

    def _summary_figures(self, worker: WorkerContext, unit: Unit, labels: list[str]) -> list[dict[str, Any]]:
        rows = [row for row in worker.read(unit, "summaries", ["label", "kept", "added"]) if row["kept"]]
        kept = dict.fromkeys(labels, 0) | Counter(row["label"] for row in rows)
        if not worker.config.summaries.by_evidence:
            method = "clusters that survive pruning by structural similarity"
            return self._of_classes(worker, "summaries", kept, "", method)
        accounted = dict.fromkeys(labels, 0.0)
        for row in rows:
            accounted[row["label"]] += row["added"]
        method = "the fewest parts that account for the salient evidence of the class's photographs"
        share = "salient pixels of the class's photographs that are in a summary, photographs' copies counted once"
        return [
            *self._of_classes(worker, "summaries", kept, "", method),
            *self._of_classes(worker, "accounted for", accounted, "share", share),
        ]

    def _of_classes(
        self, worker: WorkerContext, name: str, values: Mapping[str, float], unit: str, method: str
    ) -> list[dict[str, Any]]:
        """A figure of each class, and its mean."""
        rows = [metric_row(label, name, value, 1, unit, method) for label, value in values.items()]
        over_classes = f"{method}; mean over classes, 95 % bootstrap interval over classes"
        return [*rows, self._mean_row(worker, "", name, list(values.values()), unit, over_classes)]

    def _specialization(
        self, worker: WorkerContext, unit: Unit, labels: list[tuple[str, int]]
    ) -> list[dict[str, Any]]:
        """Accuracy of the network, and of its fusion with the specialists, on the test images."""
        found = fused_predictions(worker, unit, labels)
        if found is None:
            return []
        before, after = found.before == found.truth, found.after == found.truth
        share = (
            "over test images, which took part neither in the summaries nor in the choice of α; 95 % bootstrap "
            "interval over images"
        )
        figures = {
            "accuracy before specialists": (before, f"top-1 accuracy of the network alone {share}"),
            "accuracy after specialists": (
                after,
                f"top-1 accuracy of α·network + (1−α)·specialists, α = {found.alpha:g} chosen on "
                f"{found.held_out} held-out images, {share}",
            ),
            "accuracy gained by specialists": (
                after.astype(float) - before,
                f"difference of the two, image by image, {share}",
            ),
        }
        result = []
        for label in ["", *(label for label, _ in labels)]:
            chosen = found.labels == label if label else np.ones(len(found.truth), bool)
            if chosen.any():
                result += [
                    self._mean_row(worker, label, name, values[chosen], "share", method)
                    for name, (values, method) in figures.items()
                ]
        return result

    def _mean_row(
        self, worker: WorkerContext, label: str, metric: str, values: Sequence[float], unit: str, method: str
    ) -> dict[str, Any]:
        worker.step()
        return mean_row(label, metric, values, unit, method, worker.config.seed)
