"""A run of the job over drawn pictures whose processes are watched: memory and processor time, and a plot of them.

Shared by benchmarks/soak.py and benchmarks/classes.py.
"""

import csv
import json
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import cv2
import numpy as np
import psutil
from PIL import Image

ROOT = Path(__file__).parents[1]
SETTINGS = (
    "model.name=torchvision:squeezenet1_1",
    "model.weights=random",
    "model.crop=36",
    "explain.explainer=smooth-grad-cam++",
    "explain.policy=all",
    "data.test=0",
    "data.held_out=0",
    "proposals.limit=5",
    "matching.all_pairs_up_to=1",
    "matching.neighbors=1",
    "clustering.exemplar_rounds=0",
    "report.examples=2",
)
MEASURES = {"rss": "resident memory", "uss": "memory of the process alone", "pss": "memory, what is shared divided up"}
CPU = "cpu"
FIELDS = ("time", "kind", "pid", *MEASURES, CPU)
# Share of the run from which on a stage is marked in the plot of memory as well.
STRIPES_FROM = 0.05
RAY_KINDS = ("raylet", "gcs_server", "ray")
COLORS = {"driver": "#0b6e99", "worker": "#c8553d", "ray": "#7a7a7a"}


@dataclass(frozen=True)
class StageSpan:
    """One stage of the run.

    Attributes:
        times: its start and the end of each of its units, seconds.
        shares: how much of the stage was done at each of these times, from 0 to 1.
    """

    name: str
    times: np.ndarray
    shares: np.ndarray
    end: float

    @property
    def start(self) -> float:
        return float(self.times[0])

    def time_of(self, share: float) -> float:
        """When so much of the stage was done."""
        return float(np.interp(share, self.shares, self.times))


@dataclass(frozen=True)
class Series:
    """Bytes of a process, or of several together, at times; or processor seconds."""

    times: np.ndarray
    values: np.ndarray

    def at(self, moment: float) -> float:
        return float(np.interp(moment, self.times, self.values))


def draw_images(folder: Path, count: int, classes: int, side: int) -> None:
    """`count` pictures, spread over folders that are named by the numbers of their classes, where they are missing."""
    for number in range(count):
        target = folder / str(number % classes) / f"{number:06}.jpg"
        if target.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        generator = np.random.default_rng((0, number))
        # Blurred noise behind some shapes: no two files are alike, and all have edges to find.
        noise = generator.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        picture = cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC)
        for shape in range(3):
            color = generator.integers(0, 256, 3).tolist()
            x, y = generator.integers(side // 6, side - side // 6, 2).tolist()
            radius = int(generator.integers(side // 10, side // 4))
            if shape % 2:
                cv2.circle(picture, (x, y), radius, color, -1)
            else:
                cv2.rectangle(picture, (x - radius, y - radius), (x + radius, y + radius), color, -1)
        unfinished = target.with_suffix(".part")
        Image.fromarray(picture).save(unfinished, "JPEG", quality=85)
        unfinished.rename(target)


def kind_of(process: psutil.Process) -> str:
    """`worker`, or what of Ray a process below the driver is."""
    command = process.cmdline()
    title = command[0] if command else ""
    if title.startswith("ray::Worker"):
        return "worker"
    name = Path(title).name
    return name if name in RAY_KINDS else "ray"


def take_samples(driver: psutil.Process) -> list[dict]:
    """Memory and processor seconds of the driver and all processes below it; those that end meanwhile are left out."""
    rows = []
    now = time.time()
    for process in [driver, *driver.children(recursive=True)]:
        try:
            kind = "driver" if process.pid == driver.pid else kind_of(process)
            memory = process.memory_full_info()
            times = process.cpu_times()
        except psutil.Error:
            continue
        found = {name: getattr(memory, name) for name in MEASURES} | {CPU: round(times.user + times.system, 2)}
        # A process that has ended and was not waited for has no memory.
        if found["rss"]:
            rows.append({"time": round(now, 3), "kind": kind, "pid": process.pid, **found})
    return rows


def job(images: Path, output: Path, overrides: Sequence[str]) -> list[str]:
    """The command of the job, with the settings that are the same for all of these benchmarks."""
    command = [sys.executable, "-m", "visual_summaries", "summarize", "--images", str(images), "--output", str(output)]
    return [*command, *SETTINGS, *overrides]


def run_watched(folder: Path, images: Path, overrides: Sequence[str], interval: float) -> None:
    """Run the job into `folder/run` and sample it into `folder/samples.csv`; the program ends where it fails."""
    with (folder / "run.log").open("w") as log, (folder / "samples.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        process = subprocess.Popen(job(images, folder / "run", overrides), stdout=log, stderr=log, cwd=ROOT)
        try:
            driver = psutil.Process(process.pid)
            while process.poll() is None:
                started = time.monotonic()
                try:
                    writer.writerows(take_samples(driver))
                except psutil.NoSuchProcess:
                    break
                file.flush()
                time.sleep(max(0.0, interval - (time.monotonic() - started)))
        finally:
            if process.poll() is None:
                process.terminate()
            status = process.wait()
    if status:
        sys.exit(f"the run failed with status {status}:\n{(folder / 'run.log').read_text()[-3000:]}")


def read_samples(path: Path, measure: str) -> dict[str, dict[int, Series]]:
    """kind → process id → its memory, or the processor seconds that it has spent so far (`CPU`)."""
    found: dict[str, dict[int, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    # While it starts, a worker has no title of its own yet.
    last = {row["pid"]: row["kind"] for row in rows}
    for row in rows:
        found[last[row["pid"]]][int(row["pid"])].append((float(row["time"]), float(row[measure])))
    return {
        kind: {pid: Series(*np.array(points).T) for pid, points in processes.items()}
        for kind, processes in found.items()
    }


def combined(processes: list[Series], how: np.ufunc) -> Series:
    """The sum or the maximum of what several processes held at each time that was sampled."""
    values: dict[float, float] = {}
    for one in processes:
        for moment, value in zip(one.times.tolist(), one.values.tolist(), strict=True):
            values[moment] = float(how(values[moment], value)) if moment in values else value
    moments = sorted(values)
    return Series(np.array(moments), np.array([values[moment] for moment in moments]))


def spent(path: Path, start: float, end: float) -> dict[str, float]:
    """Kind → processor seconds of all processes of that kind between two moments; `all` for all together."""
    found = {
        kind: sum(one.at(end) - (one.at(start) if one.times[0] <= start else 0.0) for one in processes.values())
        for kind, processes in read_samples(path, CPU).items()
    }
    return found | {"all": sum(found.values())}


def read_stages(output: Path) -> list[StageSpan]:
    """The stages of the run in their order, from its log."""
    begun: dict[str, float] = {}
    units: dict[str, list[tuple[float, float]]] = defaultdict(list)
    spans = []
    (log,) = (output / "logs").glob("*.jsonl")
    for line in log.read_text().splitlines():
        entry = json.loads(line)
        moment, stage = datetime.fromisoformat(entry["time"]).timestamp(), entry["stage"]
        if entry["event"] == "stage started":
            begun[stage] = moment
        elif entry["event"] == "unit finished":
            units[stage].append((moment, entry["size"]))
        elif entry["event"] == "stage ended" and units[stage]:
            moments, sizes = map(np.array, zip(*units[stage], strict=True))
            done = np.cumsum(sizes if sizes.sum() else np.ones(len(sizes)))
            times = np.concatenate([[begun[stage]], moments])
            spans.append(StageSpan(stage, times, np.concatenate([[0], done / done[-1]]), moment))
    return spans


def spread(values: list[float], gap: float) -> list[float]:
    """The values, those too close to the next lower one moved up, so that labels there do not cover one another."""
    places: dict[int, float] = {}
    lowest = -np.inf
    for number in sorted(range(len(values)), key=values.__getitem__):
        lowest = places[number] = max(values[number], lowest + gap)
    return [places[number] for number in range(len(values))]


def plot(stages: list[StageSpan], samples: dict[str, dict[int, Series]], title: str, measure: str, path: Path) -> None:
    """Memory against time as a PNG, the stages below it on the same axis."""
    from matplotlib.figure import Figure

    (driver,) = samples["driver"].values()
    workers = list(samples["worker"].values())
    ray = combined([one for kind in RAY_KINDS for one in samples.get(kind, {}).values()], np.add)
    origin = driver.times[0]
    minutes = (driver.times[-1] - origin) / 60
    highest = max(one.values.max() for one in (driver, ray, *workers)) / 1e6
    figure = Figure(figsize=(11, 6.6), dpi=150, layout="constrained")
    memory, timeline = figure.subplots(2, sharex=True, height_ratios=(1.9, 1))
    for kind, lines in (("ray", [ray]), ("worker", workers), ("driver", [driver])):
        for one in lines:
            memory.plot((one.times - origin) / 60, one.values / 1e6, color=COLORS[kind], linewidth=1.6)
    noun = "worker" if len(workers) == 1 else f"{len(workers)} workers, each"
    ends = [
        ("driver", driver, COLORS["driver"]),
        (noun, max(workers, key=lambda one: one.at(stages[-1].start)), COLORS["worker"]),
        ("Ray’s own processes,\ntogether", ray, COLORS["ray"]),
    ]
    # Where the lines are before everything is shut down.
    places = spread([one.at(stages[-1].start) / 1e6 for _, one, _ in ends], 0.1 * highest)
    for (text, _, color), place in zip(ends, places, strict=True):
        # Beside the plot, not in it: the offset is in points.
        memory.annotate(text, (1, place), (8, 0), ("axes fraction", "data"), "offset points", color=color, va="center")
    memory.set(xlim=(0, minutes), ylim=(0, 1.06 * highest))
    memory.set_title(f"{title}\n{MEASURES[measure]}, MB", loc="left", fontsize=11, linespacing=1.6)
    memory.grid(axis="y", color="#dddad2", linewidth=0.8)
    for number, stage in enumerate(stages):
        start, end = (stage.start - origin) / 60, (stage.end - origin) / 60
        # The shortest stages last less than a point of the picture is wide.
        timeline.barh(number, max(end - start, minutes / 500), 0.7, start, color="#8c8574")
        for edge in (start, end) if end - start > STRIPES_FROM * minutes else ():
            memory.axvline(edge, color="#c9c4b6", linewidth=0.8, zorder=0)
    timeline.set_yticks(range(len(stages)), [stage.name for stage in stages], fontsize=8)
    timeline.set(ylim=(len(stages) - 0.4, -0.6), xlabel="minutes since the start")
    timeline.tick_params(axis="y", length=0)
    for axes in (memory, timeline):
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.set_axisbelow(True)
    memory.tick_params(axis="y", length=0)
    figure.savefig(path)
