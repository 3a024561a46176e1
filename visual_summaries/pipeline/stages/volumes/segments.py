"""Stage `segments`: scans, probes → `segments`: one score for each scan and segment, named and ranked."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from visual_summaries.pipeline.evaluate.segments import ranks
from visual_summaries.pipeline.runtime.stage import Plan, Stage, units_per_class
from visual_summaries.pipeline.runtime.units import Output, Unit, error_row
from visual_summaries.pipeline.stages.volumes.context import VolumeContext
from visual_summaries.pipeline.stages.volumes.inputs import NAMES
from visual_summaries.pipeline.stages.volumes.settings import VolumeConfig


class SegmentsStage(Stage):
    """Light times shadow, a class at a time; says which scans are copies of others."""

    name = writes = "segments"
    reads = ("scans", "probes")
    depends_on = (NAMES,)
    counts = "scans"

    def settings(self, config: VolumeConfig) -> Any:
        return []

    def units(self, plan: Plan) -> list[Unit]:
        return units_per_class(plan, ("probes", "scans"))

    def compute(self, worker: VolumeContext, unit: Unit, items: Sequence[str]) -> Output:
        output = Output(rows=[])
        names = worker.labels.names
        for row in worker.read(unit, "probes"):
            scores = np.array(row["light"]) * np.array(row["shadow"])
            columns = (row["segments"], scores.tolist(), row["light"], row["shadow"], ranks(scores))
            for segment, score, light, shadow, rank in zip(*columns, strict=True):
                output.rows.append(
                    {
                        "image_id": row["image_id"],
                        "label": unit.label,
                        "segment": segment,
                        "name": names.get(segment),
                        "score": score,
                        "light": light,
                        "shadow": shadow,
                        "rank": rank,
                    }
                )
        first: dict[str, str] = {}
        for row in worker.read(unit, "scans", ["image_id", "uri"]):
            uri = first.setdefault(row["image_id"], row["uri"])
            if uri != row["uri"]:
                reason = f"the same scan, byte for byte, as {uri}"
                output.errors.append(error_row(self.name, unit.label, reason, row["image_id"], row["uri"]))
        return output
