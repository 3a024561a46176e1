"""Where the objects and their parts are in photographs, for measures of localization."""

import csv
import io
import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

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
        CatalogError: unreadable, a column is missing, or a box is not four numbers.
    """
    found: dict[str, list[list[float]]] = defaultdict(list)

    def add(key: str, row: dict[str, str]) -> None:
        found[key].append(_numbers(row[edge] for edge in EDGES))

    _read(path, EDGES, "boxes", add)
    return {key: np.array(boxes) for key, boxes in found.items()}


def read_landmarks(path: Path | ObjectPath) -> dict[str, dict[str, tuple[float, float]]]:
    """Places (x, y) of the visible parts, in pixels of the photograph, by `annotation_key` and part.

    The CSV has the columns file, part, x, y and, if not all are visible, visible (1 or 0); `file` as for `read_boxes`.

    Raises:
        CatalogError: unreadable, a column is missing, or a place is not two numbers.
    """
    found: dict[str, dict[str, tuple[float, float]]] = defaultdict(dict)

    def add(key: str, row: dict[str, str]) -> None:
        if row.get("visible", "1").strip() != "0":
            x, y = _numbers((row["x"], row["y"]))
            found[key][row["part"]] = (x, y)

    _read(path, ("part", "x", "y"), "landmarks", add)
    return dict(found)


def _numbers(texts: Iterable[str]) -> list[float]:
    numbers = [float(text) for text in texts]
    if not all(map(math.isfinite, numbers)):
        raise ValueError("not finite")
    return numbers


def _read(
    path: Path | ObjectPath, columns: Iterable[str], what: str, add: Callable[[str, dict[str, Any]], None]
) -> None:
    try:
        with io.StringIO(path.read_bytes().decode("utf-8"), newline="") as file:
            table = csv.DictReader(file)
            names = set(table.fieldnames or ())
            if missing := {"file", *columns} - names:
                raise CatalogError(f"{path} lacks the columns {', '.join(sorted(missing))} of {what}")
            folder = next((name for name in FOLDERS if name in names), None)
            for row in table:
                add(f"{row[folder]}/{row['file']}" if folder else row["file"], row)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CatalogError(f"cannot read the {what} {path}: {error}") from None
    except (ValueError, TypeError, AttributeError) as error:
        if isinstance(error, CatalogError):
            raise
        raise CatalogError(f"{path}, line {table.line_num}: not the numbers of {what} ({error})") from None
