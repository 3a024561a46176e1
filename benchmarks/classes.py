"""How a run's time and memory grow with the number of classes, by the real job over small drawn pictures.

    python benchmarks/classes.py FOLDER [section.key=value ...] [--images 4] [--sizes 250 500 1000]

Draws so many pictures of each class, runs the job once for each number of classes, in FOLDER, smallest first, with the
settings of benchmarks/soak.py and the cheapest explainer, and samples memory and processor time of its processes. A
size that is finished is not run again. Prints Markdown: wall seconds and workers' processor seconds of each stage,
units, what a unit costs the driver, memory of the driver and of the largest worker, the size of tables and report, and
the exponents fitted to them. Processor seconds hardly depend on what else the machine does; wall seconds do. Draws
`memory.png` of each size beside its run.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

import numpy as np
from photographs import machine
from watched import combined, draw_images, plot, read_samples, read_stages, run_watched, spent

from visual_summaries.pipeline.store.tables import TableStore

CHEAP = ("explain.explainer=gradient",)


def run(folder: Path, classes: int, images: int, side: int, overrides: list[str]) -> dict[str, float]:
    """What a run of so many classes took: what is told → figure, stages first."""
    finished = folder / "finished.json"
    if not finished.exists():
        shutil.rmtree(folder / "run", ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        draw_images(folder / "drawn", classes * images, classes, side)
        run_watched(folder, folder / "drawn", [*CHEAP, *overrides], 1.0)
        finished.write_text(json.dumps(figures(folder)))
    samples, stages = read_samples(folder / "samples.csv", "rss"), read_stages(folder / "run")
    title = f"Memory of a run over {classes:,} classes of {images} pictures"
    plot(stages, samples, title, "rss", folder / "memory.png")
    return json.loads(finished.read_text())


def figures(folder: Path) -> dict[str, float]:
    """What is told of the run in the folder."""
    rows = [row for row in TableStore(folder / "run").read_all("runs").to_pylist() if row["units"]]
    samples, stages = read_samples(folder / "samples.csv", "rss"), read_stages(folder / "run")
    (driver,) = samples["driver"].values()
    worker = combined(list(samples["worker"].values()), np.maximum)
    start, end = driver.times[[0, -1]]
    # Before, programs start; after, the report is drawn.
    begun, over = min(stage.start for stage in stages), max(stage.end for stage in stages if stage.name != "report")
    units = sum(row["units"] for row in rows)
    whole, scheduling = (spent(folder / "samples.csv", *span) for span in ((start, end), (begun, over)))
    scheduled = sum(row["units"] for row in rows if row["stage"] != "report")
    told = {row["stage"]: row["seconds"] for row in rows}
    told |= {"all, with start and end": end - start}
    told |= {f"{row['stage']}, processor s": row["worker_seconds"] for row in rows}
    return told | {
        "workers, processor s": whole["worker"],
        "driver, processor s": whole["driver"],
        "all processes, processor s": whole["all"],
        "units": units,
        "driver, processor ms a unit": 1000 * scheduling["driver"] / scheduled,
        "driver, MB": driver.values.max() / 1e6,
        "largest worker, MB": worker.values.max() / 1e6,
        "tables, MB": sum(path.stat().st_size for path in (folder / "run/tables").rglob("*.parquet")) / 1e6,
        "report, MB": sum(path.stat().st_size for path in (folder / "run/report").rglob("*") if path.is_file()) / 1e6,
    }


def main() -> int:
    """Draw, run, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[250, 500, 1000])
    parser.add_argument("--images", type=int, default=4, help="of each class")
    parser.add_argument("--side", type=int, default=96, help="of a picture, px")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="settings of the run")
    options = parser.parse_intermixed_args()
    sizes = sorted(options.sizes)
    folder = options.folder.resolve()
    found = [run(folder / str(size), size, options.images, options.side, options.overrides) for size in sizes]
    print(f"Classes of {options.images} pictures of {options.side} px; {machine()}.\n")
    print("| | " + " | ".join(map(str, sizes)) + " | exponent |\n|---|" + "--:|" * (len(sizes) + 1))
    for name in found[-1]:
        values = [one.get(name, float("nan")) for one in found]
        known = len(sizes) > 1 and min(values) > 0
        exponent = f"{np.polyfit(np.log(sizes), np.log(values), 1)[0]:.2f}" if known else ""
        print(f"| {name} | " + " | ".join(f"{value:,.1f}" for value in values) + f" | {exponent} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
