"""Stage `match`: proposals → `matches`: proposal flow between all image pairs of a class, both prunings."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch.nn import functional

from pipeline.config import RunConfig
from pipeline.data.decode import DecodeError
from pipeline.stages.stage import Plan, Stage, units_per_class
from pipeline.stages.units import Output, Unit, error_row
from pipeline.stages.worker import WorkerContext
from pipeline.store.tables import digest
from pipeline.summarize.hog import hog_map
from pipeline.summarize.matching import match
from pipeline.summarize.proposals import REFERENCE_SIDE
from pipeline.summarize.similarity import ClassSimilarity, ImageProposals, class_similarity
from pipeline.summarize.whitening import Whitener, background_statistics, whitening
from schemas import EDGES, TABLES, make_table

SMALLEST_BACKGROUND = 96


class MatchStage(Stage):
    """Proposal flow between all image pairs of a class."""

    name = "match"
    reads = ("images", "proposals")
    writes = "matches"
    uses_images = True

    def settings(self, config: RunConfig) -> Any:
        matching = config.matching
        return [
            matching.score,
            matching.mode,
            matching.redundancy_overlap,
            matching.redundancy_area_ratio,
            matching.background_images,
            config.seed,
        ]

    def units(self, plan: Plan) -> list[Unit]:
        return units_per_class(plan, ("proposals",), also=("images",))

    def compute(self, worker: WorkerContext, unit: Unit, items: Sequence[str]) -> Output:
        settings = worker.config.matching
        table = worker.store.read("proposals", unit.inputs["proposals"])
        ids = sorted(set(table.column("image_id").to_pylist()))
        if not ids:
            reason = "no explained image has a proposal: nothing to match"
            return Output(rows=[], errors=[error_row(self.name, unit.label, reason)])
        whitener = self._whitener(worker, unit, ids)
        proposals = [_image_proposals(table, image_id, whitener) for image_id in ids]
        side = float(worker.setup.preprocessing.crop_side)

        def scores(a: ImageProposals, b: ImageProposals) -> torch.Tensor:
            return match(
                a.features,
                a.boxes,
                b.features,
                b.boxes,
                score=settings.score,
                mode=settings.mode,
                scale=side / REFERENCE_SIDE,
                size_a=(side, side),
                size_b=(side, side),
            )

        similarity = class_similarity(
            proposals, scores, settings.redundancy_overlap, settings.redundancy_area_ratio
        )
        return Output(rows=[], table=matches_table(unit.label, ids, similarity))

    def _whitener(self, worker: WorkerContext, unit: Unit, ids: list[str]) -> Whitener:
        """Whitening from the class's own images, a seeded choice of at most `background_images`."""
        seed, limit = worker.config.seed, worker.config.matching.background_images
        chosen = sorted(ids, key=lambda image_id: digest(seed, image_id, "background"))[:limit]
        photographs = worker.photographs(unit)
        side = worker.setup.preprocessing.crop_side
        maps = []
        for image_id in chosen:
            try:
                image = worker.analyzed_image(photographs[image_id])
            except DecodeError:
                continue
            if side < SMALLEST_BACKGROUND:
                # Too few cells for a window; proposals' crops are enlarged as well.
                enlarged = functional.interpolate(image[None].float(), int(REFERENCE_SIDE), mode="bilinear")[0]
                image = enlarged.round().byte()
            maps.append(hog_map(image.permute(1, 2, 0).contiguous().numpy()))
        return whitening(background_statistics(maps))


def _image_proposals(table: pa.Table, image_id: str, whitener: Whitener) -> ImageProposals:
    rows = table.filter(pa.compute.equal(table.column("image_id"), image_id)).sort_by("proposal")
    boxes = np.stack([rows.column(edge).to_numpy() for edge in EDGES], axis=1)
    features = np.stack([np.frombuffer(value, np.float16) for value in rows.column("features").to_pylist()])
    return ImageProposals(
        boxes=torch.from_numpy(boxes),
        features=whitener.fold(torch.from_numpy(features.astype(np.float32))),
        on_mask=rows.column("kept").to_numpy(zero_copy_only=False),
    )


def matches_table(label: str, ids: Sequence[str], similarity: ClassSimilarity) -> pa.Table:
    """The rows of `matches` of one class: scores a ≤ b in the order (image, proposal), then fates."""
    first, second = np.triu_indices(len(similarity.image), k=1)
    # Self matches are not symmetric: both directions of a pair within an image are stored.
    inner = similarity.image[first] == similarity.image[second]
    first, second = np.concatenate([first, second[inner]]), np.concatenate([second, first[inner]])
    positive = similarity.scores[first, second] > 0
    first, second = first[positive], second[positive]
    count = len(first)
    names = pa.array(ids, pa.string())
    values = {
        "label": pa.repeat(label, count),
        "image_a": names.take(pa.array(similarity.image[first])),
        "proposal_a": pa.array(similarity.proposal[first], pa.int32()),
        "image_b": names.take(pa.array(similarity.image[second])),
        "proposal_b": pa.array(similarity.proposal[second], pa.int32()),
        "score": pa.array(similarity.scores[first, second], pa.float32()),
        "strength": pa.nulls(count, pa.float32()),
        "kept": pa.repeat(True, count),
        "reason": pa.nulls(count, pa.string()),
    }
    schema = TABLES["matches"].schema
    scores = pa.table([values[field.name] for field in schema], schema=schema)
    return pa.concat_tables([scores, make_table("matches", _fates(label, ids, similarity))])


def _fates(label: str, ids: Sequence[str], similarity: ClassSimilarity) -> list[dict[str, Any]]:
    """One row for every proposal on the mask, with itself: its strength, and whether it was redundant."""
    rows = []
    for number, image_id in enumerate(ids):
        for position, proposal in enumerate(similarity.on_mask[number]):
            redundant = bool(similarity.redundant[number][position])
            rows.append(
                {
                    "label": label,
                    **{name: image_id for name in ("image_a", "image_b")},
                    **{name: int(proposal) for name in ("proposal_a", "proposal_b")},
                    "score": float(similarity.self_scores[number][position]),
                    "strength": float(similarity.strengths[number][position]),
                    "kept": not redundant,
                    "reason": "redundant: overlaps a stronger proposal of the image" if redundant else None,
                }
            )
    return rows
