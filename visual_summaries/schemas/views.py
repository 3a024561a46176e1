"""The part of views.sql that follows from the schemas, put there by `python -m visual_summaries.schemas.views`.

It is a view over each table: exactly the shards that the manifests of one or more runs list, and no rows where a run
has none. What is before it, and after it, is written by hand. The last part answers questions from these views alone,
so that it also works on plain tables of the same names, as `jobs.export --format duckdb` writes them.
"""

from pathlib import Path

import pyarrow as pa

from visual_summaries.schemas.tables import TABLES, TableSchema

PATH = Path(__file__).with_name("views.sql")
GENERATED, QUESTIONS = "-- Tables\n", "-- Questions\n"

ZONED = "TIMESTAMP WITH TIME ZONE"
SIMPLE_KINDS = {
    pa.string(): "VARCHAR",
    pa.bool_(): "BOOLEAN",
    pa.binary(): "BLOB",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.float32(): "FLOAT",
    pa.float64(): "DOUBLE",
}


def sql_type(kind: pa.DataType) -> str:
    """DuckDB's name of an Arrow type.

    Raises:
        ValueError: a type that no table has had so far.
    """
    if pa.types.is_dictionary(kind):
        return sql_type(kind.value_type)
    if pa.types.is_list(kind):
        return f"{sql_type(kind.value_type)}[]"
    if pa.types.is_timestamp(kind):
        return ZONED if kind.tz else "TIMESTAMP"
    if kind not in SIMPLE_KINDS:
        raise ValueError(f"say which type of DuckDB's {kind} is, in visual_summaries/schemas/views.py")
    return SIMPLE_KINDS[kind]


def table_view(table: TableSchema) -> str:
    """SQL of the view over one table: columns that the files lack are null, ones unknown here come last."""
    columns = [("folder", "VARCHAR"), *((field.name, sql_type(field.type)) for field in table.schema)]
    typed = ",\n    ".join(f'NULL::{kind} AS "{name}"' for name, kind in columns)
    # Times with a zone need another package in Python, and are UTC anyway.
    times = [name for name, kind in columns if kind == ZONED]
    utc = ", ".join(f'make_timestamp(epoch_us("{name}")) AS "{name}"' for name in times)
    start, end = (f"SELECT * REPLACE ({utc}) FROM (\n", "\n)") if times else ("", "")
    return (
        f"-- {table.description.splitlines()[0]}\n"
        f"SET VARIABLE {table.name}_files = (SELECT list(literal_path(path)) FROM shards "
        f"WHERE \"table\" = '{table.name}');\n"
        f"CREATE OR REPLACE VIEW {table.name} AS\n"
        f"{start}SELECT\n    {typed}\nWHERE false\n"
        f"UNION ALL BY NAME\nFROM query(rows_of('{table.name}')){end};\n"
    )


def question_views() -> str:
    """SQL of the views that answer questions: the part of views.sql that is written by hand."""
    return QUESTIONS + PATH.read_text(encoding="utf-8").split(QUESTIONS, 1)[1]


def views_sql() -> str:
    """The whole file as it should be."""
    head, _ = PATH.read_text(encoding="utf-8").split(GENERATED, 1)
    return "\n".join([head + GENERATED, *(table_view(table) for table in TABLES.values()), question_views()])


if __name__ == "__main__":
    PATH.write_text(views_sql(), encoding="utf-8")
