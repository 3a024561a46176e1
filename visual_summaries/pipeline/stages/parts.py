"""Stage `parts`: scores and proposals → `matches`: which proposals of a class stay, and the scores among these."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as compute
import torch

from visual_summaries.pipeline.config import RunConfig
from visual_summaries.pipeline.runtime.stage import Plan, Stage, units_per_class
from visual_summaries.pipeline.runtime.units import Output, Unit
from visual_summaries.pipeline.stages.constants import constants
from visual_summaries.pipeline.stages.context import WorkerContext, apart
from visual_summaries.pipeline.summarize.similarity import BestScores, Edges, Survivors, class_edges, survivors
from visual_summaries.schemas import EDGES, TABLES


@dataclass(frozen=True)
class _Image:
    """An image's proposals: boxes `[M,4]` and whether each lies on the mask."""

    boxes: np.ndarray
    on_mask: np.ndarray


class PartsStage(Stage):
    """Prunes what is redundant, once all pairs of a class have been matched; reads a block's scores at a time."""

    name = "parts"
    reads = ("scores", "proposals")
    writes = "matches"

    def wanted(self, config: RunConfig) -> bool:
        return config.summaries.with_proposals

    def settings(self, config: RunConfig) -> Any:
        own = [config.matching.redundancy_overlap, config.matching.redundancy_area_ratio]
        return [*own, constants(survivors)]

    def units(self, plan: Plan) -> list[Unit]:
        return units_per_class(plan, ("proposals", "scores"))

    def compute(self, worker: WorkerContext, unit: Unit, items: Sequence[str]) -> Output:
        ids, images = _read_images(worker, unit)
        place = {image_id: number for number, image_id in enumerate(ids)}
        best = [BestScores(int(image.on_mask.sum())) for image in images]
        for row in _rows(worker, unit, best_scores=True):
            best[place[row["image_a"]]].add(torch.from_numpy(_values(row)))
        matching = worker.config.matching
        output, found = Output(rows=[]), {}
        for image_id, image, scores in zip(ids, images, best, strict=True):
            with apart(self.name, unit, {"image_id": image_id, "uri": None}, output):
                found[image_id] = survivors(
                    image.boxes, image.on_mask, scores, matching.redundancy_overlap, matching.redundancy_area_ratio
                )
        ids, fates = list(found), list(found.values())
        place = {image_id: number for number, image_id in enumerate(ids)}
        own = [np.zeros(len(fate.on_mask), dtype=np.float32) for fate in fates]

        def blocks() -> Iterator[tuple[int, int, np.ndarray]]:
            for row in _rows(worker, unit, best_scores=False):
                if row["image_a"] not in place or row["image_b"] not in place:
                    continue
                a, b = place[row["image_a"]], place[row["image_b"]]
                block = _values(row)
                if a == b:
                    own[a] = np.diagonal(block).copy()
                yield a, b, block

        edges, starts = class_edges(blocks(), fates)
        output.table = matches_table(unit.label, ids, fates, own, edges, starts)
        return output


def _read_images(worker: WorkerContext, unit: Unit) -> tuple[list[str], list[_Image]]:
    columns = ["image_id", "proposal", *EDGES, "kept"]
    table = worker.store.read("proposals", unit.inputs["proposals"], columns)
    table = table.take(compute.sort_indices(table, [("image_id", "ascending"), ("proposal", "ascending")]))
    ids, first = np.unique(table.column("image_id").to_numpy(), return_index=True)
    boxes = np.stack([table.column(edge).to_numpy() for edge in EDGES], axis=1)
    on_mask = table.column("kept").to_numpy()
    ends = [*first[1:], len(table)]
    return ids.tolist(), [_Image(boxes[a:b], on_mask[a:b]) for a, b in zip(first, ends, strict=True)]


def _rows(worker: WorkerContext, unit: Unit, best_scores: bool) -> Iterator[dict[str, Any]]:
    """Rows of `scores`, one shard in memory at a time."""
    for path in unit.inputs["scores"]:
        table = worker.store.read("scores", [path])
        worker.step()
        of_best = compute.is_null(table.column("image_b"))
        yield from table.filter(of_best if best_scores else compute.invert(of_best)).to_pylist()


def _values(row: dict[str, Any]) -> np.ndarray:
    return np.frombuffer(row["values"], np.float32).reshape(row["shape"]).copy()


def matches_table(
    label: str,
    ids: Sequence[str],
    fates: Sequence[Survivors],
    own: Sequence[np.ndarray],
    edges: Edges,
    starts: np.ndarray,
) -> pa.Table:
    """The rows of `matches` of one class: scores a ≤ b in the order (image, proposal), then fates.

    Args:
        own: per image, `[K]` the scores of its proposals on the mask with themselves.
        edges, starts: as `class_edges` gives them.
    """
    image = np.repeat(np.arange(len(ids)), np.diff(starts))
    proposal = np.concatenate([np.zeros(0, np.int64), *(fate.on_mask[fate.kept] for fate in fates)])
    # Self matches are not symmetric: both directions of a pair within an image are stored.
    inside = (image[edges.first] == image[edges.second]) & (edges.first != edges.second)
    stored = (edges.first < edges.second) | inside
    first, second, scores = (part[stored] for part in (edges.first, edges.second, edges.scores))
    order = np.lexsort((second, first, first > second))
    first, second, scores = first[order], second[order], scores[order]
    fated = np.repeat(np.arange(len(ids)), [len(fate.on_mask) for fate in fates])
    redundant = ~np.concatenate([np.zeros(0, bool), *(fate.kept for fate in fates)])
    themselves = np.concatenate([np.zeros(0, np.int64), *(fate.on_mask for fate in fates)])
    count, total = len(first), len(first) + len(fated)
    names = pa.array(ids, pa.string())

    def image_column(numbers: np.ndarray) -> pa.Array:
        return pa.DictionaryArray.from_arrays(pa.array(np.concatenate([image[numbers], fated]), pa.int32()), names)

    def joined(values: np.ndarray, others: np.ndarray, kind: pa.DataType) -> pa.Array:
        return pa.array(np.concatenate([values, others]), kind)

    reason = pa.array(["redundant: overlaps a stronger proposal of the image"], pa.string())
    values = {
        "label": pa.repeat(label, total),
        "image_a": image_column(first),
        "proposal_a": joined(proposal[first], themselves, pa.int32()),
        "image_b": image_column(second),
        "proposal_b": joined(proposal[second], themselves, pa.int32()),
        "score": joined(scores, np.concatenate([np.zeros(0, np.float32), *own]), pa.float32()),
        "strength": pa.concat_arrays(
            [
                pa.nulls(count, pa.float32()),
                pa.array(np.concatenate([np.zeros(0, np.float32), *(f.strengths for f in fates)]), pa.float32()),
            ]
        ),
        "kept": joined(np.ones(count, bool), ~redundant, pa.bool_()),
        "reason": reason.take(
            pa.array(np.zeros(total, np.int64), mask=~np.concatenate([np.zeros(count, bool), redundant]))
        ),
    }
    schema = TABLES["matches"].schema
    return pa.table([values[field.name] for field in schema], schema=schema)
