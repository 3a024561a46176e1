"""Rows and tables that fit their schema."""

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from visual_summaries.schemas.tables import TABLES


def make_table(name: str, rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Rows to an Arrow table with the schema of table `name`, validated."""
    rows = list(rows)
    schema = TABLES[name].schema
    for row in rows[:1]:
        if unknown := set(row) - set(schema.names):
            raise ValueError(f"table {name} has no column {', '.join(sorted(unknown))}")
    return validate(name, pa.Table.from_pylist(rows, schema=schema))


def empty_table(name: str) -> pa.Table:
    """Table `name` without rows."""
    return TABLES[name].schema.empty_table()


def validate(name: str, table: pa.Table) -> pa.Table:
    """Return `table` if it fits the schema of table `name`.

    Raises:
        ValueError: a column is missing, superfluous, of another type, or null where that is not allowed.
    """
    schema = TABLES[name].schema
    if not table.schema.equals(schema):
        raise ValueError(f"table {name} does not fit its schema:\n{table.schema}\nexpected:\n{schema}")
    for field in schema:
        if not field.nullable and table.column(field.name).null_count:
            raise ValueError(f"table {name}: column {field.name} holds nulls")
    return table
