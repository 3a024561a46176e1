"""Stage `members`: candidates or clusters → `members`: where each summary is in each image, outlined and measured."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from visual_summaries.pipeline.config import RunConfig
from visual_summaries.pipeline.evaluate.part_evidence import part_evidence
from visual_summaries.pipeline.explain.perturbation import FixedBlur
from visual_summaries.pipeline.runtime.stage import Plan, Resources, Stage, units_per_class
from visual_summaries.pipeline.runtime.units import Output, Unit, known
from visual_summaries.pipeline.stages.constants import constants
from visual_summaries.pipeline.stages.context import WorkerContext, apart, own_rows
from visual_summaries.pipeline.stages.pruned_clusters import CLUSTER_COLUMNS, pruned_clusters
from visual_summaries.pipeline.stages.regions import blur_of, blurred_drops, cut_of, salient_mask
from visual_summaries.pipeline.store.tables import digest
from visual_summaries.pipeline.summarize.outline import convex_hull, part_pixels, touched_regions
from visual_summaries.pipeline.summarize.pruning import structural_similarities
from visual_summaries.pipeline.summarize.regions import decode_run_length
from visual_summaries.schemas import EDGES

EVIDENCE = ("necessity", "random_necessity", "sufficiency", "random_sufficiency", "region_sufficiency")
RANDOM_PLACES = 1
_NOT_PRUNED = {
    **dict.fromkeys(("proposal", "ssim", "share_below", "cluster_ssim", "class_ssim", "cluster_reason", "reason")),
    "kept": True,
}


class MembersStage(Stage):
    """Chooses, judges, outlines and measures the members of every summary to be."""

    name = "members"
    reads = ("images", "maps", "regions", "clusters", "candidates")
    writes = "members"
    resources = Resources(gpu=True)
    depends_on = ("classifier",)
    version = 3

    def settings(self, config: RunConfig) -> Any:
        pruning = None if config.summaries.by_evidence else config.pruning.model_dump()
        own = [pruning, config.summaries.measured, cut_of(config), blur_of(config), config.seed]
        found = () if pruning is None else (structural_similarities, FixedBlur)
        return [*own, config.summaries.selection, constants(__name__, part_evidence, part_pixels, *found)]

    def units(self, plan: Plan) -> list[Unit]:
        source = "candidates" if plan.config.summaries.by_evidence else "clusters"
        return units_per_class(plan, (source, "regions", "maps"), also=("images",), apart="maps")

    def compute(self, worker: WorkerContext, unit: Unit, items: Sequence[str]) -> Output:
        output = Output(rows=[])
        if worker.config.summaries.by_evidence:
            columns = ["candidate", "image_id", *EDGES, "segment", "side", "likeness", "source", "rank"]
            rows = [row for row in worker.read(unit, "candidates", columns) if row["rank"] is not None]
            rows = own_rows(unit, rows, items)
            images = self._images(worker, unit, {row["image_id"] for row in rows}, output)
            groups = chosen_candidates(rows, images)
        else:
            rows = own_rows(unit, worker.read(unit, "clusters", CLUSTER_COLUMNS), items)
            images = self._images(worker, unit, {row["image_id"] for row in rows}, output)
            groups = pruned_clusters(worker, rows, images)
        shown = self._shown(worker, unit, groups, images, output)
        for number, members in groups.items():
            left = [member for member in members if (number, member["image_id"]) in shown]
            for rank, member in enumerate(left):
                own = shown[number, member["image_id"]]
                output.rows.append({"label": unit.label, "cluster": number, "rank": rank, **member, **own})
        return output

    def _images(
        self, worker: WorkerContext, unit: Unit, wanted: set[str], output: Output
    ) -> dict[str, torch.Tensor]:
        """Analyzed images uint8 `[3,S,S]` of the class by id."""
        images = {}
        for image_id, row in worker.photographs(unit).items():
            if image_id in wanted:
                with apart(self.name, unit, row, output):
                    images[image_id] = worker.analyzed_image(row)
        return images

    def _shown(
        self,
        worker: WorkerContext,
        unit: Unit,
        groups: Mapping[int, list[dict[str, Any]]],
        images: Mapping[str, torch.Tensor],
        output: Output,
    ) -> dict[tuple[int, str], dict[str, Any]]:
        """Outline, touched regions and evidence of every member, image by image: (group, image id) → columns.

        The members of an image that cannot be measured are not there.
        """
        regions = defaultdict(list)
        for row in worker.read(unit, "regions", ["image_id", "region", "run_length"]):
            regions[row["image_id"]].append(row)
        by_image = defaultdict(list)
        for number, members in groups.items():
            measured = _measured(worker.config, number, members)
            for member in members:
                by_image[member["image_id"]].append((number, member, member["image_id"] in measured))
        shown, photographs = {}, worker.photographs(unit)
        columns = ["image_id", "target", "saliency", "saliency_shape"]
        for row in worker.read(unit, "maps", columns):
            if row["image_id"] in by_image:
                worker.step()
                with apart(self.name, unit, photographs[row["image_id"]], output):
                    found = _shown_in_image(
                        worker, row, images[row["image_id"]], regions[row["image_id"]], by_image[row["image_id"]]
                    )
                    for (number, _, _), own in zip(by_image[row["image_id"]], found, strict=True):
                        shown[number, row["image_id"]] = own
        return shown


def chosen_candidates(
    places: Sequence[Mapping[str, Any]], images: Mapping[str, torch.Tensor]
) -> dict[int, list[dict[str, Any]]]:
    """Candidate → columns of `members` of its places, rows of `candidates`, the one most like the others first.

    `images`: by id; members of others are left out.
    """
    found = defaultdict(list)
    for row in places:
        if row["image_id"] in images:
            found[row["candidate"]].append(row)
    groups = {}
    for number, rows in sorted(found.items()):
        rows.sort(key=lambda row: (row["likeness"] is None, -(row["likeness"] or 0), row["image_id"]))
        names = ("image_id", *EDGES, "segment", "side", "source")
        groups[number] = [
            {**{name: row[name] for name in names}, "similarity": row["likeness"], **_NOT_PRUNED} for row in rows
        ]
    return groups


def member_pixels(member: Mapping[str, Any], salient: np.ndarray) -> np.ndarray:
    """The pixels `[H,W]` bool of a row of `members`: of the salient ones those in its box and in its cells, if any."""
    box, cells, side = np.array([member[edge] for edge in EDGES]), member["segment"], member["side"]
    return part_pixels(salient, box, None if cells is None else decode_run_length(cells, (side, side)))


def _measured(config: RunConfig, number: int, members: Sequence[Mapping[str, Any]]) -> set[str]:
    """Image ids of the members whose evidence is measured: a random choice of those that are kept."""
    kept = [member["image_id"] for member in members if member["kept"]]
    kept.sort(key=lambda image_id: digest(config.seed, image_id, number, "measured"))
    return set(kept[: config.summaries.measured])


def _shown_in_image(
    worker: WorkerContext,
    row: Mapping[str, Any],
    image: torch.Tensor,
    regions: Sequence[Mapping[str, Any]],
    members: Sequence[tuple[int, Mapping[str, Any], bool]],
) -> list[dict[str, Any]]:
    salient = salient_mask(row, worker.config)
    regions = sorted(regions, key=lambda region: region["region"])
    masks = [decode_run_length(region["run_length"], salient.shape) for region in regions]
    found, parts, unions = [], [], []
    for _, member, _ in members:
        box = np.array([member[edge] for edge in EDGES])
        parts.append(member_pixels(member, salient))
        if member["segment"] is None:
            touched = touched_regions(masks, box)
        else:
            touched = [number for number, mask in enumerate(masks) if (mask & parts[-1]).any()]
        unions.append(np.any([masks[number] for number in touched], axis=0) if touched else np.zeros_like(salient))
        found.append(
            {
                "hull": convex_hull(parts[-1], box).ravel().tolist(),
                "regions": [regions[number]["region"] for number in touched],
                "drop": None,
                **dict.fromkeys(EVIDENCE),
            }
        )
    if not worker.config.summaries.by_evidence:
        for columns, drop in zip(found, blurred_drops(worker, image, row["target"], unions), strict=True):
            columns["drop"] = drop
    measured = [at for at, (_, _, chosen) in enumerate(members) if chosen and parts[at].any()]
    if measured:
        own, whole = (np.stack([pixels[at] for at in measured]) for pixels in (parts, unions))
        evidence = part_evidence(
            worker.classifier,
            worker.model_input([image])[0],
            row["target"],
            *(torch.from_numpy(pixels).to(worker.device) for pixels in (own, whole, salient)),
            RANDOM_PLACES,
            int(digest(worker.config.seed, row["image_id"], "places")[:12], 16),
            worker.config.model.batch_size,
        )
        for name in EVIDENCE:
            for at, value in zip(measured, getattr(evidence, name).tolist(), strict=True):
                found[at][name] = known(value)
    return found
