"""Do the summaries' specialists correct the network? (visual summaries §4.4, Fig. 6.)"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pipeline.config import RunConfig
from pipeline.runtime.stage import Plan
from pipeline.runtime.units import Output, Unit
from pipeline.stages.constants import constants
from pipeline.stages.context import WorkerContext
from pipeline.stages.fusion import fused_predictions
from pipeline.stages.studies.study import Study
from pipeline.summarize.specialists import choose_alpha


class SpecialistsStudy(Study):
    """Accuracy before and after fusion, and which test photographs were corrected or spoiled, by which summary."""

    name = "specialists"
    reads = ("images", "maps", "specialists")

    def settings(self, config: RunConfig) -> Any:
        return [constants(choose_alpha)]

    def units(self, plan: Plan) -> list[Unit]:
        inputs, contents = plan.over_all(("images", "specialists"))
        labels = [(group.label, group.class_index) for group in plan.inputs.classes]
        size = sum(shard.size for shard in plan.shards["images"])
        identity = (contents, labels)
        return [Unit("", identity, ("",), inputs, payload=labels, size=size, quadratic=True)]

    def measure(self, worker: WorkerContext, unit: Unit, items: Sequence[str], output: Output) -> None:
        found = fused_predictions(worker, unit, unit.payload)
        if found is None:
            return
        names = worker.setup.class_names
        for number, image_id in enumerate(found.image_ids):
            own = replace(unit, label=str(found.labels[number]))
            before, after = int(found.before[number]), int(found.after[number])
            right = before == found.truth[number], after == found.truth[number]
            protocol: dict[str, Any] = {
                "alpha": found.alpha,
                "chosen on": found.held_out,
                "before": names[before],
                "after": names[after],
            }
            if before != after and found.deciding[number] is not None:
                protocol["by the summary"] = list(found.deciding[number])
            values = {
                "right before": right[0],
                "right after": right[1],
                "gained": float(right[1]) - float(right[0]),
                "corrected": right[1] and not right[0],
                "spoiled": right[0] and not right[1],
            }
            output.rows += [
                self.row(worker, own, variant, value, protocol, image_id) for variant, value in values.items()
            ]
