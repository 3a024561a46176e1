"""How far rounding carries a crisp mask: alone, in a batch, and alone with the image changed in its last bit.

    VISUAL_SUMMARIES_DATA=../shared/data python benchmarks/batch_independence.py

The engine gives an image the same operations in any company; the libraries under it round differently in another batch
size, and an optimization carries a difference in the last bit on. In double precision the same comparison shows what
is left when rounding is out of the way. Prints Markdown; docs/reference/measurements/crisp-masks.md keeps the figures.
"""

import argparse

import torch
from photographs import NETWORKS, correct_photographs, machine, network

from visual_summaries.pipeline.explain.crisp import PRESETS, CrispMasks
from visual_summaries.pipeline.explain.engine import Item, explain_stream
from visual_summaries.pipeline.explain.interface import Explanation
from visual_summaries.pipeline.models.preparation import PreparedClassifier, keep_freed_memory


def explained(
    classifier: PreparedClassifier, preset: str, images: torch.Tensor, targets: list[int], batch: int
) -> Explanation:
    """The explanations in the order of `images` `[n,3,S,S]`."""
    items = [Item(number, image, target) for number, (image, target) in enumerate(zip(images, targets, strict=True))]
    found = dict(explain_stream(CrispMasks(preset), classifier, items, torch.device("cpu"), batch))
    return Explanation.joined([found[number] for number in range(len(items))])


def line(label: str, found: Explanation, alone: Explanation) -> str:
    """One line of the table."""
    difference = (found.saliency - alone.saliency).abs().mean(dim=(1, 2, 3))
    ours, theirs = found.saliency > 0.5, alone.saliency > 0.5
    overlap = (ours & theirs).sum(dim=(1, 2, 3)) / (ours | theirs).sum(dim=(1, 2, 3)).clamp_min(1)
    drops = [1 - explanation.score_after / explanation.score_before for explanation in (found, alone)]
    return (
        f"| {label} | {difference.mean():.1e} | {difference.max():.1e} | {overlap.mean():.3f} | {overlap.min():.3f} "
        f"| {100 * (drops[0] - drops[1]).abs().max():.3f} |"
    )


def main() -> None:
    """Read the command line and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", choices=NETWORKS, default=NETWORKS[0])
    parser.add_argument("--preset", choices=sorted(PRESETS), default="fast")
    parser.add_argument("--images", type=int, default=8)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    classifier = network(arguments.network)
    photographs = correct_photographs(classifier, arguments.images)
    prepared = PreparedClassifier(classifier)
    images = torch.stack([photograph.image for photograph in photographs])
    targets = [photograph.target for photograph in photographs]
    print(f"{machine()}; {arguments.network}, {arguments.preset}, {len(images)} photographs, against each alone\n")
    print("| | mean difference of saliency | largest | IoU at 0.5, mean | smallest | drop, largest, points |")
    print("|---|---|---|---|---|---|")
    alone = explained(prepared, arguments.preset, images, targets, 1)
    print(line("alone, once more", explained(prepared, arguments.preset, images, targets, 1), alone), flush=True)
    print(line("in one batch", explained(prepared, arguments.preset, images, targets, len(images)), alone), flush=True)
    nearby = torch.nextafter(images, torch.full_like(images, 0.5))
    label = "alone, image changed in its last bit"
    print(line(label, explained(prepared, arguments.preset, nearby, targets, 1), alone), flush=True)
    in_double = PreparedClassifier(classifier, "float64")
    alone = explained(in_double, arguments.preset, images, targets, 1)
    together = explained(in_double, arguments.preset, images, targets, len(images))
    print(line("network in float64: in one batch against alone", together, alone), flush=True)


if __name__ == "__main__":
    main()
