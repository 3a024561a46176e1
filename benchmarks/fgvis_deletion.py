"""The deletion metric of FGVis beside Grad-CAM, RISE and occlusion, as in Table 2 of its paper.

    VISUAL_SUMMARIES_DATA=… python benchmarks/fgvis_deletion.py --output deletion.jsonl

ImageNet validation photographs that the network classifies correctly. FGVis plays the deletion game, by its default
search and (`fgvis-scales`) from coarse to fine; RISE has 1,000 masks; occlusion (Captum) slides a window of 32 pixels
by 16; Grad-CAM (Captum) looks at the last layer with a spatial map. Each result is a line of the output file; a second
run goes on where the first one stopped.
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from captum.attr import LayerGradCam, Occlusion
from fgvis_adversarial import read
from photographs import NETWORKS, Photograph, correct_photographs, machine, network
from torch import Tensor
from torch.nn import functional

from visual_summaries.pipeline.evaluate.faithfulness import deletion_curve
from visual_summaries.pipeline.evaluate.intervals import mean_interval
from visual_summaries.pipeline.explain.engine import Item, explain_stream
from visual_summaries.pipeline.explain.fgvis import FGVis
from visual_summaries.pipeline.explain.fgvis_settings import FGVisSettings
from visual_summaries.pipeline.explain.rise import Rise
from visual_summaries.pipeline.models.classifier import Classifier
from visual_summaries.pipeline.models.preparation import PreparedClassifier, keep_freed_memory

WINDOW, STRIDE = 32, 16
METHODS = ("fgvis", "grad-cam", "rise-1000", "occlusion", "fgvis-scales")


def maps(
    method: str, plain: Classifier, classifier: PreparedClassifier, chosen: list[Photograph], batch: int
) -> Iterator[tuple[int, Tensor]]:
    """Number and map `[1,C,S,S]` of each photograph, as they are done."""
    if method in ("fgvis", "fgvis-scales"):
        explainer = FGVis(FGVisSettings("deletion", search="scales" if method == "fgvis-scales" else None))
        items = (Item(number, photograph.image, photograph.target) for number, photograph in enumerate(chosen))
        for number, explanation in explain_stream(explainer, classifier, items, classifier.device, batch):
            yield number, explanation.saliency
        return
    # The network as loaded: once prepared, its layers are no longer called as parts of `features`.
    camera = LayerGradCam(plain.logits, plain.module.features)
    window = Occlusion(classifier.logits)
    for number, photograph in enumerate(chosen):
        image, target = photograph.image[None], photograph.target
        if method == "grad-cam":
            coarse = camera.attribute(image, target=target, relu_attributions=True)
            found = functional.interpolate(coarse, image.shape[-2:], mode="bilinear").detach()
        elif method == "rise-1000":
            found = Rise(1000).explain(classifier, image, torch.tensor([target])).saliency
        else:
            baseline = classifier.baseline.view(1, 3, 1, 1).expand_as(image)
            with torch.no_grad():
                found = window.attribute(
                    image, (3, WINDOW, WINDOW), (3, STRIDE, STRIDE), baseline, target, perturbations_per_eval=32
                )
        yield number, found.float()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS[:2]))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--photographs", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=8)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    for name in arguments.networks:
        classifier = network(name)
        prepared = PreparedClassifier(classifier)
        photographs = correct_photographs(classifier, arguments.photographs)
        for method in arguments.methods:
            settings = {"network": name, "method": method}
            done = {row["file"] for row in read(arguments.output) if row.items() >= settings.items()}
            left = [photograph for photograph in photographs if photograph.name not in done]
            started = time.perf_counter()
            stream = maps(method, classifier, prepared, left, arguments.batch_size)
            for count, (number, found) in enumerate(stream, start=1):
                seconds = (time.perf_counter() - started) / count
                photograph = left[number]
                curve = deletion_curve(prepared, photograph.image[None], found, torch.tensor([photograph.target]))
                row = settings | {"file": photograph.name, "deletion": curve.area.item(), "seconds": seconds}
                with open(arguments.output, "a") as file:
                    file.write(json.dumps(row) + "\n")
                if count % 10 == 0:
                    print(f"{name} {method}: {count}/{len(left)}, {seconds:.1f} s each", flush=True)
    print(f"\n{machine()}\n\n{table(read(arguments.output))}")


def table(rows: list[dict]) -> str:
    """Markdown: mean area under the deletion curve, and its difference to FGVis on the same photographs."""
    columns = "network, method, photographs, deletion, 95 % interval, less FGVis on the same photographs, 95 % interval"
    lines = ["| " + columns.replace(", ", " | ") + " |"]
    lines.append("|---|---|--:|--:|--:|--:|--:|")
    for name in dict.fromkeys(row["network"] for row in rows):
        area = {
            method: {row["file"]: row["deletion"] for row in rows if (row["network"], row["method"]) == (name, method)}
            for method in METHODS
        }
        for method, values in area.items():
            if not values:
                continue
            mean, low, high = mean_interval(list(values.values()))
            line = f"| {name} | {method} | {len(values)} | {mean:.4f} | {low:.4f} – {high:.4f} | "
            common = [values[file] - area["fgvis"][file] for file in values if file in area["fgvis"]]
            if method != "fgvis" and common:
                mean, low, high = mean_interval(common)
                line += f"{mean:+.4f} | {low:+.4f} – {high:+.4f} |"
            else:
                line += "| |"
            lines.append(line)
    return "\n".join(lines)


if __name__ == "__main__":
    main()
