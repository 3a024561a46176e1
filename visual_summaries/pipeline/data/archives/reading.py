"""The bytes of photographs in archives, by range.

A process keeps a few archives open. In a bucket it reads ahead where photographs are wanted one after the other, so
that a request brings many of them; of a Parquet file it keeps a few rows, and goes on from there.
"""

import os
import stat
import tarfile
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from visual_summaries.pipeline.data.archives.address import TAR, Member
from visual_summaries.pipeline.data.archives.columns import column_of
from visual_summaries.pipeline.names import shown
from visual_summaries.pipeline.objects import ObjectPath, place, told

MOST_OPEN = 4
BLOCK = tarfile.BLOCKSIZE
# What is read ahead must be wanted: photographs of mixed classes are asked for one by one.
NEAR = 2**16
FIRST_AHEAD, MOST_AHEAD = 2**18, 2**23
ROWS_AT_ONCE = 8
PARQUET_BUFFER = 2**22
KINDS = {
    tarfile.SYMTYPE: "a symbolic link, which is not followed",
    tarfile.LNKTYPE: "a hard link, whose bytes are elsewhere",
    tarfile.DIRTYPE: "a directory",
    tarfile.FIFOTYPE: "a named pipe",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
}


class Damaged(ValueError):
    """An archive, or a photograph in it, that is not what it should be; the message does not name the archive."""


class RangeFile:
    """A file on a disk or in a bucket, read by range.

    Attributes:
        size: in bytes.
    """

    def __init__(self, location: Path | ObjectPath) -> None:
        """
        Raises:
            OSError: it cannot be opened.
            Damaged: it is no regular file.
        """
        self._location = location
        # Before it is opened: opening a pipe waits for a writer.
        if isinstance(location, Path) and not stat.S_ISREG(location.stat().st_mode):
            raise Damaged("it is no file")
        self.file: BinaryIO = location.open("rb")
        self.size = os.fstat(self.file.fileno()).st_size if isinstance(location, Path) else self.file.size()

    def read(self, start: int, length: int) -> bytes:
        """The bytes from `start` on, fewer than `length` at the end of the file."""
        if start >= self.size:
            return b""
        try:
            self.file.seek(start)
            return self.file.read(min(length, self.size - start))
        except (OSError, ValueError) as error:
            if isinstance(self._location, ObjectPath):
                raise told(error, self._location) from None
            raise

    def close(self) -> None:
        self.file.close()


class AheadReader:
    """Ranges of a file in a bucket: exactly what is wanted, and more and more ahead where ranges follow each other."""

    def __init__(self, file: RangeFile) -> None:
        self._file = file
        self._start, self._held, self._ahead, self._end = 0, b"", 0, -1

    def read(self, start: int, length: int) -> bytes:
        """As `RangeFile.read`."""
        follows = 0 <= start - self._end <= max(NEAR, 2 * length)
        self._end = start + length
        held_to = self._start + len(self._held)
        if not (self._start <= start and start + length <= held_to):
            self._ahead = min(max(FIRST_AHEAD, 2 * self._ahead), MOST_AHEAD) if follows else 0
            # What is held already of the range is not asked for again.
            kept = self._held[start - self._start :] if self._start <= start < held_to else b""
            self._held = kept + self._file.read(start + len(kept), max(length, self._ahead) - len(kept))
            self._start = start
        return self._held[start - self._start :][:length]


class _TarReader:
    def __init__(self, location: Path | ObjectPath) -> None:
        self._file = RangeFile(location)
        self._ranges = self._file if isinstance(location, Path) else AheadReader(self._file)

    def read(self, member: Member) -> bytes:
        """The bytes of a member, checked against its header, which lies before it."""
        if member.at < BLOCK or member.at % BLOCK:
            raise Damaged("no member of the archive begins there")
        content = self._ranges.read(member.at - BLOCK, BLOCK + member.size)
        try:
            header = tarfile.TarInfo.frombuf(content[:BLOCK], "utf-8", "surrogateescape")
        except tarfile.HeaderError:
            raise Damaged("the archive ends before it, is damaged there, or has changed") from None
        if header.type not in tarfile.REGULAR_TYPES or header.type == tarfile.GNUTYPE_SPARSE:
            raise Damaged(f"it is {KINDS.get(header.type, 'no file')}")
        if header.size != member.size:
            raise Damaged("the archive has changed since it was listed")
        if len(content) < BLOCK + member.size:
            raise Damaged(f"the archive ends after {len(content) - BLOCK} of its {member.size} bytes")
        return content[BLOCK:]

    def close(self) -> None:
        self._file.close()


class _ParquetReader:
    def __init__(self, location: Path | ObjectPath) -> None:
        import pyarrow.parquet

        self._location = location
        self._file = RangeFile(location)
        try:
            self._parquet = pyarrow.parquet.ParquetFile(self._file.file, buffer_size=PARQUET_BUFFER, pre_buffer=False)
            self._column = column_of(self._parquet.schema_arrow)
            metadata = self._parquet.metadata
            self._starts = [0]
            for group in range(metadata.num_row_groups):
                self._starts.append(self._starts[-1] + metadata.row_group(group).num_rows)
        except BaseException:
            self._file.close()
            raise
        self._group, self._batches, self._first, self._batch = -1, iter(()), 0, None

    def read(self, member: Member) -> bytes:
        """The bytes in a row."""
        if member.at >= self._starts[-1]:
            raise Damaged(f"the file has {self._starts[-1]} rows: it has changed since it was listed")
        group = bisect_right(self._starts, member.at) - 1
        if group != self._group or member.at < self._first:
            self._group, self._first, self._batch = group, self._starts[group], None
            self._batches = self._rows(group)
        while self._batch is None or member.at >= self._first + len(self._batch):
            self._first += 0 if self._batch is None else len(self._batch)
            self._batch = next(self._batches, None)
            if self._batch is None:
                raise Damaged("the row group has fewer rows than it says")
        return _bytes_in(self._batch, member.at - self._first)

    def _rows(self, group: int) -> Iterator[Any]:
        columns = [self._column.path]
        for batch in self._parquet.iter_batches(ROWS_AT_ONCE, row_groups=[group], columns=columns):
            yield batch.column(0)

    def close(self) -> None:
        self._parquet.close(force=True)
        self._file.close()


def _bytes_in(images: Any, at: int) -> bytes:
    """Of a column of bytes, or of structs with bytes, those at a place."""
    value = images[at].as_py()
    if value is None:
        raise Damaged("the row holds no image")
    content = value.get("bytes") if isinstance(value, dict) else value
    if content is None:
        raise Damaged("the row holds no bytes of the image, perhaps its path, which is not followed: store the bytes")
    return content


class _OpenArchives:
    """A few open archives, those used last."""

    def __init__(self) -> None:
        self._open: OrderedDict[tuple[Any, ...], Any] = OrderedDict()
        self._turn = threading.Lock()

    def read(self, member: Member) -> bytes:
        location = place(member.archive)
        key: tuple[Any, ...] = (member.kind, member.archive)
        if isinstance(location, Path):
            # Another file of that name is another archive.
            state = location.stat()
            key += (state.st_ino, state.st_size, state.st_mtime_ns)
        with self._turn:
            reader = self._open.pop(key, None)
            if reader is None:
                reader = (_TarReader if member.kind == TAR else _ParquetReader)(location)
            try:
                content = reader.read(member)
            except BaseException:
                # Whatever went wrong is not kept: the next one opens the archive anew.
                reader.close()
                raise
            self._open[key] = reader
            while len(self._open) > MOST_OPEN:
                self._open.popitem(last=False)[1].close()
        return content


_ARCHIVES = _OpenArchives()


def read_member(member: Member) -> bytes:
    """The bytes of a photograph in an archive.

    Raises:
        OSError: the archive cannot be read.
        Damaged: what the address says is not there, or is no bytes of a file.
    """
    try:
        return _ARCHIVES.read(member)
    except OSError as error:
        if isinstance(location := place(member.archive), ObjectPath):
            raise told(error, location) from None
        raise
    except Damaged as error:
        raise Damaged(f"{error}, {shown(member.archive)}") from None
    except Exception as error:
        # pyarrow's readers raise whatever damaged bytes lead them to.
        raise Damaged(f"the archive {shown(member.archive)} is damaged: {' '.join(str(error).split())}") from None
