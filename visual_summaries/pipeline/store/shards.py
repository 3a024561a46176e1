"""The files of shards: read in part, written in groups of rows."""

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import dataset, parquet

from visual_summaries.pipeline.object_errors import told
from visual_summaries.pipeline.objects import ObjectPath
from visual_summaries.schemas import TABLES

SMALL_OBJECT = 2**20


def row_groups(table: str, rows: pa.Table) -> Iterable[pa.Table]:
    """Pieces of `rows` to be written as row groups: one for each run of equal values of the table's group column."""
    column = TABLES[table].row_groups
    if column is None or len(rows) == 0:
        return [rows]
    values = rows.column(column).to_numpy()
    starts = np.concatenate([[0], np.flatnonzero(values[1:] != values[:-1]) + 1, [len(rows)]])
    return (rows.slice(start, stop - start) for start, stop in itertools.pairwise(starts.tolist()))


def read_shard(path: Path | ObjectPath, columns: Sequence[str], where: tuple[str, Sequence[Any]] | None) -> pa.Table:
    """These columns of a shard's file; of it only the rows in whose column `where[0]` is one of `where[1]`.

    Raises:
        OSError, pa.ArrowException, ValueError, KeyError, TypeError: it is damaged, or holds something else.
    """
    if isinstance(path, ObjectPath):
        try:
            return _read_object(path, columns, where)
        except OSError as error:
            raise told(error, path) from None
    if where is None:
        return parquet.ParquetFile(path).read(columns=columns).select(columns)
    rows = dataset.dataset(path, format="parquet").scanner(
        columns=list(columns), filter=_is_one_of(*where), use_threads=False
    )
    return rows.to_table()


def _read_object(path: ObjectPath, columns: Sequence[str], where: tuple[str, Sequence[Any]] | None) -> pa.Table:
    with path.open() as file:
        # A small object costs less as one request than as one for the footer and one for the columns.
        source = pa.BufferReader(file.read_buffer()) if file.size() <= SMALL_OBJECT else file
        if where is None:
            return parquet.ParquetFile(source, pre_buffer=True).read(columns=columns).select(columns)
        fragment = dataset.ParquetFileFormat().make_fragment(source)
        return fragment.to_table(columns=list(columns), filter=_is_one_of(*where), use_threads=False)


def _is_one_of(column: str, values: Sequence[Any]) -> dataset.Expression:
    return dataset.field(column).isin(list(values))
