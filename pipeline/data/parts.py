"""True boxes of parts, for data whose parts are known."""

import csv
import io
from collections import defaultdict
from pathlib import Path

from pipeline.data.class_map import CatalogError
from pipeline.objects import ObjectPath
from schemas import EDGES

COLUMNS = ("file", "class", "part", *EDGES, "discriminative")

Parts = dict[str, dict[tuple[str, str], tuple[list[float], bool]]]
"""File ("<class>/<name>") → (class, part) → (box in pixels of the photograph, whether it is discriminative)."""


def read_parts(path: Path | ObjectPath) -> Parts:
    """Read a CSV with the columns file, class, part, x0, y0, x1, y1, discriminative (true or false).

    Raises:
        CatalogError: unreadable, a column is missing, or a box is not four numbers.
    """
    parts: Parts = defaultdict(dict)
    try:
        with io.StringIO(path.read_bytes().decode("utf-8"), newline="") as file:
            table = csv.DictReader(file)
            if missing := set(COLUMNS) - set(table.fieldnames or ()):
                raise CatalogError(f"{path} lacks the columns {', '.join(sorted(missing))} of part boxes")
            for row in table:
                box = [float(row[edge]) for edge in EDGES]
                flag = row["discriminative"].strip().lower() in ("1", "true", "yes")
                parts[row["file"]][row["class"], row["part"]] = (box, flag)
            return parts
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CatalogError(f"cannot read the part boxes {path}: {error}") from None
    except (ValueError, TypeError, AttributeError) as error:
        if isinstance(error, CatalogError):
            raise
        raise CatalogError(f"{path}, line {table.line_num}: a box is not four numbers ({error})") from None
