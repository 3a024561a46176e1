"""Progress in the terminal: images or image pairs per second and time left; plain lines without a terminal."""

import time

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
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

    def __init__(self, noun: str) -> None:
        super().__init__()
        self._noun = noun

    def render(self, task) -> Text:  # noqa: ANN001 - rich's Task
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.1f} {self._noun}/s" if speed else "", style="dim")


class StageProgress:
    """One stage's progress, counted in images or `noun`; a context manager."""

    def __init__(self, console: Console, stage: str, total: int, cached: int, noun: str = "images") -> None:
        self.console, self.stage, self.total, self.done = console, stage, total, cached
        self.computed, self.started, self.printed = 0, time.monotonic(), time.monotonic()
        self.noun = noun
        self._partly: dict[str, int] = {}
        self._bar: Progress | None = None
        if console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description:<11}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn(noun),
                _Speed(noun),
                TimeRemainingColumn(),
                console=console,
            )
            self._task = self._bar.add_task(stage, total=max(total, 1), completed=cached)

    def __enter__(self) -> "StageProgress":
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar:
            self._bar.stop()

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
        if self._bar:
            self._bar.update(self._task, completed=self.done)
            return
        now = time.monotonic()
        if now - self.printed > PLAIN_INTERVAL_SECONDS and self.done < self.total:
            self.printed = now
            speed = max(0, self.computed) / (now - self.started)
            left = (self.total - self.done) / speed if speed else float("inf")
            self.console.print(
                f"{self.stage}: {self.done}/{self.total} {self.noun}, {speed:.2f} {self.noun}/s, {left:.0f} s left",
                markup=False,
                highlight=False,
            )
