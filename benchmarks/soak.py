"""Does memory stay where it is? A long run of the real job over small drawn pictures, its processes watched.

    python benchmarks/soak.py FOLDER [--images 20000 --classes 20] [section.key=value ...]

Draws the pictures into FOLDER where they are not there, runs `visual-summaries summarize` over them (SqueezeNet with
random weights, few proposals and pairs, so that nearly all time goes into passing images through), and writes down the
memory of the driver, of every worker and of Ray's own processes every two seconds. Then it draws `memory.png` and
writes and prints `memory.md`: for each stage the memory of the driver and of the largest worker after 10, 50 and 90 %
of the stage, and the slope of a line through it after the first tenth. Needs no photographs and no weights; the 20,000
take about eight minutes on two idle cores. A finished run is only drawn again (`--measure uss` for the memory that a
process shares with no other); an unfinished one begins anew, because a process that resumes has another history.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

import numpy as np
from photographs import machine
from watched import MEASURES, Series, StageSpan, combined, draw_images, plot, read_samples, read_stages, run_watched

WARM_UP = 0.1
SHARES = (WARM_UP, 0.5, 0.9)
FEWEST_SAMPLES = 6


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
