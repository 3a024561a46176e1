"""Proposal flow on photographs with keypoints (PF-Willow): area under PCR of each matching score.

    VISUAL_SUMMARIES_DATA=… python benchmarks/willow.py

Protocol: `pipeline.evaluate.matching`, in pixels of the photograph, whatever the size at which it is analyzed. Rows
are the mean over the pairs of photographs of a class, with 95 % bootstrap intervals over pairs; pairs that share a
photograph count as independent, so that the intervals are rather too narrow. The upper bound takes the best proposal
there is.

Measured with these photographs' own background: upper bound .677, nam .331, phm .382, lom .457, legacy .461; a random
match gets .128, nam and lom without whitening .172 and .248. On three classes (car_G, duck_S, winebottle_M) lom is
.434 with the longer side 224 px, .426 with the photographs as they are (300 px), .407 squashed to a square; with 1,000
proposals .443.
"""

import argparse
import csv
import itertools
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from photographs import NETWORKS, data_directory, network
from PIL import Image
from torch.nn import functional

from visual_summaries.pipeline.evaluate.intervals import mean_interval
from visual_summaries.pipeline.evaluate.matching import (
    active_proposals,
    area_under_correct_shares,
    matched_overlaps,
    true_regions,
)
from visual_summaries.pipeline.models.dense_features import dense_features, find_dense_layers
from visual_summaries.pipeline.stages.features import COMPONENTS
from visual_summaries.pipeline.summarize.boxes import box_overlaps
from visual_summaries.pipeline.summarize.cell_features import fit_basis
from visual_summaries.pipeline.summarize.conv_descriptors import conv_descriptors
from visual_summaries.pipeline.summarize.hog import describe, hog_map
from visual_summaries.pipeline.summarize.matching import match
from visual_summaries.pipeline.summarize.proposals import FAST, PUBLISHED, REFERENCE_SIDE, selective_search
from visual_summaries.pipeline.summarize.whitening import Whitener, background_statistics, natural_whitener, whitening

SCORES = {"nam": ("nam", "frozen"), "phm": ("phm", "frozen"), "lom": ("lom", "frozen"), "legacy": ("lom", "legacy")}
SEARCHES = {"fast": FAST, "published": PUBLISHED}
UPPER_BOUND = "upper bound"
BACKGROUND_IMAGES = 20


@dataclass(frozen=True)
class Annotated:
    """A photograph with its keypoints.

    Attributes:
        label: its class.
        size: (width, height) of the photograph in pixels.
        keypoints: `[k,2]` float64, pixels of the photograph.
        image: uint8 `[H,W,3]`, what is analyzed.
    """

    label: str
    size: tuple[int, int]
    keypoints: np.ndarray
    image: np.ndarray


@dataclass(frozen=True)
class Described:
    """Its proposals.

    Attributes:
        boxes: float32 `[M,4]`, pixels of the analyzed image.
        places: float64 `[M,4]`, the same in pixels of the photograph.
        features: float32 `[M,D]`, whitened.
    """

    boxes: torch.Tensor
    places: np.ndarray
    features: torch.Tensor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scores", nargs="+", choices=SCORES, default=["nam", "phm", "lom"])
    parser.add_argument("--classes", nargs="+", help="default: all")
    parser.add_argument("--search", choices=SEARCHES, default="published")
    parser.add_argument("--limit", type=int, default=500, help="proposals per photograph")
    parser.add_argument("--descriptor", choices=["hog", "conv"], default="hog")
    parser.add_argument("--components", type=int, help="of hog, principal components that are kept; default: all")
    parser.add_argument("--network", choices=NETWORKS, default="mobilenet_v2", help="whose features are those of conv")
    parser.add_argument("--side", type=int, default=224, help="longer side of the analyzed image; 0: as it is")
    parser.add_argument("--squash", action="store_true", help="to a square, instead of keeping the aspect")
    parser.add_argument("--both-directions", action="store_true", help="match B with A as well: twice the pairs")
    parser.add_argument("--own-background", action="store_true", help="whiten by these photographs' own statistics")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    photographs = read(arguments.side, arguments.squash)
    whitener = natural_whitener(arguments.components)
    if arguments.own_background:
        whitener = own_whitener(photographs, arguments.seed)
    # Numbered among all, as the whitening is from all: a class's figures do not depend on which others are measured.
    numbered = [
        (number, entry)
        for number, entry in enumerate(photographs)
        if not arguments.classes or entry.label in arguments.classes
    ]
    photographs = [entry for _, entry in numbered]
    features = class_features(photographs, arguments.network) if arguments.descriptor == "conv" else None
    described = []
    start = time.perf_counter()
    for place, (number, entry) in enumerate(numbered):
        search = SEARCHES[arguments.search]
        boxes = selective_search(entry.image, arguments.seed + number, arguments.limit, search=search)
        if features is None:
            descriptors = whitener.whiten(describe(entry.image, boxes))
        else:
            descriptors = torch.from_numpy(conv_descriptors(features[place], boxes, entry.image.shape[:2]))
        described.append(Described(torch.from_numpy(boxes), in_photograph(boxes, entry), descriptors))
        progress("photographs", len(described), len(numbered), start)

    pairs = [
        pair
        for pair in itertools.permutations(range(len(photographs)), 2)
        if photographs[pair[0]].label == photographs[pair[1]].label and (arguments.both_directions or pair[0] < pair[1])
    ]
    areas, seconds = measure(photographs, described, pairs, arguments.scores)
    counts = [len(one.boxes) for one in described]
    print(f"\n{min(counts)} to {max(counts)} proposals, mean {np.mean(counts):.0f}; seconds per pair: ", end="")
    print(", ".join(f"{score} {value / len(pairs):.2f}" for score, value in seconds.items()))
    labels = np.array([photographs[first].label for first, _ in pairs])
    print("\n" + table(areas, labels) + "\n\n" + differences(areas, arguments.scores))


def read(side: int, squash: bool) -> list[Annotated]:
    """The photographs with keypoints, whole, the longer side resized to `side` pixels."""
    folder = data_directory() / "localization/willow"
    keypoints = defaultdict(list)
    with open(folder / "keypoints.csv", newline="") as file:
        for row in csv.DictReader(file):
            keypoints[row["class"], row["file"]].append((int(row["keypoint"]), float(row["x"]), float(row["y"])))
    return [
        annotated(folder / label / name, label, np.array(sorted(rows))[:, 1:], side, squash)
        for (label, name), rows in sorted(keypoints.items())
    ]


def annotated(path: Path, label: str, keypoints: np.ndarray, side: int, squash: bool) -> Annotated:
    with Image.open(path) as file:
        photograph = file.convert("RGB")
    longer = side or max(photograph.size)
    sizes = [longer if squash else round(length * longer / max(photograph.size)) for length in photograph.size]
    image = photograph.resize(tuple(sizes), Image.Resampling.BILINEAR)
    return Annotated(label, photograph.size, keypoints, np.array(image))


def own_whitener(photographs: list[Annotated], seed: int) -> Whitener:
    """Whitening from a seeded choice of the photographs themselves."""
    chosen = np.random.default_rng(seed).permutation(len(photographs))[:BACKGROUND_IMAGES]
    whitener = whitening(background_statistics([hog_map(photographs[number].image) for number in chosen]))
    print(f"whitening from {len(chosen)} photographs, regularization {whitener.regularization:.2f}")
    return whitener


def in_photograph(boxes: np.ndarray, entry: Annotated) -> np.ndarray:
    """Boxes of the analyzed image in pixels of the photograph."""
    height, width = entry.image.shape[:2]
    return boxes * np.array([entry.size[0] / width, entry.size[1] / height] * 2)


def class_features(photographs: list[Annotated], name: str) -> list[np.ndarray]:
    """What a network sees at each place of the photographs, `[G,G,D]` each, around the mean of their class.

    There are no masks here: the class's basis is that of all places.
    """
    classifier = network(name)
    side = classifier.input_size
    layers = find_dense_layers(classifier.module, classifier.normalized(torch.zeros(1, 3, side, side)))
    maps = []
    for entry in photographs:
        image = torch.from_numpy(entry.image.copy()).permute(2, 0, 1)[None].float().div(255)
        square = functional.interpolate(image, size=(side, side), mode="bilinear", antialias=True)
        maps.append(torch.cat(dense_features(classifier, square, layers), dim=1).numpy())
    features: list[np.ndarray] = [np.empty(0)] * len(photographs)
    for label in {entry.label for entry in photographs}:
        own = [place for place, entry in enumerate(photographs) if entry.label == label]
        cells = np.concatenate([np.moveaxis(maps[place][0], 0, -1).reshape(-1, maps[place].shape[1]) for place in own])
        basis = fit_basis(cells, [layer.shape[0] for layer in layers], COMPONENTS)
        for place in own:
            features[place] = basis.apply_maps(maps[place])[0]
    return features


def measure(
    photographs: list[Annotated], described: list[Described], pairs: list[tuple[int, int]], scores: list[str]
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Area under PCR of each pair, for the upper bound and each score, and the seconds that the scores took."""
    areas = {name: np.full(len(pairs), np.nan) for name in (UPPER_BOUND, *scores)}
    seconds = dict.fromkeys(scores, 0.0)
    start = time.perf_counter()
    for number, (first, second) in enumerate(pairs):
        a, b = photographs[first], photographs[second]
        proposals_a, proposals_b = described[first], described[second]
        active = active_proposals(proposals_a.places, a.keypoints)
        regions = true_regions(proposals_a.places[active], a.keypoints, b.keypoints, b.size)
        overlaps = box_overlaps(regions, proposals_b.places)
        areas[UPPER_BOUND][number] = area_under_correct_shares(overlaps.max(axis=1))
        for name in scores:
            score, mode = SCORES[name]
            before = time.perf_counter()
            found = match(
                proposals_a.features,
                proposals_a.boxes,
                proposals_b.features,
                proposals_b.boxes,
                score=score,
                mode=mode,
                scale=max(a.image.shape[:2]) / REFERENCE_SIDE,
                size_a=a.image.shape[1::-1],
                size_b=b.image.shape[1::-1],
            )
            seconds[name] += time.perf_counter() - before
            areas[name][number] = area_under_correct_shares(matched_overlaps(found.numpy()[active], overlaps))
        progress("pairs", number + 1, len(pairs), start)
    return areas, seconds


def progress(what: str, done: int, count: int, start: float) -> None:
    if done == count or done % max(1, count // 20) == 0:
        print(f"{what}: {done} of {count}, {time.perf_counter() - start:.0f} s", flush=True)


def table(areas: dict[str, np.ndarray], labels: np.ndarray) -> str:
    """Mean area under PCR with its interval, by class and over all."""
    lines = ["| class | pairs | " + " | ".join(areas) + " |", "|---|--:|" + "--:|" * len(areas)]
    for label in (*dict.fromkeys(labels.tolist()), "all"):
        chosen = labels == label if label != "all" else np.ones(len(labels), bool)
        chosen &= ~np.isnan(areas[UPPER_BOUND])
        texts = ["{:.3f} ({:.3f} – {:.3f})".format(*mean_interval(values[chosen])) for values in areas.values()]
        lines.append(f"| {label} | {chosen.sum()} | " + " | ".join(texts) + " |")
    return "\n".join(lines)


def differences(areas: dict[str, np.ndarray], scores: list[str]) -> str:
    """By how much each score surpasses the one before it, on the same pairs."""
    lines = []
    for low, high in itertools.pairwise(scores):
        values = areas[high] - areas[low]
        mean, *interval = mean_interval(values[~np.isnan(values)])
        lines.append(f"{high} minus {low}: {mean:+.3f} ({interval[0]:+.3f} – {interval[1]:+.3f})")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
