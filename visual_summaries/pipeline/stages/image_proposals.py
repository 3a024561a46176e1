"""Proposals of images, read for matching."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa
import torch

from visual_summaries.pipeline.runtime.units import Unit
from visual_summaries.pipeline.stages.context import WorkerContext
from visual_summaries.pipeline.stages.features import stored_features
from visual_summaries.pipeline.summarize.conv_descriptors import conv_descriptors
from visual_summaries.pipeline.summarize.similarity import ImageProposals
from visual_summaries.schemas import EDGES


def read_proposals(worker: WorkerContext, unit: Unit, ids: Sequence[str]) -> list[ImageProposals]:
    """The proposals of these images, in the order of `ids`; one shard's rows are held beside them at a time.

    With `proposals.descriptor` `conv` the unit's inputs name shards of `features` as well.
    """
    pooled = worker.config.proposals.descriptor == "conv"
    columns = ["image_id", "proposal", *EDGES, "kept", *(() if pooled else ("features",))]
    found = {}
    for path in unit.inputs["proposals"]:
        table = worker.store.read("proposals", [path], columns, where=("image_id", list(ids))).combine_chunks()
        # An image's rows stand together, in the order of their numbers.
        owners = table.column("image_id").to_numpy()
        starts = [0, *np.flatnonzero(owners[1:] != owners[:-1]) + 1, len(owners)] if len(owners) else []
        for start, stop in pairwise(starts):
            found[owners[start]] = _image_proposals(table.slice(start, stop - start))
    if pooled:
        side = worker.setup.preprocessing.crop_side
        seen = {}
        for path in unit.inputs["features"]:
            rows = worker.store.read("features", [path], where=("image_id", list(ids))).to_pylist()
            seen.update((row["image_id"], stored_features(row)) for row in rows)
        found = with_pooled_features(found, seen, side)
    return [found[image_id] for image_id in ids]


def with_pooled_features(
    proposals: dict[str, ImageProposals], features: dict[str, np.ndarray], side: int
) -> dict[str, ImageProposals]:
    """Proposals described by the features `[G,G,D]` of their images, where there are none by zeros: they match nothing.

    Args:
        proposals: by image id; their own descriptors are not looked at.
        features: by image id.
        side: of the analyzed images in pixels.
    """
    described = {
        image_id: torch.from_numpy(conv_descriptors(features[image_id], image.boxes.numpy(), (side, side)))
        for image_id, image in proposals.items()
        if image_id in features
    }
    width = next(iter(described.values())).shape[1] if described else 1
    return {
        image_id: ImageProposals(
            image.boxes,
            described.get(image_id, torch.zeros(len(image.boxes), width)),
            image.on_mask,
        )
        for image_id, image in proposals.items()
    }


def _image_proposals(rows: pa.Table) -> ImageProposals:
    count = len(rows)
    features = np.zeros((count, 0), np.float16)
    if "features" in rows.column_names:
        features = np.stack([np.frombuffer(value.as_buffer(), np.float16) for value in rows.column("features")])
    return ImageProposals(
        torch.from_numpy(np.stack([rows.column(edge).to_numpy() for edge in EDGES], axis=1)),
        torch.from_numpy(features),
        rows.column("kept").to_numpy(),
    )
