"""Stage `scans`: scans → `scans`: which can be read and lie as the atlas does, and what the classifier says of them."""

from collections.abc import Sequence
from typing import Any

import torch

from visual_summaries.pipeline.data.decode import DecodeError
from visual_summaries.pipeline.data.volumes.scans import scan_id
from visual_summaries.pipeline.explain.interface import scores_of_images
from visual_summaries.pipeline.runtime.stage import Plan, Resources, Stage
from visual_summaries.pipeline.runtime.units import Output, Unit, error_row
from visual_summaries.pipeline.stages.constants import constants
from visual_summaries.pipeline.stages.context import apart, chunks
from visual_summaries.pipeline.stages.images import file_states
from visual_summaries.pipeline.stages.volumes.context import VolumeContext
from visual_summaries.pipeline.stages.volumes.inputs import ATLAS, CLASSIFIER, scan_path
from visual_summaries.pipeline.stages.volumes.settings import VolumeConfig

SCANS_PER_UNIT = 16


class ScansStage(Stage):
    """Reads and classifies every scan, one at a time."""

    name = writes = "scans"
    resources = Resources(gpu=True)
    depends_on = (ATLAS, CLASSIFIER)
    counts = "scans"

    def settings(self, config: VolumeConfig) -> Any:
        return [config.dark is not None, constants("visual_summaries.pipeline.data.volumes.atlas")]

    def units(self, plan: Plan) -> list[Unit]:
        units = []
        for group in plan.inputs.classes:
            states = file_states(group.uris)
            for uris in chunks(group.uris, SCANS_PER_UNIT):
                units.append(
                    Unit(
                        label=group.label,
                        identity=(group.class_index, tuple((uri, *states[uri]) for uri in uris)),
                        items=tuple(uris),
                        payload=group.class_index,
                        divisible=True,
                        size=len(uris),
                    )
                )
        return units

    def compute(self, worker: VolumeContext, unit: Unit, items: Sequence[str]) -> Output:
        output = Output(rows=[])
        for uri in items:
            with apart(self.name, unit, {"image_id": None, "uri": uri}, output):
                try:
                    output.rows.append(self._row(worker, unit, uri, scan_id(scan_path(uri))))
                except DecodeError as error:
                    # What was read and found wanting is the same another time.
                    retry = error.image_id is None
                    output.errors.append(error_row(self.name, unit.label, str(error), error.image_id, uri, retry))
            worker.advance(unit)
        return output

    @torch.no_grad()
    def _row(self, worker: VolumeContext, unit: Unit, uri: str, image_id: str) -> dict[str, Any]:
        volume = worker.scan(uri, image_id)
        scores = scores_of_images(worker.classifier.classified(worker.step), volume)[0].double().cpu()
        if not scores.isfinite().all():
            raise DecodeError("the classifier gives scores that are no finite numbers", image_id)
        prediction = int(scores.argmax())
        return {
            "image_id": image_id,
            "uri": uri,
            "label": unit.label,
            "class_index": unit.payload,
            "channels": volume.shape[1],
            "prediction": prediction,
            "prediction_score": float(scores[prediction]),
            "score": float(scores[unit.payload]),
        }

    def excluded_row(self, unit: Unit, item: str, reason: str) -> dict[str, Any]:
        return error_row(self.name, unit.label, reason, uri=item, retry=True)
