"""FiftyOne's import format for detections, `FiftyOneImageDetectionDataset`, one folder each for regions and summaries.

Source: https://docs.voxel51.com/user_guide/import_datasets.html#fiftyoneimagedetectiondataset: `data.json` says where
each photograph is, `labels.json` has the detections, with boxes relative to the photograph and any attributes. The
attribute `mask_path` is the field of FiftyOne's `Detection` for a mask in a picture of its own, as large as the box.
"""

import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from visual_summaries.pipeline.export.coco import summary_name
from visual_summaries.pipeline.export.contents import Counts, Photograph, PlacedMember, PlacedRegion, export_contents
from visual_summaries.pipeline.export.json_files import json_map, json_object
from visual_summaries.pipeline.export.placing import seen_pixels
from visual_summaries.pipeline.models.preprocessing import Preprocessing
from visual_summaries.pipeline.store.atomic import TEMPORARY_SUFFIX
from visual_summaries.pipeline.store.tables import StoreError, TableStore

REGIONS, SUMMARIES = "regions", "summaries"
DATA, LABELS, MASKS = "data.json", "labels.json", "masks"
PICTURES_PER_FOLDER = 1000


def export_fiftyone(
    store: TableStore, preprocessing: Preprocessing, folder: Path, advance: Callable[[str, int], None]
) -> Counts:
    """Write the folders `regions` and `summaries` into `folder`; earlier ones are replaced at the end.

    Photographs are not copied, and masks are named by their absolute paths: neither may move afterwards.

    Raises:
        StoreError: see `export_contents`; or something else than an export is in the way.
        OSError: `folder` cannot be written to.
    """
    folder = Path(os.path.abspath(folder))
    with ExitStack() as stack:
        unfinished = [stack.enter_context(replaced_folder(folder / name)) for name in (REGIONS, SUMMARIES)]
        regions, summaries = (_FiftyOneFolder(path, stack) for path in unfinished)
        receiver = _FiftyOneReceiver(regions, summaries, unfinished[0] / MASKS, folder / REGIONS / MASKS)
        return export_contents(store, preprocessing, receiver, advance, local=True)


@contextmanager
def replaced_folder(path: Path) -> Iterator[Path]:
    """A new folder beside `path` that takes its place when the block ends without an exception.

    Raises:
        StoreError: what is at `path` is not an earlier export.
    """
    if path.exists() and not (path / LABELS).is_file():
        raise StoreError(f"{path} is in the way and is no earlier export; remove it or name another folder")
    unfinished = path.with_name(f"{path.name}.{secrets.token_hex(8)}{TEMPORARY_SUFFIX}")
    unfinished.mkdir(parents=True)
    try:
        yield unfinished
        if path.exists():
            earlier = path.with_name(f"{path.name}.{secrets.token_hex(8)}{TEMPORARY_SUFFIX}")
            path.rename(earlier)
            unfinished.rename(path)
            shutil.rmtree(earlier)
        else:
            unfinished.rename(path)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


class _FiftyOneFolder:
    """One folder. Detections of a class wait until it is done: those of a photograph are written together."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._classes: list[str] = []
        self._numbers: dict[str, int] = {}
        self._waiting: dict[int, tuple[Photograph, list[dict[str, Any]]]] = {}
        last = {"classes": self._classes}
        self._labels = stack.enter_context(json_object(folder / LABELS, {"labels": "{}"}, last))["labels"]
        self._data = stack.enter_context(json_map(folder / DATA))

    def photograph(self, photograph: Photograph) -> None:
        self._waiting[photograph.number] = (photograph, [])

    def detection(self, category: str, photograph: Photograph, box: Sequence[float], **attributes: Any) -> None:
        """Add a detection; `box` is x, y, width, height in pixels of the photograph."""
        if category not in self._numbers:
            self._numbers[category] = len(self._classes)
            self._classes.append(category)
        x, y, width, height = box
        relative = (x / photograph.width, y / photograph.height, width / photograph.width, height / photograph.height)
        self._waiting[photograph.number][1].append(
            {
                "label": self._numbers[category],
                "bounding_box": [round(value, 6) for value in relative],
                "confidence": photograph.score,
                "attributes": attributes,
            }
        )

    def write(self) -> None:
        """Write what waits."""
        for photograph, detections in self._waiting.values():
            # No dot: FiftyOne takes what follows one for the file's ending.
            name = f"{photograph.number:07d}-{photograph.image_id}"
            self._data.add(str(photograph.path), name)
            self._labels.add(detections, name)
        self._waiting.clear()


class _FiftyOneReceiver:
    def __init__(self, regions: _FiftyOneFolder, summaries: _FiftyOneFolder, written: Path, final: Path) -> None:
        """`written`: where masks go now; `final`: where they will be found."""
        self._regions, self._summaries, self._written, self._final = regions, summaries, written, final

    def photograph(self, photograph: Photograph) -> None:
        self._regions.photograph(photograph)
        self._summaries.photograph(photograph)

    def region(self, region: PlacedRegion) -> None:
        number = region.photograph.number
        name = Path(f"{number // PICTURES_PER_FOLDER:04d}") / f"{number:07d}-{region.number}.png"
        (self._written / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask_in_box(region).astype(np.uint8) * 255).save(self._written / name)
        self._regions.detection(
            region.photograph.label,
            region.photograph,
            region.placed.box,
            mask_path=str(self._final / name),
            region=region.number,
            drop=region.drop,
        )

    def member(self, member: PlacedMember) -> None:
        self._summaries.detection(
            summary_name(member),
            member.photograph,
            member.box,
            summary=member.summary,
            rank=member.rank,
            similarity=member.similarity,
            drop=member.drop,
        )

    def class_done(self) -> None:
        self._regions.write()
        self._summaries.write()


def mask_in_box(region: PlacedRegion) -> np.ndarray:
    """The region's mask on the photograph, cut to its box: bool [height, width]."""
    photograph, (x, y, width, height) = region.photograph, region.placed.box
    left, top, right, bottom = photograph.view
    side = len(region.mask)
    first_row, rows = seen_pixels(photograph.height, top, bottom, side)
    first_column, columns = seen_pixels(photograph.width, left, right, side)
    own_rows = rows[y - first_row : y - first_row + height]
    return region.mask[np.ix_(own_rows, columns[x - first_column : x - first_column + width])]
