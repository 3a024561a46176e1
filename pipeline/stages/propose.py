"""Stage `propose`: images and maps → `proposals`: boxes by selective search, their salient share, descriptors."""

from collections.abc import Sequence
from typing import Any

import torch

from pipeline.config import RunConfig
from pipeline.data.decode import DecodeError
from pipeline.stages.regions import cut_of, salient_mask
from pipeline.stages.stage import Plan, Stage, units_per_shard
from pipeline.stages.units import Output, Unit, error_row
from pipeline.stages.worker import WorkerContext
from pipeline.store.tables import digest
from pipeline.summarize.hog import describe
from pipeline.summarize.proposals import selective_search
from pipeline.summarize.similarity import salient_shares
from pipeline.summarize.whitening import natural_whitener
from schemas import EDGES


class ProposeStage(Stage):
    """Proposals and descriptors, shard of maps by shard of maps."""

    name = "propose"
    reads = ("images", "maps")
    writes = "proposals"
    version = 2
    uses_images = True

    def wanted(self, config: RunConfig) -> bool:
        return "proposals" in config.summaries.sources

    def settings(self, config: RunConfig) -> Any:
        proposals = config.proposals
        return [
            proposals.limit,
            proposals.minimum_side,
            cut_of(config),
            config.matching.mask_overlap,
            config.seed,
        ]

    def units(self, plan: Plan) -> list[Unit]:
        return units_per_shard(plan, "maps", also=("images",))

    def compute(self, worker: WorkerContext, unit: Unit, items: Sequence[str]) -> Output:
        config = worker.config
        photographs = worker.photographs(unit)
        whitener = natural_whitener()
        output = Output(rows=[])
        for row in worker.read(unit, "maps", ["image_id", "saliency", "saliency_shape"]):
            photograph = photographs[row["image_id"]]
            try:
                image = worker.analyzed_image(photograph).permute(1, 2, 0).contiguous().numpy()
            except DecodeError as error:
                output.errors.append(
                    error_row(self.name, unit.label, str(error), row["image_id"], photograph["uri"], retry=True)
                )
                worker.advance(unit)
                continue
            seed = int(digest(config.seed, row["image_id"], "proposals")[:12], 16)
            boxes = selective_search(image, seed, config.proposals.limit, config.proposals.minimum_side)
            shares = salient_shares(boxes, salient_mask(row, config))
            # Rounded once whitened: whitening would enlarge the rounding of what is alike in all images.
            descriptors = whitener.fold(torch.as_tensor(describe(image, boxes)).float()).half().numpy()
            for number, (box, share) in enumerate(zip(boxes.tolist(), shares.tolist(), strict=True)):
                kept = share > config.matching.mask_overlap
                reason = None if kept else f"{share:.0%} salient, not above {config.matching.mask_overlap:.0%}"
                output.rows.append(
                    {
                        "image_id": row["image_id"],
                        "label": unit.label,
                        "proposal": number,
                        **dict(zip(EDGES, box, strict=True)),
                        "salient_share": share,
                        "kept": kept,
                        "reason": reason,
                        "features": descriptors[number].tobytes(),
                    }
                )
            worker.advance(unit)
        return output
