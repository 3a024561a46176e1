"""What the stage `candidates` of a large class costs, from the stored features of a small one.

    python benchmarks/class_size.py RUN LABEL [--sizes 25 400 1300] [section.key=value ...]

RUN is the folder of a finished run with default settings, LABEL a class of it, as benchmarks/costs.py leaves them. Its
photographs' features and masks are repeated to reach each size, the features with noise, so that none is a copy of
another; then the class's parts are found, and found again in resamples, as the stage does it, each size in a process of
its own. Prints Markdown: processor seconds, and resident memory at most.
"""

import argparse
import multiprocessing
import resource
import sys
import time
from pathlib import Path

import numpy as np
from photographs import machine

from visual_summaries.pipeline.config import load_config
from visual_summaries.pipeline.stages.candidates import part_settings
from visual_summaries.pipeline.stages.features import stored_features
from visual_summaries.pipeline.stages.regions import salient_mask
from visual_summaries.pipeline.store.tables import TableStore
from visual_summaries.pipeline.summarize.class_parts import ClassImages
from visual_summaries.pipeline.summarize.resampling import found_again

NOISE = 0.05


def measure(run: Path, label: str, size: int, overrides: list[str]) -> tuple[float, float]:
    """Processor seconds and megabytes at most, of this process."""
    config, store = load_config(overrides=overrides), TableStore(run)
    seen = {row["image_id"]: stored_features(row) for row in store.read_all("features", label=label).to_pylist()}
    masks = {
        row["image_id"]: salient_mask(row, config) for row in store.read_all("maps", label=label).to_pylist()
    }
    ids = sorted(masks)
    generator = np.random.default_rng(0)
    features = np.empty((size, *seen[ids[0]].shape), dtype=np.float16)
    for number in range(size):
        noisy = seen[ids[number % len(ids)]] + NOISE * generator.standard_normal(features.shape[1:], dtype=np.float32)
        features[number] = noisy / np.linalg.norm(noisy, axis=-1, keepdims=True)
    repeated = np.stack([masks[ids[number % len(ids)]] for number in range(size)])
    began = time.process_time()
    images = ClassImages.of(features, repeated, part_settings(config), config.seed)
    chosen = [one.candidate for one in images.parts(config.seed).summaries]
    found_again(chosen, images.again(), size, config.summaries.resamples, seed=config.seed)
    seconds = time.process_time() - began
    return seconds, 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("label")
    parser.add_argument("--sizes", type=int, nargs="+", default=[25, 400, 1300])
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="settings of the run")
    options = parser.parse_intermixed_args()
    print(f"{machine()}.\n\n| photographs of the class | processor seconds | an image | MB at most |")
    print("|--:|--:|--:|--:|")
    for size in options.sizes:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            seconds, memory = pool.apply(measure, (options.run.resolve(), options.label, size, options.overrides))
        print(f"| {size:,} | {seconds:.1f} | {seconds / size:.3f} | {memory:,.0f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
