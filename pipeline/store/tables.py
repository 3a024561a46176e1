"""Tables as folders of Parquet shards, one folder per fingerprint and class, with a manifest of exact shards.

    <root>/tables/<table>/manifest.json                                   what a reader reads
    <root>/tables/<table>/<fingerprint>/label=<class>/<unit>.parquet      shards, also of earlier settings

A shard's name says what it was computed from, and it appears by one rename: a name that exists is complete.
"""

import contextlib
import hashlib
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
from pyarrow import dataset, parquet

from pipeline.store.atomic import TEMPORARY_SUFFIX, atomic_file, write_atomically
from schemas import TABLES, empty_table, validate

LONGEST_FOLDER = 200
ADVICE = "make room there, or allow writing, and run the same command again: what is done stays"


class StoreError(Exception):
    """A table that cannot be read or written; the message names the file and what to do."""


@dataclass(frozen=True)
class Shard:
    """One complete file of a table: path relative to the table's folder, class, rows, bytes and sha256."""

    path: str
    label: str
    rows: int
    bytes: int
    sha256: str


def digest(*parts: Any) -> str:
    """Hash of JSON-serializable values, 24 hexadecimal digits; the same on every host."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:24]


class TableStore:
    """All tables of one output folder."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def folder(self, table: str) -> Path:
        if table not in TABLES:
            raise KeyError(f"no schema for table {table!r}")
        return self.root / "tables" / table

    def shard_path(self, table: str, fingerprint: str, label: str, unit: str) -> str:
        """Path of a shard relative to its table's folder; any text is safe as a label."""
        folder = quote(label, safe="")
        if len(folder) > LONGEST_FOLDER:
            folder = f"{folder[: LONGEST_FOLDER - 17]}.{hashlib.sha256(label.encode()).hexdigest()[:16]}"
        return f"{fingerprint}/label={folder}/{unit}.parquet"

    def write(self, table: str, path: str, rows: pa.Table, label: str) -> Shard:
        """Validate `rows` against the table's schema and write them as one shard, atomically.

        Raises:
            StoreError: the file system refuses (full disk, no permission).
        """
        target = self.folder(table) / path
        validate(table, rows)
        try:
            with (
                atomic_file(target) as file,
                parquet.ParquetWriter(file, rows.schema, compression="zstd", compression_level=3) as writer,
            ):
                for group in _row_groups(table, rows):
                    writer.write_table(group)
        except OSError as error:
            raise StoreError(f"cannot write {target}: {error.strerror or error}; {ADVICE}") from error
        return self._describe(table, path, label)

    def listed(self, table: str) -> dict[str, Shard]:
        """The shards of the table's manifest by path; empty where there is none that can be read."""
        try:
            return {shard.path: shard for shard in self.manifest(table)}
        except StoreError:
            return {}

    def find(self, table: str, path: str, label: str, listed: Mapping[str, Shard] | None = None) -> Shard | None:
        """The complete shard at `path`, or None. An unreadable one (a damaged disk) counts as absent.

        One that the manifest lists (`listed`) with the size that the file has is not read again: resuming a
        finished run of a million images must not read it all.
        """
        try:
            size = (self.folder(table) / path).stat().st_size
        except OSError:
            return None
        known = (listed or {}).get(path)
        if known is not None and known.bytes == size:
            return known
        try:
            return self._describe(table, path, label)
        except (OSError, pa.ArrowInvalid):
            return None

    def _describe(self, table: str, path: str, label: str) -> Shard:
        target = self.folder(table) / path
        with target.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return Shard(path, label, parquet.read_metadata(target).num_rows, target.stat().st_size, sha256)

    def remove_unfinished(self) -> None:
        """Remove what writers left that were killed; only while nobody else writes here."""
        for path in (self.root / "tables").glob(f"**/*{TEMPORARY_SUFFIX}"):
            with contextlib.suppress(OSError):
                path.unlink()

    def remove(self, table: str, path: str) -> None:
        """Remove a shard that an attempt which did not finish may have left."""
        with contextlib.suppress(OSError):
            (self.folder(table) / path).unlink(missing_ok=True)

    def read(
        self,
        table: str,
        shards: Sequence[str],
        columns: Sequence[str] | None = None,
        where: tuple[str, Sequence[Any]] | None = None,
    ) -> pa.Table:
        """Rows of the shards at these relative paths, in that order.

        Args:
            columns: the columns wanted; default: all.
            where: (column, values): only rows that have one of these there. Row groups without one are not read.

        Raises:
            StoreError: a shard is missing or damaged.
        """
        folder = self.folder(table)
        schema = TABLES[table].schema
        if columns is not None:
            schema = pa.schema([schema.field(name) for name in columns])
        pieces = [empty_table(table).select(schema.names)]
        for path in shards:
            try:
                pieces.append(_read_shard(folder / path, schema.names, where))
            except (OSError, pa.ArrowInvalid) as error:
                raise StoreError(
                    f"cannot read {folder / path}: {error}; delete the file and run the job again"
                ) from error
        return pa.concat_tables([piece.cast(schema) for piece in pieces])

    def write_manifest(self, table: str, fingerprint: str, shards: Iterable[Shard], complete: bool) -> None:
        """Say which shards make up the table now; readers read this, never the folder."""
        content = {
            "table": table,
            "fingerprint": fingerprint,
            "complete": complete,
            "shards": [asdict(shard) for shard in shards],
        }
        try:
            write_atomically(self.folder(table) / "manifest.json", json.dumps(content, indent=1) + "\n")
        except OSError as error:
            target = self.folder(table) / "manifest.json"
            raise StoreError(f"cannot write {target}: {error.strerror or error}; {ADVICE}") from error

    def manifest(self, table: str) -> list[Shard]:
        """Shards of the table according to its manifest.

        Raises:
            StoreError: there is none, or it is damaged.
        """
        path = self.folder(table) / "manifest.json"
        try:
            shards = [Shard(**shard) for shard in json.loads(path.read_text())["shards"]]
            for shard in shards:
                _check_inside(shard.path)
            return shards
        except FileNotFoundError:
            raise StoreError(f"there is no table {table!r} in {self.root}: run the job that writes it") from None
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{path} is damaged ({error}); delete it and run the job again") from None

    def read_all(self, table: str, columns: Sequence[str] | None = None, label: str | None = None) -> pa.Table:
        """The whole table, or one class of it, as its manifest says."""
        shards = [shard.path for shard in self.manifest(table) if label is None or shard.label == label]
        return self.read(table, shards, columns)


def _check_inside(path: str) -> None:
    """A manifest may come from anywhere; what it lists must not."""
    if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts or not path.endswith(".parquet"):
        raise ValueError(f"it lists {path!r}, which is no shard in its folder")


def _row_groups(table: str, rows: pa.Table) -> Iterable[pa.Table]:
    """Pieces of `rows` to be written as row groups: one for each run of equal values of the table's group column."""
    column = TABLES[table].row_groups
    if column is None or len(rows) == 0:
        return [rows]
    values = rows.column(column).to_numpy()
    starts = np.concatenate([[0], np.flatnonzero(values[1:] != values[:-1]) + 1, [len(rows)]])
    return (rows.slice(start, stop - start) for start, stop in itertools.pairwise(starts.tolist()))


def _read_shard(path: Path, columns: Sequence[str], where: tuple[str, Sequence[Any]] | None) -> pa.Table:
    if where is None:
        return parquet.ParquetFile(path).read(columns=columns).select(columns)
    column, values = where
    rows = dataset.dataset(path, format="parquet").scanner(
        columns=list(columns), filter=dataset.field(column).isin(list(values)), use_threads=False
    )
    return rows.to_table()
