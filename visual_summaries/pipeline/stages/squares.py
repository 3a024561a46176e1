"""The analyzed squares of the photographs at work, kept on each node while a run lasts: a large photograph takes a
hundred times longer to decode than its square takes to read.

A square is named by its photograph's content, so it cannot be that of another one. Whatever goes wrong here costs time
alone: a square that cannot be kept is decoded again.
"""

import contextlib
import os
import shutil
import stat
import tempfile
import time
from collections import deque
from pathlib import Path

import numpy as np

PREFIX = "visual-summaries-"
LIMIT_BYTES = 512 * 2**20
LEAST_FREE_BYTES = 2 * 2**30
LEFT_OVER_SECONDS = 86400.0


class Squares:
    """A folder of squares, which the workers of a run on one node share.

    Attributes:
        folder: only its owner can read it, or anything be put into it.
    """

    def __init__(self, run: str, side: int, limit: int = LIMIT_BYTES, parent: Path | None = None) -> None:
        """
        Args:
            run: a name for the run and its preprocessing, fit for a file's name.
            side: pixels to a side, S.
            limit: bytes that this process keeps, its oldest squares give way; 0 for none.
            parent: where the folder is; default the system's folder for temporary files.
        """
        self._shape, self._room = (3, side, side), limit // (3 * side * side)
        self._own: deque[Path] = deque()
        self._parent = Path(tempfile.gettempdir()) if parent is None else parent
        self.folder = self._parent / f"{PREFIX}{run}"

    def get(self, image_id: str) -> np.ndarray | None:
        """The square `[3,S,S]` uint8 of a photograph, or None where it is not kept."""
        if self._room < 1 or not self._trusted():
            return None
        try:
            square = np.fromfile(self.folder / image_id, np.uint8)
        except OSError:
            return None
        return square.reshape(self._shape) if square.size == np.prod(self._shape) else None

    def put(self, image_id: str, square: np.ndarray) -> None:
        """Keep a square `[3,S,S]` uint8 if there is room."""
        if self._room < 1:
            return
        place = self.folder / image_id
        unfinished = self.folder / f"{image_id}.{os.getpid()}"
        with contextlib.suppress(OSError):
            if not self.folder.exists():
                self.folder.mkdir(mode=0o700)
            if not self._trusted() or shutil.disk_usage(self.folder).free < LEAST_FREE_BYTES:
                return
            try:
                np.ascontiguousarray(square, np.uint8).tofile(unfinished)
                unfinished.replace(place)
            except OSError:
                unfinished.unlink(missing_ok=True)
                raise
            self._own.append(place)
            if len(self._own) > self._room:
                self._own.popleft().unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove the folder, and those of runs that ended a day ago or more without doing so."""
        for folder in (self.folder, *left_over(self._parent)):
            shutil.rmtree(folder, ignore_errors=True)

    def _trusted(self) -> bool:
        return trusted(self.folder)


def trusted(folder: Path) -> bool:
    """Whether a folder is a real one that nobody else can write to."""
    try:
        state = folder.lstat()
    except OSError:
        return False
    mine = state.st_uid == getattr(os, "getuid", lambda: -1)()
    return stat.S_ISDIR(state.st_mode) and mine and not state.st_mode & 0o022


def left_over(parent: Path | None = None) -> list[Path]:
    """Folders of squares on this machine to which nothing was added for a day or more; arguments as for `Squares`."""
    parent = Path(tempfile.gettempdir()) if parent is None else parent
    try:
        return [one for one in sorted(parent.glob(f"{PREFIX}*")) if _age(one) > LEFT_OVER_SECONDS]
    except OSError:
        return []


def _age(folder: Path) -> float:
    try:
        return time.time() - folder.stat().st_mtime
    except OSError:
        return 0.0
