"""Progress in the terminal: images or image pairs per second and time left; plain lines without a terminal.

Images count when they are done. The bar, and the time left, go by the work: images under way count by their shares,
so that sixteen that are explained together move it long before the first of them is done.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn
from rich.text import Text

from visual_summaries.pipeline.runtime.pace import Pace
from visual_summaries.pipeline.runtime.units import Unit

PLAIN_INTERVAL_SECONDS = 15.0
ESTIMATE_INTERVAL_SECONDS = 1.0


class _Speed(ProgressColumn):
    """Images, or what else is counted, per second."""

    def render(self, task) -> Text:  # noqa: ANN001 - rich's Task
        speed = task.fields["speed"]
        return Text(f"{speed_text(speed)} {task.fields['noun']}/s" if speed else "", style="dim")


class _Count(ProgressColumn):
    """So many of so many; a plus while more may come."""

    def render(self, task) -> Text:  # noqa: ANN001
        more = "+" if task.fields["open"] else ""
        return Text(f"{task.fields['images']}/{int(task.fields['planned'])}{more} {task.fields['noun']}")


class _Left(ProgressColumn):
    """Time left, once it is known."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__()
        self._clock = clock

    def render(self, task) -> Text:  # noqa: ANN001
        over = task.fields["over"]
        left = over - self._clock() if over is not None else 0.0
        return Text(f"{time_text(left)} left" if left > 0 else "", style="progress.remaining")


def speed_text(speed: float) -> str:
    """A speed in two digits at least."""
    return f"{speed:.0f}" if speed >= 10 else f"{speed:.2g}"


def time_text(seconds: float) -> str:
    """Hours, minutes and seconds, as `1:02:03`."""
    return str(timedelta(seconds=max(1, round(seconds))))


@contextmanager
def one_progress(
    console: Console, name: str, total: int, noun: str = "images"
) -> Iterator[Callable[[int], None]]:
    """The line of something that is not a stage; yields what to call with the number of images that have been done."""
    with RunProgress(console) as whole:
        line, unit, done = StageProgress(whole, name, noun), Unit(name, (), name=name, size=total), 0
        line.plan([unit], 0, more=False)
        line.begin(unit)

        def advance(images: int) -> None:
            nonlocal done
            done += images
            line.tell(unit, done, done)

        yield advance


class RunProgress:
    """The progress of the stages that are under way, each in its line; a context manager."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self.console, self.clock = console, clock
        self.bars: Progress | None = None
        if console.is_terminal:
            self.bars = Progress(
                TextColumn("{task.description:<11}"),
                BarColumn(),
                _Count(),
                _Speed(),
                _Left(clock),
                console=console,
            )

    def __enter__(self) -> "RunProgress":
        if self.bars:
            self.bars.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.bars:
            self.bars.stop()


class StageProgress:
    """One stage's line, counted in images or `noun`.

    Attributes:
        total: images planned so far.
        done: images that are done.
        work: the same, those under way counted by their shares.
        open: whether more may be planned.
    """

    def __init__(self, whole: RunProgress, stage: str, noun: str = "images") -> None:
        self._whole, self.stage, self.noun = whole, stage, noun
        self.total = self.done = 0
        self.work = 0.0
        self.open = True
        self._pace = Pace()
        self._partly: dict[str, tuple[int, float]] = {}
        self._printed = self._judged = whole.clock()
        self._begun = False
        if whole.bars:
            self._task = whole.bars.add_task(
                stage, total=1, start=False, noun=noun, open=True, images=0, planned=0, speed=None, over=None
            )

    @property
    def speed(self) -> float | None:
        """Images a second; None while that is not known."""
        return self._pace.speed(self._whole.clock())

    @property
    def left(self) -> float | None:
        """Seconds left; None while that is not known."""
        return None if self.open else self._pace.left(self._whole.clock())

    def plan(self, missing: Sequence[Unit], there: int, more: bool) -> None:
        """These units are to be done besides, and so many images are there already; more may be planned later."""
        self._pace.plan(missing)
        self.total += there + sum(unit.size for unit in missing)
        self.done, self.work, self.open = self.done + there, self.work + there, more
        if self._whole.bars:
            self._show_bar()

    def begin(self, unit: Unit) -> None:
        """A worker takes a unit, from its beginning even if another worker had done a part of it."""
        self._pace.begin(unit, self._whole.clock())
        self._count(unit, 0, 0.0)
        if self._begun:
            self._show()
            return
        self._begun, self._printed = True, self._whole.clock()
        if self._whole.bars:
            self._whole.bars.start_task(self._task)

    def tell(self, unit: Unit, images: int, work: float) -> None:
        """So many images of an unfinished unit are done; so many, if those under way count by their shares."""
        work = min(work, unit.size)
        self._pace.tell(unit, work, self._whole.clock())
        self._count(unit, min(images, unit.size), work)
        self._show()

    def finish(self, unit: Unit, failed: bool = False) -> None:
        """Count a finished unit."""
        self._pace.finish(unit, self._whole.clock(), failed)
        self._count(unit, unit.size, unit.size)
        self._partly.pop(unit.name)
        self._show()

    def close(self) -> None:
        """Give the line back."""
        if self._whole.bars:
            self._whole.bars.remove_task(self._task)

    def _count(self, unit: Unit, images: int, work: float) -> None:
        images_before, work_before = self._partly.get(unit.name, (0, 0.0))
        self._partly[unit.name] = images, work
        self.done += images - images_before
        self.work += work - work_before

    def _show(self) -> None:
        if self._whole.bars:
            self._show_bar()
        elif self._whole.clock() - self._printed > PLAIN_INTERVAL_SECONDS and self.done < self.total:
            self._printed = self._whole.clock()
            self._whole.console.print(self.line(), markup=False, highlight=False)

    def line(self) -> str:
        """How far the stage is, in words."""
        more = "+" if self.open else ""
        line = f"{self.stage}: {self.done}/{self.total}{more} {self.noun} done"
        if self.work - self.done >= 1:
            line += f", with those under way {self.work / self.total:.0%}"
        speed, left = self.speed, self.left
        line += f", {speed_text(speed)} {self.noun}/s" if speed else ""
        return line + (f", {time_text(left)} left" if left else "")

    def _show_bar(self) -> None:
        known = {"completed": self.work, "images": self.done, "planned": self.total, "open": self.open}
        now = self._whole.clock()
        # With many units it takes milliseconds.
        if now - self._judged > ESTIMATE_INTERVAL_SECONDS:
            self._judged = now
            left = self.left
            known |= {"speed": self.speed, "over": None if left is None else now + left}
        self._whole.bars.update(self._task, total=max(1, self.total), **known)
