"""Saliency maps of annotated photographs by many methods, into a folder, for `localization_tables.py`.

    VISUAL_SUMMARIES_DATA=… python benchmarks/localization_maps.py maps --networks squeezenet1_1 --methods rise-4000

The maps of a network and method are files of a folder, one for each photograph; a second run goes on where the first
one stopped, and several can share the work. Networks: ImageNet's explain the photographs with boxes,
`mobilenet_v2_cub100` the birds.
"""

import argparse
import os
import time
from pathlib import Path

import numpy as np
import torch
from annotated_photographs import BIRDS, as_batch, birds, photographs_with_boxes, whole_image_network
from localization_methods import METHODS
from photographs import NETWORKS

from visual_summaries.pipeline.models.preparation import PreparedClassifier, keep_freed_memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--networks", nargs="+", choices=(*NETWORKS, BIRDS), default=[*NETWORKS[:2], BIRDS])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--photographs", type=int, help="at most, the classes in turn; default: all")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--batch-size", type=int, default=4)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    for name in arguments.networks:
        classifier = whole_image_network(name)
        prepared = PreparedClassifier(classifier, arguments.precision)
        photographs = (birds() if name == BIRDS else photographs_with_boxes())[: arguments.photographs]
        for method in arguments.methods:
            folder = arguments.folder / name
            started, done = time.perf_counter(), 0
            for start in range(0, len(photographs), arguments.batch_size):
                batch = photographs[start : start + arguments.batch_size]
                left = [entry for entry in batch if not path_of(folder / method, entry.name).exists()]
                if not left:
                    continue
                images, targets = as_batch(classifier, left)
                # The map that gives the method its name last: once it is there, the others are.
                found = METHODS[method](classifier, prepared, images, targets)
                for variant in sorted(found, key=method.__eq__):
                    for entry, saliency in zip(left, found[variant], strict=True):
                        save(path_of(folder / variant, entry.name), saliency.mean(dim=0).numpy())
                done += len(left)
                seconds = (time.perf_counter() - started) / done
                print(f"{name} {method}: {start + len(batch)}/{len(photographs)}, {seconds:.2f} s each", flush=True)


def path_of(folder: Path, name: str) -> Path:
    """Where the map of photograph `name` is."""
    return folder / f"{name.replace('/', ' ')}.npy"


def save(path: Path, saliency: np.ndarray) -> None:
    """Write a map `[S,S]`, its largest value 1, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scaled = saliency / max(saliency.max(), np.finfo(np.float32).tiny)
    beside = path.with_suffix(f".{os.getpid()}")
    with open(beside, "wb") as file:
        np.save(file, scaled.astype(np.float16))
    beside.rename(path)


if __name__ == "__main__":
    main()
