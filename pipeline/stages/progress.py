"""Progress in the terminal: images per second and time left; plain lines where there is no terminal."""

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

PLAIN_INTERVAL_SECONDS = 15.0


class _Speed(ProgressColumn):
    """Images per second."""

    def render(self, task) -> Text:  # noqa: ANN001 - rich's Task
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.1f} images/s" if speed else "", style="dim")


class StageProgress:
    """One stage's progress, counted in images; a context manager."""

    def __init__(self, console: Console, stage: str, total: int, cached: int) -> None:
        self.console, self.stage, self.total, self.done = console, stage, total, cached
        self.computed, self.started, self.printed = 0, time.monotonic(), time.monotonic()
        self._bar: Progress | None = None
        if console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description:<11}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("images"),
                _Speed(),
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

    def advance(self, images: int) -> None:
        """Count images of a finished unit."""
        self.done += images
        self.computed += images
        if self._bar:
            self._bar.advance(self._task, images)
            return
        now = time.monotonic()
        if now - self.printed > PLAIN_INTERVAL_SECONDS and self.done < self.total:
            self.printed = now
            speed = self.computed / (now - self.started)
            left = (self.total - self.done) / speed if speed else float("inf")
            self.console.print(
                f"{self.stage}: {self.done}/{self.total} images, {speed:.2f} images/s, {left:.0f} s left",
                markup=False,
                highlight=False,
            )
