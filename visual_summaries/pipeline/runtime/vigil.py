"""Which units come no further, and which workers give no sign of life."""

import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from visual_summaries.pipeline.runtime.units import Unit

# Up to so many images a whole class has the time of any other unit; beyond, it grows with their square.
WHOLE_CLASS_IMAGES = 500
# A call into a library that lets no other thread of its process run, as some do, keeps the heartbeat from beating: a
# worker is only taken for frozen after longer than any such call is known to take.
SILENCE_SECONDS = 600.0
# After so many seconds without a heartbeat a stall's reason says so.
NO_HEARTBEAT_SECONDS = 10.0
# Between two answers of the board at most so many seconds count: while the driver or the board was frozen or out of
# reach, nobody could have heard the workers.
MOST_SECONDS = 10.0


def patience(unit: Unit, timeout: float) -> float:
    """Seconds that a unit may take without progress: `timeout`, for a large class times the square of its size."""
    return timeout * max(1.0, unit.size / WHOLE_CLASS_IMAGES) ** 2 if unit.quadratic else timeout


@dataclass
class _Watched:
    """A unit in a worker's hands: what it is allowed, and when it moved and the worker was heard for the last time."""

    allowed: float
    moved: float
    heard: float
    warned: bool = False


@dataclass(frozen=True)
class Stall:
    """A unit that makes no progress.

    Attributes:
        worker: who has it in hand.
        reason: what is seen, in words.
        seconds: for which there has been no progress.
        over: whether the worker is to be given up; else it is only said, once.
    """

    worker: str
    reason: str
    seconds: float
    over: bool


class Vigil:
    """Counts the seconds without progress and without a sign of life of each worker that has a unit in hand."""

    def __init__(
        self, timeout: float, silence: float = SILENCE_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`timeout`: seconds that a unit may take without progress; `silence`: a worker without a heartbeat."""
        self._timeout, self._silence, self._clock = timeout, silence, clock
        self._now, self._answered = 0.0, clock()
        self._watched: dict[str, _Watched] = {}

    def begin(self, worker: str, unit: Unit) -> None:
        """A worker takes a unit."""
        self._watched[worker] = _Watched(patience(unit, self._timeout), self._now, self._now)

    def end(self, worker: str) -> None:
        """It has nothing in hand any more."""
        self._watched.pop(worker, None)

    def answered(self, moved: Collection[str], heard: Collection[str]) -> None:
        """The board has answered: the units of these workers have moved on, and these workers' hearts beat."""
        now = self._clock()
        self._now += min(now - self._answered, MOST_SECONDS)
        self._answered = now
        for worker, watched in self._watched.items():
            if worker in moved:
                watched.moved, watched.warned = self._now, False
            if worker in moved or worker in heard:
                watched.heard = self._now

    def stalls(self) -> Iterator[Stall]:
        """Those that are over, and those to be told of now."""
        for worker, watched in list(self._watched.items()):
            still, silent = self._now - watched.moved, self._now - watched.heard
            if silent > self._silence:
                reason = f"no sign of life for {silent:.0f} s: its process is frozen or its node out of reach"
                yield Stall(worker, reason, still, over=True)
                continue
            over = still > watched.allowed
            if over or (still > self._timeout / 2 and not watched.warned):
                watched.warned = True
                lifeless = f", nor a sign of life for {silent:.0f} s" if silent > NO_HEARTBEAT_SECONDS else ""
                until = "" if over else f"; it is given up after {watched.allowed:.0f} s"
                yield Stall(worker, f"no progress for {still:.0f} s{lifeless}{until}", still, over)
