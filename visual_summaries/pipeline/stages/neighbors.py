"""Stage `neighbors`: images and proposals → `pairs`: which images of a class are matched, in blocks of work."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as compute

from visual_summaries.pipeline.config import RunConfig
from visual_summaries.pipeline.runtime.stage import Plan, Stage, units_per_class
from visual_summaries.pipeline.runtime.units import Output, Unit, error_row
from visual_summaries.pipeline.stages.constants import constants
from visual_summaries.pipeline.stages.context import WorkerContext
from visual_summaries.pipeline.summarize.neighbors import pair_graph
from visual_summaries.schemas import TABLES


class NeighborsStage(Stage):
    """All pairs of a small class; of a large one each image with its nearest neighbors."""

    name = "neighbors"
    reads = ("images", "proposals")
    writes = "pairs"

    def wanted(self, config: RunConfig) -> bool:
        return config.summaries.with_proposals

    def settings(self, config: RunConfig) -> Any:
        matching = config.matching
        return [matching.all_pairs_up_to, matching.neighbors, matching.pairs_per_task, constants(pair_graph)]

    def units(self, plan: Plan) -> list[Unit]:
        return units_per_class(plan, ("proposals", "images"))

    def compute(self, worker: WorkerContext, unit: Unit, items: Sequence[str]) -> Output:
        found = worker.store.read("proposals", unit.inputs["proposals"], ["image_id"]).column("image_id")
        ids = sorted(compute.unique(found).to_pylist())
        if not ids:
            reason = "no explained image has a proposal: nothing to match"
            return Output(rows=[], errors=[error_row(self.name, unit.label, reason)])
        settings = worker.config.matching
        features = {
            row["image_id"]: np.frombuffer(row["features"], np.float16)
            for row in worker.read(unit, "images", ["image_id", "features"])
            if row["features"] is not None
        }
        graph = pair_graph(
            np.stack([features[image_id] for image_id in ids]),
            settings.all_pairs_up_to,
            settings.neighbors,
            settings.pairs_per_task,
        )
        names, count = pa.array(ids, pa.string()), len(graph.pairs)
        values = {
            "label": pa.repeat(unit.label, count),
            "image_a": names.take(pa.array(graph.pairs[:, 0])),
            "image_b": names.take(pa.array(graph.pairs[:, 1])),
            "task": pa.array(graph.task, pa.int32()),
            "similarity": pa.array(graph.similarity, pa.float32()),
            "component": pa.array(graph.component[graph.pairs[:, 0]], pa.int32()),
        }
        schema = TABLES["pairs"].schema
        return Output(rows=[], table=pa.table([values[field.name] for field in schema], schema=schema))
