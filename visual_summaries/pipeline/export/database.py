"""One DuckDB file of one run or several: every table without its arrays, and the views that answer questions.

A copy, not a link to the Parquet files: it can be moved to where the dashboards are, and a run that goes on does not
change it under them. Without arrays (saliency, descriptors, features, scores of pairs) it is a small part of the run.
"""

import os
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa

from visual_summaries.pipeline.store.atomic import TEMPORARY_SUFFIX
from visual_summaries.pipeline.store.tables import StoreError, TableStore
from visual_summaries.schemas import TABLES
from visual_summaries.schemas.views import PATH, question_views

STORAGE = "v1.1.0"
"""DuckDB's version whose format of files is written; 1.1 and all later ones read it."""


def export_database(folders: Sequence[str], path: Path, advance: Callable[[str, int], None]) -> int:
    """Write the tables of these runs to a DuckDB file at `path`, whole or not at all; returns the number of rows.

    Args:
        advance: told (table, 1) when a table is done.

    Raises:
        StoreError: DuckDB is not installed, or a file of the run or the output fails it.
        OSError: the output cannot be written.
    """
    try:
        import duckdb
    except ImportError:
        raise StoreError("this format needs DuckDB: pip install 'visual-summaries[duckdb]'") from None
    for store in map(TableStore, folders):
        for table in TABLES:
            store.check_places(table)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{secrets.token_hex(8)}{TEMPORARY_SUFFIX}")
    try:
        with duckdb.connect() as connection:
            rows = _copy(connection, folders, unfinished, advance)
        os.replace(unfinished, path)
    except duckdb.Error as error:
        raise StoreError(f"DuckDB cannot write {path}: {str(error).splitlines()[0]}") from None
    finally:
        unfinished.unlink(missing_ok=True)
        unfinished.with_name(f"{unfinished.name}.wal").unlink(missing_ok=True)
    return rows


def _copy(connection, folders: Sequence[str], path: Path, advance: Callable[[str, int], None]) -> int:  # noqa: ANN001
    connection.execute("SET VARIABLE runs = ?", [list(folders)])
    connection.execute(PATH.read_text(encoding="utf-8"))
    connection.execute(f"ATTACH {quoted(str(path))} AS exported{_as_old_as_possible(connection)}")
    rows = 0
    connection.execute("CREATE TABLE exported.manifests AS FROM manifests")
    for name in TABLES:
        columns = ", ".join(["folder", *(f'"{column}"' for column in without_arrays(name))])
        connection.execute(f"CREATE TABLE exported.{name} AS SELECT {columns} FROM memory.main.{name}")
        rows += connection.execute(f"SELECT count(*) FROM exported.{name}").fetchone()[0]
        advance(name, 1)
    connection.execute("USE exported")
    connection.execute(question_views())
    connection.execute("USE memory")
    connection.execute("DETACH exported")
    return rows


def _as_old_as_possible(connection) -> str:  # noqa: ANN001
    """The option that makes a file readable for the oldest clients too: those of dashboards often lag behind."""
    (version,) = connection.execute("SELECT version()").fetchone()
    major, minor = (int(part) for part in version.lstrip("v").split(".")[:2])
    # Before 1.2 there was no other format, and no such option.
    return f" (STORAGE_VERSION '{STORAGE}')" if (major, minor) >= (1, 2) else ""


def without_arrays(table: str) -> list[str]:
    """The table's columns that are not raw bytes."""
    return [field.name for field in TABLES[table].schema if not pa.types.is_binary(field.type)]


def quoted(text: str) -> str:
    """A string of SQL, for the few statements that take no parameters."""
    return "'" + text.replace("'", "''") + "'"
