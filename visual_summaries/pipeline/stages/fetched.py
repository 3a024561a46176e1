"""Weights in an object store, read once for all workers of a node: the first fetches them, the others wait for it."""

import fcntl
import os
import shutil
from pathlib import Path

from visual_summaries.pipeline.objects import ObjectError, ObjectPath
from visual_summaries.pipeline.stages.squares import LEAST_FREE_BYTES, trusted
from visual_summaries.pipeline.store.tables import digest


def fetched(path: ObjectPath, folder: Path) -> Path | ObjectPath:
    """A copy of an object on this node's disk, under the object's own name; the object itself where none can be kept.

    A copy is known by address, size and time of writing, so that no other object is taken for it.

    Args:
        folder: of this run on this node, where only its owner can write; made where it is not there.

    Raises:
        ObjectError: the store does not answer, or has no such object.
    """
    state = path.stat()
    own = folder / digest(str(path), state.st_size, state.st_mtime_ns)
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        if not trusted(folder) or shutil.disk_usage(folder).free < state.st_size + LEAST_FREE_BYTES:
            return path
        own.mkdir(mode=0o700, exist_ok=True)
        with (own / ".lock").open("a") as lock:
            # The system gives it back where who has it dies.
            fcntl.flock(lock, fcntl.LOCK_EX)
            copy, unfinished = own / path.name, own / f".{os.getpid()}"
            if not copy.is_file():
                unfinished.write_bytes(path.read_bytes())
                unfinished.replace(copy)
        return copy
    except ObjectError:
        raise
    except OSError:
        # Whatever goes wrong with a copy costs time alone.
        return path
