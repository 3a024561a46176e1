"""Do the summaries' specialists correct the network? (visual summaries §4.4, Fig. 6.)"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from visual_summaries.pipeline.config import RunConfig
from visual_summaries.pipeline.runtime.stage import Plan
from visual_summaries.pipeline.runtime.units import Output, Unit
from visual_summaries.pipeline.stages.constants import constants
from visual_summaries.pipeline.stages.context import WorkerContext, chunks
from visual_summaries.pipeline.stages.fusion import AT_ONCE, Fusion, fused_predictions
from visual_summaries.pipeline.stages.studies.study import StudiesStage, Study
from visual_summaries.pipeline.summarize.mixtures import Mixture
from visual_summaries.schemas import make_table

AMONG = "among the classes of the run"


class SpecialistsStudy(Study):
    """Accuracy before and after fusion, of all the network's classes and among those of the run, and which test
    photographs were corrected or spoiled, by which summary."""

    name = "specialists"
    reads = ("images", "maps", "specialists")
    version = 2

    def settings(self, config: RunConfig) -> Any:
        return [config.specialists.fusion, constants(Mixture)]

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
        # As columns, some images at a time: rows of a hundred thousand test images would fill the memory.
        order = sorted(range(len(found.image_ids)), key=found.image_ids.__getitem__)
        parts = []
        for some in chunks(order, AT_ONCE):
            parts.append(make_table(StudiesStage.writes, self._rows(worker, unit, found, some)))
            worker.step()
        output.table = pa.concat_tables(parts)

    def _rows(
        self, worker: WorkerContext, unit: Unit, found: Fusion, numbers: Sequence[int]
    ) -> Iterator[dict[str, Any]]:
        """Rows of some test images, in the order of figures."""
        names = worker.setup.class_names
        for number in numbers:
            image_id, own = found.image_ids[number], replace(unit, label=str(found.labels[number]))
            before, after = int(found.before[number]), int(found.after[number])
            truth = found.truth[number]
            right = before == truth, after == truth
            among = found.before_among[number] == truth, found.after_among[number] == truth
            protocol: dict[str, Any] = {
                "fusion": found.way,
                "strength": found.strength,
                "chosen on": found.held_out,
                "before": names[before],
                "after": names[after],
            }
            if before != after and found.deciding[number] is not None:
                protocol["by the summary"] = list(found.deciding[number])
            values = {
                "corrected": right[1] and not right[0],
                "gained": float(right[1]) - float(right[0]),
                f"gained {AMONG}": float(among[1]) - float(among[0]),
                "right after": right[1],
                f"right after {AMONG}": among[1],
                "right before": right[0],
                f"right before {AMONG}": among[0],
                "spoiled": right[0] and not right[1],
            }
            for variant, value in values.items():
                yield self.row(worker, own, variant, value, protocol, image_id)
