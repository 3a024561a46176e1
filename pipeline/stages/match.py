"""Stage `match`: pairs and proposals → `scores`: proposal flow between the image pairs of a block of work."""

from collections.abc import Sequence
from typing import Any

import pyarrow.compute as compute

from pipeline.config import RunConfig
from pipeline.runtime.stage import Plan, Stage
from pipeline.runtime.units import Output, Unit
from pipeline.stages.constants import constants
from pipeline.stages.context import WorkerContext
from pipeline.stages.image_proposals import read_proposals
from pipeline.summarize.conv_descriptors import conv_descriptors
from pipeline.summarize.pair_scores import Matching, match_pairs


class MatchStage(Stage):
    """Proposal flow, block of image pairs by block of image pairs."""

    name = "match"
    reads = ("pairs", "proposals", "features")
    writes = "scores"
    depends_on = ("preprocessing",)
    counts = "pairs"
    plans_from_rows = True

    def wanted(self, config: RunConfig) -> bool:
        return config.summaries.with_proposals

    def settings(self, config: RunConfig) -> Any:
        own = [config.matching.score, config.matching.mode, config.proposals.descriptor]
        return [*own, constants(match_pairs, conv_descriptors)]

    def units(self, plan: Plan) -> list[Unit]:
        proposals, units = plan.by_label("proposals"), []
        features = plan.by_label("features") if plan.config.proposals.descriptor == "conv" else {}
        for label, paths in plan.by_label("pairs").items():
            tasks = compute.value_counts(plan.store.read("pairs", paths, ["task"]).column("task")).to_pylist()
            units += [
                Unit(
                    label=label,
                    identity=(paths, proposals[label], features.get(label, ()), task["values"]),
                    items=(f"{label} {task['values']}",),
                    inputs={"pairs": paths, "proposals": proposals[label], "features": features.get(label, ())},
                    payload=task["values"],
                    size=task["counts"],
                )
                for task in tasks
            ]
        return units

    def compute(self, worker: WorkerContext, unit: Unit, items: Sequence[str]) -> Output:
        pairs = worker.store.read(
            "pairs", unit.inputs["pairs"], ["image_a", "image_b"], where=("task", [unit.payload])
        ).to_pylist()
        ids = sorted({row[side] for row in pairs for side in ("image_a", "image_b")})
        place = {image_id: number for number, image_id in enumerate(ids)}
        images = read_proposals(worker, unit, ids)
        settings = worker.config.matching
        found = match_pairs(
            images,
            [(place[row["image_a"]], place[row["image_b"]]) for row in pairs],
            Matching(settings.score, settings.mode, float(worker.setup.preprocessing.crop_side)),
            progress=lambda done: worker.advance(unit, done),
            device=worker.device,
        )
        rows = [
            {"label": unit.label, **pair, "shape": list(block.shape), "values": block.tobytes()}
            for pair, block in zip(pairs, found.blocks, strict=True)
        ]
        for number, best in sorted(found.best.items()):
            values = best.values.float().cpu().numpy()
            rows.append(
                {
                    "label": unit.label,
                    "image_a": ids[number],
                    "image_b": None,
                    "shape": list(values.shape),
                    "values": values.tobytes(),
                }
            )
        return Output(rows=rows)
