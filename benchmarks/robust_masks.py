"""Do crisp masks stay, hang together and hold for other networks? The presets and Grad-CAM side by side, four networks.

    VISUAL_SUMMARIES_DATA=../shared/data python benchmarks/robust_masks.py --output study run --half 0
    VISUAL_SUMMARIES_DATA=../shared/data python benchmarks/robust_masks.py --output study table --half 0

Settings were chosen on half 0 and are confirmed on half 1: twelve photographs a network and half, six of `imagenet/val`
and one of each of six classes of `photos`, that the network classifies correctly. Each is explained as it is, stored as
a JPEG file of quality 90, with the crop moved by 3 px to the right and 3 px down, and mirrored. Results lie in the
folder `study`, a file for each network, method and change; what is there is not computed again. On one core `authors`
takes some four minutes a file, `robust` one. docs/reference/measurements/robust-masks.md keeps the tables.
"""

import argparse
import csv
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from photographs import data_directory, machine, network

from visual_summaries.pipeline.data.decode import read_image
from visual_summaries.pipeline.evaluate.intervals import mean_interval
from visual_summaries.pipeline.evaluate.map_stability import CHANGES, mirrored, overlaps
from visual_summaries.pipeline.evaluate.transfer import transfer
from visual_summaries.pipeline.evaluate.wholeness import wholeness
from visual_summaries.pipeline.explain.crisp import binarization_error
from visual_summaries.pipeline.explain.engine import Item, explain_stream
from visual_summaries.pipeline.explain.interface import target_scores
from visual_summaries.pipeline.explain.perturbation import PERTURBATIONS
from visual_summaries.pipeline.explain.registry import EXPLAINERS, make_explainer
from visual_summaries.pipeline.models.classifier import Classifier
from visual_summaries.pipeline.models.preparation import PreparedClassifier, keep_freed_memory
from visual_summaries.pipeline.summarize.regions import salient_pixels

NETWORKS = ("squeezenet1_1", "mobilenet_v2", "efficientnet_lite0", "squeezenet1_0")
METHODS = {
    "fast": ("crisp", "fast"),
    "authors": ("crisp", "authors"),
    "robust": ("crisp", "robust"),
    "grad-cam": ("grad-cam",),
}
VALIDATION, CLASSES = 6, 6
SHIFT = 3
STORED = next(change for name, change in CHANGES.items() if name.startswith("JPEG"))
VARIANTS = ("original", "jpeg", "shift", "flip")


@dataclass(frozen=True)
class Shown:
    """A photograph and its changed copies, `[3,S,S]` float in [0,1], by the names of `VARIANTS`."""

    name: str
    target: int
    images: dict[str, torch.Tensor]


def photographs(classifier: Classifier, half: int) -> list[Shown]:
    """The half's photographs that the network classifies correctly."""
    data = data_directory()
    with open(data / "imagenet/val.csv", newline="") as file:
        rows = [(data / "imagenet/val" / row["file"], int(row["class_index"])) for row in csv.DictReader(file)]
    with open(data / "photos/classes.csv", newline="") as file:
        indices = {row["folder"]: int(row["class_index"]) for row in csv.DictReader(file)}
    found = _first_right(classifier, rows[half::2], VALIDATION)
    for folder in sorted(indices)[half::2][:CLASSES]:
        files = [(path, indices[folder]) for path in sorted((data / "photos" / folder).iterdir())]
        found += _first_right(classifier, files[half::2], 1)
    return found


def _first_right(classifier: Classifier, rows: list[tuple[Path, int]], count: int) -> list[Shown]:
    found: list[Shown] = []
    for path, target in rows:
        if len(found) == count:
            break
        wide = classifier.preprocessing.analyzed_image(read_image(str(path)).image, SHIFT).float().div(255)
        image = wide[:, SHIFT:-SHIFT, SHIFT:-SHIFT].contiguous()
        with torch.no_grad():
            if int(classifier.logits(image[None]).argmax()) != target:
                continue
        moved = wide[:, 2 * SHIFT :, 2 * SHIFT :].contiguous()
        copies = {"original": image, "jpeg": STORED.apply(image), "shift": moved, "flip": mirrored(image).contiguous()}
        found.append(Shown(path.name, target, copies))
    return found


def compute(output: Path, name: str, method: str, half: int, variants: list[str]) -> None:
    """Make the maps of a network's photographs, where that is not yet done."""
    wanted = {variant: output / name / f"{method}_{half}_{variant}.npz" for variant in variants}
    wanted = {variant: path for variant, path in wanted.items() if not path.exists()}
    if not wanted:
        return
    classifier = network(name)
    prepared = PreparedClassifier(classifier)
    shown = photographs(classifier, half)
    explainer = make_explainer(*METHODS[method])
    for variant, path in wanted.items():
        started = time.perf_counter()
        items = [Item(number, photograph.images[variant], photograph.target) for number, photograph in enumerate(shown)]
        found = dict(explain_stream(explainer, prepared, items, torch.device("cpu"), len(items)))
        maps = torch.cat([found[number].saliency for number in range(len(items))])
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        with open(partial, "wb") as file:
            np.savez_compressed(
                file,
                mask=maps.mul(255).round().byte().numpy(),
                name=np.array([photograph.name for photograph in shown]),
                iterations=np.array([int(found[number].iterations) for number in range(len(items))]),
                seconds=time.perf_counter() - started,
            )
        os.replace(partial, path)
        print(f"{name} {method} half {half} {variant}: {time.perf_counter() - started:.0f} s", flush=True)


def maps_of(output: Path, name: str, method: str, half: int, variant: str) -> dict[str, np.ndarray] | None:
    """The stored maps of a network's photographs, `mask` uint8 `[n,1,S,S]`, or None where they are not made yet."""
    path = output / name / f"{method}_{half}_{variant}.npz"
    return dict(np.load(path)) if path.exists() else None


def salient_of(method: str, stored: dict[str, np.ndarray]) -> torch.Tensor:
    """Salient pixels `[n,S,S]` bool at the explainer's own cut."""
    entry = EXPLAINERS[METHODS[method][0]]
    maps = stored["mask"][:, 0].astype(np.float64) / 255
    return torch.from_numpy(
        np.stack([salient_pixels(one, entry.threshold, entry.smoothing, entry.share) for one in maps])
    )


def stability(output: Path, name: str, method: str, half: int, salient: torch.Tensor) -> list[np.ndarray | None]:
    """Overlap with the map of each changed copy, on what both show."""
    found = []
    for variant in VARIANTS[1:]:
        stored = maps_of(output, name, method, half, variant)
        if stored is None:
            found.append(None)
            continue
        changed, own = salient_of(method, stored), salient
        if variant == "flip":
            changed = changed.flip(-1)
        elif variant == "shift":
            changed, own = changed[:, :-SHIFT, :-SHIFT], own[:, SHIFT:, SHIFT:]
        found.append(overlaps(own.contiguous(), changed.contiguous()).numpy())
    return found


def row(output: Path, networks: dict[str, Classifier], name: str, method: str, half: int) -> str | None:
    """One line of the table."""
    stored = maps_of(output, name, method, half, "original")
    if stored is None:
        return None
    shown = photographs(networks[name], half)
    if [photograph.name for photograph in shown] != stored["name"].tolist():
        raise SystemExit(f"{output}: the maps of {name}, {method} are of other photographs; use another folder")
    salient = salient_of(method, stored)
    images = torch.stack([photograph.images["original"] for photograph in shown])
    targets = torch.tensor([photograph.target for photograph in shown])
    removal = PERTURBATIONS["authors"]
    with torch.no_grad():
        before = target_scores(networks[name], images, targets)
        hidden = removal.apply(removal.prepare(images), (~salient)[:, None].float())
        drop = ((before - target_scores(networks[name], hidden, targets)) / before).numpy()
    whole = [wholeness(mask) for mask in salient.numpy()]
    crisp = binarization_error(torch.from_numpy(stored["mask"]).float() / 255).numpy()
    cells = [name, method, str(len(shown)), f"{stored['iterations'].mean():.0f}"]
    cells += ["–" if values is None else interval(values) for values in stability(output, name, method, half, salient)]
    cells += [f"{100 * drop.mean():.2f} %", f"{100 * np.median(drop):.2f} %"]
    cells += [f"{np.mean([one.area for one in whole]):.3f}", f"{crisp.mean():.3f}"]
    cells += [f"{np.nanmean([one.whole for one in whole]):.2f}", f"{np.mean([one.regions for one in whole]):.1f}"]
    for other, classifier in networks.items():
        if other == name:
            cells.append("")
            continue
        found = transfer(classifier, images, salient, salient.roll(1, 0), targets)
        cells.append(f"{np.nanmean(found.drop.numpy()):.2f} ({np.nanmean(found.control.numpy()):.2f})")
    return "| " + " | ".join(cells) + " |"


def interval(values: np.ndarray) -> str:
    """Mean and the half width of its 95 % interval."""
    known = values[~np.isnan(values)]
    _, low, high = mean_interval(known)
    return f"{known.mean():.2f} ± {(high - low) / 2:.2f}"


def print_table(output: Path, names: list[str], methods: list[str], half: int) -> None:
    """Markdown."""
    print(f"{machine()}; half {half}\n")
    columns = ["network", "method", "n", "passes", "IoU JPEG 90", "IoU shift 3 px", "IoU flip", "drop, binarized"]
    columns += ["median", "area", "4m(1−m)", "in regions ≥ 1 %", "regions", *(f"drop on {name}" for name in NETWORKS)]
    print("| " + " | ".join(columns) + " |")
    print("|---" * len(columns) + "|")
    networks = {name: network(name) for name in NETWORKS}
    for name in names:
        for method in methods:
            line = row(output, networks, name, method, half)
            if line:
                print(line, flush=True)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=("run", "table"))
    parser.add_argument("--output", type=Path, required=True, help="folder of results")
    parser.add_argument("--half", type=int, choices=(0, 1), default=0, help="0 to choose on, 1 to confirm on")
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=VARIANTS)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    if arguments.action == "table":
        print_table(arguments.output, arguments.networks, arguments.methods, arguments.half)
        return
    for name in arguments.networks:
        for method in arguments.methods:
            compute(arguments.output, name, method, arguments.half, arguments.variants)


if __name__ == "__main__":
    main()
