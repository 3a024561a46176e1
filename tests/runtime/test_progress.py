"""What the terminal says of a stage, against runs simulated on a clock of the test's own, whose end is known."""

import heapq
import io
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from rich.console import Console

from visual_summaries.pipeline.runtime.pace import ENOUGH, LONG_SECONDS, Pace
from visual_summaries.pipeline.runtime.progress import RunProgress, StageProgress, one_progress, time_text
from visual_summaries.pipeline.runtime.units import Unit

# A word of progress is up to 2 s old, so that nothing less can be told.
GRANULARITY = 3.0


@dataclass
class Run:
    """A stage on some workers.

    Attributes:
        sizes: images of each unit.
        cost: gives the seconds of one image.
        batch: images that finish together; 0: a unit tells nothing before its end.
        steps: how often a batch tells how far it is before its end.
        warmup: seconds before a worker's first unit moves; its first batch takes half as long again as others.
        late: seconds after which each further worker joins.
        dies: after how many seconds the first worker dies, with its unit; another takes its place.
        there: images that were there already.
        opened: seconds after which all is planned; before, half of the units are known.
    """

    sizes: list[int]
    workers: int = 1
    cost: Callable[[random.Random], float] = lambda generator: 1.0
    batch: int = 16
    steps: int = 0
    warmup: float = 0.0
    late: float = 0.0
    dies: float | None = None
    there: int = 0
    opened: float = 0.0
    seed: int = 0
    said: list[tuple[float, float | None, float]] = field(default_factory=list)

    def words(self, size: int, cold: bool, generator: random.Random) -> Iterator[tuple[float, int, float]]:
        """(seconds since the unit began, images done, work done) of one unit."""
        now = self.warmup if cold else 0.0
        for first in range(0, size, self.batch or size):
            count = min(self.batch or size, size - first)
            took = sum(self.cost(generator) for _ in range(count)) * (1.5 if cold and first == 0 else 1.0)
            for step in range(1, self.steps + 1):
                yield now + took * step / (self.steps + 1), first, first + count * step / (self.steps + 1)
            now += took
            yield now, first + count, float(first + count)

    def go(self) -> list[tuple[float, float | None, float]]:
        """(moment, seconds that were said to be left, share of the work done), every second, and the end."""
        generator, clock = random.Random(self.seed), [0.0]
        line = StageProgress(RunProgress(Console(file=io.StringIO()), clock=lambda: clock[0]), "stage")
        units = [Unit("a", (), size=size, name=f"unit {number}") for number, size in enumerate(self.sizes)]
        known = units if not self.opened else units[: len(units) // 2]
        line.plan(known, self.there, more=self.opened > 0)
        waiting, events, order = list(known), [], iter(range(10**9))

        def put(moment: float, kind: str, *what: object) -> None:
            heapq.heappush(events, (moment, next(order), kind, what))

        def take(worker: int, moment: float, cold: bool) -> None:
            if not waiting:
                return
            unit = waiting.pop(0)
            line.begin(unit)
            words = [(moment + after, images, work) for after, images, work in self.words(unit.size, cold, generator)]
            death = self.dies if worker == 0 and self.dies is not None else float("inf")
            if moment <= death < words[-1][0]:
                put(death, "die", unit)
                words = [word for word in words if word[0] < death]
            else:
                put(words.pop()[0], "finish", unit, worker)
            spoken = -10.0
            for when, images, work in words:
                # As workers and board do: one word a second, read up to a second later.
                if when - spoken > 1.0:
                    spoken = when
                    put(when + generator.random(), "tell", unit, images, work)

        for worker in range(self.workers):
            put(worker * self.late, "join", worker)
        if self.opened:
            put(self.opened, "open")
        put(1.0, "look")
        over = set()
        ended = 0.0
        while len(over) < len(units):
            moment, _, kind, what = heapq.heappop(events)
            clock[0] = moment
            if kind == "join":
                take(what[0], moment, cold=True)
            elif kind == "open":
                line.plan(units[len(known) :], 0, more=False)
                waiting += units[len(known) :]
            elif kind == "tell" and what[0].name not in over:
                line.tell(*what)
            elif kind == "finish":
                over.add(what[0].name)
                line.finish(what[0])
                put(moment + 0.2, "next", what[1])
                ended = moment
            elif kind == "next":
                take(what[0], moment, cold=False)
            elif kind == "die":
                self.dies = None
                waiting.insert(0, what[0])
                put(moment + 5.0, "join", self.workers)
            elif kind == "look":
                share = (line.work - self.there) / sum(self.sizes)
                self.said.append((moment, line.left, share))
                put(moment + 1.0, "look")
        assert (line.done, round(line.work, 6)) == (line.total, line.total) and line.left is None
        return [(moment, left, share, ended) for moment, left, share in self.said if moment < ended]


def uneven(generator: random.Random) -> float:
    return generator.uniform(0.2, 1.8)


RUNS = {
    "sixteen together, passes told": Run([64] * 8, steps=20, warmup=30.0),
    "sixteen together, nothing between": Run([64] * 8, warmup=30.0),
    "four workers in step": Run([64] * 24, workers=4, warmup=25.0),
    "four workers in step, passes told": Run([64] * 24, workers=4, steps=30, warmup=25.0, late=1.0),
    "workers that come late": Run([64] * 30, workers=4, steps=30, warmup=20.0, late=40.0),
    "units that tell nothing": Run([30] * 60, workers=3, batch=0, warmup=60.0),
    "as many units as workers": Run([64, 64, 50], workers=3, steps=20, warmup=40.0),
    "five units on four workers": Run([40] * 5, workers=4, steps=20, warmup=10.0),
    "uneven images": Run([64, 10, 40, 64, 64, 3] * 6, workers=3, cost=uneven, steps=20, warmup=10.0, seed=1),
    "most was there": Run([64, 64, 36], workers=2, steps=20, warmup=30.0, there=50_000),
    "a worker dies": Run([64] * 12, workers=3, steps=20, warmup=10.0, dies=100.0),
    "more is planned later": Run([64] * 16, workers=2, steps=20, warmup=10.0, opened=150.0),
    "pairs": Run([4000] * 40, workers=2, cost=lambda generator: 0.05, batch=8, warmup=20.0),
    "one photograph at a time": Run([64] * 6, workers=2, batch=1, warmup=5.0, cost=uneven),
    "a long run": Run([64] * 400, workers=4, steps=20, warmup=30.0),
}


@pytest.mark.parametrize("name", RUNS)
def test_what_is_said_to_be_left_is_true(name: str) -> None:
    run = RUNS[name]
    said = run.go()
    told = [(moment, left, share, ended - moment) for moment, left, share, ended in said if left is not None]
    assert told
    for moment, left, _, truth in told:
        assert truth / 2 - GRANULARITY <= left <= 2 * truth + GRANULARITY, (moment, left, truth)
    first = told[0][2]
    end = said[-1][3]
    assert first >= ENOUGH or told[0][0] * run.workers > LONG_SECONDS
    assert all(moment >= run.opened for moment, *_ in told)
    # Nor is it silent: for most of the time after a third of the work there is a figure.
    later = [left is not None for moment, left, share, _ in said if share > 0.34 and moment > run.opened + 5]
    assert sum(later) > 0.9 * len(later)
    if name == "a long run":
        assert told[0][0] < end / 20


def test_nothing_is_estimated_of_too_little() -> None:
    """What the bar once did: one image of 488 after a batch of sixteen that finished together, at 64 s an image."""
    pace = Pace()
    units = [Unit("a", (), size=61, name=str(number)) for number in range(8)]
    pace.plan(units)
    pace.begin(units[0], 0.0)
    pace.tell(units[0], 1.0, 64.0)
    pace.tell(units[0], 16.0, 64.5)
    assert pace.left(65.0) is None and pace.speed(65.0) is None
    # The first word is where the measurement begins: 45 images in 45 s, and no trace of the 64 s before.
    pace.finish(units[0], 64.0 + 60.0)
    assert pace.left(124.0) == pytest.approx(7 * 61) and pace.speed(124.0) == pytest.approx(1.0)
    # A unit that failed says nothing of the time that others take.
    pace.begin(units[1], 124.0)
    pace.finish(units[1], 124.1, failed=True)
    assert pace.left(124.1) == pytest.approx(6 * 61)


def test_a_second_is_no_measure_and_what_is_overdue_has_no_end() -> None:
    pace = Pace()
    units = [Unit("a", (), size=20, name=name) for name in "ab"]
    pace.plan(units)
    for unit in units:
        pace.begin(unit, 0.0)
        pace.tell(unit, 1.0, 1.0)
    # Two units, each word up to a second late.
    for unit in units:
        pace.tell(unit, 5.0, 5.0)
    assert pace.left(5.0) is None
    for unit in units:
        pace.tell(unit, 6.0, 6.0)
    assert pace.left(6.0) == pytest.approx(14.0) and pace.left(10.0) == pytest.approx(10.0)
    pace.tell(units[0], 8.0, 8.0)
    assert pace.left(19.0) == pytest.approx(1.0)
    assert pace.left(21.0) is None and pace.speed(21.0) == pytest.approx(2.0)


def test_a_unit_that_begins_again_is_measured_again() -> None:
    pace = Pace()
    units = [Unit("a", (), size=100, name=name) for name in "ab"]
    pace.plan(units)
    pace.begin(units[0], 0.0)
    for second in range(10, 61, 10):
        pace.tell(units[0], float(second), float(second))
    assert pace.left(60.0) == pytest.approx(40 + 100)
    pace.begin(units[0], 100.0)
    assert pace.left(101.0) is None
    # A late word of the first attempt, then those of the second, twice as fast.
    pace.tell(units[0], 70.0, 102.0)
    pace.tell(units[0], 2.0, 103.0)
    pace.tell(units[0], 42.0, 123.0)
    assert pace.left(123.0) == pytest.approx(29 + 50)


def test_images_count_when_they_are_done_and_the_bar_by_the_work() -> None:
    clock, out = [0.0], io.StringIO()
    line = StageProgress(RunProgress(Console(file=out, width=200), clock=lambda: clock[0]), "explain")
    units = [Unit("a", (), size=64, name=name) for name in "ab"]
    line.plan(units, there=32, more=False)
    line.begin(units[0])
    for second in range(1, 41):
        clock[0] = float(second)
        line.tell(units[0], 0 if second < 40 else 16, 0.5 * second)
    first, second = out.getvalue().splitlines()
    assert first == "explain: 32/160 images done, with those under way 25%"
    # 112 images are left, at 2 s each.
    assert second == "explain: 32/160 images done, with those under way 30%, 0.5 images/s, 0:03:44 left"
    assert line.line() == "explain: 48/160 images done, with those under way 32%, 0.5 images/s, 0:03:36 left"
    assert (line.done, line.work) == (48, 52)
    # The unit begins again elsewhere: what is not done does not count as done.
    line.begin(units[0])
    assert (line.done, line.work) == (32, 32)


def test_a_terminal_shows_the_same() -> None:
    clock, out = [0.0], io.StringIO()
    console = Console(file=out, width=120, force_terminal=True, color_system=None)
    with RunProgress(console, clock=lambda: clock[0]) as whole:
        line = StageProgress(whole, "explain")
        unit = Unit("a", (), size=64, name="a")
        line.plan([unit], there=0, more=True)
        line.begin(unit)
        for second in range(0, 33):
            clock[0] = float(second)
            line.tell(unit, second // 16 * 16, float(second))
        whole.bars.refresh()
        assert "32/64+ images" in out.getvalue() and " left" not in out.getvalue()
        line.plan([], there=0, more=False)
        clock[0] = 34.0
        line.tell(unit, 32, 34.0)
        clock[0] = 36.0
        whole.bars.refresh()
        assert re.search(r"32/64 images +1 images/s 0:00:28 left", out.getvalue())
        # Nothing is heard any more, although it was to be over by now.
        clock[0], before = 90.0, len(out.getvalue())
        whole.bars.refresh()
        assert "32/64 images" in out.getvalue()[before:] and " left" not in out.getvalue()[before:]


def test_times_and_single_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    for seconds in (0.2, 59.4, 3723.0, 90_000.0):
        assert time_text(seconds) == str(timedelta(seconds=max(1, round(seconds))))
    out, moments = io.StringIO(), iter(range(0, 10_000, 8))
    monkeypatch.setattr("visual_summaries.pipeline.runtime.progress.PLAIN_INTERVAL_SECONDS", -1.0)
    monkeypatch.setattr(RunProgress.__init__, "__defaults__", (lambda: float(next(moments)),))
    with one_progress(Console(file=out, width=200), "export", 10, "tables") as advance:
        for _ in range(10):
            advance(1)
    lines = out.getvalue().splitlines()
    assert [line.split()[1] for line in lines] == [f"{done}/10" for done in range(1, 10)]
    assert " left" not in lines[0] and " left" in lines[5]
