"""Does the driver stay small? The schedule of a large run, without a pixel: real planning, manifests and bookkeeping of
all stages, workers that only pretend and whose times are the measured ones of docs/reference/measurements/scaling.md.

    python benchmarks/schedule.py FOLDER [--classes 1000 --images 1300 --processors 64 --gpus 8 --preset paper]

The units go through the driver's own code (`run_stages`); simulated workers, some with a GPU, have one unit each and
let virtual time pass. FOLDER gets manifests, a table of images without features, and one file of pairs. Prints:
each stage's units and the virtual hours of its first unit's beginning and its last one's end; and every so many units
how many wait, how many are in flight, and the driver's own seconds, without what workers would do, and resident memory.
"""

import argparse
import heapq
import io
import os
import pickle
import platform
import resource
import shutil
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
from rich.console import Console

from visual_summaries.pipeline.commands.opened import start_state
from visual_summaries.pipeline.config import load_config
from visual_summaries.pipeline.data.catalog import CatalogClass, CatalogEntry
from visual_summaries.pipeline.models.preprocessing import Preprocessing
from visual_summaries.pipeline.runtime.flow import run_stages
from visual_summaries.pipeline.runtime.records import RunState
from visual_summaries.pipeline.runtime.stage import Stage
from visual_summaries.pipeline.runtime.units import Outcome, Unit
from visual_summaries.pipeline.runtime.work import Work, next_work
from visual_summaries.pipeline.stages.inputs import Inputs
from visual_summaries.pipeline.stages.order import STAGES
from visual_summaries.pipeline.store.tables import Shard, TableStore, digest
from visual_summaries.schemas import make_table

# Processor seconds for each image or pair (docs/reference/measurements/scaling.md);
# explaining is on a GPU, assumed ten times as fast.
SECONDS = {"images": 0.03, "explain": 0.18, "regions": 0.04, "propose": 0.97, "match": 0.03}
SECONDS_FOR_OTHERS = 0.004
PAIRS_AN_IMAGE = 23
SAMPLED_EVERY = 20_000


class Unwatched:
    """Stands where `RunWatch` and `StageWatch` do, which need Ray."""

    def stage(self, name: str) -> "Unwatched":
        return self

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *arguments: None


class SimulatedWorkers:
    """Stands where `Workers` does: finishes units in virtual time."""

    def __init__(self, store: TableStore, processors: int, gpus: int, pairs: Path) -> None:
        self.store, self.pairs = store, pairs
        self.size = {True: gpus, False: processors}
        self.free = dict(self.size)
        self.waiting: dict[bool, dict[Work, deque[Unit]]] = {True: {}, False: {}}
        self.in_flight: list[tuple[float, int, bool, Work, Unit]] = []
        self.now, self.given = 0.0, 0
        self.spans: dict[str, list[float]] = {}
        self.did: Counter[str] = Counter()
        self.samples: list[tuple[int, float, int, int, float, float]] = []
        self.started, self.pretending = time.perf_counter(), 0.0

    @property
    def driver_seconds(self) -> float:
        """Since the start, without what workers would do."""
        return time.perf_counter() - self.started - self.pretending

    def add(self, work: Work, units: Sequence[Unit]) -> None:
        self.waiting[work.stage.resources.gpu].setdefault(work, deque()).extend(units)

    def advance(self) -> None:
        for gpu, queues in self.waiting.items():
            while self.free[gpu] and (work := next_work(queues, self.size[gpu])):
                self._begin(gpu, work, queues[work].popleft())
        self.now, _, gpu, work, unit = heapq.heappop(self.in_flight)
        self.free[gpu] += 1
        self.did[work.stage.name] += 1
        self.spans[work.stage.name][1] = self.now
        began = time.perf_counter()
        result = pickle.dumps(self.outcome(work.stage, unit))
        self.pretending += time.perf_counter() - began
        # As it comes back from a worker: nothing in it is the driver's own.
        work.finished(pickle.loads(result))

    def sample(self) -> None:
        """Keep how things stand."""
        waiting = sum(len(queue) for queues in self.waiting.values() for queue in queues.values())
        done = sum(self.did.values())
        self.samples.append((done, self.now / 3600, waiting, len(self.in_flight), self.driver_seconds, memory()))

    def _begin(self, gpu: bool, work: Work, unit: Unit) -> None:
        work.begun(unit)
        self.free[gpu] -= 1
        self.spans.setdefault(work.stage.name, [self.now, self.now])
        took = unit.size * SECONDS.get(work.stage.name, SECONDS_FOR_OTHERS)
        self.given += 1
        heapq.heappush(self.in_flight, (self.now + took, self.given, gpu, work, unit))
        if self.given % SAMPLED_EVERY == 0:
            self.sample()

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
            tuple(CatalogEntry(f"/nowhere/train/{label}/{n:06}.JPEG", label, index, "fit") for n in range(images)),
        )
        for index, label in enumerate(labels)
    )
    return Inputs(groups, None, Preprocessing(), "0" * 64, "simulated", tuple(labels), "simulated")


def memory() -> float:
    return psutil.Process().memory_info().rss / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--images", type=int, default=1300)
    parser.add_argument("--processors", type=int, default=64)
    parser.add_argument("--gpus", type=int, default=8)
    parser.add_argument("--preset", choices=("default", "paper"), default="paper")
    arguments = parser.parse_args()
    output = arguments.folder.resolve()
    shutil.rmtree(output, ignore_errors=True)
    config = load_config(values={"preset": arguments.preset, "output": str(output), "data.images": "made up"})
    before = memory()
    inputs = made_up_inputs(arguments.classes, arguments.images)
    state: RunState = start_state(config, inputs, Console(file=io.StringIO()))
    pairs = prototype_pairs(state.store, arguments.images, config.matching.pairs_per_task)
    state.watch = Unwatched()
    workers = SimulatedWorkers(state.store, arguments.processors, arguments.gpus, pairs)
    print(f"{arguments.classes:,} classes × {arguments.images:,} images, {arguments.processors} processors, "
          f"{arguments.gpus} GPUs pretended; driver on {platform.machine()}; {before:.0f} MB before, "
          f"{memory():.0f} MB with the catalog; preset {arguments.preset}\n")
    run_stages(state, STAGES, workers)
    workers.sample()
    print("| stage | units | begins, virtual hours | ends |\n|---|--:|--:|--:|")
    for name, (begin, end) in workers.spans.items():
        print(f"| {name} | {workers.did[name]:,} | {begin / 3600:.2f} | {end / 3600:.2f} |")
    print("\n| units done | virtual hours | waiting | in flight | driver, s | driver, MB |\n|--:|--:|--:|--:|--:|--:|")
    for done, hours, waiting, in_flight, seconds, megabytes in workers.samples:
        print(f"| {done:,} | {hours:.2f} | {waiting:,} | {in_flight} | {seconds:.0f} | {megabytes:.0f} |")
    units = sum(workers.did.values())
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    seconds = workers.driver_seconds
    print(f"\n{units:,} units: {seconds:.0f} s of the driver's own, {1000 * seconds / units:.2f} ms a unit; "
          f"{peak:.0f} MB at most, {peak - before:.0f} MB more than before")


if __name__ == "__main__":
    main()
