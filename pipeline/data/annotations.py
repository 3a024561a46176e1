"""Where the objects and their parts are in photographs, for measures of localization."""

import csv
import io
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from pipeline.data.class_map import CatalogError
from pipeline.objects import ObjectPath
from schemas import EDGES

# Columns that may hold the folder, if `file` is a bare name.
FOLDERS = ("folder", "label", "species")


def annotation_key(uri: str) -> str:
    """What annotations call a photograph: its folder and name, "<class>/<name>"."""
    return "/".join(Path(uri).parts[-2:])


def read_boxes(path: Path | ObjectPath) -> dict[str, np.ndarray]:
    """Boxes `[n,4]` of the objects of the photograph's class, in pixels of the photograph, by `annotation_key`.

    The CSV has the columns file, x0, y0, x1, y1, a line for each box; `file` is "<class>/<name>", or a name beside a
    column folder, label or species.

    Raises:
        CatalogError: unreadable, a column or a field is missing, or a box is not four numbers, x0 ≤ x1 and y0 ≤ y1.
    """
    found: dict[str, list[list[float]]] = defaultdict(list)

    def add(row: dict[str, str]) -> None:
        found[_key(row)].append(box_of(row))

    read_lines(path, ("file", *EDGES), "boxes", add)
    return {key: np.array(boxes) for key, boxes in found.items()}


def read_landmarks(path: Path | ObjectPath) -> dict[str, dict[str, tuple[float, float]]]:
    """Places (x, y) of the visible parts, in pixels of the photograph, by `annotation_key` and part.

    The CSV has the columns file, part, x, y and, if not all are visible, visible (1 or 0); `file` as for `read_boxes`.

    Raises:
        CatalogError: unreadable, a column or a field is missing, or a place is not two numbers.
    """
    found: dict[str, dict[str, tuple[float, float]]] = defaultdict(dict)

    def add(row: dict[str, str]) -> None:
        if row.get("visible", "1").strip() != "0":
            x, y = _numbers((row["x"], row["y"]))
            found[_key(row)][row["part"]] = (x, y)

    read_lines(path, ("file", "part", "x", "y"), "landmarks", add)
    return dict(found)


def _key(row: dict[str, str]) -> str:
    folder = next((name for name in FOLDERS if name in row), None)
    return f"{row[folder]}/{row['file']}" if folder else row["file"]


def box_of(row: dict[str, str]) -> list[float]:
    """The box of a line: x0, y0, x1, y1.

    Raises:
        ValueError: not four finite numbers, or not x0 ≤ x1 and y0 ≤ y1.
    """
    x0, y0, x1, y1 = box = _numbers(row[edge] for edge in EDGES)
    if x0 > x1 or y0 > y1:
        raise ValueError("x0 ≤ x1 and y0 ≤ y1 must hold")
    return box


def _numbers(texts: Iterable[str]) -> list[float]:
    numbers = [float(text) for text in texts]
    if not all(map(math.isfinite, numbers)):
        raise ValueError("not finite")
    return numbers


def read_lines(
    path: Path | ObjectPath, columns: Sequence[str], what: str, add: Callable[[dict[str, str]], None]
) -> None:
    """Call `add` with each line of a CSV that has these columns, as field by column; it raises ValueError if it cannot.

    Raises:
        CatalogError: unreadable, a column or a field is missing, or `add` raised; names the file and the line.
    """
    try:
        with io.StringIO(path.read_bytes().decode("utf-8-sig"), newline="") as file:
            table = csv.DictReader(file)
            if missing := {*columns} - {*(table.fieldnames or ())}:
                raise CatalogError(f"{path} lacks the columns {', '.join(sorted(missing))} of {what}")
            for row in table:
                try:
                    if None in row or None in row.values():
                        raise ValueError(f"{len(table.fieldnames)} fields must be there, as in the first line")
                    add(row)
                except ValueError as error:
                    raise CatalogError(f"{path}, line {table.line_num}: not the numbers of {what} ({error})") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CatalogError(f"cannot read the {what} {path}: {error}") from None
