"""True boxes of parts, for data whose parts are known."""

from collections import defaultdict
from pathlib import Path

from pipeline.data.annotations import box_of, read_lines
from pipeline.objects import ObjectPath
from schemas import EDGES

COLUMNS = ("file", "class", "part", *EDGES, "discriminative")

Parts = dict[str, dict[tuple[str, str], tuple[list[float], bool]]]
"""File ("<class>/<name>") → (class, part) → (box in pixels of the photograph, whether it is discriminative)."""


def read_parts(path: Path | ObjectPath) -> Parts:
    """Read a CSV with the columns file, class, part, x0, y0, x1, y1, discriminative (true or false).

    Raises:
        CatalogError: unreadable, a column or a field is missing, or a box is not four numbers, x0 ≤ x1 and y0 ≤ y1.
    """
    parts: Parts = defaultdict(dict)

    def add(row: dict[str, str]) -> None:
        flag = row["discriminative"].strip().lower() in ("1", "true", "yes")
        parts[row["file"]][row["class"], row["part"]] = (box_of(row), flag)

    read_lines(path, COLUMNS, "part boxes", add)
    return parts
