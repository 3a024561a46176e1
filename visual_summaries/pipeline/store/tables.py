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
import json
import os
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
from pyarrow import parquet

from visual_summaries.pipeline.objects import ObjectError, ObjectPath, place
from visual_summaries.pipeline.store.atomic import TEMPORARY_SUFFIX, Write, atomic_file, write_atomically
from visual_summaries.pipeline.store.content import content_digest
from visual_summaries.pipeline.store.shards import read_shard, row_groups
from visual_summaries.schemas import TABLES, empty_table, validate

LONGEST_FOLDER = 200
# Where a shard's file says what `Shard.content` is.
CONTENT = "visual-summaries content"
ADVICE = "make room there, or allow writing, and run the same command again: what is done stays"
# What pyarrow raises where a shard is damaged, or another table than it should be.
DAMAGE = (OSError, pa.ArrowException, ValueError, KeyError, TypeError)
MEND = "mend that and run the same command again: what is done stays"


class StoreError(Exception):
    """A table that cannot be read or written; the message names the file and what to do."""


class Unreachable(StoreError):
    """An object store that does not answer: whether the table is there is not known."""


@dataclass(frozen=True, slots=True)
class Shard:
    """One complete file of a table.

    Attributes:
        path: relative to the table's folder.
        label: class.
        rows, bytes, sha256: of the file.
        content: digest of the rows but for what was measured by a clock: equal where the same was computed again.
    """

    path: str
    label: str
    rows: int
    bytes: int
    sha256: str
    content: str = ""


FIELDS = tuple(Shard.__annotations__)
KINDS = tuple(Shard.__annotations__.items())


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
        """`still_ours` is called before anything is written or removed; it raises where another has taken over.

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
                content = content_digest(table, rows)
                with parquet.ParquetWriter(file, rows.schema, compression="zstd", compression_level=3) as writer:
                    for group in row_groups(table, rows):
                        writer.write_table(group)
                    writer.add_key_value_metadata({CONTENT: content})
                self.check_ours()
                if isinstance(target, ObjectPath):
                    data = file.getbuffer()
                    sha256 = hashlib.sha256(data).hexdigest()
                    shard = Shard(path, label, rows.num_rows, len(data), sha256, content)
                    del data
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
        except DAMAGE as error:
            if _out_of_reach(error):
                raise StoreError(f"cannot read {error}; {MEND}") from error
            return None

    def _describe(self, table: str, path: str, label: str) -> Shard:
        target = self.folder(table) / path
        if isinstance(target, ObjectPath):
            data = target.read_bytes()
            sha256, size, footer = hashlib.sha256(data).hexdigest(), len(data), parquet.read_metadata(io.BytesIO(data))
        else:
            with target.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            size, footer = target.stat().st_size, parquet.read_metadata(target)
        content = (footer.metadata or {}).get(CONTENT.encode(), b"").decode()
        return Shard(path, label, footer.num_rows, size, sha256, content)

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
        self.check_ours()
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
                piece = read_shard(folder / path, schema.names, where).cast(schema)
                piece.validate(full=True)
                pieces.append(piece)
            except KeyError:
                raise StoreError(
                    f"{folder / path} has other columns than the table {table} has now: another version of this "
                    "program wrote it; run the job again"
                ) from None
            except DAMAGE as error:
                if _out_of_reach(error):
                    raise StoreError(f"cannot read {error}; {MEND}") from error
                raise StoreError(
                    f"cannot read {folder / path}: {error}; delete the file and run the job again"
                ) from error
        return pa.concat_tables(pieces)

    def write_manifest(self, table: str, fingerprint: str, shards: Iterable[Shard], complete: bool) -> None:
        """Say which shards make up the table now; readers read this, never the folder."""
        content = {"table": table, "fingerprint": fingerprint, "complete": complete}
        self.check_ours()
        if isinstance(self.root, ObjectPath):
            # A store knows two states apart by their content alone: that of two runs must differ.
            content["written"] = secrets.token_hex(8)
        try:
            self._write(self.folder(table) / "manifest.json", _manifest_text(content, shards))
        except OSError as error:
            raise _not_written(self.folder(table) / "manifest.json", error) from error

    def check_ours(self) -> None:
        """Raise a StoreError where another has taken over."""
        if self._still_ours is not None:
            self._still_ours()

    def manifest(self, table: str) -> list[Shard]:
        """Shards of the table according to its manifest.

        Raises:
            StoreError: there is none, or it is damaged.
        """
        path = self.folder(table) / "manifest.json"
        try:
            shards = [Shard(**shard) for shard in json.loads(path.read_text(encoding="utf-8"))["shards"]]
            for shard in shards:
                _check_kinds(shard)
                _check_inside(shard.path)
            return shards
        except FileNotFoundError:
            raise self._no_table(table) from None
        except ObjectError as error:
            if error.errno == errno.ENOENT:
                raise self._no_table(table) from None
            raise Unreachable(f"cannot read {error}; {MEND}") from error
        except OSError as error:
            raise StoreError(f"cannot read {path}: {error.strerror or error}; {MEND}") from None
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise StoreError(f"{path} is damaged ({error}); delete it and run the job again") from None

    def settled(self, table: str) -> tuple[str, bool]:
        """Fingerprint of the table's manifest, and whether it says that the table is complete; ("", False) where there
        is none that can be read.

        Raises:
            Unreachable: there may be one, but the store does not answer.
        """
        try:
            content = json.loads((self.folder(table) / "manifest.json").read_text())
            return str(content["fingerprint"]), content["complete"] is True
        except ObjectError as error:
            if error.errno != errno.ENOENT:
                raise Unreachable(f"cannot read {error}; {MEND}") from error
            return "", False
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return "", False

    def _no_table(self, table: str) -> StoreError:
        if isinstance(self.root, ObjectPath):
            try:
                self.root.check_bucket()
            except ObjectError as error:
                return StoreError(str(error))
        elif not (self.root / "tables").is_dir():
            return StoreError(f"there is no table {table!r} in {self.root}: no run lies there; check the folder's name")
        return StoreError(f"there is no table {table!r} in {self.root}: run the job that writes it")

    def check_places(self, table: str) -> None:
        """For readers that open a table's files by themselves: raise a StoreError unless all that its manifest lists,
        if there is one, is in the table's folder."""
        folder = self.folder(table)
        if (folder / "manifest.json").is_file():
            for shard in self.manifest(table):
                self._check_links(folder / shard.path)

    def _check_links(self, target: Path | ObjectPath) -> None:
        """A run may come from anywhere; its links must not lead out of it. The output folder itself may be one.

        Each folder is looked at once: there may be a million shards.
        """
        if isinstance(target, ObjectPath):
            return
        unseen = () if target.parent in self._inside else (target.parent,)
        try:
            looked_at = (*unseen, target) if target.is_symlink() else unseen
        except OSError as error:
            raise StoreError(f"cannot read {target}: {error.strerror or error}") from None
        for path in looked_at:
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


def _manifest_text(content: Mapping[str, Any], shards: Iterable[Shard]) -> str:
    """JSON with a line for each shard, of which there may be a hundred thousand: to indent them takes seconds."""
    listed = ",\n".join([json.dumps({name: getattr(shard, name) for name in FIELDS}) for shard in shards])
    return f'{json.dumps(content)[:-1]}, "shards": [\n{listed}\n]}}\n'


def _check_kinds(shard: Shard) -> None:
    for name, kind in KINDS:
        value = getattr(shard, name)
        if type(value) is not kind or (kind is int and not 0 <= value < 2**63):
            raise ValueError(f"it lists {value!r} as the {name} of a shard")
        if kind is str:
            # Escapes in JSON may stand for halves of characters, which no file system and no table takes.
            value.encode()


def _check_inside(path: str) -> None:
    """A manifest may come from anywhere; what it lists must not."""
    if path.startswith("/") or ".." in path.split("/") or "\0" in path or not path.endswith(".parquet"):
        raise ValueError(f"it lists {path!r}, which is no shard in its folder")


def _not_written(target: Path | ObjectPath, error: OSError) -> StoreError:
    advice = MEND if isinstance(error, ObjectError) else ADVICE
    return StoreError(f"cannot write {target}: {error.strerror or error}; {advice}")


def _out_of_reach(error: BaseException) -> bool:
    """Whether an object may well be there, but its store does not say so."""
    return isinstance(error, ObjectError) and error.errno != errno.ENOENT
