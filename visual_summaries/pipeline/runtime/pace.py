"""How long a stage will still take, judged by what its units have told: no figure until there is a meaningful one."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from visual_summaries.pipeline.runtime.units import Unit

# An estimate needs this share of the work that was missing, measured in this run …
ENOUGH = 0.1
# … or so many seconds of a worker's time and this share: the first tenth of a long run takes hours.
ENOUGH_OF_LONG, LONG_SECONDS = 0.01, 300.0
# Words of progress come up to a second late: so many seconds are to be measured of each unit under way.
SURE_SECONDS = 5.0
# For so long after a unit a worker is taken to be free for the next.
HANDOVER_SECONDS = 2.0
# With more units than this waiting, in which order they fall to the workers makes no difference.
MANY_UNITS = 1000


@dataclass
class _Running:
    """A unit under way: its size, the moment and work from which on it is measured, the last word and its moment."""

    size: float
    before: tuple[float, float] | None
    work: float = 0.0
    told: float | None = None

    @property
    def measured(self) -> tuple[float, float]:
        """Seconds and work between the beginning of the measurement and the last word."""
        if self.before is None or self.told is None:
            return 0.0, 0.0
        return self.told - self.before[0], self.work - self.before[1]

    def end(self, cost: float, now: float) -> float:
        """In how many seconds it should be over; negative where it should have been."""
        known = self.told if self.told is not None else self.before[0] if self.before else now
        return (self.size - self.work) * cost - (now - known)


class Pace:
    """Seconds of work by what a worker takes for one image (or what else is counted), times what is left, by workers.

    Time and work are those of single workers and of this run alone, so that neither what was there already nor units
    that finish together mislead. A unit's clock begins with the worker where the worker has done another unit before;
    else with the unit's first word of progress, because a worker's first unit loads the network and warms up. What has
    been told of work under way counts down until the next word. All times are seconds of one clock.
    """

    def __init__(self) -> None:
        self.planned = 0.0
        self._waiting: dict[str, float] = {}
        self._running: dict[str, _Running] = {}
        self._free: list[float] = []
        self._seconds = self._work = 0.0

    def plan(self, units: Sequence[Unit]) -> None:
        """These units are to be done besides."""
        self._waiting |= {unit.name: unit.size for unit in units}
        self.planned += sum(unit.size for unit in units)

    def begin(self, unit: Unit, now: float) -> None:
        """A worker takes a unit, perhaps not for the first time."""
        self._free = self._workers_free(now)
        warm = bool(self._free) and unit.name not in self._running
        if warm:
            self._free.pop()
        self._waiting.pop(unit.name, None)
        self._running[unit.name] = _Running(unit.size, before=(now, 0.0) if warm else None)

    def tell(self, unit: Unit, work: float, now: float) -> None:
        """So much of an unfinished unit is done, in images."""
        running = self._running.get(unit.name)
        if running is None:
            return
        # Less than before: an old word of an attempt that failed came late.
        if running.before is None or work < running.work:
            running.before = (now, work)
        running.work, running.told = work, now

    def finish(self, unit: Unit, now: float, failed: bool = False) -> None:
        """A unit is over; what failed says nothing of how long others take."""
        running = self._running.pop(unit.name, None)
        self._waiting.pop(unit.name, None)
        if running is None:
            return
        self._free = [*self._workers_free(now), now]
        if running.before is not None and not failed:
            self._seconds += now - running.before[0]
            self._work += running.size - running.before[1]

    def speed(self, now: float) -> float | None:
        """Images a second of all workers together; None while that is not known."""
        cost = self._cost()
        workers = len(self._running) + len(self._workers_free(now))
        return workers / cost if cost and workers else None

    def left(self, now: float) -> float | None:
        """Seconds until all that is planned is done; None while that is not known."""
        cost = self._cost()
        if not cost:
            return None
        ends = [running.end(cost, now) for running in self._running.values()]
        if not self._waiting and ends and max(ends) <= 0:
            # What should be over by now is not.
            return None
        free = [max(0.0, end) for end in ends] + [0.0] * len(self._workers_free(now))
        if not free:
            return None
        if len(self._waiting) > MANY_UNITS:
            return (sum(free) + cost * sum(self._waiting.values())) / len(free)
        heapq.heapify(free)
        for size in self._waiting.values():
            heapq.heapreplace(free, free[0] + size * cost)
        return max(free)

    def _cost(self) -> float | None:
        """Seconds that one worker takes for an image, once enough has been measured."""
        measured = [running.measured for running in self._running.values()]
        seconds = self._seconds + sum(one[0] for one in measured)
        work = self._work + sum(one[1] for one in measured)
        unsure = SURE_SECONDS * max(1, sum(one[1] > 0 for one in measured))
        least = ENOUGH_OF_LONG if seconds >= LONG_SECONDS else ENOUGH
        if work <= 0 or work < least * self.planned or seconds < unsure:
            return None
        return seconds / work

    def _workers_free(self, now: float) -> list[float]:
        """When the workers became free that are about to take the next unit."""
        # Where nothing waits, none takes any.
        return [moment for moment in self._free if now - moment < HANDOVER_SECONDS] if self._waiting else []
