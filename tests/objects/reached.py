"""How this process finds the servers that the tests start."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from visual_summaries.pipeline import objects
from visual_summaries.pipeline.store import conditional


@contextmanager
def reaching(environment: Mapping[str, str]) -> Iterator[None]:
    """Lead to a server by the environment; afterwards it is as before."""
    before = dict(os.environ)
    os.environ.update(environment)
    forget()
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        forget()


def forget() -> None:
    """Ask the environment again when a store is next reached."""
    objects._file_system.cache_clear()
    conditional._store.cache_clear()
