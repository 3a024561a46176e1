"""The ways in which the runtime ends a run early: each is one message to a person, without a traceback."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from visual_summaries.pipeline.objects import ObjectError
from visual_summaries.pipeline.store.tables import MEND, StoreError


class PoolError(Exception):
    """Workers cannot be started or kept; the message says why and what to do."""


class WorkerUnfit(Exception):
    """A worker that cannot give the driver's results; the message says why and what to do."""


class ClusterError(Exception):
    """Ray cannot be started or reached; the message says what to do."""


class RunFailed(Exception):
    """The run ended early; its tables stay. The message says why."""


# Raised in a worker they end the run: with any other unit, on any other worker, the same would happen.
FATAL_IN_WORKER = (StoreError, WorkerUnfit)
# A full disk, a quota, a limit on the size of files, a disk that has become read-only.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


def describe(error: BaseException) -> str:
    """An exception in one line for the `errors` table."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"


def ends_unit(error: BaseException) -> bool:
    """Whether an error in the middle of a unit is the whole unit's, whatever it was working on: a store that does not
    answer, or a disk without room."""
    return isinstance(error, ObjectError) or (isinstance(error, OSError) and error.errno in NO_ROOM)


@contextmanager
def room_to_write(output: str | Path) -> Iterator[None]:
    """Turn a disk that takes no more, or a store that does not answer, wherever that is noticed, into a message.

    Raises:
        StoreError: it names the file, or else the folder `output`, and says what to do.
    """
    try:
        yield
    except ObjectError as error:
        raise StoreError(f"{error}; {MEND}") from error
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise StoreError(
            f"cannot write {error.filename or output}: {error.strerror}; make room there, or allow writing, and run "
            "the same command again: what is done stays"
        ) from error
