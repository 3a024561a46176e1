"""One driver at a time writes into an output folder."""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from visual_summaries.pipeline.object_errors import in_writing
from visual_summaries.pipeline.objects import ObjectError, ObjectPath
from visual_summaries.pipeline.runtime.failures import RunFailed
from visual_summaries.pipeline.store.atomic import Ours, write_atomically
from visual_summaries.pipeline.store.lease import Taken, claimed
from visual_summaries.pipeline.store.tables import MEND, StoreError


@contextmanager
def exclusive(folder: Path | ObjectPath) -> Iterator[Ours]:
    """Keep a second driver out of the output folder; yields what raises a StoreError if one came in all the same, and
    writes what drivers overwrite.

    On a disk the lock goes with the process, however it ends. On an object store see `pipeline/store/lease.py`.

    Raises:
        RunFailed: another run is writing there.
        StoreError: the folder cannot be made, or the store refuses.
    """
    try:
        if isinstance(folder, ObjectPath):
            with claimed(folder) as lease:
                yield lease
            return
    except Taken as error:
        raise RunFailed(str(error)) from None
    except ObjectError as error:
        raise StoreError(f"cannot write to {in_writing(error)}; {MEND}") from error
    with _locked(folder) as lock:
        yield lock


class Lock:
    """A folder on a disk, which nobody else can lock while this process lives, frozen or not; see `Ours`."""

    marker, unfenced = ".lock", ""

    def __init__(self) -> None:
        self.token = secrets.token_hex(16)

    def __call__(self) -> None:
        """Nothing: it is ours."""

    def write(self, path: Path | ObjectPath, content: bytes | str) -> None:
        """Write the file atomically."""
        write_atomically(path, content)


@contextmanager
def _locked(output: Path) -> Iterator[Lock]:
    lock = Lock()
    try:
        output.mkdir(parents=True, exist_ok=True)
        # Not emptied: what is in it is another's, as long as that one has the lock.
        file = (output / lock.marker).open("a+")
    except OSError as error:
        raise StoreError(
            f"cannot write into {output}: {error.strerror or error}; choose another --output, or allow writing there"
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunFailed(f"another run is writing into {output}: wait for it or choose another output") from None
        try:
            file.truncate(0)
            file.write(lock.token)
            file.flush()
            # The other nodes of a network's disk see it from now on.
            os.fsync(file.fileno())
        except OSError as error:
            raise StoreError(
                f"cannot write {output / lock.marker}: {error.strerror or error}; make room there and run the same "
                "command again: what is done stays"
            ) from error
        yield lock
