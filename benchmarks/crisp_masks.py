"""Seconds per image of our crisp masks against the published algorithm, written as its authors run it.

    VISUAL_SUMMARIES_DATA=../shared/data python benchmarks/crisp_masks.py

The alternative (`published_crisp_mask.py`) takes one photograph at a time; we take all in one stream. Same network,
same photographs, same number of threads, one process, one after the other. Prints Markdown;
docs/reference/measurements/crisp-masks.md keeps the figures. What a GPU does: `gpu.py`.
"""

import argparse
import resource
import time

import torch
from photographs import NETWORKS, Photograph, correct_photographs, machine, network
from published_crisp_mask import published_crisp_mask
from torch import Tensor

from visual_summaries.pipeline.explain.crisp import binarization_error
from visual_summaries.pipeline.explain.engine import Item, explain_stream
from visual_summaries.pipeline.explain.interface import target_scores
from visual_summaries.pipeline.explain.perturbation import PERTURBATIONS
from visual_summaries.pipeline.explain.registry import make_explainer
from visual_summaries.pipeline.models.classifier import Classifier
from visual_summaries.pipeline.models.preparation import PreparedClassifier, keep_freed_memory

PRESETS_COMPARED = ("authors", "fast", "robust")


def quality(classifier: Classifier, photographs: list[Photograph], saliency: Tensor) -> dict[str, float]:
    """Mean drop, area and binarization error of maps `[n,1,H,W]`, and the first two for the maps binarized at 0.5."""
    images = torch.stack([photograph.image for photograph in photographs])
    targets = torch.tensor([photograph.target for photograph in photographs])
    perturbation = PERTURBATIONS["authors"]
    prepared = perturbation.prepare(images)
    binary = (saliency > 0.5).float()
    with torch.no_grad():
        before = target_scores(classifier, images, targets)
        after = target_scores(classifier, perturbation.apply(prepared, 1 - saliency), targets)
        after_binary = target_scores(classifier, perturbation.apply(prepared, 1 - binary), targets)
    return {
        "drop": float(((before - after) / before).mean()),
        "area": float(saliency.mean()),
        "error": float(binarization_error(saliency).mean()),
        "drop, binarized": float(((before - after_binary) / before).mean()),
        "area, binarized": float(binary.mean()),
    }


def run_published(classifier: Classifier, photographs: list[Photograph]) -> tuple[Tensor, float, float]:
    """Maps, seconds per image and passes per image of the published algorithm."""

    def plain(images: Tensor) -> Tensor:
        return classifier.module(classifier.normalized(images))

    published_crisp_mask(plain, photographs[0].image, photographs[0].target, iterations=(2, 2))
    started = time.perf_counter()
    maps = [published_crisp_mask(plain, photograph.image, photograph.target) for photograph in photographs]
    return torch.cat(maps), (time.perf_counter() - started) / len(photographs), 450.0


def run_ours(
    classifier: PreparedClassifier, photographs: list[Photograph], preset: str, device: torch.device
) -> tuple[Tensor, float, float]:
    """Maps, seconds per image and passes per image of a preset."""
    items = [Item(number, photograph.image, photograph.target) for number, photograph in enumerate(photographs)]
    started = time.perf_counter()
    found = dict(explain_stream(make_explainer("crisp", preset), classifier, items, device))
    seconds = (time.perf_counter() - started) / len(items)
    maps = torch.cat([found[number].saliency for number in range(len(items))])
    passes = sum(int(explanation.iterations) for explanation in found.values()) / len(items)
    return maps, seconds, passes


def on_processor(images: int, threads: int, names: list[str], presets: list[str], bfloat16: bool) -> None:
    """Compare on the processor and print a table."""
    torch.set_num_threads(threads)
    print(f"{machine()}; {threads} thread(s); {images} photographs of imagenet/val, 224 px; one run\n")
    print("| network | method | s / image | passes | ms / pass | × cheaper | × a pass | drop | area | 4m(1−m) "
          "| drop, binarized | area, binarized | peak MB |")
    print("|---|---|---|---|---|---|---|---|---|---|---|---|---|")
    for name in names:
        classifier = network(name)
        photographs = correct_photographs(classifier, images)
        rows = {"published": run_published(classifier, photographs)}
        print_row(name, "published", rows, quality(classifier, photographs, rows["published"][0]))
        # From here on; the published program does not do this.
        keep_freed_memory()
        compared = [(preset, "float32") for preset in presets] + [("fast", "bfloat16")] * bfloat16
        for preset, precision in compared:
            prepared = PreparedClassifier(network(name), precision)
            label = preset if precision == "float32" else f"{preset}, {precision}"
            rows[label] = run_ours(prepared, photographs, preset, torch.device("cpu"))
            print_row(name, label, rows, quality(classifier, photographs, rows[label][0]))


def print_row(network_name: str, method: str, rows: dict[str, tuple[Tensor, float, float]], figures: dict) -> None:
    """One line of the table."""
    _, reference, reference_passes = rows["published"]
    _, seconds, passes = rows[method]
    per_pass = (reference / reference_passes) / (seconds / passes)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"| {network_name} | {method} | {seconds:.2f} | {passes:.0f} | {1000 * seconds / passes:.1f} "
        f"| {reference / seconds:.1f} | {per_pass:.2f} | {100 * figures['drop']:.3f} % | {figures['area']:.3f} "
        f"| {figures['error']:.4f} | {100 * figures['drop, binarized']:.3f} % | {figures['area, binarized']:.3f} "
        f"| {peak:.0f} |",
        flush=True,
    )


def main() -> None:
    """Read the command line and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=16, help="photographs per network (default 16)")
    parser.add_argument("--threads", type=int, default=1, help="threads of both (default 1)")
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    parser.add_argument("--presets", nargs="+", default=list(PRESETS_COMPARED), choices=PRESETS_COMPARED)
    parser.add_argument("--bfloat16", action="store_true", help="`fast` in bfloat16 too: for processors that have it")
    arguments = parser.parse_args()
    names, presets = arguments.networks, arguments.presets
    on_processor(arguments.images, arguments.threads, names, presets, arguments.bfloat16)


if __name__ == "__main__":
    main()
