"""COCO's object-detection JSON: salient regions as masks, members of summaries as boxes, both on the photographs.

Source: https://cocodataset.org/#format-data. `regions.json` has a category for each class, `summaries.json` one for
each kept summary. Both list every explained photograph: in one without annotations nothing was found.
"""

import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from visual_summaries.pipeline.export.contents import Counts, Photograph, PlacedMember, PlacedRegion, export_contents
from visual_summaries.pipeline.export.json_files import json_object
from visual_summaries.pipeline.export.placing import polygon_area
from visual_summaries.pipeline.models.preprocessing import Preprocessing
from visual_summaries.pipeline.store.tables import TableStore

REGIONS, SUMMARIES = "regions.json", "summaries.json"
CORNERS_OF_A_POLYGON = 3


def export_coco(
    store: TableStore,
    preprocessing: Preprocessing,
    root: str | None,
    folder: Path,
    advance: Callable[[str, int], None],
) -> Counts:
    """Write both files into `folder`; memory grows with the images of the largest class alone.

    Args:
        root: folder of photographs that `file_name` is relative to, where they are in it; else their absolute paths.
        advance: see `export_contents`.

    Raises:
        StoreError: see `export_contents`.
        OSError: `folder` cannot be written to.
    """
    with ExitStack() as stack:
        files = [_CocoFile(folder / name, f"{title} of {store.root}", stack) for name, title in TITLES.items()]
        receiver = _CocoReceiver(*files, root=None if root is None else os.path.abspath(root))
        return export_contents(store, preprocessing, receiver, advance)


TITLES = {REGIONS: "salient regions", SUMMARIES: "members of visual summaries"}


class _CocoFile:
    def __init__(self, path: Path, title: str, stack: ExitStack) -> None:
        self.categories: list[dict[str, Any]] = []
        self._numbers: dict[str, int] = {}
        self._annotations = 0
        last = {"categories": self.categories, "info": {"description": f"visual-summaries: {title}"}, "licenses": []}
        self._lists = stack.enter_context(json_object(path, {"images": "[]", "annotations": "[]"}, last))

    def image(self, image: dict[str, Any]) -> None:
        self._lists["images"].add(image)

    def annotation(self, category: str, photograph: Photograph, also: dict[str, Any], **values: Any) -> None:
        """Add one annotation; the category with what it has `also` is made when first needed."""
        if category not in self._numbers:
            self._numbers[category] = len(self.categories) + 1
            self.categories.append(
                {"id": len(self.categories) + 1, "name": category, "supercategory": photograph.label} | also
            )
        self._annotations += 1
        own = {
            "id": self._annotations,
            "image_id": photograph.number,
            "category_id": self._numbers[category],
            "iscrowd": 0,
            "score": photograph.score,
        }
        self._lists["annotations"].add(own | values)


class _CocoReceiver:
    def __init__(self, regions: _CocoFile, summaries: _CocoFile, root: str | None) -> None:
        self._regions, self._summaries, self._root = regions, summaries, root

    def photograph(self, photograph: Photograph) -> None:
        image = {
            "id": photograph.number,
            "file_name": file_name(photograph, self._root),
            "width": photograph.width,
            "height": photograph.height,
            "sha256": photograph.image_id,
            "label": photograph.label,
            "prediction": photograph.prediction,
            "score": photograph.score,
        }
        self._regions.image(image)
        self._summaries.image(image)

    def region(self, region: PlacedRegion) -> None:
        self._regions.annotation(
            region.photograph.label,
            region.photograph,
            {},
            segmentation=region.placed.segmentation,
            bbox=region.placed.box,
            area=region.placed.area,
            region=region.number,
            drop=region.drop,
        )

    def member(self, member: PlacedMember) -> None:
        x, y, width, height = member.box
        box = [x, y, x + width, y, x + width, y + height, x, y + height]
        outline = member.hull if len(member.hull) >= 2 * CORNERS_OF_A_POLYGON else box
        self._summaries.annotation(
            summary_name(member),
            member.photograph,
            {"summary": member.summary},
            segmentation=[outline],
            bbox=member.box,
            area=round(polygon_area(outline), 2),
            rank=member.rank,
            similarity=member.similarity,
            drop=member.drop,
        )

    def class_done(self) -> None:
        """Nothing waits for the end of a class."""


def summary_name(member: PlacedMember) -> str:
    """Class and number of a summary for people: counted from 1, as in the report."""
    return f"{member.photograph.label}, summary {member.summary + 1}"


def file_name(photograph: Photograph, root: str | None) -> str:
    """Path relative to `root` where the photograph lies in it, else absolute; or the URI of another file system."""
    if photograph.path is None:
        return photograph.uri
    if root is not None and photograph.path.is_relative_to(root):
        return photograph.path.relative_to(root).as_posix()
    return str(photograph.path)
