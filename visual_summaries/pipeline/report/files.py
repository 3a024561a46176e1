"""The report's files: folders named after classes, each file written beside its place and renamed."""

import hashlib
import os
import re
import secrets
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from visual_summaries.pipeline.report import pictures

_RESERVED_BY_WINDOWS = re.compile(r"con|prn|aux|nul|(com|lpt)\d")
_OURS = re.compile(
    r"((summary|photograph|example|mistake)-\d+(-\w+)?|strip|summaries)\.webp"
    r"|(summary-\d+|photographs|mistakes)\.html|(card|drawn)\.json"
)


def slug(label: str) -> str:
    """Name of the folder of a class: safe in every file system and address, different for different labels.

    A label of at most 64 small ASCII letters, digits, hyphens and underscores is its own name. Any other one
    becomes what is readable of it, a dot (which the first kind cannot hold) and 16 digits of its sha256.
    """
    if re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", label) and not _RESERVED_BY_WINDOWS.fullmatch(label):
        return label
    ascii_only = unicodedata.normalize("NFKD", label).encode("ascii", "ignore").decode().lower()
    readable = re.sub(r"[^a-z0-9]+", "-", ascii_only)[:40].strip("-") or "class"
    if _RESERVED_BY_WINDOWS.fullmatch(readable):
        readable = f"class-{readable}"
    return f"{readable}.{hashlib.sha256(label.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"


@dataclass(frozen=True)
class Picture:
    """A picture of a page: path relative to it, size in pixels, and what it shows in words."""

    path: str
    width: int
    height: int
    alt: str


class FolderWriter:
    """Writes the files of one class and remembers which ones it wrote."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.written: set[str] = set()

    def picture(self, name: str, picture: np.ndarray, alt: str) -> Picture:
        """Write `picture` uint8 [H, W, 3] as the WebP file `name`."""
        self.file(name, pictures.encode(picture))
        return Picture(name, picture.shape[1], picture.shape[0], alt)

    def file(self, name: str, data: bytes) -> None:
        write_file(self.folder / name, data)
        self.written.add(name)

    def remove_others(self) -> None:
        """Remove what an older page of the class left; files of other people stay."""
        for path in self.folder.iterdir():
            if _OURS.fullmatch(path.name) and path.name not in self.written:
                path.unlink(missing_ok=True)


def write_file(path: Path, data: bytes) -> Path:
    """Write beside the place and rename. Not flushed to the disk: a lost report can be drawn again.

    What is no `Path` is in an object store, where a file appears whole by itself.
    """
    if not isinstance(path, Path):
        path.write_bytes(data)
        return path
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part.tmp")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path
