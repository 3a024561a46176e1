"""What the driver asks of its workers."""

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.stages.observability import StageWatch
from pipeline.stages.stage import Stage
from pipeline.stages.units import Failure, Outcome, Unit


@dataclass(eq=False)
class Work:
    """What the units of a stage are done for.

    Attributes:
        stage: what computes them.
        finished: called once for each unit.
        told: called now and then with the images done so far of a unit that is not finished.
        watch: hears of retries and deaths, if anybody does.
        rank: work of a lower rank goes first.
        begun: called before a worker is given a unit.
    """

    stage: Stage
    finished: Callable[[Outcome | Failure], None]
    told: Callable[[Unit, int], None] = lambda unit, images: None
    watch: StageWatch | None = None
    rank: int = 0
    begun: Callable[[], None] = lambda: None
