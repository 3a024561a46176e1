"""How this process finds the servers that the tests start."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from pipeline import objects


@contextmanager
def reaching(environment: Mapping[str, str]) -> Iterator[None]:
    """Lead to a server by the environment; afterwards it is as before."""
    before = dict(os.environ)
    os.environ.update(environment)
    objects._file_system.cache_clear()
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        objects._file_system.cache_clear()
