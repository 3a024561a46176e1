"""What is suspicious about the kept summaries of a class, from its tables and the boxes of its objects."""

import hashlib
from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from visual_summaries.pipeline.config import RunConfig
from visual_summaries.pipeline.data.annotations import annotated, read_boxes
from visual_summaries.pipeline.data.class_map import CatalogError
from visual_summaries.pipeline.evaluate.parts import analyzed_boxes
from visual_summaries.pipeline.evaluate.suspicion import (
    Sign,
    border_sign,
    corner_sign,
    outside_sign,
    same_place_sign,
    source_sign,
)
from visual_summaries.pipeline.export.contents import KEPT_COLUMNS, kept_clusters
from visual_summaries.pipeline.objects import ObjectPath
from visual_summaries.pipeline.runtime.units import Unit
from visual_summaries.pipeline.stages.context import WorkerContext
from visual_summaries.pipeline.store.tables import digest
from visual_summaries.schemas import EDGES

MEMBER_COLUMNS = ["cluster", "image_id", *EDGES, "regions", "kept"]


def object_boxes(config: RunConfig) -> tuple[str, Mapping[str, np.ndarray]]:
    """Hash of the list of the objects' boxes, and the boxes by photograph; `none` and none where there is no such
    list, or where it cannot be read any more."""
    return _read(config.data.boxes.path) if config.data.boxes else ("none", {})


@cache
def _read(path: Path | ObjectPath) -> tuple[str, Mapping[str, np.ndarray]]:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest(), read_boxes(path)
    except (CatalogError, OSError):
        return "none", {}


def class_signs(worker: WorkerContext, unit: Unit) -> dict[int, list[Sign]]:
    """Signs of each kept summary of the unit's class, by its number in the tables; only of those that have any."""
    side = worker.setup.preprocessing.crop_side
    kept = kept_clusters(worker.read(unit, "summaries", KEPT_COLUMNS))
    members = defaultdict(list)
    for row in worker.read(unit, "members", MEMBER_COLUMNS) if kept else ():
        if row["kept"] and row["cluster"] in kept:
            members[kept[row["cluster"]]].append(row)
    if not members:
        return {}
    regions: dict[str, dict[int, list[float]]] = defaultdict(dict)
    for row in worker.read(unit, "regions", ["image_id", "region", *EDGES]):
        regions[row["image_id"]][row["region"]] = [row[edge] / side for edge in EDGES]
    explained = {row["image_id"] for row in worker.read(unit, "maps", ["image_id"])}
    columns = ["image_id", "uri", "width", "height"]
    images = {row["image_id"]: row for row in worker.read(unit, "images", columns) if row["image_id"] in explained}
    sizes = {image_id: f"{row['width']} × {row['height']}" for image_id, row in images.items()}
    objects = _objects(worker, unit.label, images)
    found = {}
    for number, rows in sorted(members.items()):
        worker.step()
        boxes = _boxes([[row[edge] / side for edge in EDGES] for row in rows])
        others = [
            _boxes([box for region, box in regions[row["image_id"]].items() if region not in row["regions"]])
            for row in rows
        ]
        known = [at for at, row in enumerate(rows) if row["image_id"] in objects]
        shown = {row["image_id"] for row in rows}
        seed = int(digest(worker.config.seed, unit.label, number, "same place")[:12], 16)
        every = np.concatenate(others)
        signs = (
            # What lies in a corner lies at its borders, too.
            corner_sign(boxes, every) or border_sign(boxes, every),
            same_place_sign(boxes, others, seed=seed),
            outside_sign(boxes[known], [objects[rows[at]["image_id"]] for at in known]),
            source_sign(list(sizes.values()), np.array([image_id in shown for image_id in sizes], bool)),
        )
        if any(signs):
            found[number] = [sign for sign in signs if sign]
    return found


def _boxes(rows: list[list[float]]) -> np.ndarray:
    return np.array(rows, dtype=np.float64).reshape(-1, 4)


def _objects(
    worker: WorkerContext, label: str, images: Mapping[str, Mapping[str, Any]]
) -> dict[str, np.ndarray]:
    """Where the objects are in the analyzed square, in shares of its side, of the photographs of which it is known."""
    _, known = object_boxes(worker.config)
    preprocessing = worker.setup.preprocessing
    side = preprocessing.crop_side
    found = {}
    for image_id, row in images.items() if known else ():
        boxes = annotated(known, row["uri"], label)
        if boxes is not None:
            view = preprocessing.analyzed_box(row["height"], row["width"])
            found[image_id] = analyzed_boxes(boxes, view, side) / side
    return found
