"""What an image costs in each stage of a real run with default settings: processor seconds and bytes.

    VISUAL_SUMMARIES_DATA=… python benchmarks/costs.py FOLDER [section.key=value ...] [--sizes 12 25 50]

Runs the job over real photographs with a network's trained weights, once for each network and class size, all of a
class explained, in FOLDER. What is complete is not run again. Prints Markdown: for each network and stage the processor
seconds in workers and the bytes of the table, both for an image, at each class size, and what a class and what an image
cost by a line through the seconds.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from photographs import data_directory, machine
from watched import ROOT

from visual_summaries.pipeline.stages.order import STAGES
from visual_summaries.pipeline.store.tables import TableStore

WRITES = {stage.name: stage.writes for stage in STAGES}


def run(folder: Path, network: str, classes: list[str], size: int, overrides: list[str]) -> dict[str, dict[str, float]]:
    """Stage → `seconds` of workers and `bytes` of its table, for one image each; and `images`."""
    output = folder / f"{network}-{size}"
    kept = output.with_suffix(".json")
    if not kept.exists():
        command = [
            sys.executable, "-m", "visual_summaries", "summarize", "--images", str(data_directory() / "photos"),
            "--output", str(output), "--model", f"torchvision:{network}",
            "--weights", str(data_directory() / "weights" / f"{network}.safetensors"),
            f"data.classes=[{','.join(classes)}]", f"data.images_per_class={size}",
            "data.test=0", "data.held_out=0", "explain.policy=all", *overrides,
        ]  # fmt: skip
        subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
        store = TableStore(output)
        count = size * len(classes)
        found = {}
        for row in store.read_all("runs").to_pylist():
            table = WRITES.get(row["stage"])
            if row["units"]:
                size_of = sum(shard.bytes for shard in store.manifest(table)) if table else 0
                found[row["stage"]] = {"seconds": row["worker_seconds"] / count, "bytes": size_of / count}
        pages = sum(path.stat().st_size for path in (output / "report").rglob("*") if path.is_file())
        found["report"]["bytes"] = pages / count
        kept.write_text(json.dumps(found))
    return json.loads(kept.read_text())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--networks", nargs="+", default=["squeezenet1_1", "mobilenet_v2"])
    parser.add_argument("--classes", nargs="+", default=["n02317335", "n02690373"], help="folders of photographs")
    parser.add_argument("--sizes", type=int, nargs="+", default=[12, 25, 50])
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="settings of the runs")
    options = parser.parse_intermixed_args()
    folder, sizes = options.folder.resolve(), sorted(options.sizes)
    folder.mkdir(parents=True, exist_ok=True)
    print(f"{len(options.classes)} classes of photographs, {', '.join(options.overrides) or 'default settings'}; "
          f"{machine()}.")  # fmt: skip
    for network in options.networks:
        found = [run(folder, network, options.classes, size, options.overrides) for size in sizes]
        heads = [f"s an image, {size}" for size in sizes] + ["s a class", "+ s an image"]
        heads += [f"bytes an image, {size}" for size in sizes]
        print(f"\n| {network} | " + " | ".join(heads) + " |\n|---|" + "--:|" * len(heads))
        totals = {of: sum(one[of] for one in found[-1].values()) for of in ("seconds", "bytes")}
        for stage in found[-1]:
            seconds = [one[stage]["seconds"] for one in found]
            line = [f"{value:.3f}" for value in seconds]
            each, fixed = np.polyfit(sizes, np.multiply(seconds, sizes), 1) if len(sizes) > 1 else (seconds[0], 0)
            line += [f"{fixed:.2f}", f"{each:.3f}"] + [f"{one[stage]['bytes']:,.0f}" for one in found]
            print(f"| {stage} | " + " | ".join(line) + " |")
        print(f"\nAll stages at {sizes[-1]}: {totals['seconds']:.2f} s, {totals['bytes']:,.0f} bytes.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
