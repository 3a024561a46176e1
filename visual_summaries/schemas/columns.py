"""What the schemas of tables are made of: columns with their descriptions and units."""

from dataclasses import dataclass

import pyarrow as pa

VERSION = 1
EDGES = ("x0", "y0", "x1", "y1")


@dataclass(frozen=True)
class TableSchema:
    """Name, meaning and Arrow schema of one table; field metadata holds description and unit.

    `row_groups` names the column whose runs of equal values are row groups of the files: what belongs to one of them
    is read without the rest.
    """

    name: str
    description: str
    schema: pa.Schema
    row_groups: str | None = None

    @property
    def reproducible(self) -> list[str]:
        """Names of the columns that the same inputs give again."""
        return [field.name for field in self.schema if b"measured" not in field.metadata]


def column(
    name: str, kind: pa.DataType, description: str, unit: str = "", nullable: bool = False, measured: bool = False
) -> pa.Field:
    """A column with what it holds and its unit. `measured`: by a clock, so that no seed fixes it."""
    metadata = {"description": description, "unit": unit} | ({"measured": "true"} if measured else {})
    return pa.field(name, kind, nullable=nullable, metadata=metadata)


def box(of: str) -> list[pa.Field]:
    """The four columns of a box."""
    sides = ("left", "top", "right (exclusive)", "bottom (exclusive)")
    return [
        column(name, pa.float32(), f"{side} edge of {of}", "pixel") for name, side in zip(EDGES, sides, strict=True)
    ]


def evidence(of: str) -> list[pa.Field]:
    """The columns of what a part does to the score, against random places."""
    shown = "score / score of the whole image where only {} is shown"
    figures = {
        "necessity": f"(before − after) / before when the salient pixels of {of} alone are removed",
        "random_necessity": "the same of random salient places of the same shape in the same images",
        "sufficiency": shown.format(of),
        "random_sufficiency": "the same of random salient places of the same shape in the same images",
        "region_sufficiency": shown.format("the salient regions that it touches"),
    }
    return [column(name, pa.float32(), text, "share", nullable=True) for name, text in figures.items()]


LABEL = column("label", pa.string(), "class of the run (folder or manifest label)")
IMAGE = column("image_id", pa.string(), "sha256 of the image file's bytes, hexadecimal")
# Millions of rows name a few hundred images.
IDS = pa.dictionary(pa.int32(), pa.string())
KEPT = column("kept", pa.bool_(), "false when it was left out; then `reason` says why")
REASON = column("reason", pa.string(), "why it was left out; null when kept", nullable=True)


def table(name: str, description: str, *columns: pa.Field, row_groups: str | None = None) -> TableSchema:
    """A table of these columns."""
    schema = pa.schema(columns, metadata={"table": name, "description": description, "version": str(VERSION)})
    return TableSchema(name, description, schema, row_groups)
