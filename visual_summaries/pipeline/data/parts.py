"""True boxes of parts, for data whose parts are known."""

from collections import defaultdict
from pathlib import Path

from visual_summaries.pipeline.data.annotations import box_of, read_annotations, written_key
from visual_summaries.pipeline.lists import FLAG, NUMBER, flag_of
from visual_summaries.pipeline.objects import ObjectPath
from visual_summaries.schemas import EDGES

COLUMNS = ("file", "class", "part", *EDGES, "discriminative")
KINDS = dict.fromkeys(EDGES, NUMBER) | {"discriminative": FLAG}

Parts = dict[str, dict[tuple[str, str], tuple[list[float], bool]]]
"""File, as `annotated` looks for it → (class, part) → (box in pixels of the photograph, whether discriminative)."""


def read_parts(path: Path | ObjectPath) -> Parts:
    """Read a list (`pipeline.lists`) with the columns file ("<class>/<name>" or more of the path), class, part, x0, y0,
    x1, y1, discriminative (true or false).

    Raises:
        CatalogError: unreadable, a column or a field is missing, a box is none, see `box_of`, or a part of a photograph
            has two.
    """
    parts: Parts = defaultdict(dict)

    def add(place: str, row: dict[str, str]) -> None:
        if empty := [name for name in ("file", "class", "part") if not row[name]]:
            raise ValueError(f"it names no {empty[0]}")
        key, part = written_key(row["file"]), (row["class"], row["part"])
        known = (list(box_of(row)), flag_of(row["discriminative"]))
        if parts[key].get(part, known) != known:
            raise ValueError(f"{row['part']} of {key} is there before with another box: leave one of them")
        parts[key][part] = known

    read_annotations(path, COLUMNS, (), KINDS, "part boxes", add)
    return dict(parts)
