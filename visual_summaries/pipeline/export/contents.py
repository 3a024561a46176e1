"""What of a run is exported, class by class and shard by shard: explained photographs, salient regions, members.

A region or member is placed on the photograph (`placing`), from the preprocessing that the run's classifier has.
"""

import math
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from visual_summaries.pipeline.data.archives.address import archive_of
from visual_summaries.pipeline.data.decode import local_path
from visual_summaries.pipeline.export.placing import PlacedMask, View, placed_mask, placed_points
from visual_summaries.pipeline.models.preprocessing import Preprocessing
from visual_summaries.pipeline.store.tables import StoreError, TableStore
from visual_summaries.pipeline.summarize.regions import decode_run_length
from visual_summaries.schemas import EDGES

IMAGE_COLUMNS = ["image_id", "uri", "width", "height", "score", "prediction_name", "explained"]
REGION_COLUMNS = ["image_id", "region", "run_length", "drop"]
KEPT_COLUMNS = ["cluster", "summary", "kept"]
MEMBER_COLUMNS = ["cluster", "image_id", *EDGES, "rank", "similarity", "hull", "drop", "kept"]


@dataclass(frozen=True)
class Photograph:
    """An explained photograph.

    number: from 1, over the whole run, in the order of the tables.
    path: absolute; None where the photograph is on another file system or in an archive, see `uri`.
    view: the rectangle of it that the classifier saw, edges of pixels.
    """

    number: int
    image_id: str
    uri: str
    path: Path | None
    label: str
    width: int
    height: int
    score: float | None
    prediction: str | None
    view: View


@dataclass(frozen=True)
class PlacedRegion:
    """A salient region on its photograph. `mask`: bool [S, S], in the analyzed square."""

    photograph: Photograph
    number: int
    placed: PlacedMask
    mask: np.ndarray
    drop: float | None


@dataclass(frozen=True)
class PlacedMember:
    """A kept member of a kept summary: box and hull x, y, x, y, … in pixels of its photograph, not rounded to them."""

    photograph: Photograph
    summary: int
    box: tuple[float, float, float, float]
    hull: list[float]
    rank: int
    similarity: float | None
    drop: float | None


class Receiver(Protocol):
    """What a format does with a run's contents; called in the order of the tables."""

    def photograph(self, photograph: Photograph) -> None: ...

    def region(self, region: PlacedRegion) -> None: ...

    def member(self, member: PlacedMember) -> None: ...

    def class_done(self) -> None: ...


@dataclass
class Counts:
    """What was exported and what was left out."""

    photographs: int = 0
    missing: int = 0
    archived: int = 0
    example_missing: str = ""
    regions: int = 0
    invisible: int = 0
    members: int = 0


def export_contents(
    store: TableStore,
    preprocessing: Preprocessing,
    receiver: Receiver,
    advance: Callable[[str, int], None],
    local: bool = False,
) -> Counts:
    """Send a run's explained photographs with their regions and members to `receiver`.

    Args:
        preprocessing: the run's classifier's.
        advance: told (class, images) when a class is done.
        local: leave out photographs that are no files on this machine's file systems.

    Raises:
        StoreError: a table is missing or damaged, the preprocessing is not the run's, or every photograph is missing.
    """
    counts = Counts()
    shards = {name: shards_by_label(store, name) for name in ("images", "regions", "summaries", "members")}
    if not shards["regions"]:
        store.manifest("regions")
    for label in shards["images"]:
        photographs: dict[str, Photograph] = {}
        seen = 0
        for path in shards["images"][label]:
            rows = store.read("images", [path], IMAGE_COLUMNS).to_pylist()
            seen += len(rows)
            for row in rows:
                photograph = _photograph(row, label, counts, preprocessing, local)
                if photograph is not None:
                    photographs[photograph.image_id] = photograph
                    receiver.photograph(photograph)
        for path in shards["regions"].get(label, ()):
            for region in _regions(store, path, photographs, preprocessing.crop_side, counts):
                receiver.region(region)
        rows = store.read("summaries", shards["summaries"].get(label, ()), KEPT_COLUMNS).to_pylist()
        kept = kept_clusters(rows)
        for path in shards["members"].get(label, ()):
            for member in _members(store, path, photographs, kept, preprocessing.crop_side):
                counts.members += 1
                receiver.member(member)
        receiver.class_done()
        advance(label, seen)
    if counts.archived == counts.missing > 0 and not counts.photographs and local:
        raise StoreError(
            f"the run's photographs lie in archives, e.g. {counts.example_missing}, and this format names files: take "
            "another format, or run on the photographs as files"
        )
    if counts.missing and not counts.photographs:
        raise StoreError(
            f"none of the run's photographs is there any more, e.g. {counts.example_missing}: call the job where their "
            "paths lead to them"
        )
    return counts


def shards_by_label(store: TableStore, table: str) -> dict[str, list[str]]:
    """Paths of a table's shards by class, classes in order; empty where the run has no such table."""
    found = defaultdict(list)
    for shard in store.listed(table).values():
        found[shard.label].append(shard.path)
    return dict(sorted(found.items()))


def _photograph(
    row: Mapping[str, Any], label: str, counts: Counts, preprocessing: Preprocessing, local: bool
) -> Photograph | None:
    if not row["explained"]:
        return None
    path = local_file(row["uri"])
    archive = archive_of(row["uri"])
    holder = path if archive is None else local_file(archive)
    if (path is None and local) or (holder is not None and not holder.is_file()):
        counts.missing += 1
        counts.archived += archive is not None
        counts.example_missing = counts.example_missing or row["uri"]
        return None
    counts.photographs += 1
    return Photograph(
        number=counts.photographs,
        image_id=row["image_id"],
        uri=row["uri"],
        path=path,
        label=label,
        width=row["width"],
        height=row["height"],
        score=finite(row["score"]),
        prediction=row["prediction_name"],
        view=preprocessing.analyzed_box(row["height"], row["width"]),
    )


def local_file(uri: str) -> Path | None:
    """Absolute path of a photograph; None where its URI is of another file system, or of an archive."""
    if uri.startswith("file://"):
        return local_path(uri)
    return None if "://" in uri else Path(os.path.abspath(uri))


def _regions(
    store: TableStore, path: str, photographs: Mapping[str, Photograph], side: int, counts: Counts
) -> Iterator[PlacedRegion]:
    for row in store.read("regions", [path], REGION_COLUMNS).to_pylist():
        photograph = photographs.get(row["image_id"])
        if photograph is None:
            continue
        try:
            mask = decode_run_length(row["run_length"], (side, side))
        except ValueError as error:
            raise StoreError(
                f"a region of {photograph.uri} is of another size than the classifier's analyzed square ({error}): has "
                "the classifier's preprocessing changed since the run?"
            ) from None
        placed = placed_mask(mask, photograph.view, photograph.height, photograph.width)
        if placed is None:
            counts.invisible += 1
            continue
        counts.regions += 1
        yield PlacedRegion(photograph, row["region"], placed, mask, finite(row["drop"]))


def kept_clusters(summaries: Iterable[Mapping[str, Any]]) -> dict[int, int]:
    """Clusters of a class that are summaries: number of the cluster → of the summary.

    `summaries`: rows of `summaries`, with `KEPT_COLUMNS`.
    """
    return {row["cluster"]: row["summary"] for row in summaries if row["kept"]}


def _members(
    store: TableStore, path: str, photographs: Mapping[str, Photograph], kept: Mapping[int, int], side: int
) -> Iterator[PlacedMember]:
    rows = store.read("members", [path], MEMBER_COLUMNS).to_pylist()
    rows = [row for row in rows if row["kept"] and row["cluster"] in kept and row["image_id"] in photographs]
    for row in sorted(rows, key=lambda row: (kept[row["cluster"]], row["rank"])):
        photograph = photographs[row["image_id"]]
        x0, y0, x1, y1 = placed_points([row[edge] for edge in EDGES], photograph.view, side)
        yield PlacedMember(
            photograph,
            kept[row["cluster"]],
            (x0, y0, round(x1 - x0, 2), round(y1 - y0, 2)),
            placed_points(row["hull"], photograph.view, side),
            row["rank"],
            finite(row["similarity"]),
            finite(row["drop"]),
        )


def finite(value: float | None) -> float | None:
    """The value where JSON can hold it, else None; to six digits, which is what float32 holds."""
    return float(f"{value:.6g}") if value is not None and math.isfinite(value) else None
