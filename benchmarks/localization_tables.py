"""Tables 1, 3 and 4 of GLAS's paper from the maps that `localization_maps.py` made.

    VISUAL_SUMMARIES_DATA=… python benchmarks/localization_tables.py FOLDER

A table's rows are about the photographs that every method of it has a map of, with 95 % intervals; methods with fewer
maps than --at-least are left out.
"""

import argparse
from pathlib import Path

import numpy as np
from annotated_photographs import BIRDS, Annotated, birds, photographs_with_boxes
from localization_maps import path_of

from visual_summaries.pipeline.evaluate.intervals import mean_interval, wilson_interval
from visual_summaries.pipeline.evaluate.localization import (
    box_mask,
    inside,
    is_small,
    landmark_distance,
    localization_point,
    maximum_point,
    overlap_above,
)

POINTING = (
    "glas", "glas light", "glas shadow", "glas k=12", "glas k=22", "glas 3", "glas 5", "rise-4000", "rise-451",
    "grad-cam", "occlusion", "gradient", "guided", "integrated", "smoothgrad", "lime", "meaningful",
)  # fmt: skip
RECURSIONS = ("rglas 1", "rglas 2", "rglas 3", "rglas")
THRESHOLDS = (0.1, 0.3, 0.5, 0.7, 0.9)
HEAD = ("crown", "forehead", "left eye", "right eye")
EYES = ("left eye", "right eye")
# What tells each species, named before any map was looked at.
PARTS = {
    "Red_winged_Blackbird": ("wings", ("left wing", "right wing")),
    "Red_faced_Cormorant": ("head", HEAD),
    "American_Goldfinch": ("forehead", ("forehead", "crown")),
    "Belted_Kingfisher": ("crown", ("crown",)),
    "Cedar_Waxwing": ("eye", EYES),
    "Evening_Grosbeak": ("forehead", ("forehead",)),
    "Hooded_Merganser": ("hood", ("crown", "nape")),
    "Horned_Puffin": ("beak", ("beak",)),
    "Parakeet_Auklet": ("beak", ("beak",)),
    "Pileated_Woodpecker": ("crown", ("crown",)),
    "Red_headed_Woodpecker": ("head", HEAD),
    "Rose_breasted_Grosbeak": ("breast", ("breast",)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--at-least", type=int, default=24)
    arguments = parser.parse_args()
    for folder in sorted(path for path in arguments.folder.iterdir() if path.is_dir()):
        photographs = birds() if folder.name == BIRDS else photographs_with_boxes()
        print(f"\n## {folder.name}\n\n" + pointing_table(folder, photographs, arguments.at_least))
        if folder.name == BIRDS:
            for methods in (("grad-cam", "glas 5", "glas 3"), ("grad-cam", "rise-4000", "glas 5", "glas 3")):
                print("\n" + landmark_table(folder, photographs, methods))
        print("\n" + overlap_table(folder, photographs, arguments.at_least))


def read(folder: Path, method: str, photograph: Annotated) -> np.ndarray | None:
    """A map `[S,S]`, moved and scaled to [0,1], or None if there is none."""
    path = path_of(folder / method, photograph.name)
    if not path.exists():
        return None
    saliency = np.load(path).astype(np.float64)
    saliency -= saliency.min()
    return saliency / max(saliency.max(), np.finfo(float).tiny)


def common(
    folder: Path, photographs: list[Annotated], methods: tuple[str, ...], at_least: int
) -> tuple[list[str], list[Annotated]]:
    """The methods with enough maps, and the photographs that all of them have maps of."""
    has = {
        method: [photograph for photograph in photographs if path_of(folder / method, photograph.name).exists()]
        for method in methods
    }
    chosen = [method for method in methods if len(has[method]) >= at_least]
    names = [{photograph.name for photograph in has[method]} for method in chosen]
    shared = set.intersection(*names) if names else set()
    return chosen, [photograph for photograph in photographs if photograph.name in shared]


def pointing_table(folder: Path, photographs: list[Annotated], at_least: int) -> str:
    """Hits of the pointing game, protocol `glas`, and how many more GLAS has on the same photographs."""
    methods, shared = common(folder, photographs, POINTING, at_least)
    if not shared:
        return "no maps"
    hits = {}
    for method in methods:
        points = [localization_point(read(folder, method, photograph)) for photograph in shared]
        hits[method] = np.array([inside(p, entry.boxes) for p, entry in zip(points, shared, strict=True)], float)
    small = np.array([is_small(entry.boxes, 224, 224) for entry in shared])
    lines = [
        f"| method ({len(shared)} photographs, {small.sum()} small) | hits | 95 % interval | small | GLAS minus it | "
        "95 % interval |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for method, values in hits.items():
        low, high = wilson_interval(int(values.sum()), len(values))
        line = f"| {method} | {values.mean():.3f} | {low:.3f} – {high:.3f} | "
        line += f"{values[small].mean():.3f} | " if small.any() else "– | "
        if method == "glas" or "glas" not in hits:
            lines.append(line + "| |")
        else:
            mean, low, high = mean_interval(hits["glas"] - values)
            lines.append(line + f"{mean:+.3f} | {low:+.3f} – {high:+.3f} |")
    return "\n".join(lines)


def landmark_table(folder: Path, photographs: list[Annotated], methods: tuple[str, ...]) -> str:
    """Mean distance from the map's maximum to the species' part, px, and how much farther than by GLAS with σ = 3."""
    distances = {species: [] for species in PARTS}
    for entry in photographs:
        parts = PARTS.get(entry.label, ("", ()))[1]
        places = [entry.landmarks[part] for part in parts if part in entry.landmarks]
        maps = [read(folder, method, entry) for method in methods] if places else []
        if maps and all(saliency is not None for saliency in maps):
            distances[entry.label].append([landmark_distance(maximum_point(saliency), places) for saliency in maps])
    distances = {species: np.array(rows) for species, rows in distances.items() if rows}
    if not distances:
        return "no maps"
    lines = ["| species | part | photographs | " + " | ".join(methods) + " |", "|---|---|--:|" + "--:|" * len(methods)]
    for species, rows in distances.items():
        figures = " | ".join(f"{value:.1f}" for value in rows.mean(axis=0))
        lines.append(f"| {species.replace('_', ' ')} | {PARTS[species][0]} | {len(rows)} | {figures} |")
    together = np.concatenate(list(distances.values()))
    figures = " | ".join(f"{value:.1f}" for value in together.mean(axis=0))
    lines.append(f"| all | | {len(together)} | {figures} |")
    own = together[:, methods.index("glas 3")]
    farther = [mean_interval(together[:, column] - own) for column in range(len(methods))]
    texts = [
        "" if method == "glas 3" else f"{mean:+.1f} ({low:+.1f} – {high:+.1f})"
        for method, (mean, low, high) in zip(methods, farther, strict=True)
    ]
    lines.append("| farther than glas 3 | | | " + " | ".join(texts) + " |")
    return "\n".join(lines)


def overlap_table(folder: Path, photographs: list[Annotated], at_least: int) -> str:
    """Mean overlap of what exceeds a threshold with the boxes, by recursion (Table 4)."""
    methods, shared = common(folder, photographs, RECURSIONS, at_least)
    if not shared:
        return ""
    lines = [f"| rounds ({len(shared)} photographs) | " + " | ".join(map(str, THRESHOLDS)) + " |"]
    lines.append("|---|" + "--:|" * len(THRESHOLDS))
    for method in methods:
        overlaps = [
            [overlap_above(saliency, box_mask(entry.boxes, *saliency.shape), value) for value in THRESHOLDS]
            for entry in shared
            for saliency in [read(folder, method, entry)]
        ]
        name = {"rglas": "until it stops"}.get(method, method.removeprefix("rglas "))
        lines.append(f"| {name} | " + " | ".join(f"{value:.3f}" for value in np.mean(overlaps, axis=0)) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
