"""One writer at a time below a prefix of an object store, where no lock ends with its process.

A writer puts a claim (an object with a name of its own) below `.claims/` and lists the claims. It may write if there
is no other living one; else it takes its own away. Two writers cannot both succeed: a store whose listings are
consistent (S3, Google's, MinIO, R2) shows the first claim to the one who lists after it was put, and each puts before
it lists. Two who begin within the same moment may both give way; they try again after different times.

The holder writes its claim again every `RENEW_SECONDS`. A claim that was not written for `LEASE_SECONDS`, by the
store's own clock, is dead, and so is one whose process was on this host and is gone.
"""

import json
import os
import random
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any

import psutil

from pipeline.objects import ObjectError, ObjectPath
from pipeline.store.tables import StoreError

FOLDER = ".claims"
RENEW_SECONDS = 10.0
LEASE_SECONDS = 60.0
POLL_SECONDS = 3.0


class Taken(Exception):
    """Another run is writing there; the message says which."""


class Lease:
    """The right to write below a prefix, renewed by a thread until it is given back."""

    def __init__(self, root: ObjectPath, renew: float = RENEW_SECONDS, lease: float = LEASE_SECONDS) -> None:
        self._folder, self._renew, self._lease = root / FOLDER, renew, lease
        self._root = root
        self._claim: ObjectPath | None = None
        self._lost = ""
        self._renewed = time.monotonic()
        self._ended = Event()
        self._thread = Thread(target=self._keep, daemon=True)

    def take(self) -> None:
        """Wait until the prefix is free; a claim that is renewed meanwhile is of a living run.

        Raises:
            Taken: another run is writing there.
            ObjectError: the store refuses.
        """
        seen: dict[str, int] = {}
        deadline = time.monotonic() + 2 * self._lease
        while True:
            self._claim = self._folder / secrets.token_hex(8)
            self._claim.write_bytes(_identity())
            others = self._living()
            if not others:
                break
            self._claim.unlink(missing_ok=True)
            for name, written in others.items():
                if seen.setdefault(name, written) != written or time.monotonic() > deadline:
                    raise Taken(f"another run is writing into {self._root}{self._owner(name)}")
            time.sleep(random.uniform(0.5, 1.0) * min(POLL_SECONDS, self._renew))
        self._renewed = time.monotonic()
        self._thread.start()

    def check(self) -> None:
        """Raise a StoreError unless the prefix is still ours."""
        if not self._lost and time.monotonic() - self._renewed > self._lease:
            self._lost = f"it could not be renewed for {self._lease:.0f} s"
        if self._lost:
            raise StoreError(
                f"the claim on {self._root} is lost: {self._lost}; another run may write there now. If none does, run "
                "the same command again: what is done stays"
            )

    def give_back(self) -> None:
        """Let others write; without a store that answers the claim ends by itself."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._claim is not None:
            with suppress(ObjectError):
                self._claim.unlink(missing_ok=True)

    def _living(self) -> dict[str, int]:
        """Other claims that are not dead: name → time of writing, ns; the dead are removed."""
        states = {name: written for name, (_, written) in self._folder.states(recursive=False).items()}
        # Both times are the store's: no clock of ours matters.
        now = states.pop(self._claim.name, None) or max(states.values(), default=0)
        living = {}
        for name, written in states.items():
            if now - written > self._lease * 1e9 or self._died_here(name):
                (self._folder / name).unlink(missing_ok=True)
            else:
                living[name] = written
        return living

    def _died_here(self, name: str) -> bool:
        with suppress(ObjectError, ValueError, KeyError):
            owner = json.loads((self._folder / name).read_bytes())
            return owner["place"] == _place_of_processes() and not _runs(owner["process"], owner["started"])
        return False

    def _owner(self, name: str) -> str:
        with suppress(ObjectError, ValueError, KeyError):
            owner = json.loads((self._folder / name).read_bytes())
            return f" (process {owner['process']} on {owner['host']}): wait for it or choose another output"
        return ": wait for it or choose another output"

    def _keep(self) -> None:
        while not self._ended.wait(self._renew):
            try:
                if not self._claim.is_file():
                    self._lost = "another run took it away"
                    return
                self._claim.write_bytes(_identity())
                self._renewed = time.monotonic()
            except ObjectError:
                # The next time may go well; if not, `check` counts the seconds.
                continue


@contextmanager
def claimed(root: ObjectPath) -> Iterator[Lease]:
    """Hold the lease of a prefix; errors as `Lease.take`."""
    lease = Lease(root)
    try:
        lease.take()
        yield lease
    finally:
        lease.give_back()


def _identity() -> bytes:
    process = psutil.Process()
    own: dict[str, Any] = {"host": socket.gethostname(), "process": process.pid, "started": process.create_time()}
    return json.dumps(own | {"place": _place_of_processes()}).encode()


def _runs(process: int, started: float) -> bool:
    try:
        found = psutil.Process(process)
        return found.create_time() == started and found.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _place_of_processes() -> str:
    """Names this boot of this machine and the namespace of its process numbers; never equal where unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return secrets.token_hex(8)
