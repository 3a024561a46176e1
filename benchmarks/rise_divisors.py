"""RISE's two divisors on the same masks: what the drawn masks show of a pixel, or what masks show on average.

    VISUAL_SUMMARIES_DATA=… python benchmarks/rise_divisors.py --output divisors.jsonl

ImageNet validation photographs that the network classifies correctly, each with two sets of N masks. Told are the
correlation of the two sets' maps, which noise lowers, and the deletion metric of the first set's, by photograph; a
second run goes on where the first one stopped.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from fgvis_adversarial import read
from photographs import NETWORKS, Photograph, correct_photographs, machine, network
from torch import Tensor

from visual_summaries.pipeline.evaluate.faithfulness import deletion_curve
from visual_summaries.pipeline.evaluate.intervals import mean_interval
from visual_summaries.pipeline.explain.rise import DIVISORS, Rise
from visual_summaries.pipeline.models.preparation import PreparedClassifier, keep_freed_memory


class Remembering:
    """A classifier that is asked once for each pass, however often the same passes come."""

    def __init__(self, classifier: PreparedClassifier) -> None:
        self.baseline, self._classifier, self._given = classifier.baseline, classifier, []
        self._next = 0

    def again(self) -> "Remembering":
        self._next = 0
        return self

    def logits(self, images: Tensor) -> Tensor:
        if self._next == len(self._given):
            self._given.append(self._classifier.logits(images))
        self._next += 1
        return self._given[self._next - 1]


def figures(classifier: PreparedClassifier, photograph: Photograph, masks: int) -> dict[str, dict[str, float]]:
    """Of each divisor: `correlation` and `deletion`."""
    image, target = photograph.image[None], torch.tensor([photograph.target])
    found: dict[str, list[Tensor]] = {divisor: [] for divisor in DIVISORS}
    for seed in (0, 1):
        remembering = Remembering(classifier)
        for divisor in DIVISORS:
            drawn = [torch.Generator().manual_seed(seed)]
            explained = Rise(masks, divisor=divisor).explain(remembering.again(), image, target, drawn)
            found[divisor].append(explained.saliency)
    return {
        divisor: {
            "correlation": float(np.corrcoef(*(one.flatten().numpy() for one in maps))[0, 1]),
            "deletion": deletion_curve(classifier, image, maps[0], target).area.item(),
        }
        for divisor, maps in found.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS[:2]))
    parser.add_argument("--photographs", type=int, default=20)
    parser.add_argument("--masks", type=int, default=400)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    for name in arguments.networks:
        classifier = network(name)
        prepared = PreparedClassifier(classifier)
        settings = {"network": name, "masks": arguments.masks}
        done = {row["file"] for row in read(arguments.output) if row.items() >= settings.items()}
        for photograph in correct_photographs(classifier, arguments.photographs):
            if photograph.name in done:
                continue
            row = settings | {"file": photograph.name} | figures(prepared, photograph, arguments.masks)
            with open(arguments.output, "a") as file:
                file.write(json.dumps(row) + "\n")
    print(f"{machine()}\n\n{table(read(arguments.output))}")


def table(rows: list[dict]) -> str:
    """Markdown: means of both figures, and of their differences on the same photographs."""
    lines = [
        "| network | masks | photographs | figure | drawn | expected | drawn less expected | 95 % interval |",
        "|---|--:|--:|---|--:|--:|--:|--:|",
    ]
    for name, masks in dict.fromkeys((row["network"], row["masks"]) for row in rows):
        own = [row for row in rows if (row["network"], row["masks"]) == (name, masks)]
        for figure in ("correlation", "deletion"):
            drawn, expected = (np.array([row[divisor][figure] for row in own]) for divisor in DIVISORS)
            mean, low, high = mean_interval(list(drawn - expected))
            means = f"{drawn.mean():.3f} | {expected.mean():.3f} | {mean:+.3f} | {low:+.3f} – {high:+.3f}"
            lines.append(f"| {name} | {masks} | {len(own)} | {figure} | {means} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
