"""Does FGVis tell two classes in one image apart? Two photographs side by side, a map for the class of each.

    VISUAL_SUMMARIES_DATA=… python benchmarks/fgvis_discrimination.py --output discrimination.jsonl

Photographs of the ImageNet validation set that the network classifies correctly stand side by side: whole, in an image
twice as wide as the square that the network knows (any size will do), or each in one half of the square, squeezed to
half its width or cut to its middle (--halves). A photograph is paired with the first of the 30 after it with which both
classes have a score ≥ --minimum-score in the pasted image, and neither is among the --different classes that come first
for the other photograph alone (§4.2: "highly different categories to ensure little overlapping evidence"; 0 takes any
pair); none is used twice. Per map, the share of saliency on the half of its class is a line of the output file; a
second run goes on where the first one stopped.
"""

import argparse
import json
import math
from pathlib import Path

import torch
from fgvis_adversarial import read
from photographs import NETWORKS, Photograph, correct_photographs, network
from torch import Tensor
from torch.nn import functional

from visual_summaries.pipeline.evaluate.intervals import mean_interval
from visual_summaries.pipeline.explain.engine import Item, explain_stream
from visual_summaries.pipeline.explain.fgvis import FGVis
from visual_summaries.pipeline.explain.fgvis_settings import GAMES, SEARCHES, FGVisSettings
from visual_summaries.pipeline.models.preparation import PreparedClassifier, keep_freed_memory

PARTNERS = 30
HALVES = ("whole", "squeezed", "cropped")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=[NETWORKS[0]])
    parser.add_argument("--game", choices=GAMES, default="deletion")
    parser.add_argument("--search", choices=SEARCHES, help="for λ; default: the game's own")
    parser.add_argument("--photographs", type=int, default=200, help="to make pairs of")
    parser.add_argument("--pairs", type=int, default=50)
    parser.add_argument("--minimum-score", type=float, default=0.05)
    parser.add_argument("--different", type=int, default=100)
    parser.add_argument("--halves", choices=HALVES, default=HALVES[0])
    parser.add_argument("--unfiltered", action="store_true", help="without the gradient filter, as a control")
    parser.add_argument("--batch-size", type=int, default=8)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    for name in arguments.networks:
        classifier = network(name)
        prepared = PreparedClassifier(classifier)
        game = f"{arguments.game}{', not filtered' * arguments.unfiltered}"
        chosen = FGVisSettings(arguments.game, filtered=not arguments.unfiltered, search=arguments.search)
        settings = {"network": name, "game": game, "search": chosen.search, "halves": arguments.halves}
        settings |= {"different": arguments.different, "minimum score": arguments.minimum_score}
        done = {(row["pair"], row["side"]) for row in read(arguments.output) if row.items() >= settings.items()}
        found = pairs(prepared, correct_photographs(classifier, arguments.photographs), arguments)
        stream = [
            Item((pair, side), image, target)
            for pair, image, targets in found
            for side, target in zip(("left", "right"), targets, strict=True)
            if (pair, side) not in done
        ]
        explained = explain_stream(FGVis(chosen), prepared, stream, prepared.device, arguments.batch_size)
        with open(arguments.output, "a") as file:
            for (pair, side), explanation in explained:
                middle = explanation.saliency.shape[-1] // 2
                halves = [explanation.saliency[..., :middle].sum(), explanation.saliency[..., middle:].sum()]
                own = float(halves[side == "right"] / sum(halves))
                row = settings | {"pair": pair, "side": side, "share": own}
                row |= {"score": explanation.score_before.item(), "score_after": explanation.score_after.item()}
                row |= {"area": explanation.saliency.mean().item(), "passes": explanation.iterations.item()}
                row |= {"reached": explanation.diagnostics["reached"].item()}
                file.write(json.dumps(row) + "\n")
                file.flush()
                print(f"{name} {pair} {side}: score {row['score']:.3f}, share on its half {own:.3f}", flush=True)
    print("\n" + table(read(arguments.output)))


def pairs(
    classifier: PreparedClassifier, photographs: list[Photograph], arguments: argparse.Namespace
) -> list[tuple[str, Tensor, tuple[int, int]]]:
    """Name, pasted image `[3,S,S]` and the classes left and right of each pair."""
    found, used = [], set()
    ranks = {one.name: _ranks(classifier, one) for one in photographs}
    for number, left in enumerate(photographs):
        if len(found) == arguments.pairs:
            break
        if left.name in used:
            continue
        others = photographs[number + 1 : number + 1 + PARTNERS]
        for right in (other for other in others if other.name not in used and other.target != left.target):
            if min(ranks[left.name][right.target], ranks[right.name][left.target]) < arguments.different:
                continue
            image = torch.cat([half(one.image, arguments.halves) for one in (left, right)], dim=2)
            with torch.no_grad():
                scores = classifier.logits(image[None]).softmax(dim=1)[0]
            targets = (left.target, right.target)
            if min(scores[list(targets)]) >= arguments.minimum_score:
                found.append((f"{left.name} {right.name}", image, targets))
                used |= {left.name, right.name}
                break
    return found


def _ranks(classifier: PreparedClassifier, photograph: Photograph) -> Tensor:
    """int64 `[K]`: how many classes come before each for the photograph."""
    with torch.no_grad():
        return classifier.logits(photograph.image[None])[0].argsort(descending=True).argsort()


def half(image: Tensor, halves: str) -> Tensor:
    """A photograph `[3,S,S]` as `[3,S,S/2]`, or as it is."""
    side = image.shape[-1]
    if halves == "whole":
        return image
    if halves == "cropped":
        return image[..., side // 4 : side // 4 + side // 2]
    resized = functional.interpolate(image[None], (side, side // 2), mode="bilinear", antialias=True)
    return resized[0].clamp(0, 1)


def table(rows: list[dict]) -> str:
    """Markdown: mean share of saliency on the class's own half, with its bootstrap interval."""
    head = (
        "| network | game | search | halves | pairs | maps | share on its half | 95 % interval | score ≥ 0.5 "
        "| their share | goal reached | saliency | passes |"
    )
    lines = [head, "|---|---|---|---|---|--:|--:|--:|--:|--:|--:|--:|--:|"]
    kinds = ("network", "game", "search", "halves", "different", "minimum score")
    for kind in sorted({tuple(row[name] for name in kinds) for row in rows}):
        group = [row for row in rows if tuple(row[name] for name in kinds) == kind]
        mean, low, high = mean_interval([row["share"] for row in group])
        sure = [row["share"] for row in group if row["score"] >= 0.5]
        means = {name: sum(row[name] for row in group) / len(group) for name in ("reached", "area", "passes")}
        lines.append(
            f"| {' | '.join(kind[:4])} | rank ≥ {kind[4]}, scores ≥ {kind[5]:g} | {len(group)} | {mean:.3f} "
            f"| {low:.3f} – {high:.3f} | {len(sure)} | {mean_interval(sure)[0] if sure else math.nan:.3f} "
            f"| {means['reached']:.0%} | {means['area']:.4f} | {means['passes']:.0f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
