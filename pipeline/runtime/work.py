"""What the driver asks of its workers."""

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.runtime.observability import StageWatch
from pipeline.runtime.stage import Stage
from pipeline.runtime.units import Failure, Outcome, Unit


@dataclass(eq=False)
class Work:
    """What the units of a stage are done for.

    Attributes:
        stage: what computes them.
        finished: called once for each unit.
        told: called now and then with the images done so far of a unit that is not finished, and with all that is done
            in images, those under way by their shares.
        watch: hears of retries and deaths, if anybody does.
        rank: work of a lower rank goes first.
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
