"""Proposals of images, read for matching."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa
import torch

from pipeline.stages.units import Unit
from pipeline.stages.worker import WorkerContext
from pipeline.summarize.similarity import ImageProposals
from schemas import EDGES


def read_proposals(worker: WorkerContext, unit: Unit, ids: Sequence[str]) -> list[ImageProposals]:
    """The proposals of these images, in the order of `ids`; one shard's rows are held beside them at a time."""
    columns = ["image_id", "proposal", *EDGES, "kept", "features"]
    found = {}
    for path in unit.inputs["proposals"]:
        table = worker.store.read("proposals", [path], columns, where=("image_id", list(ids))).combine_chunks()
        # An image's rows stand together, in the order of their numbers.
        owners = table.column("image_id").to_numpy()
        starts = [0, *np.flatnonzero(owners[1:] != owners[:-1]) + 1, len(owners)] if len(owners) else []
        for start, stop in pairwise(starts):
            found[owners[start]] = _image_proposals(table.slice(start, stop - start))
    return [found[image_id] for image_id in ids]


def _image_proposals(rows: pa.Table) -> ImageProposals:
    features = [np.frombuffer(value.as_buffer(), np.float16) for value in rows.column("features")]
    return ImageProposals(
        torch.from_numpy(np.stack([rows.column(edge).to_numpy() for edge in EDGES], axis=1)),
        torch.from_numpy(np.stack(features)),
        rows.column("kept").to_numpy(),
    )
