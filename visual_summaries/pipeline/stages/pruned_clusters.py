"""The members of clusters of proposals, chosen and pruned by structural similarity."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from visual_summaries.pipeline.runtime.units import known
from visual_summaries.pipeline.stages.context import WorkerContext
from visual_summaries.pipeline.summarize.pruning import (
    PrunedCluster,
    choose_members,
    gray_crops,
    prune_clusters,
    structural_similarities,
)
from visual_summaries.schemas import EDGES

CLUSTER_COLUMNS = ["image_id", "proposal", *EDGES, "cluster", "exemplar", "similarity"]


def pruned_clusters(
    worker: WorkerContext, places: Sequence[Mapping[str, Any]], images: Mapping[str, torch.Tensor]
) -> dict[int, list[dict[str, Any]]]:
    """Cluster → columns of `members` of those that it has before pruning, the exemplar first.

    Args:
        places: rows of `clusters`, with `CLUSTER_COLUMNS`.
        images: analyzed images uint8 `[3,S,S]` by id; members of others are left out.
    """
    clusters = defaultdict(list)
    for row in places:
        if row["cluster"] is not None and row["image_id"] in images:
            clusters[row["cluster"]].append(row)
    chosen = {number: _choose(worker, parts) for number, parts in sorted(clusters.items())}
    settings = worker.config.pruning
    judged = prune_clusters(
        [_similarities(members, images) for members in chosen.values()],
        settings.minimum_members,
        settings.cluster_threshold,
        settings.member_share,
    )
    return {
        number: [
            {
                "source": "proposals",
                "segment": None,
                "side": None,
                **{name: member[name] for name in ("image_id", "proposal", *EDGES, "similarity")},
                **_verdict_columns(verdict, rank),
            }
            for rank, member in enumerate(members)
        ]
        for (number, members), verdict in zip(chosen.items(), judged, strict=True)
    }


def _choose(worker: WorkerContext, parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    exemplar = next((position for position, part in enumerate(parts) if part["exemplar"]), 0)
    order = choose_members(
        np.array([part["image_id"] for part in parts]),
        np.array([part["similarity"] for part in parts]),
        exemplar,
        worker.config.pruning.maximum_members,
    )
    return [parts[position] for position in order]


def _similarities(members: list[dict[str, Any]], images: Mapping[str, torch.Tensor]) -> np.ndarray:
    boxes = np.array([[member[edge] for edge in EDGES] for member in members])
    width, height = np.rint(boxes[0, 2:] - boxes[0, :2]).astype(int)
    pictures = [images[member["image_id"]].permute(1, 2, 0).numpy() for member in members]
    return structural_similarities(gray_crops(pictures, boxes, (height, width)))


def _verdict_columns(verdict: PrunedCluster, rank: int) -> dict[str, Any]:
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
