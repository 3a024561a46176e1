"""What the explainers cost: milliseconds per image, in units of one forward pass of the same network, and peak memory.

    VISUAL_SUMMARIES_DATA=… python benchmarks/black_box.py

Every method explains the same photographs in a process of its own, on one thread; before and after it, that process
times single forward passes at batch 1, so that a slow moment of the machine counts for both. Prints Markdown;
docs/reference/measurements/glas.md keeps the figures.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import torch
from photographs import NETWORKS, correct_photographs, machine, network, peak_memory, reset_peak_memory

from visual_summaries.pipeline.explain.crisp import CrispMasks
from visual_summaries.pipeline.explain.glas import Glas
from visual_summaries.pipeline.explain.gradients import Gradient, GuidedBackpropagation, IntegratedGradients, SmoothGrad
from visual_summaries.pipeline.explain.interface import Explainer
from visual_summaries.pipeline.explain.lime import Lime
from visual_summaries.pipeline.explain.meaningful import MeaningfulPerturbation
from visual_summaries.pipeline.explain.occlusion import Occlusion
from visual_summaries.pipeline.explain.rglas import RecursiveGlas
from visual_summaries.pipeline.explain.rise import Rise
from visual_summaries.pipeline.models.preparation import PreparedClassifier, keep_freed_memory

METHODS: dict[str, Callable[[], Explainer]] = {
    "glas": Glas,
    "glas, light only": lambda: Glas(mode="light"),
    "glas, k = 12": lambda: Glas(grid=12),
    "glas, k = 22": lambda: Glas(grid=22),
    "glas, k = 30": lambda: Glas(grid=30),
    "rglas": RecursiveGlas,
    "rise, 4000 masks": lambda: Rise(4000),
    "rise, 451 masks": lambda: Rise(451),
    "occlusion": Occlusion,
    "lime, 1000 samples": Lime,
    "meaningful perturbation": MeaningfulPerturbation,
    "crisp, fast": CrispMasks,
    "gradient": Gradient,
    "guided backpropagation": GuidedBackpropagation,
    "integrated gradients, 50 steps": IntegratedGradients,
    "smoothgrad, 50 copies": SmoothGrad,
}


@dataclass(frozen=True)
class Cost:
    """Of a method: seconds per image, of a single forward pass in the same process, passes, bytes beyond the start."""

    seconds: float
    forward: float
    passes: float
    memory: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS[:2]), choices=NETWORKS)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--photographs", type=int, default=2)
    arguments = parser.parse_args()
    print(f"{machine()}; 1 thread; {arguments.photographs} photographs\n")
    columns = "network, method, passes, s / image, in forward passes, × cheaper than RISE-4000, memory (MB)"
    print("| " + columns.replace(", ", " | ") + " |\n|---|---|--:|--:|--:|--:|--:|")
    for name in arguments.networks:
        costs = {}
        for method in arguments.methods:
            # A process each: memory that one method has freed would hide what the next one needs.
            with ProcessPoolExecutor(1, get_context("spawn")) as pool:
                costs[method] = pool.submit(measured, name, method, arguments.photographs).result()
        for method, cost in costs.items():
            rise = costs.get("rise, 4000 masks")
            times = f"{rise.seconds / rise.forward / (cost.seconds / cost.forward):.1f}" if rise else "–"
            print(
                f"| {name} | {method} | {cost.passes:.0f} | {cost.seconds:.2f} | {cost.seconds / cost.forward:.0f} "
                f"| {times} | {cost.memory / 1e6:.0f} |",
                flush=True,
            )


def measured(name: str, method: str, count: int) -> Cost:
    """Explain `count` photographs together."""
    torch.set_num_threads(1)
    keep_freed_memory()
    classifier = network(name)
    prepared = PreparedClassifier(classifier)
    photographs = correct_photographs(classifier, count)
    images = torch.stack([photograph.image for photograph in photographs])
    targets = torch.tensor([photograph.target for photograph in photographs])
    explainer = METHODS[method]()
    forward = forward_seconds(prepared, images[:1])
    reset_peak_memory()
    before = peak_memory()
    started = time.perf_counter()
    explanation = explainer.explain(prepared, images, targets)
    seconds = (time.perf_counter() - started) / count
    memory = peak_memory() - before
    forward = (forward + forward_seconds(prepared, images[:1])) / 2
    return Cost(seconds, forward, explanation.iterations.float().mean().item(), memory)


def forward_seconds(classifier: PreparedClassifier, image: torch.Tensor) -> float:
    """Median of 20 forward passes of one image, after two that do not count."""
    taken = []
    with torch.inference_mode():
        for _ in range(22):
            started = time.perf_counter()
            classifier.logits(image)
            taken.append(time.perf_counter() - started)
    return statistics.median(taken[2:])


if __name__ == "__main__":
    main()
