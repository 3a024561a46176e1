"""What a shard holds, apart from when and how fast it was computed."""

import hashlib
import io
from typing import Any

import numpy as np
import pyarrow as pa

from visual_summaries.schemas import TABLES

ROWS_HASHED = 1000


def content_digest(table: str, rows: pa.Table) -> str:
    """Digest of the rows of a table, but for what was measured by a clock; how they lie in memory does not matter."""
    kept = rows.select(TABLES[table].reproducible)
    kept = kept.cast(pa.schema([field.remove_metadata() for field in kept.schema]))
    hashed = hashlib.sha256()
    with pa.ipc.new_stream(pa.PythonFile(_Hashing(hashed), mode="w"), kept.schema) as stream:
        for start in range(0, len(kept), ROWS_HASHED):
            piece = kept.slice(start, ROWS_HASHED)
            # Taken one by one they lie in memory in one way only, wherever they come from.
            stream.write_table(piece.take(np.arange(len(piece))).combine_chunks())
    return hashed.hexdigest()


class _Hashing(io.RawIOBase):
    """A file that keeps nothing but a hash of what is written."""

    def __init__(self, hashed: Any) -> None:
        self._hashed = hashed

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._hashed.update(data)
        return len(data)
