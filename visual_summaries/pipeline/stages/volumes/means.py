"""Stage `segment_means`: segments → `segment_means`: what the segments come to over the scans of a class."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from visual_summaries.pipeline.evaluate.segments import segment_means
from visual_summaries.pipeline.runtime.stage import Plan, Stage, units_per_class
from visual_summaries.pipeline.runtime.units import Output, Unit, known
from visual_summaries.pipeline.stages.constants import constants
from visual_summaries.pipeline.stages.volumes.context import VolumeContext
from visual_summaries.pipeline.stages.volumes.inputs import ATLAS, NAMES
from visual_summaries.pipeline.stages.volumes.settings import VolumeConfig


class MeansStage(Stage):
    """Means with intervals, ranked."""

    name, writes = "means", "segment_means"
    reads = ("segments",)
    depends_on = (ATLAS, NAMES)
    counts = "scans"

    def settings(self, config: VolumeConfig) -> Any:
        return [config.seed, constants(segment_means)]

    def units(self, plan: Plan) -> list[Unit]:
        return units_per_class(plan, ("segments",))

    def compute(self, worker: VolumeContext, unit: Unit, items: Sequence[str]) -> Output:
        atlas = worker.atlas
        segments, sizes = atlas.segments.tolist(), atlas.sizes.tolist()
        scans: dict[str, list[float]] = {}
        for row in worker.read(unit, "segments", ["image_id", "score"]):
            scans.setdefault(row["image_id"], []).append(row["score"])
        if not scans:
            return Output([])
        means = segment_means(np.array(list(scans.values())), worker.config.seed)
        return Output(
            [
                {
                    "label": unit.label,
                    "segment": segment,
                    "name": worker.labels.names.get(segment),
                    "voxels": sizes[at],
                    "center": atlas.points.positions[at].tolist(),
                    "scans": len(scans),
                    "score": float(means.score[at]),
                    "low": known(means.intervals[at, 0]),
                    "high": known(means.intervals[at, 1]),
                    "relative": float(means.relative[at]),
                    "first": means.first[at],
                    "rank": means.ranks[at],
                }
                for at, segment in enumerate(segments)
            ]
        )
