"""Stage `members`: clusters → `members`: one proposal per image and cluster, pruned by structural similarity."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from pipeline.config import RunConfig
from pipeline.data.decode import DecodeError
from pipeline.stages.regions import blur_of, blurred_drops, cut_of, salient_mask
from pipeline.stages.stage import Plan, Stage, units_per_class
from pipeline.stages.units import Output, Unit, error_row
from pipeline.stages.worker import WorkerContext
from pipeline.summarize.outline import convex_hull, touched_regions
from pipeline.summarize.pruning import (
    PrunedCluster,
    choose_members,
    gray_crops,
    prune_clusters,
    structural_similarities,
)
from pipeline.summarize.regions import decode_run_length
from schemas import EDGES


class MembersStage(Stage):
    """Chooses, judges and outlines the members of every cluster."""

    name = "members"
    reads = ("images", "maps", "regions", "clusters")
    writes = "members"
    uses_model = True
    version = 2

    def settings(self, config: RunConfig) -> Any:
        return [config.pruning.model_dump(), cut_of(config), blur_of(config)]

    def units(self, plan: Plan) -> list[Unit]:
        return units_per_class(plan, ("clusters", "regions", "maps"), also=("images",))

    def compute(self, worker: WorkerContext, unit: Unit, items: Sequence[str]) -> Output:
        output = Output(rows=[])
        rows = worker.read(unit, "clusters", ["image_id", "proposal", *EDGES, "cluster", "exemplar", "similarity"])
        images = self._images(worker, unit, {row["image_id"] for row in rows}, output)
        clusters = defaultdict(list)
        for row in rows:
            if row["cluster"] is not None and row["image_id"] in images:
                clusters[row["cluster"]].append(row)
        chosen = {number: self._choose(worker, parts) for number, parts in sorted(clusters.items())}
        settings = worker.config.pruning
        judged = prune_clusters(
            [self._similarities(members, images) for members in chosen.values()],
            settings.minimum_members,
            settings.cluster_threshold,
            settings.member_share,
        )
        shown = self._shown(worker, unit, chosen, images)
        for (number, members), verdict in zip(chosen.items(), judged, strict=True):
            for rank, member in enumerate(members):
                output.rows.append(
                    {
                        "label": unit.label,
                        "cluster": number,
                        **{name: member[name] for name in ("image_id", "proposal", *EDGES, "similarity")},
                        "rank": rank,
                        **_verdict_columns(verdict, rank),
                        **shown[member["image_id"], member["proposal"]],
                    }
                )
        return output

    def _images(
        self, worker: WorkerContext, unit: Unit, wanted: set[str], output: Output
    ) -> dict[str, torch.Tensor]:
        """Analyzed images uint8 `[3,S,S]` of the class by id."""
        images = {}
        for image_id, row in worker.photographs(unit).items():
            if image_id in wanted:
                try:
                    images[image_id] = worker.analyzed_image(row)
                except DecodeError as error:
                    output.errors.append(
                        error_row(self.name, unit.label, str(error), image_id, row["uri"], retry=True)
                    )
        return images

    def _choose(self, worker: WorkerContext, parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
        exemplar = next((position for position, part in enumerate(parts) if part["exemplar"]), 0)
        order = choose_members(
            np.array([part["image_id"] for part in parts]),
            np.array([part["similarity"] for part in parts]),
            exemplar,
            worker.config.pruning.maximum_members,
        )
        return [parts[position] for position in order]

    def _similarities(self, members: list[dict[str, Any]], images: dict[str, torch.Tensor]) -> np.ndarray:
        boxes = np.array([[member[edge] for edge in EDGES] for member in members])
        width, height = np.rint(boxes[0, 2:] - boxes[0, :2]).astype(int)
        pictures = [images[member["image_id"]].permute(1, 2, 0).numpy() for member in members]
        return structural_similarities(gray_crops(pictures, boxes, (height, width)))

    def _shown(
        self,
        worker: WorkerContext,
        unit: Unit,
        chosen: dict[int, list[dict[str, Any]]],
        images: dict[str, torch.Tensor],
    ) -> dict[tuple[str, int], dict[str, Any]]:
        """Outline, touched regions and their joint drop for every member, image by image."""
        regions = defaultdict(list)
        for row in worker.read(unit, "regions", ["image_id", "region", "run_length"]):
            regions[row["image_id"]].append(row)
        by_image = defaultdict(list)
        for members in chosen.values():
            for member in members:
                by_image[member["image_id"]].append(member)
        shown = {}
        columns = ["image_id", "target", "saliency", "saliency_shape"]
        for row in worker.read(unit, "maps", columns):
            members = by_image[row["image_id"]]
            if not members:
                continue
            salient = salient_mask(row, worker.config)
            own = sorted(regions[row["image_id"]], key=lambda region: region["region"])
            masks = [decode_run_length(region["run_length"], salient.shape) for region in own]
            boxes = [np.array([member[edge] for edge in EDGES]) for member in members]
            touched = [touched_regions(masks, box) for box in boxes]
            unions = [
                np.any([masks[number] for number in numbers], axis=0) if numbers else np.zeros_like(salient)
                for numbers in touched
            ]
            drops = blurred_drops(worker, images[row["image_id"]], row["target"], unions)
            for member, box, numbers, drop in zip(members, boxes, touched, drops, strict=True):
                shown[row["image_id"], member["proposal"]] = {
                    "hull": convex_hull(salient, box).ravel().tolist(),
                    "regions": [own[number]["region"] for number in numbers],
                    "drop": drop,
                }
        return shown


def _verdict_columns(verdict: PrunedCluster, rank: int) -> dict[str, Any]:
    def known(value: float) -> float | None:
        return None if np.isnan(value) else float(value)

    reason = verdict.member_reason[rank]
    return {
        "ssim": known(verdict.member_median[rank]),
        "share_below": known(verdict.share_below[rank]),
        "cluster_ssim": known(verdict.cluster_median),
        "class_ssim": known(verdict.class_median),
        "cluster_reason": verdict.reason,
        "kept": reason is None and verdict.reason is None,
        "reason": reason or (f"its cluster: {verdict.reason}" if verdict.reason else None),
    }
