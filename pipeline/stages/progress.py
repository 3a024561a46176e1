"""Progress in the terminal: images or image pairs per second and time left; plain lines without a terminal."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from pipeline.stages.units import Unit

PLAIN_INTERVAL_SECONDS = 15.0


class _Speed(ProgressColumn):
    """Images, or what else is counted, per second."""

    def render(self, task) -> Text:  # noqa: ANN001 - rich's Task
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.1f} {task.fields['noun']}/s" if speed else "", style="dim")


class _Count(ProgressColumn):
    """So many of so many; a plus while more may come."""

    def render(self, task) -> Text:  # noqa: ANN001
        more = "+" if task.fields["open"] else ""
        return Text(f"{int(task.completed)}/{int(task.total)}{more} {task.fields['noun']}")


class _Left(TimeRemainingColumn):
    """Time left, once everything is planned."""

    def render(self, task) -> Text:  # noqa: ANN001
        return Text("") if task.fields["open"] else super().render(task)


@contextmanager
def one_progress(console: Console, name: str, total: int, noun: str = "images") -> Iterator["StageProgress"]:
    """The line of something that is no stage."""
    with RunProgress(console) as whole:
        line = StageProgress(whole, name, noun)
        line.plan(total, 0, more=False)
        line.begin()
        yield line


class RunProgress:
    """The progress of the stages that are under way, each in its line; a context manager."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bars: Progress | None = None
        if console.is_terminal:
            self.bars = Progress(
                TextColumn("{task.description:<11}"),
                BarColumn(),
                _Count(),
                _Speed(),
                _Left(),
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
    """One stage's line, counted in images or `noun`."""

    def __init__(self, whole: RunProgress, stage: str, noun: str = "images") -> None:
        self._whole, self.stage, self.noun = whole, stage, noun
        self.total = self.done = self.computed = 0
        self.open = True
        self.started = self.printed = time.monotonic()
        self._partly: dict[str, int] = {}
        if whole.bars:
            self._task = whole.bars.add_task(stage, total=1, completed=0, start=False, noun=noun, open=True)

    def begin(self) -> None:
        """The first unit is under way: from now on there is a speed."""
        self.started = self.printed = time.monotonic()
        if self._whole.bars:
            self._whole.bars.start_task(self._task)

    def plan(self, total: int, there: int, more: bool) -> None:
        """So much is to be done besides, of which so much is there already; more may be planned later."""
        self.total, self.done, self.open = self.total + total, self.done + there, more
        if self._whole.bars:
            self._whole.bars.update(self._task, total=max(1, self.total), completed=self.done, open=more)

    def close(self) -> None:
        """Give the line back."""
        if self._whole.bars:
            self._whole.bars.remove_task(self._task)

    def tell(self, unit: Unit, images: int) -> None:
        """So many images of an unfinished unit are done; fewer than before when it had to begin again."""
        before = self._partly.get(unit.name, 0)
        self._partly[unit.name] = min(images, unit.size)
        self._advance(self._partly[unit.name] - before)

    def finish(self, unit: Unit) -> None:
        """Count a finished unit."""
        self._advance(unit.size - self._partly.pop(unit.name, 0))

    def _advance(self, images: int) -> None:
        self.done += images
        self.computed += images
        if self._whole.bars:
            self._whole.bars.update(self._task, completed=self.done)
            return
        now = time.monotonic()
        if now - self.printed > PLAIN_INTERVAL_SECONDS and self.done < self.total:
            self.printed = now
            speed = max(0, self.computed) / (now - self.started)
            seconds = (self.total - self.done) / speed if speed else float("inf")
            left = "" if self.open else f", {seconds:.0f} s left"
            more = "+" if self.open else ""
            self._whole.console.print(
                f"{self.stage}: {self.done}/{self.total}{more} {self.noun}, {speed:.2f} {self.noun}/s{left}",
                markup=False,
                highlight=False,
            )
