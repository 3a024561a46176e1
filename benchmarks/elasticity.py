"""What a second worker gains, what the orchestration costs, and whether a run grows with its cluster.

    VISUAL_SUMMARIES_DATA=… python benchmarks/elasticity.py FOLDER --what workers overhead growth

- `workers`: wall time of the stage `explain` (from the table `runs`) with one worker and with two, on the same 64
  photographs with the same settings (crisp masks, SqueezeNet, processors alone), `--repeats` times in turn, each in an
  output folder of its own. A run is interrupted as soon as the stage is complete. Goal: a ratio of at most 0.6.
- `overhead`: one run over 500 photographs, all stages and the report. Its wall time, and how much of it no stage
  accounts for: wall time − time in which the busiest worker computes. The log says when each unit ended and how long it
  took, not which worker did it: the seconds of all units / workers is the least that the busiest one can have been
  busy, the time in which any unit ran the most. Both are given; the overhead is taken from the least, so that it is
  rather too high than too low.
- `growth`: a cluster on this machine, a head and one node of one processor (as in `chaos.py`); half-way through
  `explain` a second node joins. Images per second before and after, and what each node did. Which worker did a unit
  follows from the times in the log: a worker begins its next unit as soon as one ends.

Prints Markdown. What is complete in FOLDER is not run again.
"""

import argparse
import csv
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import psutil
from photographs import data_directory, machine

from visual_summaries.pipeline.store.tables import StoreError, TableStore

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "chaos"))
from disturbed import NODE_GONE_SECONDS, SmallCluster, small_cluster  # noqa: E402

ALL_EXPLAINED = ("explain.policy=all", "data.test=0", "data.held_out=0")
WATCH_SECONDS = 0.2
ROW_SECONDS = 30.0
STOP_SECONDS = 120.0
OTHERS_SECONDS = 2.0
ASKED_RATIO = 0.6


@dataclass(frozen=True)
class UnitTime:
    """A unit as the log tells of it: from when to when (seconds), and how many images."""

    stage: str
    start: float
    end: float
    size: int


@dataclass(frozen=True)
class Log:
    """What the log of a run says: its units in the order in which they ended, and when else something happened."""

    units: list[UnitTime]
    events: dict[tuple[str, str | None], float]

    def of(self, stage: str) -> list[UnitTime]:
        return [unit for unit in self.units if unit.stage == stage]


def read_log(output: Path) -> Log:
    """The log of a folder's only run, as far as it is written."""
    units: list[UnitTime] = []
    events: dict[tuple[str, str | None], float] = {}
    for path in (output / "logs").glob("*.jsonl"):
        for line in path.read_text().splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                # The last line, half of which is written.
                continue
            moment = datetime.fromisoformat(entry["time"]).timestamp()
            if entry["event"] == "unit finished":
                units.append(UnitTime(entry["stage"], moment - entry["seconds"], moment, entry["size"]))
            else:
                events[entry["event"], entry["stage"]] = moment
    return Log(units, events)


def write_manifest(path: Path, count: int) -> Path:
    """`count` photographs as a manifest, taken from all classes in turn; they stay where they are."""
    folders = sorted(folder for folder in (data_directory() / "photos").iterdir() if folder.is_dir())
    waiting = [sorted(folder.iterdir()) for folder in folders]
    chosen: list[Path] = []
    for turn in range(max(map(len, waiting))):
        chosen += [paths[turn] for paths in waiting if turn < len(paths)]
    if len(chosen) < count:
        sys.exit(f"there are {len(chosen)} photographs, not {count}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["uri", "label"])
        writer.writerows([photograph, photograph.parent.name] for photograph in sorted(chosen[:count]))
    return path


def start_job(
    manifest: Path, output: Path, settings: Sequence[str], environment: dict[str, str] | None = None
) -> subprocess.Popen:
    """The real job, from the beginning; what it prints goes into a file beside the folder."""
    shutil.rmtree(output, ignore_errors=True)
    options = {
        "--manifest": manifest,
        "--model": "torchvision:squeezenet1_1",
        "--weights": data_directory() / "weights" / "squeezenet1_1.safetensors",
        "--output": output,
    }
    listed = [str(part) for option in options.items() for part in option]
    with output.with_name(f"{output.name}.log").open("w") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "visual_summaries", "summarize", *listed, *settings],
            stdout=log,
            stderr=log,
            cwd=ROOT,
            # Processors are what is compared, also where there is a GPU.
            env=(environment or os.environ) | {"CUDA_VISIBLE_DEVICES": ""},
        )


def failed(output: Path) -> str:
    """The message where a run ended otherwise than it should have."""
    log = output.with_name(f"{output.name}.log")
    return f"the run into {output} failed:\n{log.read_text()[-3000:]}"


def until_explained(process: subprocess.Popen, output: Path, watch: Callable[[Log], None] = lambda log: None) -> dict:
    """Interrupt the job once the stage explain is complete; its row of `runs`. `watch` is called now and then."""
    try:
        while ("stage ended", "explain") not in (log := read_log(output)).events:
            if process.poll() is not None:
                sys.exit(failed(output))
            watch(log)
            time.sleep(WATCH_SECONDS)
        deadline = time.monotonic() + ROW_SECONDS
        while (row := stage_row(output, "explain")) is None:
            if time.monotonic() > deadline:
                sys.exit(f"no row of explain in the table runs of {output}")
            time.sleep(WATCH_SECONDS)
    finally:
        # Taken for Ctrl-C by the job.
        process.terminate()
        process.wait(STOP_SECONDS)
    return row


def stage_row(output: Path, stage: str) -> dict | None:
    """The stage's row of `runs`, if it is there already."""
    try:
        rows = TableStore(output).read_all("runs").to_pylist()
    except StoreError:
        return None
    return next((row for row in rows if row["stage"] == stage), None)


def others_busy() -> float:
    """Percent of the processors that others keep busy now, before we begin: beside them no figure means much."""
    return psutil.cpu_percent(OTHERS_SECONDS)


def kept(path: Path, settings: Sequence[str], make: Callable[[], dict]) -> dict:
    """What `make` gives, kept in a file from then on; made anew where the settings were others."""
    settings = list(settings)
    if not path.exists() or json.loads(path.read_text())["settings"] != settings:
        path.unlink(missing_ok=True)
        path.write_text(json.dumps(make() | {"settings": settings}))
    return json.loads(path.read_text())


def measure_workers(folder: Path, count: int, repeats: int, shard: int) -> bool:
    """One worker against two; whether two are as much faster as they should be."""
    manifest = write_manifest(folder / f"{count}.csv", count)

    def measured(output: Path, settings: Sequence[str]) -> dict:
        others = others_busy()
        row = until_explained(start_job(manifest, output, settings), output)
        wanted = ("seconds", "rows", "worker_seconds")
        return {name: row[name] for name in wanted} | {"others": others}

    print(f"\n## The stage explain with one worker and with two\n\n{count} photographs, {shard} to a unit at most.\n")
    print("| workers | seconds | processor seconds in workers | images a second | processors busy before |")
    print("|--:|--:|--:|--:|--:|", flush=True)
    seconds: dict[int, list[float]] = {1: [], 2: []}
    for repeat in range(1, repeats + 1):
        for workers in seconds:
            output = folder / f"{count} photographs, workers {workers}, time {repeat}"
            settings = [*ALL_EXPLAINED, f"explain.shard_size={shard}", f"ray.workers={workers}", "ray.cpus=2"]
            row = kept(output.with_suffix(".json"), settings, lambda o=output, s=settings: measured(o, s))
            seconds[workers].append(row["seconds"])
            print(f"| {workers} | {row['seconds']:.1f} | {row['worker_seconds']:.1f} | "
                  f"{row['rows'] / row['seconds']:.2f} | {row['others']:.0f} % |", flush=True)
    ratio = statistics.median(seconds[2]) / statistics.median(seconds[1])
    pairs = ", ".join(f"{two / one:.2f}" for one, two in zip(seconds[1], seconds[2], strict=True))
    print(f"\nTwo workers take {ratio:.2f} of one worker's time (medians; in turn {pairs}); asked: ≤ {ASKED_RATIO}.")
    return ratio <= ASKED_RATIO


def busy_time(units: Sequence[UnitTime], workers: int) -> tuple[float, float]:
    """Seconds in which all workers computed, and in which some did and others did not."""
    changes = sorted((moment, step) for unit in units for moment, step in ((unit.start, 1), (unit.end, -1)))
    running, full, partly = 0, 0.0, 0.0
    for (moment, step), (following, _) in pairwise(changes):
        running += step
        if running >= workers:
            full += following - moment
        elif running:
            partly += following - moment
    return full, partly


def measure_overhead(folder: Path, count: int, settings: Sequence[str]) -> None:
    """A whole run, and what of it is not computing."""
    manifest, output = write_manifest(folder / f"{count}.csv", count), folder / f"{count} photographs"

    def measured() -> dict:
        others, began = others_busy(), time.time()
        status = start_job(manifest, output, settings).wait()
        if status:
            sys.exit(failed(output))
        return {"began": began, "ended": time.time(), "others": others}

    span = kept(output.with_suffix(".json"), settings, measured)
    log, wall = read_log(output), span["ended"] - span["began"]
    rows = TableStore(output).read_all("runs").to_pylist()
    # As many as were ever at work at once; a unit's end is told a moment after it.
    workers = max(sum(unit.start <= other.start < unit.end - 0.01 for unit in log.units) for other in log.units)
    print(f"\n## What orchestration costs\n\n{count} photographs, all stages and the report: {wall:.1f} s of wall "
          f"time, {workers} workers, {len(log.units)} units; {span['others']:.0f} % of the processors were busy before."
          "\n")
    print("| stage | wall, s | units | seconds in units | processor seconds in workers | workers busy |")
    print("|---|--:|--:|--:|--:|--:|")
    for row in rows:
        inside = sum(unit.end - unit.start for unit in log.of(row["stage"]))
        share = inside / workers / row["seconds"] if row["seconds"] else 0
        print(f"| {row['stage']} | {row['seconds']:.1f} | {row['units']} | {inside:.1f} | "
              f"{row['worker_seconds']:.1f} | {share:.0%} |")
    least = sum(unit.end - unit.start for unit in log.units) / workers
    full, partly = busy_time(log.units, workers)
    started = log.events["run started", None]
    first, last = min(unit.start for unit in log.units), max(unit.end for unit in log.units)
    ended = log.events["run ended", None]
    parts = {
        "start of the program, the catalog and Ray, until the run begins": started - span["began"],
        "workers start, until the first unit": first - started,
        "some workers have nothing to do (ends of stages, units about all classes), by their share of all workers":
            full + partly - least,
        "no unit runs between the first and the last: planning, manifests, handing out": last - first - full - partly,
        "the driver's own part of the report, after the last unit": ended - last,
        "end of Ray and of the program, outcome printed": span["ended"] - ended,
    }  # fmt: skip
    print(f"\nThe busiest worker computes for at least {least:.1f} s (seconds of all units / {workers} workers) and at "
          f"most {full + partly:.1f} s (while any unit ran). Overhead: {wall - least:.1f} s = "
          f"**{(wall - least) / wall:.1%}** of the wall time (at least {(wall - full - partly) / wall:.1%}):\n")
    print("| what it consists of | seconds | share of wall time |\n|---|--:|--:|")
    for name, seconds in parts.items():
        print(f"| {name} | {seconds:.1f} | {seconds / wall:.1%} |")


def by_worker(units: Sequence[UnitTime], count: int) -> list[list[UnitTime]]:
    """The units of each of at most `count` workers: each unit goes to the worker that was free last before it began."""
    workers: list[list[UnitTime]] = []
    for unit in sorted(units, key=lambda unit: unit.start):
        free = [own for own in workers if own[-1].end <= unit.start]
        if free:
            max(free, key=lambda own: own[-1].end).append(unit)
        elif len(workers) < count:
            workers.append([unit])
        else:
            # Starts are ends minus durations: one may lie a moment before the end of the worker's unit before.
            min(workers, key=lambda own: own[-1].end).append(unit)
    return workers


def images_until(units: Sequence[UnitTime], moment: float) -> float:
    """Images done at a time, those of a running unit by the share of its time that is over."""
    shares = (min(1.0, max(0.0, (moment - unit.start) / max(unit.end - unit.start, 1e-9))) for unit in units)
    return sum(share * unit.size for share, unit in zip(shares, units, strict=True))


def nodes_of_workers(cluster: SmallCluster) -> int:
    """How many nodes have a worker of the job."""
    return len({process.ppid() for process in cluster.workers()})


def measure_growth(folder: Path, count: int, shard: int, cpus: int | None) -> None:
    """A node joins half-way through explain."""
    manifest, output = write_manifest(folder / f"{count}.csv", count), folder / f"{count} photographs"
    settings = [*ALL_EXPLAINED, f"explain.shard_size={shard}", *([f"ray.cpus={cpus}"] if cpus else [])]

    def measured() -> dict:
        found: dict = {}
        with small_cluster(folder / "nodes.log") as (cluster, environment):
            # It begins with two nodes.
            cluster.tell("lose")
            time.sleep(NODE_GONE_SECONDS)

            def grow(log: Log) -> None:
                if not found and sum(unit.size for unit in log.of("explain")) >= count / 2:
                    found["asked"] = time.time()
                    cluster.tell("add")
                    found["joined"] = time.time()
                if found:
                    found["nodes"] = max(found.get("nodes", 0), nodes_of_workers(cluster))

            there = [*settings, f"ray.address={cluster.address}"]
            until_explained(start_job(manifest, output, there, environment), output, grow)
        return found

    found = kept(output.with_suffix(".json"), settings, measured)
    units = read_log(output).of("explain")
    workers = by_worker(units, 2)
    print(f"\n## A second node joins half-way through explain\n\n{count} photographs, {shard} to a unit at most; "
          f"{found.get('nodes', 0)} nodes had a worker in the end.\n")
    first, joined = min(unit.start for unit in units), found["joined"]
    before = images_until(units, found["asked"]) / (found["asked"] - first)
    print("| node | units | images | first unit begins, seconds after the node is there |\n|---|--:|--:|--:|")
    for number, own in enumerate(workers, 1):
        after = f"{own[0].start - joined:+.1f}" if number > 1 else ""
        print(f"| {number} | {len(own)} | {sum(unit.size for unit in own)} | {after} |")
    if len(workers) < 2:
        print(f"\n{before:.2f} images a second; the second node did nothing.")
        return
    # Up to where one of them finds nothing more to do.
    start, end = workers[1][0].start, min(own[-1].end for own in workers)
    after = (images_until(units, end) - images_until(units, start)) / (end - start)
    print(f"\nImages a second: {before:.2f} before, {after:.2f} while both nodes had work, "
          f"{after / before:.2f} times as many.")


def main() -> int:
    """Read the command line and measure; the status is 1 where two workers gain less than they should."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--what", nargs="+", choices=("workers", "overhead", "growth"), default=["workers"])
    parser.add_argument("--photographs", type=int, default=64, help="of workers and growth")
    parser.add_argument("--all-stages", type=int, default=500, help="photographs of overhead")
    parser.add_argument("--repeats", type=int, default=3, help="of workers")
    parser.add_argument("--shard", type=int, default=2, help="explain.shard_size of workers and growth")
    parser.add_argument("--cpus", type=int, help="ray.cpus of growth: to what the cluster may come; default: not said")
    parser.add_argument("--set", nargs="+", default=[], metavar="section.key=value", help="settings of overhead")
    options = parser.parse_args()
    folder = options.folder.resolve()
    print(machine())
    good = True
    if "workers" in options.what:
        good = measure_workers(folder / "workers", options.photographs, options.repeats, options.shard)
    if "overhead" in options.what:
        measure_overhead(folder / "overhead", options.all_stages, options.set)
    if "growth" in options.what:
        measure_growth(folder / "growth", options.photographs, options.shard, options.cpus)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
