"""Files and objects that appear whole or not at all."""

import io
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

from visual_summaries.pipeline.objects import ObjectPath

TEMPORARY_SUFFIX = ".part.tmp"


Write = Callable[[Path | ObjectPath, bytes | str], None]


class Ours(Protocol):
    """The right to write into an output folder; called, it raises a StoreError where another run has taken it over.

    Attributes:
        marker: path below the folder of what holds `token`, as long as it is ours.
        token: names this holder alone.
        unfenced: why what is written too late is not refused; empty where it is.
    """

    marker: str
    token: str
    unfenced: str

    def __call__(self) -> None: ...

    def write(self, path: Path | ObjectPath, content: bytes | str) -> None:
        """Write a file or object that runs overwrite, whole, or not at all where another run has taken over.

        Raises:
            StoreError: another run has.
            OSError: the disk or store refuses.
        """
        ...


@contextmanager
def atomic_file(path: Path | ObjectPath) -> Iterator[BinaryIO]:
    """Open a file beside `path`; on leaving without an exception flush it to disk and rename it to `path`.

    An object is gathered in memory and sent whole. After an exception (a full disk, an interrupt) nothing is left
    behind and `path` is as it was.
    """
    if isinstance(path, ObjectPath):
        content = io.BytesIO()
        yield content
        path.write_bytes(content.getbuffer())
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}{TEMPORARY_SUFFIX}")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _flush_directory(path.parent)


def write_atomically(path: Path | ObjectPath, content: bytes | str) -> None:
    """Write `content` (text as UTF-8) to `path`, whole or not at all."""
    with atomic_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def _flush_directory(directory: Path) -> None:
    """Make a rename survive a power cut, where the system can."""
    try:
        descriptor = os.open(directory, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
