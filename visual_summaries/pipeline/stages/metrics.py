"""Stage `metrics`: all tables → `metrics`: the run's figures, per class and over all classes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from visual_summaries.pipeline.config import RunConfig
from visual_summaries.pipeline.evaluate.intervals import mean_interval
from visual_summaries.pipeline.evaluate.part_truth import part_scores
from visual_summaries.pipeline.objects import ObjectPath
from visual_summaries.pipeline.runtime.stage import Plan, Stage
from visual_summaries.pipeline.runtime.units import Output, Unit, error_row
from visual_summaries.pipeline.stages.constants import constants
from visual_summaries.pipeline.stages.context import WorkerContext
from visual_summaries.pipeline.stages.copies import copies_between_labels
from visual_summaries.pipeline.stages.fusion import fused_predictions
from visual_summaries.pipeline.stages.label_figures import label_rows
from visual_summaries.pipeline.stages.metric_rows import mean_row, metric_row
from visual_summaries.pipeline.stages.part_truth import class_truths, known_parts, truth_digest, truth_rows
from visual_summaries.pipeline.summarize.mixtures import Mixture

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


@dataclass(frozen=True)
class Classes:
    """The run's classes with their indices, the shards of each by table, and the CSV of true parts, if there is one."""

    labels: Sequence[tuple[str, int]]
    shards: Mapping[str, Mapping[str, tuple[str, ...]]]
    parts: Path | ObjectPath | None

    def units(self, whole: Unit) -> list[Unit]:
        """What a unit over all classes reads of each, so that one class at a time is held."""
        return [
            replace(whole, label=label, inputs={table: found.get(label, ()) for table, found in self.shards.items()})
            for label, _ in self.labels
        ]


class MetricsStage(Stage):
    """One unit over all classes."""

    name = "metrics"
    reads = TABLES_READ
    writes = "metrics"
    by_class = False
    version = 5

    def settings(self, config: RunConfig) -> Any:
        counted = constants(__name__, class_truths, mean_interval, part_scores, Mixture)
        return [config.seed, config.summaries.selection, config.specialists.fusion, counted]

    def units(self, plan: Plan) -> list[Unit]:
        inputs, contents = plan.over_all(TABLES_READ)
        shards = {table: plan.by_label(table) for table in TABLES_READ}
        parts = plan.inputs.parts
        truth = truth_digest(parts) if parts else None
        labels = [(group.label, group.class_index) for group in plan.inputs.classes]
        return [
            Unit(
                label="",
                identity=(contents, truth, labels),
                items=("",),
                inputs=inputs,
                payload=Classes(labels, shards, parts),
                quadratic=True,
                size=sum(shard.size for shard in plan.shards["images"]),
            )
        ]

    def compute(self, worker: WorkerContext, unit: Unit, items: Sequence[str]) -> Output:
        classes: Classes = unit.payload
        own = classes.units(unit)
        rows = [
            *self._map_figures(worker, own),
            *self._summary_figures(worker, own),
            *self._specialization(worker, unit, classes.labels),
            *(label_rows(worker, own, classes.labels) if worker.setup.independent else ()),
        ]
        if classes.parts:
            known = known_parts(classes.parts)
            truths = [one for each in own if each.label in known.names for one in class_truths(worker, each, known)]
            rows += truth_rows(truths, worker.config.seed)
        # Where a photograph may be of several classes, it is meant to be under several labels.
        said = {} if worker.setup.independent else copies_between_labels(_possible_copies(worker, own))
        return Output(rows, [error_row(self.name, label, reason) for label, reason in said.items()])

    def _map_figures(self, worker: WorkerContext, classes: Sequence[Unit]) -> list[dict[str, Any]]:
        rows: dict[tuple[str, str], dict[str, Any]] = {}
        values: dict[str, list[np.ndarray]] = {}
        for own in classes:
            table = worker.store.read("maps", own.inputs["maps"], list(MAP_FIGURES))
            for figure in MAP_FIGURES:
                numbers = table.column(figure).drop_null().to_numpy().astype(np.float64)
                if len(numbers):
                    # The place of the figure over all classes, which comes before those of single ones.
                    rows.setdefault(("", figure), {})
                    values.setdefault(figure, []).append(numbers)
                    rows[own.label, figure] = self._map_row(worker, own.label, figure, numbers)
        for figure, numbers in values.items():
            rows["", figure] = self._map_row(worker, "", figure, np.concatenate(numbers))
        return list(rows.values())

    def _map_row(self, worker: WorkerContext, label: str, figure: str, values: np.ndarray) -> dict[str, Any]:
        unit, method = MAP_FIGURES[figure]
        return self._mean_row(worker, label, figure.replace("_", " "), values, unit, method + OVER_IMAGES)

    def _summary_figures(self, worker: WorkerContext, classes: Sequence[Unit]) -> list[dict[str, Any]]:
        kept, accounted = {}, {}
        for own in classes:
            added = [row["added"] for row in worker.read(own, "summaries", ["kept", "added"]) if row["kept"]]
            kept[own.label], accounted[own.label] = len(added), sum(one or 0.0 for one in added)
        if not worker.config.summaries.by_evidence:
            method = "clusters that survive pruning by structural similarity"
            return self._of_classes(worker, "summaries", kept, "", method)
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
            "over test images, which took part neither in the summaries nor in the choice of their strength; 95 % "
            "bootstrap interval over images"
        )
        figures = {
            "accuracy before specialists": (before, f"top-1 accuracy of the network alone {share}"),
            "accuracy after specialists": (
                after,
                f"top-1 accuracy of {found.said}, chosen on {found.held_out} held-out images, {share}",
            ),
            "accuracy gained by specialists": (
                after.astype(float) - before,
                f"difference of the two, image by image, {share}",
            ),
        }
        order = np.argsort(found.labels, kind="stable")
        there, starts = np.unique(found.labels[order], return_index=True)
        images_of = dict(zip(there.tolist(), np.split(order, starts[1:]), strict=True))
        images_of[""] = np.arange(len(order))
        return [
            self._mean_row(worker, label, name, values[images_of[label]], "share", method)
            for label in ["", *(label for label, _ in labels)]
            if label in images_of
            for name, (values, method) in figures.items()
        ]

    def _mean_row(
        self, worker: WorkerContext, label: str, metric: str, values: Sequence[float], unit: str, method: str
    ) -> dict[str, Any]:
        worker.step()
        return mean_row(label, metric, values, unit, method, worker.config.seed)


def _possible_copies(worker: WorkerContext, classes: Sequence[Unit]) -> pa.Table:
    """Rows of `images` of which several may be of one file, among them all that are."""

    def hashes(own: Unit) -> np.ndarray:
        ids = worker.store.read("images", own.inputs["images"], ["image_id"]).column("image_id").to_pylist()
        worker.step()
        return np.fromiter(map(hash, ids), np.int64, len(ids))

    every, counts = np.unique(np.concatenate([np.zeros(0, np.int64), *map(hashes, classes)]), return_counts=True)
    several = every[counts > 1]
    columns = ["image_id", "uri", "label"]
    found = [worker.store.read("images", (), columns)]
    for own in classes if len(several) else ():
        there = np.isin(hashes(own), several)
        if there.any():
            found.append(worker.store.read("images", own.inputs["images"], columns).filter(pa.array(there)))
    return pa.concat_tables(found)
