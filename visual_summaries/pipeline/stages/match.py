"""Stage `match`: pairs and proposals → `scores`: proposal flow between the image pairs of a block of work."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow.compute as compute

from visual_summaries.pipeline.config import RunConfig
from visual_summaries.pipeline.runtime.stage import Plan, Stage
from visual_summaries.pipeline.runtime.units import Output, Unit
from visual_summaries.pipeline.stages.constants import constants
from visual_summaries.pipeline.stages.context import WorkerContext, apart
from visual_summaries.pipeline.stages.image_proposals import read_proposals
from visual_summaries.pipeline.store.tables import TableStore
from visual_summaries.pipeline.summarize.conv_descriptors import conv_descriptors
from visual_summaries.pipeline.summarize.pair_scores import Matching, match_pairs

SIDES = ("image_a", "image_b")


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
        tables = ("pairs", "proposals", *(("features",) if plan.config.proposals.descriptor == "conv" else ()))
        paths_of = {table: plan.by_label(table) for table in tables}
        contents = {table: plan.contents(table) for table in tables}
        units = []
        for label, paths in paths_of["pairs"].items():
            inputs = {table: found.get(label, ()) for table, found in paths_of.items()}
            identity = [found.get(label, ()) for found in contents.values()]
            tasks = compute.value_counts(plan.store.read("pairs", paths, ["task"]).column("task")).to_pylist()
            units += [
                Unit(
                    label=label,
                    identity=(*identity, task["values"]),
                    items=(f"{label} {task['values']}",),
                    inputs=inputs,
                    payload=task["values"],
                    size=task["counts"],
                )
                for task in tasks
            ]
        return units

    def lost(self, store: TableStore, unit: Unit) -> set[str]:
        pairs = store.read("pairs", unit.inputs["pairs"], list(SIDES), where=("task", [unit.payload]))
        return {image_id for side in SIDES for image_id in pairs.column(side).to_pylist()}

    def compute(self, worker: WorkerContext, unit: Unit, items: Sequence[str]) -> Output:
        pairs = worker.store.read(
            "pairs", unit.inputs["pairs"], list(SIDES), where=("task", [unit.payload])
        ).to_pylist()
        try:
            return Output(rows=_scores(worker, unit, pairs))
        except Exception:
            # One image of the block may be all that is wrong.
            output, sound = Output(rows=[]), set()
            for image_id in _ids(pairs):
                with apart(self.name, unit, {"image_id": image_id, "uri": None}, output):
                    _scores(worker, unit, [dict.fromkeys(SIDES, image_id)])
                    sound.add(image_id)
            if not output.errors or not sound:
                raise
        output.rows += _scores(worker, unit, [pair for pair in pairs if sound.issuperset(pair.values())])
        return output


def _ids(pairs: Sequence[Mapping[str, str]]) -> list[str]:
    """The images of pairs, in order."""
    return sorted({pair[side] for pair in pairs for side in SIDES})


def _scores(worker: WorkerContext, unit: Unit, pairs: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
    """Rows of `scores` of some pairs of the unit's class."""
    ids = _ids(pairs)
    place = {image_id: number for number, image_id in enumerate(ids)}
    images = read_proposals(worker, unit, ids)
    settings = worker.config.matching
    found = match_pairs(
        images,
        [(place[pair["image_a"]], place[pair["image_b"]]) for pair in pairs],
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
    return rows
