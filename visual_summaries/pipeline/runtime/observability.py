"""What the driver tells of a run while it goes on: metrics on Ray's Prometheus endpoint, events in the run's log."""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from visual_summaries.pipeline.objects import ObjectPath
from visual_summaries.pipeline.runtime.logs import RunLog
from visual_summaries.pipeline.runtime.units import Failure, Outcome, Unit

TAGS = ("run", "stage")
SPEED_SECONDS = 5.0

# Ray exports them as ray_<name>, counters with _total, histograms with _bucket, _sum and _count.
COUNTERS = {
    "visual_summaries_images_done": "images done; in the stage match, image pairs",
    "visual_summaries_units_done": "units of work done",
    "visual_summaries_unit_failures": "units given up",
    "visual_summaries_unit_retries": "units put back because they or their workers failed",
    "visual_summaries_worker_deaths": "workers that died, hung or never started",
}
GAUGES = {
    "visual_summaries_images_per_second": "speed of the last seconds; in the stage match, of image pairs",
    "visual_summaries_queue_length": "units that wait for a worker",
    "visual_summaries_workers_alive": "workers that have started and not died",
    "visual_summaries_images_left": "images that the stage has still to do; in the stage match, image pairs",
}
HISTOGRAMS = {"visual_summaries_unit_seconds": "seconds that a unit took in its worker"}
UNIT_SECONDS = [0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0]


class Metrics:
    """The metrics above, of one run. They reach the endpoint only where `ray[default]` is installed."""

    def __init__(self, run: str) -> None:
        from ray.util import metrics

        self._run = run
        self._counters = {name: metrics.Counter(name, text, TAGS) for name, text in COUNTERS.items()}
        self._gauges = {name: metrics.Gauge(name, text, TAGS) for name, text in GAUGES.items()}
        self._histograms = {
            name: metrics.Histogram(name, text, UNIT_SECONDS, TAGS) for name, text in HISTOGRAMS.items()
        }

    def count(self, name: str, stage: str, amount: float = 1.0) -> None:
        """Add to a counter; Ray refuses zero."""
        if amount > 0:
            self._counters[f"visual_summaries_{name}"].inc(amount, self._tags(stage))

    def set(self, name: str, stage: str, value: float) -> None:
        """Set a gauge."""
        self._gauges[f"visual_summaries_{name}"].set(value, self._tags(stage))

    def observe(self, name: str, stage: str, value: float) -> None:
        """Enter a value into a histogram."""
        self._histograms[f"visual_summaries_{name}"].observe(value, self._tags(stage))

    def _tags(self, stage: str) -> dict[str, str]:
        return {"run": self._run, "stage": stage}


class StageWatch:
    """One stage's events, as the driver and its pool tell them."""

    def __init__(self, log: RunLog, metrics: Metrics, stage: str) -> None:
        self._log, self._metrics, self._stage = log, metrics, stage
        self._started = time.monotonic()
        self._left = self._done = self._done_before = self._units = self._cached = 0
        self._partly: dict[str, int] = {}
        self._spoken = time.monotonic()
        self._gauges: dict[str, float] = {}
        self._log.event("stage started", stage=stage)
        self.pool(0, 0)

    def begun(self) -> None:
        """The first unit is under way: from now on there is a speed."""
        self._started = self._spoken = time.monotonic()

    def planned(self, units: Sequence[Unit], missing: Sequence[Unit]) -> None:
        """So many units more, of which those `missing` are to be done."""
        self._units += len(units)
        self._cached += len(units) - len(missing)
        self._left += sum(unit.size for unit in missing)

    def told(self, unit: Unit, images: int) -> None:
        """So many images of an unfinished unit are done."""
        self._advance(min(images, unit.size) - self._partly.get(unit.name, 0))
        self._partly[unit.name] = min(images, unit.size)

    def finished(self, result: Outcome | Failure) -> None:
        """A unit came to its end, good or bad."""
        unit = result.unit
        if isinstance(result, Failure):
            self._advance(-self._partly.pop(unit.name, 0))
            self._metrics.count("unit_failures", self._stage)
            self._event("unit failed", unit, level="error", reason=result.reason)
            return
        self._advance(unit.size - self._partly.pop(unit.name, 0))
        self._metrics.count("images_done", self._stage, unit.size)
        self._metrics.count("units_done", self._stage)
        self._metrics.observe("unit_seconds", self._stage, result.seconds)
        rows = result.shard.rows if result.shard is not None else None
        self._event("unit finished", unit, size=unit.size, seconds=round(result.seconds, 3), rows=rows)

    def retried(self, unit: Unit, reason: str) -> None:
        """A unit goes back to the queue."""
        self._metrics.count("unit_retries", self._stage)
        self._event("unit retried", unit, level="warning", reason=reason)

    def stalled(self, unit: Unit, reason: str) -> None:
        """A unit makes no progress, which may yet come."""
        self._event("unit stalled", unit, level="warning", reason=reason)

    def worker_died(self, reason: str, unit: Unit | None = None) -> None:
        """A worker is gone, with a unit in its hands or before it had started."""
        self._metrics.count("worker_deaths", self._stage)
        self._event("worker died", unit, level="warning", reason=reason)

    def pool(self, queued: int, alive: int) -> None:
        """How many units wait, how many workers there are; said now and then."""
        self._gauge("queue_length", queued)
        self._gauge("workers_alive", alive)
        now = time.monotonic()
        if now - self._spoken > SPEED_SECONDS:
            self._gauge("images_per_second", max(0, self._done - self._done_before) / (now - self._spoken))
            self._gauge("images_left", max(0, self._left - self._done))
            self._spoken, self._done_before = now, self._done

    def close(self) -> None:
        """The stage is over: nothing waits; the speed stays at its mean, for stages too short to have told one."""
        seconds = time.monotonic() - self._started
        if self._done > 0 and seconds > 0:
            self._gauge("images_per_second", self._done / seconds)
        for name in ("queue_length", "workers_alive", "images_left"):
            self._gauge(name, 0)
        self._log.event(
            "stage ended",
            stage=self._stage,
            seconds=round(seconds, 3),
            units=self._units,
            units_cached=self._cached,
        )

    def _advance(self, images: int) -> None:
        self._done += images

    def _gauge(self, name: str, value: float) -> None:
        # Ray takes each as a record to export: only what has changed.
        if self._gauges.get(name) != value:
            self._gauges[name] = value
            self._metrics.set(name, self._stage, value)

    def _event(self, event: str, unit: Unit | None, level: str = "info", **values: Any) -> None:
        named = {} if unit is None else {"unit": unit.name, "class": unit.label}
        self._log.event(event, level=level, stage=self._stage, **named, **values)


class RunWatch:
    """A run's events and metrics, for the driver."""

    def __init__(self, log: RunLog, run: str) -> None:
        self._log, self._metrics = log, Metrics(run)

    def stage(self, name: str) -> StageWatch:
        """Watch a stage that begins; `StageWatch.close` says that it is over."""
        return StageWatch(self._log, self._metrics, name)

    def warn(self, event: str, **values: Any) -> None:
        """Log what a person should know of the run as a whole."""
        self._log.event(event, level="warning", **values)


@contextmanager
def watched_run(
    output: Path | ObjectPath, run: str, images: int, resources: Mapping[str, float], echo: bool = False, **facts: Any
) -> Iterator[RunWatch]:
    """Log the run's beginning, with further `facts`, and its end, and give what watches its stages.

    `echo`: the log's lines on standard error as well. Ray must have been started.
    """
    with RunLog(output, run, sys.stderr if echo else None) as log:
        started = time.monotonic()
        kept = {name: resources[name] for name in ("CPU", "GPU", "memory") if name in resources}
        log.event("run started", output=str(output), **facts, images=images, resources=kept)
        try:
            yield RunWatch(log, run)
        except BaseException as error:
            interrupted = isinstance(error, KeyboardInterrupt)
            log.event(
                "run interrupted" if interrupted else "run failed",
                level="warning" if interrupted else "error",
                seconds=round(time.monotonic() - started, 3),
                reason=f"{type(error).__name__}: {error}",
            )
            raise
        log.event("run ended", seconds=round(time.monotonic() - started, 3))
