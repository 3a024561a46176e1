"""Where workers tell how far they are. Imports nothing heavy: its process should stay small."""

import os
import time
from collections.abc import Collection
from typing import Any

ANSWER_SECONDS = 5.0
PATIENCE_SECONDS = 60.0
RETRY_SECONDS = 0.5


class Board:
    """A Ray actor on which workers write how far a unit is and that they live, and the driver whom it has given up."""

    def __init__(self) -> None:
        self._counts: dict[str, tuple[str, int, float]] = {}
        self._heard: set[str] = set()
        # Not known before the driver has asked: this process may stand in for one that was lost.
        self._given_up: frozenset[str] | None = None

    def tell(self, worker: str, unit: str, images: int, work: float) -> None:
        """So many images of the unit with this name are done; so many, if those under way count by their shares."""
        self._counts[worker] = unit, images, work

    def beat(self, worker: str) -> None:
        """A worker lives."""
        self._heard.add(worker)

    def take(self, given_up: Collection[str]) -> tuple[dict[str, tuple[str, int, float]], set[str]]:
        """What was told and who was heard since the last time; `given_up` are the workers that may write no more."""
        counts, heard = self._counts, self._heard
        self._counts, self._heard, self._given_up = {}, set(), frozenset(given_up)
        return counts, heard

    def may_write(self, worker: str) -> bool | None:
        """Whether the driver still counts on a worker; None while that is not known."""
        return None if self._given_up is None else worker not in self._given_up


class Line:
    """A worker's line to the board; travels with the worker."""

    def __init__(self, board: Any, worker: str) -> None:
        """`board`: handle of the actor `Board`; `worker`: a name that no other worker of the run has."""
        self._board, self.worker = board, worker

    def tell(self, unit: str, images: int, work: float) -> None:
        """As `Board.tell`."""
        self._board.tell.remote(self.worker, unit, images, work)

    def beat(self) -> None:
        """As `Board.beat`."""
        self._board.beat.remote(self.worker)

    def check(self) -> None:
        """Return where this worker may write; else end its process.

        One that was frozen and given up wakes up without knowing it. Its unit is somebody else's by then: what it would
        write now, or remove, would mingle with what the other has written.
        """
        import ray

        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            try:
                may = ray.get(self._board.may_write.remote(self.worker), timeout=ANSWER_SECONDS)
            except ray.exceptions.RayError:
                may = None
            if may:
                return
            if may is False:
                break
            time.sleep(RETRY_SECONDS)
        # Whatever were raised could be caught on the way, and something written after all.
        os._exit(1)
