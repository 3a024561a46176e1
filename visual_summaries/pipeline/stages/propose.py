"""Stage `propose`: images and maps → `proposals`: boxes by selective search, their salient share, descriptors."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from visual_summaries.pipeline.config import RunConfig
from visual_summaries.pipeline.runtime.stage import Plan, Stage, units_per_shard
from visual_summaries.pipeline.runtime.units import Output, Unit
from visual_summaries.pipeline.settings import ProposalSettings
from visual_summaries.pipeline.stages.constants import constants
from visual_summaries.pipeline.stages.context import WorkerContext, apart, own_rows
from visual_summaries.pipeline.stages.regions import cut_of, salient_mask
from visual_summaries.pipeline.store.tables import digest
from visual_summaries.pipeline.summarize.hog import describe
from visual_summaries.pipeline.summarize.proposals import FAST, PUBLISHED, selective_search, with_surroundings
from visual_summaries.pipeline.summarize.similarity import salient_shares
from visual_summaries.pipeline.summarize.whitening import natural_whitener
from visual_summaries.schemas import EDGES

SEARCHES = {"fast": FAST, "published": PUBLISHED}


class ProposeStage(Stage):
    """Proposals and descriptors, shard of maps by shard of maps."""

    name = "propose"
    reads = ("images", "maps")
    writes = "proposals"
    version = 3
    depends_on = ("preprocessing",)

    def wanted(self, config: RunConfig) -> bool:
        return config.summaries.with_proposals

    def settings(self, config: RunConfig) -> Any:
        proposals = config.proposals
        hog = proposals.descriptor == "hog"
        return [
            proposals.search,
            proposals.limit,
            proposals.minimum_side,
            proposals.descriptor,
            proposals.components if hog else None,
            cut_of(config),
            config.matching.mask_overlap,
            config.seed,
            asdict(SEARCHES[proposals.search]),
            constants(selective_search, salient_shares, *((describe, natural_whitener) if hog else ())),
        ]

    def units(self, plan: Plan) -> list[Unit]:
        return units_per_shard(plan, "maps", also=("images",))

    def compute(self, worker: WorkerContext, unit: Unit, items: Sequence[str]) -> Output:
        photographs = worker.photographs(unit)
        output = Output(rows=[])
        for row in own_rows(unit, worker.read(unit, "maps", ["image_id", "saliency", "saliency_shape"]), items):
            photograph = photographs[row["image_id"]]
            with apart(self.name, unit, photograph, output):
                output.rows += self._rows(worker, unit.label, row, photograph)
            worker.advance(unit)
        return output

    def _rows(
        self, worker: WorkerContext, label: str, row: Mapping[str, Any], photograph: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        """The proposals of an image, from its rows of `maps` and `images`."""
        config = worker.config
        settings, mask_overlap = config.proposals, config.matching.mask_overlap
        image = worker.analyzed_image(photograph).permute(1, 2, 0).contiguous().numpy()
        seed = int(digest(config.seed, row["image_id"], "proposals")[:12], 16)
        boxes = searched_boxes(image, seed, settings)
        shares = salient_shares(boxes, salient_mask(row, config))
        if len(boxes) > settings.limit:
            chosen = with_surroundings(shares > mask_overlap, settings.limit)
            boxes, shares = boxes[chosen], shares[chosen]
        # Rounded once whitened: whitening would enlarge the rounding of what is alike in all images.
        descriptors = stored_descriptors(image, boxes, settings).astype(np.float16)
        rows = []
        for number, (box, share) in enumerate(zip(boxes.tolist(), shares.tolist(), strict=True)):
            kept = share > mask_overlap
            rows.append(
                {
                    "image_id": row["image_id"],
                    "label": label,
                    "proposal": number,
                    **dict(zip(EDGES, box, strict=True)),
                    "salient_share": share,
                    "kept": kept,
                    "reason": None if kept else f"{share:.0%} salient, not above {mask_overlap:.0%}",
                    "features": descriptors[number].tobytes(),
                }
            )
        return rows


def searched_boxes(image: np.ndarray, seed: int, settings: ProposalSettings) -> np.ndarray:
    """Boxes `[M,4]` float32 of an image, uint8 `[H,W,3]`.

    The published search is cut to its limit here, at random; for the fast one the mask chooses later.
    """
    limit = settings.limit if settings.search == "published" else None
    return selective_search(image, seed, limit, settings.minimum_side, search=SEARCHES[settings.search])


def stored_descriptors(image: np.ndarray, boxes: np.ndarray, settings: ProposalSettings) -> np.ndarray:
    """What is stored of each box to compare it by, float32 `[M,D]`; of `conv` nothing, D = 0: `image_proposals`."""
    if settings.descriptor == "conv":
        return np.zeros((len(boxes), 0), np.float32)
    return natural_whitener(settings.components).whiten(describe(image, boxes)).numpy()
