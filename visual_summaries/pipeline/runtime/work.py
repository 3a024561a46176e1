"""What the driver asks of its workers."""

from collections.abc import Callable, Mapping, Sized
from dataclasses import dataclass

from visual_summaries.pipeline.runtime.observability import StageWatch
from visual_summaries.pipeline.runtime.stage import Stage
from visual_summaries.pipeline.runtime.units import Failure, Outcome, Unit

PLENTY = 4
"""Units a worker of the earliest stage that must be waiting for a later stage to go first."""


@dataclass(eq=False)
class Work:
    """What the units of a stage are done for.

    Attributes:
        stage: what computes them.
        finished: called once for each unit.
        told: called now and then with the images done so far of a unit that is not finished, and with all that is done
            in images, those under way by their shares.
        watch: hears of retries and deaths, if anybody does.
        rank: place of its stage in the run, which says whose turn it is, see `next_work`.
        begun: called before a worker is given a unit, which may be for another attempt.
        stalled: called with a unit that makes no progress and what is seen of it, before and when it is given up.
    """

    stage: Stage
    finished: Callable[[Outcome | Failure], None]
    told: Callable[[Unit, int, float], None] = lambda unit, images, work: None
    watch: StageWatch | None = None
    rank: int = 0
    begun: Callable[[Unit], None] = lambda unit: None
    stalled: Callable[[Unit, str], None] = lambda unit, reason: None


def next_work(waiting: Mapping[Work, Sized], workers: int) -> Work | None:
    """Whose unit is next, of work with what waits of it; None where nothing waits.

    The run's first stage goes first, so that what cannot be read is known early. From then on a class that was begun is
    finished, up to its pages, before another is: the latest stage goes first. Only at the end, when little waits of the
    earliest one, that one goes first: otherwise the last class would go through its stages alone while workers look on.
    """
    there = sorted((work for work, queue in waiting.items() if queue), key=lambda work: work.rank)
    if not there:
        return None
    plenty = there[0].rank > 0 and len(waiting[there[0]]) > PLENTY * workers
    return there[-1] if plenty else there[0]
