"""Do the maps find the exudates? Image-level sensitivity as FGVis Table 3 has it, from what `lesion_maps.py` made.

    VISUAL_SUMMARIES_DATA=../shared/data python benchmarks/lesion_tables.py lesions

A map is blurred, and its most salient share of the photograph's pixels is what the method proposes. Blur and share are
those of `CUTS` that give the highest mean Dice overlap with the exudates on the other half of the photographs, for
every method and control by itself; then a second table with the same cut for all. An outline is found if enough of it
is proposed, a photograph if one outline of it is. As a photograph has 68 outlines on average, many of them of a few
pixels, chance finds one easily; the stricter column takes all exudates of a photograph as one region.

The rows are about the photographs that every method has a map of; methods with fewer than `--at-least` are left out.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from lesion_maps import METHODS, path_of, shown
from lesion_network import BLACK, outlined, photographs, picture
from scipy import ndimage

from visual_summaries.pipeline.evaluate.intervals import mean_interval, wilson_interval
from visual_summaries.pipeline.evaluate.lesions import OVERLAPS, region_overlaps
from visual_summaries.pipeline.summarize.regions import salient_pixels

# σ of the blur in pixels of the photograph, and the share of its pixels that is proposed.
BLURS = (0.0, 2.0, 4.0)
SHARES = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
CUTS = tuple((blur, share) for blur in BLURS for share in SHARES)
# The same for all methods.
FIXED = ((2.0, 0.01), (2.0, 0.05))
# Pixels on either side of the photograph's round edge.
BORDER = 8
PUBLISHED = """| published, hard exudates, DiaretDB1, 89 photographs | 25 % | 50 % |
|---|--:|--:|
| FGVis | 94.7 | 81.6 |
| Gondal et al., CAM | – | 93.3 |
| Liu et al., supervised | 83.0 | |
| Haloi et al., supervised | 96.5 | |"""


@dataclass(frozen=True)
class Truth:
    """What is known of a photograph.

    Attributes:
        exudates: `[H,W]` bool.
        outlines: `[R,H,W]` bool, its connected pieces, at the pixels of exudates alone: `[R,1,P]`.
        border: `[H,W]` bool, near the photograph's round edge.
    """

    exudates: np.ndarray
    outlines: np.ndarray
    border: np.ndarray

    @classmethod
    def of(cls, exudates: np.ndarray, image: np.ndarray) -> "Truth":
        """From the mask and the photograph `[3,H,W]` in [0,1]."""
        pieces, count = ndimage.label(exudates, np.ones((3, 3)))
        outlines = pieces[exudates][None, None] == np.arange(1, count + 1)[:, None, None]
        retina = ndimage.binary_fill_holes(ndimage.binary_opening(image.max(axis=0) > BLACK, iterations=2))
        grown = (change(retina, iterations=BORDER) for change in (ndimage.binary_dilation, ndimage.binary_erosion))
        return cls(exudates, outlines, np.logical_xor(*grown))


@dataclass(frozen=True)
class Judged:
    """What is said of one proposal: the overlaps of `region_overlaps`, the most of any outline and of all exudates as
    one region; shares of the proposal on exudates and on the border (NaN where nothing is proposed); its share of the
    photograph."""

    outline: float
    whole: float
    precision: float
    border: float
    area: float


def judged(proposed: np.ndarray, truth: Truth) -> Judged:
    """`proposed` `[H,W]` bool."""
    here = torch.from_numpy(proposed[truth.exudates][None, None])
    regions = torch.from_numpy(np.concatenate([truth.outlines, np.ones_like(truth.outlines[:1])]))
    (overlaps,) = region_overlaps(here, regions[None]).tolist()
    count = int(proposed.sum())
    on = [int((proposed & other).sum()) / count if count else np.nan for other in (truth.exudates, truth.border)]
    return Judged(max(overlaps[:-1]), overlaps[-1], *on, float(proposed.mean()))


def blurred(saliency: np.ndarray, blur: float) -> np.ndarray:
    """A map `[H,W]` float, blurred by σ = `blur` pixels."""
    return ndimage.gaussian_filter(saliency, blur, mode="nearest", truncate=3.0) if blur else saliency


def dices(saliency: np.ndarray, exudates: np.ndarray) -> np.ndarray:
    """Dice overlap `[len(CUTS)]` of what each of the cuts proposes with the exudates."""
    found = []
    for blur in BLURS:
        smooth = blurred(saliency, blur)
        proposals = [salient_pixels(smooth, share=share) for share in SHARES]
        found += [2 * (one & exudates).sum() / (one.sum() + exudates.sum()) for one in proposals]
    return np.array(found)


def chosen_cuts(values: np.ndarray, halves: np.ndarray) -> list[int]:
    """For each photograph the number of the cut that is best on the other half: `values` `[n,cuts]`, `halves` `[n]`
    bool."""
    best = {half: int(values[halves != half].mean(axis=0).argmax()) for half in (False, True)}
    return [best[bool(half)] for half in halves]


def row(name: str, found: Sequence[Judged], note: str) -> str:
    """A line of a table; shares of photographs with Wilson's intervals, means with bootstrap intervals."""
    cells = [name, note, f"{np.mean([one.area for one in found]):.1%}"]
    for values in ([one.outline for one in found], [one.whole for one in found]):
        for least in OVERLAPS:
            count = sum(value >= least for value in values)
            low, high = wilson_interval(count, len(found))
            cells.append(f"{100 * count / len(found):.0f} ({100 * low:.0f} – {100 * high:.0f})")
    precision = np.array([one.precision for one in found])
    mean, low, high = mean_interval(precision[~np.isnan(precision)])
    cells.append(f"{mean:.2f} ({low:.2f} – {high:.2f})")
    cells.append(f"{np.nanmean([one.border for one in found]):.2f}")
    return "| " + " | ".join(cells) + " |"


def header(count: int) -> str:
    columns = ["blur, share", "proposed", "an outline ≥ 25 %", "≥ 50 %", "all exudates ≥ 25 %", "≥ 50 %"]
    columns += ["on exudates", "at the border"]
    return f"| {count} photographs | " + " | ".join(columns) + " |\n|---|" + "--:|" * len(columns)


def maps(folder: Path, names: Sequence[str], methods: Sequence[str]) -> dict[str, list[np.ndarray]]:
    """Maps `[H,W]` in [0,1] of methods and controls."""
    found = {
        method: [np.load(path_of(folder, method, name)).astype(np.float32) / 255 for name in names]
        for method in methods
    }
    shape = found[methods[0]][0].shape
    random = [np.random.default_rng(number).random(shape, dtype=np.float32) for number in range(len(names))]
    found["random"] = random
    if "fgvis" in found:
        found["fgvis of another photograph"] = found["fgvis"][1:] + found["fgvis"][:1]
    return found


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where lesion_maps.py wrote")
    parser.add_argument("--at-least", type=int, default=20)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    arguments = parser.parse_args()
    own, numbers = photographs(), shown(arguments.folder)
    has = {
        method: {number for number in numbers if path_of(arguments.folder, method, own.names[number]).exists()}
        for method in arguments.methods
    }
    methods = [method for method in arguments.methods if len(has[method]) >= arguments.at_least]
    if not methods:
        raise SystemExit(f"{arguments.folder}: no method has maps of {arguments.at_least} photographs yet")
    numbers = [number for number in numbers if all(number in has[method] for method in methods)]
    names, halves = [own.names[number] for number in numbers], own.confirms[numbers]
    truths = [Truth.of(outlined(name), picture(name).numpy()) for name in names]
    print(f"{np.mean([len(truth.outlines) for truth in truths]):.0f} outlines a photograph on average\n")
    found, second = maps(arguments.folder, names, methods), []
    print(header(len(names)))
    for method, own_maps in found.items():
        values = np.array([dices(one, truth.exudates) for one, truth in zip(own_maps, truths, strict=True)])
        cuts = [CUTS[cut] for cut in chosen_cuts(values, halves)]
        every = [(one, truth, *cut) for one, truth, cut in zip(own_maps, truths, cuts, strict=True)]
        note = "; ".join(f"{blur:g} px, {share:.1%}" for blur, share in sorted(set(cuts)))
        print(row(method, [_cut(*one) for one in every], note), flush=True)
        for blur, share in FIXED:
            kept = [_cut(one, truth, blur, share) for one, truth in zip(own_maps, truths, strict=True)]
            second.append((share, row(method, kept, f"{blur:g} px, {share:.1%}")))
    everything = [judged(np.ones_like(truth.exudates), truth) for truth in truths]
    print(row("the whole photograph", everything, "–"))
    print("\n" + header(len(names)))
    print("\n".join(line for _, line in sorted(second, key=lambda one: one[0])))
    print("\n" + PUBLISHED)


def _cut(saliency: np.ndarray, truth: Truth, blur: float, share: float) -> Judged:
    return judged(salient_pixels(blurred(saliency, blur), share=share), truth)


if __name__ == "__main__":
    main()
