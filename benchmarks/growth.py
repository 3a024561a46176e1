"""How the stages' time and memory grow with the number of images of one class, by the real job.

    VISUAL_SUMMARIES_DATA=… python benchmarks/growth.py FOLDER
    VISUAL_SUMMARIES_DATA=… python benchmarks/growth.py FOLDER --preset paper --all-pairs --sizes 25 50 100 200

The class's photographs are repeated under seeded crops and flips to reach the sizes. The job runs once for each size,
in FOLDER, smallest first; maps and proposals of the images that were there before are kept, so that their stages'
figures are per new image. What is complete is not run again. Prints Markdown: processor seconds in workers, peak memory
of a worker (PyTorch and the rest of the program, some 400 MB, included) and bytes of the table, of each stage and size,
and the exponents fitted to them.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
from photographs import data_directory
from PIL import Image, ImageOps

from visual_summaries.pipeline.stages.order import STAGES
from visual_summaries.pipeline.store.tables import TableStore

SIZES = (25, 50, 100, 200, 400, 800)
OF_THE_CLASS = {
    "default": ("features", "candidates", "members", "summarize"),
    "paper": ("neighbors", "match", "parts", "cluster", "members", "summarize"),
}


def draw_images(folder: Path, source: Path, count: int) -> None:
    """The first `count` of an endless line of variants: the photographs themselves, then crops and flips of them."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = sorted(source.iterdir())
    generator = np.random.default_rng(0)
    for number in range(count):
        place, flip = generator.random(3), generator.random() < 0.5
        target = folder / f"{number:05}.jpg"
        if target.exists():
            continue
        with Image.open(paths[number % len(paths)]) as file:
            image = ImageOps.exif_transpose(file).convert("RGB")
        if number >= len(paths):
            kept = 0.75 + 0.2 * place[0]
            width, height = round(image.width * kept), round(image.height * kept)
            left, top = round(place[1] * (image.width - width)), round(place[2] * (image.height - height))
            image = image.crop((left, top, left + width, top + height))
            image = ImageOps.mirror(image) if flip else image
        image.save(target, quality=92)


def run(folder: Path, label: str, size: int, arguments: argparse.Namespace) -> list[dict]:
    """The rows of `runs` of the job on the first `size` images."""
    kind = "all pairs" if arguments.all_pairs else f"{arguments.neighbors} neighbors"
    kept = folder / f"{arguments.preset} {arguments.explainer} {kind} {size}.json"
    if not kept.exists():
        lines = [f"{path},{label}" for path in sorted((folder / "drawn").iterdir())[:size]]
        (folder / f"{size}.csv").write_text("\n".join(["uri,label", *lines]) + "\n")
        most = 10**6 if arguments.all_pairs else 1
        command = [
            sys.executable, "-m", "visual_summaries", "summarize", "--manifest", str(folder / f"{size}.csv"),
            "--model", "torchvision:squeezenet1_1",
            "--weights", str(data_directory() / "weights/squeezenet1_1.safetensors"),
            "--output", str(folder / f"run {arguments.preset} {arguments.explainer}"),
            # A shard an image: those of a smaller size are shards of the larger one.
            "explain.shard_size=1", "explain.policy=all", f"explain.explainer={arguments.explainer}",
            "data.test=0", "data.held_out=0", f"preset={arguments.preset}",
            f"matching.all_pairs_up_to={most}", f"matching.neighbors={arguments.neighbors}",
            f"ray.workers={arguments.workers}",
        ]  # fmt: skip
        subprocess.run(command, check=True, cwd=Path(__file__).parents[1], stdout=subprocess.DEVNULL)
        store = TableStore(folder / f"run {arguments.preset} {arguments.explainer}")
        rows = store.read_all("runs").to_pylist()
        # The run of a smaller size is in the same folder; the last one's rows are this one's.
        rows = [row for row in rows if row["run"] == max(row["run"] for row in rows)]
        wanted = ("stage", "seconds", "worker_seconds", "peak_memory", "units", "units_cached", "rows")
        tables = {stage.name: stage.writes for stage in STAGES}
        found = [{name: row[name] for name in wanted} for row in rows if row["stage"] in tables]
        for row in found:
            row["bytes"] = sum(shard.bytes for shard in store.listed(tables[row["stage"]]).values())
        kept.write_text(json.dumps(found))
    return json.loads(kept.read_text())


def exponent(sizes: list[int], values: list[float]) -> float:
    """Slope of log value against log size."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def print_table(
    name: str, results: dict[int, dict[str, dict]], stages: tuple[str, ...], of: str, unit: float, digits: int
) -> None:
    """One line per stage: the figure at each size, and the exponent from 100 images on."""
    sizes = list(results)
    print(f"\n| {name} | " + " | ".join(map(str, sizes)) + " | exponent from 100 on |")
    print("|---|" + "--:|" * (len(sizes) + 1))
    for stage in stages:
        values = [results[size][stage][of] / unit for size in sizes]
        large = [(size, value) for size, value in zip(sizes, values, strict=True) if size >= 100]
        slope = f"{exponent(*map(list, zip(*large, strict=True))):.2f}" if len(large) > 1 else ""
        print(f"| {stage} | " + " | ".join(f"{value:.{digits}f}" for value in values) + f" | {slope} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--class", dest="label", default="n02317335", help="folder of photographs")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--preset", choices=tuple(OF_THE_CLASS), default="default")
    parser.add_argument("--explainer", default="grad-cam")
    parser.add_argument("--neighbors", type=int, default=30)
    parser.add_argument("--all-pairs", action="store_true")
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    draw_images(folder / "drawn", data_directory() / "photos" / arguments.label, max(arguments.sizes))
    results = {
        size: {row["stage"]: row for row in run(folder, arguments.label, size, arguments)}
        for size in sorted(arguments.sizes)
    }
    if arguments.preset == "paper":
        pairs = {size: stages["neighbors"]["rows"] for size, stages in results.items()}
        print("| images | image pairs | pairs an image | ms a pair |\n|--:|--:|--:|--:|")
        for size, stages in results.items():
            print(f"| {size} | {pairs[size]} | {pairs[size] / size:.1f} | "
                  f"{1000 * stages['match']['worker_seconds'] / pairs[size]:.1f} |")
    stages = OF_THE_CLASS[arguments.preset]
    print_table("processor seconds", results, stages, "worker_seconds", 1, 2)
    print_table("peak memory of a worker (MB)", results, stages, "peak_memory", 1e6, 0)
    print_table("megabytes of the table", results, stages, "bytes", 1e6, 2)
    print(f"\n{arguments.explainer}, class {arguments.label}; {platform.processor() or platform.machine()}, "
          f"{os.cpu_count()} cores, {arguments.workers} worker.")


if __name__ == "__main__":
    main()
