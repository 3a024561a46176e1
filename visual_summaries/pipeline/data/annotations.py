"""Where the objects and their parts are in photographs, for measures of localization."""

import posixpath
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from visual_summaries.pipeline.data.class_map import CatalogError
from visual_summaries.pipeline.lists import FLAG, NUMBER, flag_of, number_of, read_list
from visual_summaries.pipeline.names import path_of, readable
from visual_summaries.pipeline.objects import ObjectPath
from visual_summaries.pipeline.texts import ColumnsError, ListError
from visual_summaries.schemas import EDGES

# Columns that may hold the folder, if `file` is a bare name.
FOLDERS = ("folder", "label", "species")
# As other programs call the edges.
OTHER_EDGES = (
    ("x", "y", "w", "h"),
    ("x", "y", "width", "height"),
    ("bbox_x", "bbox_y", "bbox_width", "bbox_height"),
    ("xmin", "ymin", "xmax", "ymax"),
    ("x_min", "y_min", "x_max", "y_max"),
    ("left", "top", "right", "bottom"),
    ("x1", "y1", "x2", "y2"),
)
T = TypeVar("T")


@dataclass(frozen=True)
class Box:
    """A line of a list of boxes: where it stands in the file, which photograph it is of, and x0, y0, x1, y1."""

    place: str
    key: str
    edges: tuple[float, float, float, float]


def annotated(known: Mapping[str, T], uri: str, label: str) -> T | None:
    """What annotations say of a photograph, None if nothing: by as much of its path as they name, at least its folder
    and name, or else by its label and name."""
    return next((known[key] for key in keys_of(uri, label) if key in known), None)


def keys_of(uri: str, label: str) -> list[str]:
    """What annotations may call a photograph, the longest first."""
    parts = _parts(uri)
    keys = ["/".join(parts[start:]) for start in range(len(parts) - 1)]
    return list(dict.fromkeys([*keys, "/".join(_parts(f"{label}/{parts[-1]}"))]))


def written_key(file: str) -> str:
    """What annotations call a photograph, as it is looked up: folders apart by `/` however they are written."""
    return "/".join(_parts(posixpath.normpath(re.sub(r"^[A-Za-z][A-Za-z0-9+.-]*://", "", file).replace("\\", "/"))))


def _parts(address: str) -> list[str]:
    path = readable(path_of(address)) if address.startswith("file://") else address
    # Of a name that a disk composes otherwise than whoever wrote the list.
    return [part for part in unicodedata.normalize("NFC", path).replace("\\", "/").split("/") if part not in ("", ".")]


def read_boxes(path: Path | ObjectPath) -> dict[str, np.ndarray]:
    """Boxes `[n,4]` of the objects of the photographs, in pixels of the photograph, by what `annotated` looks for.

    The list (`pipeline.lists`) has the columns file, x0, y0, x1, y1, a line for each box; `file` is "<class>/<name>",
    more of the path, or a name beside a column folder, label or species.

    Raises:
        CatalogError: unreadable, a column or a field is missing, or a box is none, see `box_of`.
    """
    found: dict[str, dict[tuple[float, ...], None]] = defaultdict(dict)
    for box in boxes_in(path):
        found[box.key][box.edges] = None
    return {key: np.array(list(boxes)) for key, boxes in found.items()}


def boxes_in(path: Path | ObjectPath) -> list[Box]:
    """The lines of a list of boxes, as `read_boxes`."""

    def box(place: str, row: dict[str, str]) -> Box:
        return Box(place, _key(row), box_of(row))

    return read_annotations(path, ("file", *EDGES), FOLDERS, dict.fromkeys(EDGES, NUMBER), "boxes", box)


def read_landmarks(path: Path | ObjectPath) -> dict[str, dict[str, tuple[float, float]]]:
    """Places (x, y) of the visible parts, in pixels of the photograph, by what `annotated` looks for and part.

    The list has the columns file, part, x, y and, if not all are visible, visible (1 or 0); `file` as for `read_boxes`.

    Raises:
        CatalogError: unreadable, a column or a field is missing, a place is not two numbers, all places are fractions,
            or a part of a photograph is at two places.
    """
    found: dict[str, dict[str, tuple[float, float]]] = defaultdict(dict)
    lines: dict[tuple[str, str], str] = {}
    fractions = []

    def add(place: str, row: dict[str, str]) -> None:
        if not flag_of(row.get("visible") or "1"):
            return
        x, y = (number_of(row[name]) for name in ("x", "y"))
        if not row["part"]:
            raise ValueError("it names no part")
        key, part = _key(row), row["part"]
        if found[key].get(part, (x, y)) != (x, y):
            raise ValueError(f"{part} of {key} is elsewhere on {lines[key, part]}: leave one of them")
        found[key][part] = (x, y)
        lines[key, part] = place
        fractions.append(0 <= x <= 1 and 0 <= y <= 1)

    kinds = {"x": NUMBER, "y": NUMBER, "visible": FLAG}
    read_annotations(path, ("file", "part", "x", "y"), (*FOLDERS, "visible"), kinds, "landmarks", add)
    if len(fractions) > 1 and all(fractions):
        raise CatalogError(f"{path}: {FRACTIONS.format('the landmarks are all')}")
    return dict(found)


FRACTIONS = "{} between 0 and 1: fractions of the width and height? Give pixels of the photograph"


def _key(row: Mapping[str, str]) -> str:
    if not row["file"]:
        raise ValueError("it names no file")
    folder = next((row[name] for name in FOLDERS if row.get(name)), None)
    file = written_key(row["file"])
    return file if folder is None or "/" in file else written_key(f"{folder}/{file}")


def box_of(row: Mapping[str, str]) -> tuple[float, float, float, float]:
    """The box of a line: x0, y0, x1, y1.

    Raises:
        ValueError: not four finite numbers, without an inside, or in no photograph; the message says what it may be.
    """
    x0, y0, x1, y1 = (number_of(row[edge]) for edge in EDGES)
    for low, high, side, name, size in ((x0, x1, "right of", "x", "width"), (y0, y1, "below", "y", "height")):
        if high <= low:
            raise ValueError(
                f"{name}1 ({high:g}) is not {side} {name}0 ({low:g}), so that x0 < x1 and y0 < y1 do not hold: if "
                f"these are x, y, width, height, write {name}0 + {size} as {name}1"
            )
        if high <= 0:
            raise ValueError(f"{name}0 ({low:g}) and {name}1 ({high:g}) are negative: count pixels from the upper left")
    if min(x0, y0) >= 0 and max(x1, y1) <= 1:
        raise ValueError(FRACTIONS.format("the box is"))
    return x0, y0, x1, y1


def read_annotations(
    path: Path | ObjectPath,
    needed: Sequence[str],
    optional: Sequence[str],
    kinds: Mapping[str, str],
    what: str,
    one: Callable[[str, dict[str, str]], T],
) -> list[T]:
    """`one(place, fields)` of each row of a list, see `read_list`; it raises ValueError where a row is wrong.

    Raises:
        CatalogError: it cannot be read, or rows are wrong; names the file, the first such row, and how many there are.
    """
    made: list[T] = []
    wrong, first = 0, ""
    try:
        for place, row in read_list(path, needed, optional, kinds).by_name():
            try:
                made.append(one(place, row))
            except ListError:
                raise
            except ValueError as error:
                wrong, first = wrong + 1, first or f"{place}: {error}"
    except ListError as error:
        hint = _other_names(error.found, needed) if isinstance(error, ColumnsError) else ""
        raise CatalogError(f"the {what} {path}: {error}{hint}") from None
    except OSError as error:
        raise CatalogError(f"cannot read the {what} {path}: {error.strerror or error}") from None
    if wrong:
        more = f" ({wrong:,} of {wrong + len(made):,} lines are wrong)" if wrong > 1 else ""
        raise CatalogError(f"the {what} {path}, {first}{more}")
    return made


def _other_names(columns: Sequence[str], needed: Sequence[str]) -> str:
    """What columns that were found are probably called here."""
    found = {column.strip().lower() for column in columns}
    edges = next((names for names in OTHER_EDGES if {*names} <= found), None)
    if edges is None or not {*EDGES} <= {*needed}:
        return ""
    sizes = edges[2:] in (("w", "h"), ("width", "height"), ("bbox_width", "bbox_height"))
    if sizes:
        x, y, width, height = edges
        return f"; write x0 = {x}, y0 = {y}, x1 = {x} + {width}, y1 = {y} + {height}"
    return f"; {', '.join(edges)} are called x0, y0, x1, y1 here"
