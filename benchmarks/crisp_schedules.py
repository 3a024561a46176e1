"""The study behind the preset `fast`: schedules against the authors' on photographs, three networks, two halves.

    VISUAL_SUMMARIES_DATA=../shared/data python benchmarks/crisp_schedules.py --output study run --half 0
    VISUAL_SUMMARIES_DATA=../shared/data python benchmarks/crisp_schedules.py --output study table --half 0

Schedules are chosen on half 0 and confirmed on half 1. Results lie in the folder `study`, eight photographs a file;
what is there is not computed again, so that a run can be stopped and continued. On two cores `authors` takes about
five hours of one core for both halves, any other schedule about half an hour.
docs/reference/measurements/crisp-masks.md keeps the tables.
"""

import argparse
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from photographs import NETWORKS, Photograph, correct_photographs, network
from scipy import ndimage

from visual_summaries.pipeline.explain.crisp import (
    PRESETS,
    CrispMasks,
    CrispSettings,
    StageSettings,
    binarization_error,
)
from visual_summaries.pipeline.explain.engine import Item, explain_stream
from visual_summaries.pipeline.explain.interface import Explanation, target_scores
from visual_summaries.pipeline.explain.perturbation import PERTURBATIONS
from visual_summaries.pipeline.models.preparation import PreparedClassifier, keep_freed_memory

VALIDATION, FLAT, CHUNK = 32, 8, 8

AUTHORS = PRESETS["authors"]


def schedule(
    rough: tuple[int, float, float], crisp: tuple[int, float, float], area: float, start: float = 0.0
) -> CrispSettings:
    """The authors' objective with other steps, rates and area weights: (iterations, learning rate, λ1) per stage."""
    return replace(
        AUTHORS,
        rough=StageSettings(rough[0], rough[1], area, 0.01, 0.0),
        crisp=StageSettings(crisp[0], crisp[1], crisp[2], 1.0, 2.0),
        start=start,
    )


SCHEDULES = {
    "authors": AUTHORS,
    "75+40": schedule((75, 0.3, 0.5), (40, 0.1, 0.2), 0.5),
    "40+20": schedule((40, 0.5, 0.5), (20, 0.2, 0.2), 0.5),
    "20+15": schedule((20, 0.6, 0.7), (15, 0.2, 0.3), 0.7, start=0.5),
    "fast": PRESETS["fast"],
    "fast, gradient not smoothed": replace(PRESETS["fast"], gradient_blur=0.0),
    "fast, score itself": replace(PRESETS["fast"], destroyed=None),
}


def compute(output: Path, name: str, key: str, half: int, files: list[int] | None) -> None:
    """Explain the photographs of a half (or of some of its files) with a schedule, where that is not yet done."""
    torch.set_num_threads(1)
    keep_freed_memory()
    classifier = PreparedClassifier(network(name))
    photographs = correct_photographs(network(name), VALIDATION, FLAT, half)
    folder = output / name / key
    folder.mkdir(parents=True, exist_ok=True)
    for start in range(0, len(photographs), CHUNK):
        path = folder / f"{half}_{start}.npz"
        if path.exists() or (files is not None and start // CHUNK not in files):
            continue
        chunk = photographs[start : start + CHUNK]
        items = (Item(number, photograph.image, photograph.target) for number, photograph in enumerate(chunk))
        found = dict(explain_stream(CrispMasks(SCHEDULES[key]), classifier, items, torch.device("cpu"), CHUNK))
        explanation = Explanation.joined([found[number] for number in range(len(chunk))])
        partial = path.with_suffix(".partial")
        with open(partial, "wb") as file:
            np.savez_compressed(file, **figures(classifier, chunk, explanation, SCHEDULES[key].blur))
        os.replace(partial, path)
        print(f"{name} {key} half {half}: {start + len(chunk)} of {len(photographs)}", flush=True)


def figures(
    classifier: PreparedClassifier, photographs: list[Photograph], explanation: Explanation, blur: str
) -> dict[str, np.ndarray]:
    """The figures of each photograph, `[n]`, and its map `[n,1,H,W]` uint8."""
    binary = (explanation.saliency > 0.5).float()
    perturbation = PERTURBATIONS[blur]
    prepared = perturbation.prepare(torch.stack([photograph.image for photograph in photographs]))
    targets = torch.tensor([photograph.target for photograph in photographs])
    with torch.no_grad():
        after_binary = target_scores(classifier, perturbation.apply(prepared, 1 - binary), targets)
    values = {
        "drop": 1 - explanation.score_after / explanation.score_before,
        "area": explanation.saliency.mean(dim=(1, 2, 3)),
        "crisp": binarization_error(explanation.saliency),
        "bdrop": 1 - after_binary / explanation.score_before,
        "barea": binary.mean(dim=(1, 2, 3)),
        "iters": explanation.iterations,
        "mask": explanation.saliency.mul(255).round().byte(),
    }
    return {key: value.numpy() for key, value in values.items()}


def read(output: Path, name: str, key: str, half: int) -> dict[int, dict[str, np.ndarray]]:
    """The figures of all photographs that have been explained so far: number of the first of each file → figures."""
    found = {}
    for path in (output / name / key).glob(f"{half}_*.npz"):
        values = dict(np.load(path))
        shapes = [coherence(mask[0] > 127) for mask in values.pop("mask")]
        values["in regions"], values["ragged"] = np.array(shapes).T
        found[int(path.stem.split("_")[1])] = values
    return found


def coherence(salient: np.ndarray) -> tuple[float, float]:
    """Of salient pixels `[H,W]` bool: their share in regions of at least 1 % of the image; outline over area."""
    count = max(1, salient.sum())
    labels, _ = ndimage.label(salient, structure=np.ones((3, 3)))
    sizes = np.bincount(labels.ravel())[1:]
    outline = np.diff(salient, axis=0).sum() + np.diff(salient, axis=1).sum()
    return sizes[sizes >= 0.01 * salient.size].sum() / count, outline / count


def print_table(output: Path, half: int, keys: list[str], names: list[str]) -> None:
    """Markdown: one line per network and schedule, on the photographs for which the authors' is there too."""
    columns = "passes, drop, area, 4m(1−m), drop binarized, area binarized, 95 % of areas below, largest area"
    columns += ", area > 0.5 where the authors' < 0.3, drop < 90 %, salient pixels in regions ≥ 1 %, outline / area"
    print("| network | schedule | n | " + columns.replace(", ", " | ") + " |")
    print("|---" * 15 + "|")
    for name in names:
        reference = read(output, name, "authors", half)
        for key in keys:
            found = read(output, name, key, half)
            common = sorted(set(found) & set(reference))
            if not common:
                continue
            parts = [found[number] for number in common]
            values = {figure: np.concatenate([part[figure] for part in parts]) for figure in parts[0]}
            authors_area = np.concatenate([reference[number]["area"] for number in common])
            mean = {figure: value.mean() for figure, value in values.items()}
            flooded = int(((values["area"] > 0.5) & (authors_area < 0.3)).sum())
            print(
                f"| {name} | {key} | {len(authors_area)} | {mean['iters']:.0f} | {100 * mean['drop']:.3f} % "
                f"| {mean['area']:.4f} | {mean['crisp']:.4f} | {100 * mean['bdrop']:.3f} % | {mean['barea']:.4f} "
                f"| {np.quantile(values['area'], 0.95):.3f} | {values['area'].max():.3f} | {flooded} "
                f"| {int((values['drop'] < 0.9).sum())} | {mean['in regions']:.0%} | {mean['ragged']:.2f} |"
            )


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=("run", "table"))
    parser.add_argument("--output", type=Path, required=True, help="folder of results")
    parser.add_argument("--files", type=int, nargs="+", help="only these of the seven files of a half, from 0")
    parser.add_argument("--half", type=int, choices=(0, 1), default=0, help="0 to choose on, 1 to confirm on")
    parser.add_argument("--schedules", nargs="+", default=list(SCHEDULES), choices=list(SCHEDULES))
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    arguments = parser.parse_args()
    if arguments.action == "table":
        print_table(arguments.output, arguments.half, arguments.schedules, arguments.networks)
        return
    for name in arguments.networks:
        for key in arguments.schedules:
            compute(arguments.output, name, key, arguments.half, arguments.files)


if __name__ == "__main__":
    main()
