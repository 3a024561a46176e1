"""Does the driver stay small? The schedule of a large run, without a pixel: real planning, manifests and bookkeeping of
all stages, workers that only pretend and whose times are the measured ones of docs/scaling.md.

    python benchmarks/schedule.py FOLDER [--classes 1000 --images 1300 --processors 64 --gpus 8]

Each stage's units go through the driver's own code (`run_stage`); a simulated pool keeps one unit in flight for each
worker and lets virtual time pass. FOLDER gets manifests, a table of images without features, and one file of pairs.
Prints Markdown: units, most in flight, virtual hours, the driver's own seconds and resident memory after each stage.
"""

import argparse
import heapq
import io
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from rich.console import Console

from pipeline.config import load_config
from pipeline.data.catalog import CatalogClass, CatalogEntry
from pipeline.models.preprocessing import Preprocessing
from pipeline.stages.inputs import Inputs
from pipeline.stages.run import STAGES, RunState, run_stage, start_state
from pipeline.stages.stage import Stage
from pipeline.stages.units import Outcome, Unit
from pipeline.store.tables import Shard, TableStore, digest
from schemas import make_table

# Processor seconds for each image or pair (docs/scaling.md); explaining is on a GPU, assumed ten times as fast.
SECONDS = {"images": 0.03, "explain": 0.18, "regions": 0.04, "propose": 0.97, "match": 0.03}
SECONDS_FOR_OTHERS = 0.004
PAIRS_AN_IMAGE = 23


class Unwatched:
    """Stands where `RunWatch` does, which needs Ray."""

    @contextmanager
    def stage(self, *_: object) -> Iterator["Unwatched"]:
        yield self

    def finished(self, *_: object) -> None:
        pass


class SimulatedWorkers:
    """Stands where `Workers` does: its pool finishes units in virtual time."""

    def __init__(self, store: TableStore, processors: int, gpus: int, pairs: Path) -> None:
        self.store, self.processors, self.gpus, self.pairs = store, processors, gpus, pairs
        self.most_in_flight, self.hours = 0, 0.0
        self._stage: Stage | None = None

    def pool(self, stage: Stage) -> "SimulatedWorkers":
        self._stage = stage
        return self

    def run(
        self, stage: Stage, units: list[Unit], finished: Callable[[Outcome], None], told: Callable, watch: object
    ) -> None:
        workers = self.gpus if stage.uses_model and self.gpus else self.processors
        in_flight: list[tuple[float, int]] = []
        now = end = 0.0
        for number, unit in enumerate(units):
            if len(in_flight) == workers:
                now, place = heapq.heappop(in_flight)
                finished(self.outcome(stage, units[place]))
            took = unit.size * SECONDS.get(stage.name, SECONDS_FOR_OTHERS)
            heapq.heappush(in_flight, (now + took, number))
            self.most_in_flight = max(self.most_in_flight, len(in_flight))
        while in_flight:
            end, place = heapq.heappop(in_flight)
            finished(self.outcome(stage, units[place]))
        self.hours = end / 3600

    def outcome(self, stage: Stage, unit: Unit) -> Outcome:
        path = self.store.shard_path(stage.writes, unit.fingerprint, unit.label, unit.name)
        target = self.store.root / "tables" / stage.writes / path
        if stage.name == "images":
            rows = [
                {
                    "image_id": digest(item), "uri": item, "label": unit.label, "class_index": 0, "split": "fit",
                    "explained": True,
                }
                for item in unit.items
            ]
            return Outcome(unit, self.store.write("images", path, make_table("images", rows), unit.label))
        if stage.name == "neighbors":
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists():
                os.link(self.pairs, target)
        return Outcome(unit, Shard(path, unit.label, unit.size, 1000 * unit.size, digest(unit.name) * 2))


def prototype_pairs(store: TableStore, images: int, per_task: int) -> Path:
    """A file with the pairs of a class of so many images."""
    count = images * PAIRS_AN_IMAGE
    rows = [
        {"label": "", "image_a": "a", "image_b": "b", "task": number // per_task, "similarity": 0.5, "component": 0}
        for number in range(count)
    ]
    path = "prototype/pairs.parquet"
    store.write("pairs", path, make_table("pairs", rows), "")
    return store.root / "tables" / "pairs" / path


def made_up_inputs(classes: int, images: int) -> Inputs:
    labels = [f"n{number:08}" for number in range(classes)]
    groups = tuple(
        CatalogClass(
            label,
            index,
            tuple(CatalogEntry(f"s3://bucket/train/{label}/{n:06}.JPEG", label, index, "fit") for n in range(images)),
        )
        for index, label in enumerate(labels)
    )
    return Inputs(groups, None, Preprocessing(), "0" * 64, "simulated", tuple(labels))


def memory() -> float:
    return psutil.Process().memory_info().rss / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--images", type=int, default=1300)
    parser.add_argument("--processors", type=int, default=64)
    parser.add_argument("--gpus", type=int, default=8)
    arguments = parser.parse_args()
    output = arguments.folder.resolve()
    shutil.rmtree(output, ignore_errors=True)
    config = load_config(values={"output": str(output), "data.images": "made up"})
    before = memory()
    inputs = made_up_inputs(arguments.classes, arguments.images)
    state: RunState = start_state(config, inputs, Console(file=io.StringIO()))
    pairs = prototype_pairs(state.store, arguments.images, config.matching.pairs_per_task)
    state.watch = Unwatched()
    workers = SimulatedWorkers(state.store, arguments.processors, arguments.gpus, pairs)
    print(f"{arguments.classes:,} classes × {arguments.images:,} images, {arguments.processors} processors, "
          f"{arguments.gpus} GPUs pretended; driver on {platform.machine()}; {before:.0f} MB before, "
          f"{memory():.0f} MB with the catalog\n")
    print("| stage | units | most in flight | virtual hours | driver, s | driver, MB |\n|---|--:|--:|--:|--:|--:|")
    for stage in STAGES:
        workers.most_in_flight, started = 0, time.perf_counter()
        outcomes = run_stage(state, stage, workers)
        units = len(outcomes)
        del outcomes
        seconds = time.perf_counter() - started
        print(f"| {stage.name} | {units:,} | {workers.most_in_flight} | {workers.hours:.2f} | {seconds:.1f} | "
              f"{memory():.0f} |", flush=True)


if __name__ == "__main__":
    main()
