"""Whether a folder can be written into, asked without writing."""

import os
from pathlib import Path

from visual_summaries.pipeline.objects import ObjectPath
from visual_summaries.pipeline.store.tables import StoreError


def check_writable(folder: Path | ObjectPath) -> None:
    """Notice before any work that a folder can neither be written into nor made; a bucket is not asked.

    Raises:
        StoreError: it says why, and what to do.
    """
    if isinstance(folder, ObjectPath):
        return
    reason = _obstacle(folder.absolute())
    if reason:
        raise StoreError(
            f"cannot write into {folder}: {reason}; choose another --output, or allow writing there"
        )


def _obstacle(folder: Path) -> str | None:
    try:
        os.stat(folder)
    except FileNotFoundError:
        return _obstacle(folder.parent)
    except OSError as error:
        return error.strerror
    if not folder.is_dir():
        return f"{folder} is a file"
    return None if os.access(folder, os.W_OK | os.X_OK) else f"{folder} is not to be written into"
