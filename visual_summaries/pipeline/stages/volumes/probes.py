"""Stage `probes`: scans → `probes`: light and shadow at each segment of the atlas, on the GPU where there is one.

A scan is a unit, alone in each forward pass: what comes of it depends on no other, and what is done stays done.
"""

from collections.abc import Sequence
from typing import Any

import torch

from visual_summaries.pipeline.data.decode import DecodeError
from visual_summaries.pipeline.explain.atlas import explain_volumes
from visual_summaries.pipeline.runtime.stage import Plan, Resources, Stage
from visual_summaries.pipeline.runtime.units import Output, Unit
from visual_summaries.pipeline.stages.constants import constants
from visual_summaries.pipeline.stages.context import apart
from visual_summaries.pipeline.stages.volumes.context import VolumeContext
from visual_summaries.pipeline.stages.volumes.inputs import ATLAS, CLASSIFIER
from visual_summaries.pipeline.stages.volumes.settings import VolumeConfig


class ProbesStage(Stage):
    """GLAS at the centers of the atlas's segments."""

    name = writes = "probes"
    reads = ("scans",)
    resources = Resources(gpu=True)
    depends_on = (ATLAS, CLASSIFIER)
    counts = "scans"
    plans_from_rows = True

    def settings(self, config: VolumeConfig) -> Any:
        method = constants("visual_summaries.pipeline.explain.atlas")
        return [config.light, config.shadow, config.mode, config.dark or 0.0, method]

    def units(self, plan: Plan) -> list[Unit]:
        units = []
        for label, paths in plan.by_label("scans").items():
            seen = set()
            for row in plan.store.read("scans", paths, ["image_id", "uri", "class_index"]).to_pylist():
                image_id = row["image_id"]
                if image_id in seen:
                    continue
                seen.add(image_id)
                units.append(
                    Unit(
                        label=label,
                        identity=(image_id, row["class_index"]),
                        items=(image_id,),
                        payload=(row["uri"], row["class_index"]),
                        divisible=True,
                        size=1,
                    )
                )
        return units

    def compute(self, worker: VolumeContext, unit: Unit, items: Sequence[str]) -> Output:
        output = Output(rows=[])
        uri, class_index = unit.payload
        for image_id in items:
            with apart(self.name, unit, {"image_id": image_id, "uri": uri}, output):
                output.rows.append(self._row(worker, unit.label, image_id, uri, class_index))
            worker.advance(unit)
        return output

    def _row(self, worker: VolumeContext, label: str, image_id: str, uri: str, class_index: int) -> dict[str, Any]:
        config = worker.config
        found = explain_volumes(
            worker.classifier.classified(worker.step),
            worker.scan(uri, image_id),
            torch.tensor([class_index], device=worker.device),
            worker.atlas,
            config.light,
            config.shadow,
            config.mode,
            worker.pass_memory,
            config.dark or 0.0,
        )
        if not found.segment_scores.isfinite().all():
            raise DecodeError("the classifier gives scores that are no finite numbers under light or shadow", image_id)
        return {
            "image_id": image_id,
            "label": label,
            "segments": worker.atlas.segments.tolist(),
            "light": found.light[0].tolist(),
            "shadow": found.shadow[0].tolist(),
        }
