"""Tables as folders of Parquet shards, one folder per fingerprint and class, with a manifest of exact shards.

    <root>/tables/<table>/manifest.json                                   what a reader reads
    <root>/tables/<table>/<fingerprint>/label=<class>/<unit>.parquet      shards, also of earlier settings

A shard's name says what it was computed from, and it appears by one rename, or on an object store by one upload: a
name that exists is complete.
"""

import contextlib
import errno
import hashlib
import io
import itertools
import json
import os
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
from pyarrow import dataset, parquet

from pipeline.objects import ObjectError, ObjectPath, place, told
from pipeline.store.atomic import TEMPORARY_SUFFIX, Write, atomic_file, write_atomically
from schemas import TABLES, empty_table, validate

LONGEST_FOLDER = 200
SMALL_OBJECT = 2**20
ADVICE = "make room there, or allow writing, and run the same command again: what is done stays"
MEND = "mend that and run the same command again: what is done stays"


class StoreError(Exception):
    """A table that cannot be read or written; the message names the file and what to do."""


class Unreachable(StoreError):
    """An object store that does not answer: whether the table is there is not known."""


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
    """All tables of one output folder, on a disk or an object store."""

    def __init__(
        self,
        root: str | Path | ObjectPath,
        still_ours: Callable[[], None] | None = None,
        write: Write = write_atomically,
    ) -> None:
        """`still_ours` is called before a manifest is written; it raises where another run has taken over.

        `write` writes it; an object store can refuse it even then, see `Lease.write`.

        Raises:
            StoreError: an address that cannot be used.
        """
        try:
            self.root = place(root)
        except ObjectError as error:
            raise StoreError(str(error)) from None
        self._still_ours, self._write = still_ours, write
        self._inside: set[Path] = set()

    def folder(self, table: str) -> Path | ObjectPath:
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
            StoreError: the file system refuses (full disk, no permission), or a link leads out of the output folder.
        """
        target = self.folder(table) / path
        validate(table, rows)
        self._check_links(target)
        try:
            with atomic_file(target) as file:
                with parquet.ParquetWriter(file, rows.schema, compression="zstd", compression_level=3) as writer:
                    for group in _row_groups(table, rows):
                        writer.write_table(group)
                if isinstance(target, ObjectPath):
                    content = file.getbuffer()
                    shard = Shard(path, label, rows.num_rows, len(content), hashlib.sha256(content).hexdigest())
                    del content
        except OSError as error:
            raise _not_written(target, error) from error
        return shard if isinstance(target, ObjectPath) else self._describe(table, path, label)

    def listed(self, table: str) -> dict[str, Shard]:
        """The shards of the table's manifest by path; empty where there is none that can be read.

        Raises:
            Unreachable: there may be one, but the store does not answer.
        """
        try:
            return {shard.path: shard for shard in self.manifest(table)}
        except Unreachable:
            raise
        except StoreError:
            return {}

    def sizes(self, table: str, fingerprints: Iterable[str]) -> dict[str, int] | None:
        """Bytes of all shards under these fingerprints by path, by one listing each; None on a disk, where it is not
        worth it.

        Raises:
            StoreError: the store does not answer.
        """
        folder = self.folder(table)
        if not isinstance(folder, ObjectPath):
            return None
        try:
            return {
                f"{one}/{name}": size
                for one in sorted(set(fingerprints))
                for name, (size, _) in (folder / one).states().items()
            }
        except ObjectError as error:
            raise StoreError(f"cannot list {error}; {MEND}") from error

    def find(
        self,
        table: str,
        path: str,
        label: str,
        listed: Mapping[str, Shard] | None = None,
        sizes: Mapping[str, int] | None = None,
    ) -> Shard | None:
        """The complete shard at `path`, or None. An unreadable one (a damaged disk) counts as absent.

        One that the manifest lists (`listed`) with the size that the file has is not read again: resuming a
        finished run of a million images must not read it all. `sizes` spares asking for each size.

        Raises:
            StoreError: an object store does not answer, or a link leads out of the output folder.
        """
        target = self.folder(table) / path
        try:
            size = target.stat().st_size if sizes is None else sizes.get(path)
        except OSError as error:
            if _out_of_reach(error):
                raise StoreError(f"cannot read {error}; {MEND}") from error
            return None
        if size is None:
            return None
        self._check_links(target)
        known = (listed or {}).get(path)
        if known is not None and known.bytes == size:
            return known
        try:
            return self._describe(table, path, label)
        except (OSError, pa.ArrowInvalid) as error:
            if _out_of_reach(error):
                raise StoreError(f"cannot read {error}; {MEND}") from error
            return None

    def _describe(self, table: str, path: str, label: str) -> Shard:
        target = self.folder(table) / path
        if isinstance(target, ObjectPath):
            content = target.read_bytes()
            rows = parquet.read_metadata(io.BytesIO(content)).num_rows
            return Shard(path, label, rows, len(content), hashlib.sha256(content).hexdigest())
        with target.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return Shard(path, label, parquet.read_metadata(target).num_rows, target.stat().st_size, sha256)

    def remove_unfinished(self) -> None:
        """Remove what writers left that were killed; only while nobody else writes here."""
        if isinstance(self.root, ObjectPath):
            return
        for path in (self.root / "tables").glob(f"**/*{TEMPORARY_SUFFIX}"):
            with contextlib.suppress(OSError):
                path.unlink()

    def remove(self, table: str, path: str) -> None:
        """Remove a shard that an attempt which did not finish may have left.

        Raises:
            StoreError: an object store refuses.
        """
        try:
            (self.folder(table) / path).unlink(missing_ok=True)
        except ObjectError as error:
            raise StoreError(f"cannot remove {error}; {MEND}") from error
        except OSError:
            pass

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
            StoreError: a shard is missing or damaged, or a link leads out of the output folder.
        """
        folder = self.folder(table)
        schema = TABLES[table].schema
        if columns is not None:
            schema = pa.schema([schema.field(name) for name in columns])
        pieces = [empty_table(table).select(schema.names)]
        for path in shards:
            self._check_links(folder / path)
            try:
                pieces.append(_read_shard(folder / path, schema.names, where))
            except (OSError, pa.ArrowInvalid) as error:
                if _out_of_reach(error):
                    raise StoreError(f"cannot read {error}; {MEND}") from error
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
        if isinstance(self.root, ObjectPath):
            # A store knows two states apart by their content alone: that of two runs must differ.
            content["written"] = secrets.token_hex(8)
        if self._still_ours is not None:
            self._still_ours()
        try:
            self._write(self.folder(table) / "manifest.json", json.dumps(content, indent=1) + "\n")
        except OSError as error:
            raise _not_written(self.folder(table) / "manifest.json", error) from error

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
            raise self._no_table(table) from None
        except ObjectError as error:
            if error.errno == errno.ENOENT:
                raise self._no_table(table) from None
            raise Unreachable(f"cannot read {error}; {MEND}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{path} is damaged ({error}); delete it and run the job again") from None

    def _no_table(self, table: str) -> StoreError:
        if isinstance(self.root, ObjectPath):
            try:
                self.root.check_bucket()
            except ObjectError as error:
                return StoreError(str(error))
        return StoreError(f"there is no table {table!r} in {self.root}: run the job that writes it")

    def _check_links(self, target: Path | ObjectPath) -> None:
        """A run may come from anywhere; its links must not lead out of it. The output folder itself may be one.

        Each folder is looked at once: there may be a million shards.
        """
        if isinstance(target, ObjectPath):
            return
        unseen = () if target.parent in self._inside else (target.parent,)
        for path in (*unseen, target) if target.is_symlink() else unseen:
            real = Path(os.path.realpath(path))
            if not real.is_relative_to(os.path.realpath(self.root)):
                raise StoreError(
                    f"{target} leads out of {self.root} by a link, to {real}: put the files themselves there in place "
                    "of the link, or delete it and run the job again"
                )
        self._inside.add(target.parent)

    def read_all(self, table: str, columns: Sequence[str] | None = None, label: str | None = None) -> pa.Table:
        """The whole table, or one class of it, as its manifest says."""
        shards = [shard.path for shard in self.manifest(table) if label is None or shard.label == label]
        return self.read(table, shards, columns)


def _check_inside(path: str) -> None:
    """A manifest may come from anywhere; what it lists must not."""
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts or "\0" in path or not path.endswith(".parquet"):
        raise ValueError(f"it lists {path!r}, which is no shard in its folder")


def _row_groups(table: str, rows: pa.Table) -> Iterable[pa.Table]:
    """Pieces of `rows` to be written as row groups: one for each run of equal values of the table's group column."""
    column = TABLES[table].row_groups
    if column is None or len(rows) == 0:
        return [rows]
    values = rows.column(column).to_numpy()
    starts = np.concatenate([[0], np.flatnonzero(values[1:] != values[:-1]) + 1, [len(rows)]])
    return (rows.slice(start, stop - start) for start, stop in itertools.pairwise(starts.tolist()))


def _read_shard(
    path: Path | ObjectPath, columns: Sequence[str], where: tuple[str, Sequence[Any]] | None
) -> pa.Table:
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


def _not_written(target: Path | ObjectPath, error: OSError) -> StoreError:
    advice = MEND if isinstance(error, ObjectError) else ADVICE
    return StoreError(f"cannot write {target}: {error.strerror or error}; {advice}")


def _out_of_reach(error: BaseException) -> bool:
    """Whether an object may well be there, but its store does not say so."""
    return isinstance(error, ObjectError) and error.errno != errno.ENOENT
