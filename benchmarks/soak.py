"""Does memory stay where it is? A long run of the real job over small drawn pictures, its processes watched.

    python benchmarks/soak.py FOLDER [--images 20000 --classes 20] [section.key=value ...]

Draws the pictures into FOLDER where they are not there yet, runs `python -m jobs.summarize` over them (SqueezeNet with
random weights, few proposals and pairs, so that nearly all time goes into passing images through), and writes down the
memory of the driver, of every worker and of Ray's own processes every two seconds. Then it draws `memory.png` and
writes and prints `memory.md`: for each stage the memory of the driver and of the largest worker after 10, 50 and 90 %
of the stage, and the slope of a line through it after the first tenth. Needs no photographs and no weights; the 20,000
take about eight minutes on two idle cores. A finished run is only drawn again (`--measure uss` for the memory that a
process shares with no other); an unfinished one begins anew, because a process that resumes has another history.
"""

import argparse
import csv
import json
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import cv2
import numpy as np
import psutil
from photographs import machine
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
FIELDS = ("time", "kind", "pid", *MEASURES)
WARM_UP = 0.1
SHARES = (WARM_UP, 0.5, 0.9)
FEWEST_SAMPLES = 6
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
    """Bytes of a process, or of several together, at times."""

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
    """The memory of the driver and of all processes below it; those that end meanwhile are left out."""
    rows = []
    now = time.time()
    for process in [driver, *driver.children(recursive=True)]:
        try:
            kind = "driver" if process.pid == driver.pid else kind_of(process)
            memory = process.memory_full_info()
        except psutil.Error:
            continue
        found = {name: getattr(memory, name) for name in MEASURES}
        # A process that has ended and was not waited for has no memory.
        if found["rss"]:
            rows.append({"time": round(now, 3), "kind": kind, "pid": process.pid, **found})
    return rows


def run_watched(folder: Path, images: Path, overrides: list[str], interval: float) -> None:
    """Run the job into `folder/run` and sample it into `folder/samples.csv`; the program ends where it fails."""
    command = [sys.executable, "-m", "jobs.summarize", "--images", str(images), "--output", str(folder / "run")]
    with (folder / "run.log").open("w") as log, (folder / "samples.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        process = subprocess.Popen([*command, *SETTINGS, *overrides], stdout=log, stderr=log, cwd=ROOT)
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
    """kind → process id → its memory."""
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


def slope(series: Series, stage: StageSpan, images: int) -> float | None:
    """Bytes per image of a line through the memory after the stage's warm-up; none where there are few samples."""
    chosen = (series.times >= stage.time_of(WARM_UP)) & (series.times <= stage.times[-1])
    if chosen.sum() < FEWEST_SAMPLES:
        return None
    done = images * np.interp(series.times[chosen], stage.times, stage.shares)
    return float(np.polyfit(done, series.values[chosen], 1)[0]) if np.ptp(done) else None


def table(stages: list[StageSpan], driver: Series, worker: Series, images: int) -> list[str]:
    """Markdown: a line for each stage."""
    heads = [f"{who}, MB at {share:.0%}" for who in ("driver", "largest worker") for share in SHARES]
    slopes = ["driver, MB per 1,000 images", "largest worker, MB per 1,000 images"]
    heads = [*heads[:3], slopes[0], *heads[3:], slopes[1]]
    lines = [f"| stage | seconds | {' | '.join(heads)} |", "|---|--:|" + "--:|" * len(heads)]
    for stage in stages:
        cells = [stage.name, f"{stage.end - stage.start:.0f}"]
        for series in (driver, worker):
            cells += [f"{series.at(stage.time_of(share)) / 1e6:.0f}" for share in SHARES]
            found = slope(series, stage, images)
            cells.append("–" if found is None else f"{1000 * found / 1e6:+.2f}")
        lines.append(f"| {' | '.join(cells)} |")
    return lines


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


def main() -> int:
    """Draw, run, watch, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=20000)
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument("--side", type=int, default=64, help="of a picture, px")
    parser.add_argument("--interval", type=float, default=2.0, help="seconds between samples")
    parser.add_argument("--measure", choices=MEASURES, default="rss", help="what is drawn and tabled; all are sampled")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="settings of the run")
    options = parser.parse_intermixed_args()
    folder = options.folder.resolve()
    drawn = folder / f"drawn-{options.images}-{options.classes}-{options.side}"
    finished = folder / "finished.json"
    settings = {"images": options.images, "classes": options.classes, "side": options.side, "set": options.overrides}
    if not finished.exists() or json.loads(finished.read_text()) != settings:
        finished.unlink(missing_ok=True)
        shutil.rmtree(folder / "run", ignore_errors=True)
        draw_images(drawn, options.images, options.classes, options.side)
        run_watched(folder, drawn, options.overrides, options.interval)
        finished.write_text(json.dumps(settings))
    samples = read_samples(folder / "samples.csv", options.measure)
    stages = read_stages(folder / "run")
    (driver,) = samples["driver"].values()
    worker = combined(list(samples["worker"].values()), np.maximum)
    together = combined([one for kind in read_samples(folder / "samples.csv", "pss").values() for one in kind.values()],
                        np.add)
    minutes = (driver.times[-1] - driver.times[0]) / 60
    told = f"{options.images:,} pictures of {options.classes} classes in {minutes:.1f} minutes"
    lines = [f"{told}, {len(samples['worker'])} workers; {MEASURES[options.measure]} ({options.measure.upper()}); "
             f"{machine()}.\n", *table(stages, driver, worker, options.images),
             f"\nAt most: driver {driver.values.max() / 1e6:.0f} MB, a worker {worker.values.max() / 1e6:.0f} MB, all "
             f"processes together {together.values.max() / 1e6:.0f} MB (PSS: what they share counts once). The slope "
             f"is of a line through the samples after the first {WARM_UP:.0%} of a stage; –: fewer than "
             f"{FEWEST_SAMPLES} samples."]  # fmt: skip
    (folder / "memory.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    plot(stages, samples, f"Memory of a run over {told}", options.measure, folder / "memory.png")
    print(f"\n{folder / 'memory.png'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
