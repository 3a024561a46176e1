"""What proposals cost and what they are worth, by configuration: true parts found, keypoints matched, seconds, bytes.

    VISUAL_SUMMARIES_DATA=../shared/data python benchmarks/proposal_cost.py --results results.jsonl --half 0
    VISUAL_SUMMARIES_DATA=../shared/data python benchmarks/proposal_cost.py --results results.jsonl --half 1

Choose on half 0, confirm on half 1: other drawings of the demo set, other classes of PF-Willow. What is in the results
file is not measured again. Columns: share of the demo set's discriminative parts that a proposal overlaps with an
intersection over union of at least .5 and .7; area under PCR of the best proposal there is and of local offset
matching on PF-Willow, as `willow.py` has them; processor seconds of one thread for an image's boxes and descriptors
and for a pair of images as the stage `match` has it, a fifth of the proposals on the mask; bytes of boxes and
descriptors kept of an image.
"""

import argparse
import itertools
import json
import os
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from photographs import machine
from willow import Annotated, class_features, in_photograph, read

from visual_summaries.pipeline.data.decode import read_image
from visual_summaries.pipeline.data.demo.scenes import write_demo_set
from visual_summaries.pipeline.data.parts import read_parts
from visual_summaries.pipeline.evaluate.intervals import mean_interval
from visual_summaries.pipeline.evaluate.matching import (
    active_proposals,
    area_under_correct_shares,
    matched_overlaps,
    true_regions,
)
from visual_summaries.pipeline.models.preparation import keep_freed_memory
from visual_summaries.pipeline.summarize.boxes import box_overlaps
from visual_summaries.pipeline.summarize.conv_descriptors import conv_descriptors
from visual_summaries.pipeline.summarize.hog import describe
from visual_summaries.pipeline.summarize.matching import match
from visual_summaries.pipeline.summarize.pair_scores import Matching, match_pairs
from visual_summaries.pipeline.summarize.proposals import FAST, PUBLISHED, REFERENCE_SIDE, Search, selective_search
from visual_summaries.pipeline.summarize.similarity import ImageProposals
from visual_summaries.pipeline.summarize.whitening import natural_whitener

WILLOW_HALVES = (("car_G", "duck_S", "winebottle_M"), ("car_S", "motorbike_G", "winebottle_woC"))
DEMO_IMAGES = 6
TIMED_IMAGES = 6
BOX_BYTES = 16


@dataclass(frozen=True)
class Configuration:
    """How proposals are found and described.

    Attributes:
        search: selective search.
        limit: boxes an image.
        components: principal components of whitened HOG, in half precision; None: all; 0: the network's features.
    """

    search: Search
    limit: int
    components: int | None


CONFIGURATIONS = {
    "published": Configuration(PUBLISHED, 500, None),
    "published, 64 components": Configuration(PUBLISHED, 500, 64),
    "published, conv": Configuration(PUBLISHED, 500, 0),
    "published, 250, 64 components": Configuration(PUBLISHED, 250, 64),
    "fast, 250, 64 components": Configuration(FAST, 250, 64),
    "fast, 250, conv": Configuration(FAST, 250, 0),
    "fast, 400, conv": Configuration(FAST, 400, 0),
    "fewer scales, 250, conv": Configuration(replace(FAST, scales=(25, 75)), 250, 0),
    "fewer scales, 150, conv": Configuration(replace(FAST, scales=(25, 75)), 150, 0),
    "fewer scales and spaces, 250, conv": Configuration(
        replace(FAST, spaces=("lab", "normalized"), scales=(25, 75)), 250, 0
    ),
}


@dataclass(frozen=True)
class Described:
    """A photograph's proposals: boxes float32 `[M,4]`, the same `[M,4]` in pixels of the photograph, descriptors."""

    boxes: torch.Tensor
    places: np.ndarray
    features: torch.Tensor


def found_parts(how: Configuration, half: int, folder: Path) -> np.ndarray:
    """The best overlap of a proposal with each discriminative part of the demo set, `[n]`."""
    write_demo_set(folder, DEMO_IMAGES, seed=half)
    best = []
    for file, parts in sorted(read_parts(folder / "parts.csv").items()):
        image = read_image(str(folder / file)).image
        boxes = selective_search(image, 0, how.limit, search=how.search)
        truth = np.array([box for _, (box, told) in sorted(parts.items()) if told]).reshape(-1, 4)
        best += box_overlaps(truth, boxes).max(axis=1).tolist()
    return np.array(best)


def described(
    how: Configuration, photographs: list[Annotated], features: list[np.ndarray] | None
) -> tuple[list[Described], float, float]:
    """The photographs' proposals, and seconds a photograph for boxes and for descriptors."""
    found, searching, describing = [], 0.0, 0.0
    for number, entry in enumerate(photographs):
        started = time.process_time()
        boxes = selective_search(entry.image, number, how.limit, search=how.search)
        searched = time.process_time()
        if features is None:
            descriptors = natural_whitener(how.components).whiten(describe(entry.image, boxes)).half().float()
        else:
            descriptors = torch.from_numpy(conv_descriptors(features[number], boxes, entry.image.shape[:2]))
        describing += time.process_time() - searched
        searching += searched - started
        found.append(Described(torch.from_numpy(boxes), in_photograph(boxes, entry), descriptors))
    return found, searching / len(photographs), describing / len(photographs)


def keypoint_scores(photographs: list[Annotated], found: list[Described]) -> np.ndarray:
    """Area under PCR of the best proposal and of local offset matching, `[pairs,2]`."""
    areas = []
    for first, second in itertools.combinations(range(len(photographs)), 2):
        a, b = photographs[first], photographs[second]
        if a.label != b.label:
            continue
        active = active_proposals(found[first].places, a.keypoints)
        regions = true_regions(found[first].places[active], a.keypoints, b.keypoints, b.size)
        overlaps = box_overlaps(regions, found[second].places)
        one, other = found[first], found[second]
        scale = max(a.image.shape[:2]) / REFERENCE_SIDE
        scores = match(one.features, one.boxes, other.features, other.boxes, scale=scale).numpy()[active]
        matched = area_under_correct_shares(matched_overlaps(scores, overlaps))
        areas.append([area_under_correct_shares(overlaps.max(axis=1)), matched])
    return np.array(areas)


def seconds_a_pair(found: list[Described]) -> float:
    """Processor seconds of a pair of photographs as the stage `match` matches them."""
    images = [ImageProposals(one.boxes, one.features, np.arange(len(one.boxes)) % 5 == 0) for one in found]
    pairs = list(itertools.combinations_with_replacement(range(len(images)), 2))
    started = time.process_time()
    match_pairs(images, pairs, Matching())
    return (time.process_time() - started) / len(pairs)


def measured(how: Configuration, half: int, network: str, photographs: list[Annotated]) -> dict[str, object]:
    """One row of the table."""
    with tempfile.TemporaryDirectory() as folder:
        parts = found_parts(how, half, Path(folder))
    if how.components != 0:
        natural_whitener(how.components)
    features = class_features(photographs, network) if how.components == 0 else None
    found, searching, describing = described(how, photographs, features)
    areas = keypoint_scores(photographs, found)
    numbers = 0 if how.components == 0 else found[0].features.shape[1]
    mean = float(np.mean([len(one.boxes) for one in found]))
    best, lom = (mean_interval(values[~np.isnan(values)]) for values in areas.T)
    return {
        "parts": [float((parts >= least).mean()) for least in (0.5, 0.7)],
        "boxes": mean,
        "best": best,
        "lom": lom,
        "search": searching,
        "describe": describing,
        "pair": seconds_a_pair(found[:TIMED_IMAGES]),
        "bytes": mean * (BOX_BYTES + 2 * numbers),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, required=True, help="file of results, a line each; continued")
    parser.add_argument("--half", type=int, choices=(0, 1), default=0)
    parser.add_argument("--only", nargs="+", choices=CONFIGURATIONS, metavar="NAME", help="default: all configurations")
    parser.add_argument("--network", default="mobilenet_v2", help="whose features are those of conv")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    rows = {}
    if arguments.results.exists():
        for line in arguments.results.read_text().splitlines():
            row = json.loads(line)
            rows[row["name"], row["half"]] = row
    photographs = [entry for entry in read(224, False) if entry.label in WILLOW_HALVES[arguments.half]]
    for name in arguments.only or CONFIGURATIONS:
        if (name, arguments.half) in rows:
            continue
        row = measured(CONFIGURATIONS[name], arguments.half, arguments.network, photographs)
        rows[name, arguments.half] = {"name": name, "half": arguments.half, **row}
        with open(arguments.results, "a") as file:
            file.write(json.dumps(rows[name, arguments.half]) + "\n")
        print(line_of(rows[name, arguments.half]), flush=True)
    print(f"\n{machine()}, {os.getloadavg()[0]:.0f} processes at once\n")
    columns = "half configuration parts≥.5 ≥.7 boxes best lom search,s describe,s pair,ms kB".split()
    print("| " + " | ".join(columns) + " |\n|" + "--:|" * len(columns))
    for half, name in itertools.product((0, 1), CONFIGURATIONS):
        if (name, half) in rows:
            print(line_of(rows[name, half]))


def line_of(row: dict) -> str:
    cells = [str(row["half"]), row["name"], *(f"{share:.3f}" for share in row["parts"]), f"{row['boxes']:.0f}"]
    cells += [f"{row['best'][0]:.3f}", "{:.3f} ({:.3f} – {:.3f})".format(*row["lom"])]
    cells += [f"{row['search']:.2f}", f"{row['describe']:.3f}", f"{1000 * row['pair']:.1f}"]
    cells.append(f"{row['bytes'] / 1000:.0f}")
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
