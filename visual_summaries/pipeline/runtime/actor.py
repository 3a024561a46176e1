"""What runs in a worker process: computes one unit of a stage, writes its shard whole or not at all."""

import contextlib
import os
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from threading import Thread

import psutil
from ray.exceptions import RayError

from visual_summaries.pipeline.runtime.board import Line
from visual_summaries.pipeline.runtime.context import Context, ContextFactory
from visual_summaries.pipeline.runtime.failures import room_to_write
from visual_summaries.pipeline.runtime.records import write_unit
from visual_summaries.pipeline.runtime.stage import Stage
from visual_summaries.pipeline.runtime.units import Outcome, Unit
from visual_summaries.schemas import make_table

BEAT_SECONDS = 2.0


class Worker:
    """The Ray actor. One unit at a time, so that a death names its unit."""

    def __init__(self, make_context: ContextFactory, gpu: bool, board: Line) -> None:
        self.context = make_context(gpu, board)
        Thread(target=_keep_beating, args=(board,), daemon=True).start()

    def ready(self) -> int:
        """Process id, once the worker can take work."""
        return os.getpid()

    def close(self) -> None:
        """Remove what is left on this node; the worker takes no work any more."""
        self.context.close()

    def probe(self, stage: Stage, unit: Unit, item: str) -> None:
        """Compute one item of a unit and throw the result away: does it survive?"""
        self.context.begin(unit)
        with self._unspoiled():
            stage.compute(self.context, unit, (item,))

    def run(self, stage: Stage, unit: Unit, excluded: Mapping[str, str]) -> Outcome:
        """Perform a unit without the `excluded` items (item → reason); its cost is measured here."""
        _reset_peak_memory()
        self.context.begin(unit)
        started, processor_started = time.perf_counter(), time.process_time()
        with self._unspoiled(), room_to_write(self.context.output):
            outcome = perform(self.context, stage, unit, excluded)
        return replace(
            outcome,
            seconds=time.perf_counter() - started,
            processor_seconds=time.process_time() - processor_started,
            peak_memory=_peak_memory(),
        )

    @contextlib.contextmanager
    def _unspoiled(self) -> Iterator[None]:
        """End the process where nothing could be done in it any more: the pool finds out which item does that."""
        try:
            yield
        except Exception as error:
            if self.context.spoiled(error):
                traceback.print_exc()
                sys.stderr.flush()
                os._exit(1)
            raise


def perform(context: Context, stage: Stage, unit: Unit, excluded: Mapping[str, str]) -> Outcome:
    """Compute a unit without the `excluded` items (item → reason) and write its shards."""
    items = tuple(item for item in unit.items if item not in excluded)
    output = stage.compute(context, unit, items)
    if not stage.writes:
        return Outcome(unit.called, value=output.value)
    errors = [*output.errors, *(stage.excluded_row(unit, item, reason) for item, reason in excluded.items())]
    table = output.table if output.table is not None else make_table(stage.writes, output.rows)
    shard, error_shard = write_unit(context.store, stage.writes, unit, table, errors)
    return Outcome(unit.called, shard, error_shard)


def _keep_beating(line: Line) -> None:
    """Say now and then that this process lives, whatever its other threads do."""
    while True:
        # Without the board it is not heard, and may be again.
        with contextlib.suppress(RayError):
            line.beat()
        time.sleep(BEAT_SECONDS)


def _reset_peak_memory() -> None:
    # Linux alone has this file; elsewhere there is no peak to reset.
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak_memory() -> int:
    """Largest resident memory since the last reset, bytes (on Linux; elsewhere the present one)."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024
    return psutil.Process().memory_info().rss
