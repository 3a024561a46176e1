"""What FGVis costs beside the crisp masks: passes, seconds and memory per image.

    VISUAL_SUMMARIES_DATA=… python benchmarks/fgvis_cost.py

Same photographs, one process, one thread, one method after the other. "Bounds" is what the gradient filter keeps of an
image: the activations behind every nonlinearity. Prints Markdown;
docs/reference/measurements/fgvis.md keeps the figures.
"""

import argparse
import time

import torch
from photographs import NETWORKS, correct_photographs, machine, network

from visual_summaries.pipeline.explain.crisp import CrispMasks
from visual_summaries.pipeline.explain.engine import Item, explain_stream
from visual_summaries.pipeline.explain.fgvis import FGVis
from visual_summaries.pipeline.explain.fgvis_settings import GAMES, SEARCHES, FGVisSettings
from visual_summaries.pipeline.models.nonlinearities import recording
from visual_summaries.pipeline.models.preparation import PreparedClassifier, keep_freed_memory


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    parser.add_argument("--games", nargs="+", default=list(GAMES), choices=GAMES)
    parser.add_argument("--search", choices=SEARCHES, help="for λ; default: the game's own")
    parser.add_argument("--photographs", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=8)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    print(f"{machine()}; 1 thread; {arguments.photographs} photographs, batch {arguments.batch_size}\n")
    print("| network | method | passes | s / image | ms / pass | goal reached | score after / before | mean saliency "
          "| bounds, MB / image |")
    print("|---|---|--:|--:|--:|--:|--:|--:|--:|")
    for name in arguments.networks:
        classifier = network(name)
        prepared = PreparedClassifier(classifier)
        photographs = correct_photographs(classifier, arguments.photographs)
        with torch.no_grad(), recording(prepared.module) as bounds:
            prepared.logits(photographs[0].image[None])
        memory = sum(bound.numel() * bound.element_size() for bound in bounds) / 1e6
        methods = {"crisp, fast": CrispMasks("fast")}
        for game in arguments.games:
            settings = FGVisSettings(game, search=arguments.search)
            methods[f"fgvis, {game}, {settings.search}"] = FGVis(settings)
        for label, explainer in methods.items():
            items = [Item(number, photograph.image, photograph.target) for number, photograph in enumerate(photographs)]
            started = time.perf_counter()
            found = [
                explanation
                for _, explanation in explain_stream(
                    explainer, prepared, items, prepared.device, arguments.batch_size
                )
            ]
            seconds = (time.perf_counter() - started) / len(found)
            passes = sum(explanation.iterations.item() for explanation in found) / len(found)
            reached = [float(explanation.diagnostics.get("reached", torch.nan)) for explanation in found]
            left = [(explanation.score_after / explanation.score_before).item() for explanation in found]
            saliency = [explanation.saliency.mean().item() for explanation in found]
            means = [sum(values) / len(found) for values in (reached, left, saliency)]
            print(
                f"| {name} | {label} | {passes:.0f} | {seconds:.2f} | {1000 * seconds / passes:.1f} "
                f"| {'–' if 'crisp' in label else f'{sum(reached):.0f} of {len(reached)}'} "
                f"| {means[1]:.4f} | {means[2]:.4f} "
                f"| {0 if 'crisp' in label else memory:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
