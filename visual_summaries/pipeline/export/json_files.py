"""JSON files of any length, written item by item, whole or not at all."""

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from visual_summaries.pipeline.store.atomic import atomic_file


def json_bytes(value: Any) -> bytes:
    """JSON on one line.

    Raises:
        ValueError: a number that JSON cannot hold.
    """
    return json.dumps(value, allow_nan=False).encode()


class JsonSequence:
    """Items of a list, or entries of an object, that grow in a file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._count = file, 0

    def add(self, value: Any, key: str | None = None) -> None:
        """Append an item; with `key`, an entry of that name."""
        self._file.write(b",\n" if self._count else b"\n")
        self._count += 1
        if key is not None:
            self._file.write(json_bytes(key) + b": ")
        self._file.write(json_bytes(value))


@contextmanager
def json_map(path: Path) -> Iterator[JsonSequence]:
    """Write one object whose entries grow; it appears at `path` when the block ends without an exception."""
    with atomic_file(path) as file:
        file.write(b"{")
        yield JsonSequence(file)
        file.write(b"}\n")


@contextmanager
def json_object(
    path: Path, sequences: Mapping[str, str], last: Mapping[str, Any]
) -> Iterator[dict[str, JsonSequence]]:
    """Write an object whose values grow side by side; it appears at `path` when the block ends without an exception.

    Args:
        sequences: key → "[]" for a list, "{}" for an object. The second and further ones wait in temporary files.
        last: entries that follow; looked at when the block ends.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        file = stack.enter_context(atomic_file(path))
        waiting = [stack.enter_context(tempfile.TemporaryFile(dir=path.parent)) for _ in list(sequences)[1:]]
        files: list[Any] = [file, *waiting]
        for number, (key, brackets) in enumerate(sequences.items()):
            files[number].write((b",\n" if number else b"{") + json_bytes(key) + b": " + brackets[:1].encode())
        yield {key: JsonSequence(own) for key, own in zip(sequences, files, strict=True)}
        for own, brackets in zip(files, sequences.values(), strict=True):
            own.write(brackets[1:].encode())
        for own in waiting:
            own.seek(0)
            shutil.copyfileobj(own, file)
        for key, value in last.items():
            file.write(b",\n" + json_bytes(key) + b": " + json_bytes(value))
        file.write(b"}\n")
