"""How a run's time and memory grow with the number of classes, by the real job over small drawn pictures.

    python benchmarks/classes.py FOLDER [section.key=value ...] [--images 3] [--sizes 50 100 200]

Draws so many pictures of each class, runs the job once for each number of classes, in FOLDER, smallest first, with the
settings of benchmarks/soak.py and the cheapest explainer, and samples the memory of its processes. A size that is
finished is not run again. Prints Markdown: wall seconds of each stage, memory of the driver and of the largest worker,
and the exponents fitted to them.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

import numpy as np
from photographs import machine
from soak import combined, draw_images, read_samples, run_watched

from pipeline.store.tables import TableStore

CHEAP = ("explain.explainer=gradient",)


def run(folder: Path, classes: int, images: int, side: int, overrides: list[str]) -> dict[str, float]:
    """What a run of so many classes took: stage → seconds, and what is told below the stages."""
    finished = folder / "finished.json"
    if not finished.exists():
        shutil.rmtree(folder / "run", ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        draw_images(folder / "drawn", classes * images, classes, side)
        run_watched(folder, folder / "drawn", [*CHEAP, *overrides], 1.0)
        rows = TableStore(folder / "run").read_all("runs").to_pylist()
        samples = read_samples(folder / "samples.csv", "rss")
        (driver,) = samples["driver"].values()
        worker = combined(list(samples["worker"].values()), np.maximum)
        told = {row["stage"]: row["seconds"] for row in rows if row["units"]}
        told |= {
            "all, with start and end": driver.times[-1] - driver.times[0],
            "driver, MB": driver.values.max() / 1e6,
            "largest worker, MB": worker.values.max() / 1e6,
        }
        finished.write_text(json.dumps(told))
    return json.loads(finished.read_text())


def main() -> int:
    """Draw, run, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[50, 100, 200])
    parser.add_argument("--images", type=int, default=3, help="of each class")
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
