"""Class activation maps beside pytorch-grad-cam: milliseconds per image, and a run over all validation photographs.

    pip install --no-deps grad-cam ttach
    VISUAL_SUMMARIES_DATA=… python benchmarks/cam.py
    VISUAL_SUMMARIES_DATA=… python benchmarks/cam.py --run

Without its dependencies, because those bring another OpenCV in the place of ours. Both get the same images, one target
per image, on one thread, in turn, the network as loaded for pytorch-grad-cam and prepared for us. `--run` streams all
photographs of `imagenet/val` through Grad-CAM, twice over, and prints images per second and the peak memory after each
quarter. Prints Markdown; docs/reference/measurements/cams.md keeps the figures.
"""

import argparse
import csv
import statistics
import time
from collections.abc import Callable, Iterator

import torch
from photographs import (
    NETWORKS,
    correct_photographs,
    data_directory,
    machine,
    network,
    peak_memory,
    reset_peak_memory,
)

from visual_summaries.pipeline.data.decode import read_image
from visual_summaries.pipeline.explain.cams import ActivationMaps, GradCam, GradCamPlusPlus
from visual_summaries.pipeline.explain.engine import Item, explain_stream
from visual_summaries.pipeline.models.preparation import PreparedClassifier, keep_freed_memory

METHODS: dict[str, type[ActivationMaps]] = {"Grad-CAM": GradCam, "Grad-CAM++": GradCamPlusPlus}


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 16, 64])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--run", action="store_true", help="Grad-CAM of all photographs instead")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    print(f"{machine()}; 1 thread\n")
    if arguments.run:
        run(arguments.networks)
        return
    print("| network | method | batch | pytorch-grad-cam, ms | ours, ms | × faster | largest difference of maps |")
    print("|---|---|--:|--:|--:|--:|--:|")
    for name in arguments.networks:
        compare(name, arguments.batches, arguments.repeats)


def compare(name: str, batches: list[int], repeats: int) -> None:
    """Times of both, in turn, and how much the maps differ."""
    import pytorch_grad_cam
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    classifier, loaded = network(name), network(name)
    # As networks are when they are loaded; with frozen parameters the library finds no gradient.
    loaded.module.requires_grad_(True)
    prepared = PreparedClassifier(classifier)
    photographs = correct_photographs(classifier, max(batches))
    images = torch.stack([photograph.image for photograph in photographs])
    targets = torch.tensor([photograph.target for photograph in photographs])
    theirs = {"Grad-CAM": pytorch_grad_cam.GradCAM, "Grad-CAM++": pytorch_grad_cam.GradCAMPlusPlus}
    for method, make in METHODS.items():
        explainer = make()
        with theirs[method](model=loaded.module, target_layers=[loaded.module.features]) as other:
            for size in batches:
                some, wanted = images[:size], targets[:size]
                normalized = loaded.normalized(some)
                outputs = [ClassifierOutputTarget(int(target)) for target in wanted]
                ways = {
                    "theirs": lambda other=other, batch=normalized, outputs=outputs: torch.from_numpy(
                        other(input_tensor=batch, targets=outputs)
                    ),
                    "ours": lambda explainer=explainer, batch=some, wanted=wanted: explainer.explain(
                        prepared, batch, wanted
                    ).saliency[:, 0],
                }
                seconds = {way: timed(call, repeats) for way, call in ways.items()}
                found, expected = ways["ours"](), ways["theirs"]()
                difference = float((found - expected / expected.amax(dim=(1, 2), keepdim=True)).abs().max())
                print(
                    f"| {name} | {method} | {size} | {1000 * seconds['theirs'] / size:.1f} "
                    f"| {1000 * seconds['ours'] / size:.1f} | {seconds['theirs'] / seconds['ours']:.2f} "
                    f"| {difference:.3f} |",
                    flush=True,
                )


def timed(call: Callable[[], torch.Tensor], repeats: int) -> float:
    """Median seconds, after once that does not count."""
    call()
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def run(names: list[str]) -> None:
    """Stream every validation photograph, decoded from its file, through Grad-CAM, twice."""
    folder = data_directory() / "imagenet"
    with open(folder / "val.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    print("| network | images | images / s | peak memory (MB) after each quarter |\n|---|--:|--:|---|")
    for name in names:
        classifier = network(name)
        prepared = PreparedClassifier(classifier)

        def items() -> Iterator[Item]:
            for number, row in enumerate(rows + rows):
                pixels = read_image(str(folder / "val" / row["file"])).image  # noqa: B023
                image = classifier.preprocessing.analyzed_image(pixels).float().div(255)  # noqa: B023
                yield Item(number, image, int(row["class_index"]))

        reset_peak_memory()
        started, peaks, total = time.perf_counter(), [], 2 * len(rows)
        for count, _ in enumerate(explain_stream(GradCam(), prepared, items(), prepared.device), start=1):
            if count % (total // 4) == 0:
                peaks.append(f"{peak_memory() / 1e6:.0f}")
        print(f"| {name} | {total} | {total / (time.perf_counter() - started):.1f} | {', '.join(peaks)} |", flush=True)


if __name__ == "__main__":
    main()
