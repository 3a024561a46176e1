"""One writer at a time below a prefix of an object store, where no lock ends with its process.

The writer holds the claim, one object below `.claims/` that is created only if there is none, and renewed or taken over
only in the state that was last seen. Whoever lost it, frozen for a minute, finds that out at the next renewal, and what
it writes over by `Lease.write` is refused by the store if another run has written there since.

A store that does not refuse (see `ignores_conditions`) cannot fence. There a writer puts a claim with a name of its own
and lists the claims: it may write if there is no other living one, else it takes its own away. Each puts before it
lists, so two never both succeed; two who begin in the same moment may both give way, and try again after different
times. Both kinds see each other.

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
from threading import Event, Lock, Thread
from typing import Any

import psutil

from visual_summaries.pipeline.objects import ObjectError, ObjectPath
from visual_summaries.pipeline.store.atomic import write_atomically
from visual_summaries.pipeline.store.conditional import (
    Changed,
    Seen,
    Version,
    current,
    ignores_conditions,
    put,
    version_of,
)
from visual_summaries.pipeline.store.tables import StoreError

FOLDER = ".claims"
HOLDER = "holder.json"
# Of no claim: by it the store's clock is read, and whether it refuses.
TRIAL = ".trial"
RENEW_SECONDS = 10.0
LEASE_SECONDS = 60.0
POLL_SECONDS = 3.0
TAKEN_AWAY = "another run took it away"


class Taken(Exception):
    """Another run is writing there; the message says which."""


class Lease:
    """The right to write below a prefix, renewed by a thread until it is given back; see `Ours`."""

    def __init__(self, root: ObjectPath, renew: float = RENEW_SECONDS, lease: float = LEASE_SECONDS) -> None:
        self._folder, self._renew, self._lease = root / FOLDER, renew, lease
        self._root = root
        self.token, self.unfenced = secrets.token_hex(16), ""
        self._claim: ObjectPath | None = None
        self._version: Version | None = None
        self._written: dict[ObjectPath, Version | None] = {}
        self._lost = ""
        self._renewed = _seconds()
        self._ended, self._turn = Event(), Lock()
        self._thread = Thread(target=self._keep, daemon=True)

    def take(self) -> None:
        """Wait until the prefix is free; a claim that is renewed meanwhile is of a living run.

        Raises:
            Taken: another run is writing there.
            ObjectError: the store refuses.
        """
        with self._trial() as trial:
            self.unfenced = ignores_conditions(trial)
        seen: dict[str, Any] = {}
        deadline = _seconds() + 2 * self._lease
        while others := self._attempt():
            for name, state in others.items():
                if seen.setdefault(name, state) != state or _seconds() > deadline:
                    raise Taken(f"another run is writing into {self._root}{self._owner(name)}")
            time.sleep(random.uniform(0.5, 1.0) * min(POLL_SECONDS, self._renew))
        self._thread.start()

    @property
    def marker(self) -> str:
        return f"{FOLDER}/{self._claim.name}"

    def __call__(self) -> None:
        """Raise a StoreError unless the prefix is still ours."""
        if not self._lost and _seconds() - self._renewed > self._lease:
            self._lost = f"it could not be renewed for {self._lease:.0f} s"
        if self._lost:
            raise StoreError(
                f"the claim on {self._root} is lost: {self._lost}; another run may write there now. If none does, run "
                "the same command again: what is done stays"
            )

    def write(self, path: ObjectPath, content: bytes | str) -> None:
        """Write an object that runs overwrite; the store refuses it if another run has, since we first did.

        Raises:
            StoreError: the claim is lost.
            ObjectError: the store refuses for another reason.
        """
        self()
        if self.unfenced:
            write_atomically(path, content)
            return
        data = content.encode() if isinstance(content, str) else content
        try:
            if path not in self._written:
                found = version_of(path)
                # Still ours after that was asked: so it is not what another run has written that took over.
                self._confirm()
                self._written[path] = found
            self._written[path] = put(path, data, self._written[path])
        except Changed:
            self._lost = self._lost or TAKEN_AWAY
        self()

    def give_back(self) -> None:
        """Let others write; without a store that answers the claim ends by itself."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._claim is not None:
            # Renewed first: what is taken away must be ours.
            with suppress(ObjectError, Changed):
                self._renew_claim()
                self._claim.unlink(missing_ok=True)

    def _attempt(self) -> dict[str, Any]:
        """Put a claim; if there are other living ones, leave none and return them: name → state."""
        self._renewed = _seconds()
        if self.unfenced:
            self._claim = self._folder / secrets.token_hex(8)
            self._claim.write_bytes(self._identity())
        elif others := self._seize():
            return others
        others = self._living()
        if others:
            self._claim.unlink(missing_ok=True)
            self._claim = None
        return others

    def _seize(self) -> dict[str, Any]:
        """Make the one claim ours, or return its state."""
        claim, held = self._folder / HOLDER, current(self._folder / HOLDER)
        if held is not None and not self._over(held):
            return {HOLDER: held.version}
        try:
            self._version = put(claim, self._identity(), None if held is None else held.version)
        except Changed:
            return {HOLDER: None}
        self._claim = claim
        return {}

    def _over(self, held: Seen) -> bool:
        """Whether the claim that was seen is dead. Its age is asked for after that: an older one was not renewed."""
        if _died_here(held.content):
            return True
        with self._trial() as trial:
            states = self._folder.states(recursive=False)
        written = states.get(HOLDER)
        return written is not None and states[trial.name][1] - written[1] > self._lease * 1e9

    @contextmanager
    def _trial(self) -> Iterator[ObjectPath]:
        """A new object that only we know, and that goes."""
        trial = self._folder / f"{secrets.token_hex(8)}{TRIAL}"
        trial.write_bytes(b"")
        try:
            yield trial
        finally:
            # One that stays is removed as a dead claim would be.
            with suppress(ObjectError):
                trial.unlink()

    def _living(self) -> dict[str, int]:
        """Other claims that are not dead: name → time of writing, ns; the dead are removed."""
        states = {name: written for name, (_, written) in self._folder.states(recursive=False).items()}
        # Both times are the store's: no clock of ours matters.
        now = states.pop(self._claim.name, None) or max(states.values(), default=0)
        living = {}
        for name, written in states.items():
            if now - written > self._lease * 1e9 or _died_here(self._content(name)):
                (self._folder / name).unlink(missing_ok=True)
            elif not name.endswith(TRIAL):
                living[name] = written
        return living

    def _content(self, name: str) -> bytes:
        with suppress(ObjectError):
            return (self._folder / name).read_bytes()
        return b""

    def _owner(self, name: str) -> str:
        with suppress(ValueError, KeyError, TypeError):
            owner = json.loads(self._content(name))
            return f" (process {owner['process']} on {owner['host']}): wait for it or choose another output"
        return ": wait for it or choose another output"

    def _renew_claim(self) -> None:
        """Write the claim again.

        Raises:
            Changed: it is not ours any more.
        """
        with self._turn:
            # Not when the answer comes: by then the claim may long be too old.
            asked = _seconds()
            if not self.unfenced:
                self._version = put(self._claim, self._identity(), self._version)
            elif self._claim.is_file():
                self._claim.write_bytes(self._identity())
            else:
                raise Changed(str(self._claim))
            self._renewed = asked

    def _confirm(self) -> None:
        """As `_renew_claim`, but writes only if it must: asking costs less."""
        with self._turn:
            unchanged = version_of(self._claim) == self._version
        if not unchanged:
            self._renew_claim()

    def _keep(self) -> None:
        while not self._ended.wait(self._renew):
            try:
                self._renew_claim()
            except Changed:
                self._lost = TAKEN_AWAY
                return
            except ObjectError:
                # The next time may go well; if not, `__call__` counts the seconds.
                continue

    def _identity(self) -> bytes:
        """Who holds the claim; never twice the same, as a store tells two states apart by their content."""
        process = psutil.Process()
        own: dict[str, Any] = {"host": socket.gethostname(), "process": process.pid, "started": process.create_time()}
        own |= {"place": _place_of_processes(), "token": self.token, "renewal": secrets.token_hex(8)}
        return json.dumps(own).encode()


@contextmanager
def claimed(root: ObjectPath) -> Iterator[Lease]:
    """Hold the lease of a prefix; errors as `Lease.take`."""
    lease = Lease(root)
    try:
        lease.take()
        yield lease
    finally:
        lease.give_back()


def _seconds() -> float:
    """A clock that also goes on while the machine sleeps, where the system has one."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


def _died_here(claim: bytes) -> bool:
    """Whether the claim's process was on this host and is gone."""
    with suppress(ValueError, KeyError, TypeError):
        owner = json.loads(claim)
        return owner["place"] == _place_of_processes() and not _runs(owner["process"], owner["started"])
    return False


def _runs(process: int, started: float) -> bool:
    try:
        found = psutil.Process(process)
        return found.create_time() == started and found.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, ValueError):
        return False


def _place_of_processes() -> str:
    """Names this boot of this machine and the namespace of its process numbers; never equal where unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return secrets.token_hex(8)
