"""Tables 2 and 3 of Feature CAM's paper: is the most salient fifth of an image enough for the network?

    VISUAL_SUMMARIES_DATA=… python benchmarks/feature_cam_tables.py --output feature_cam.jsonl

All photographs of `imagenet/val`, the predicted class explained. The explanation map of each class activation map and
of the paper's five versions of Feature CAM goes back through the network: how often is it classified as the photograph
was, and with what score? Edges by PiDiNet. Each photograph is a line of the output file; a second run goes on where the
first one stopped.
"""

import argparse
import csv
import json
import time
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from fgvis_adversarial import read
from photographs import NETWORKS, data_directory, machine, network

from visual_summaries.pipeline.data.decode import read_image
from visual_summaries.pipeline.evaluate.intervals import mean_interval, wilson_interval
from visual_summaries.pipeline.explain.cams import GradCam, GradCamPlusPlus, SmoothGradCamPlusPlus
from visual_summaries.pipeline.explain.edges import edge_detector
from visual_summaries.pipeline.explain.feature_cam import CHOSEN, combinations, explanation_images
from visual_summaries.pipeline.models.preparation import PreparedClassifier, keep_freed_memory

CAMS = {"Grad-CAM": GradCam, "Grad-CAM++": GradCamPlusPlus, "Smooth Grad-CAM++": SmoothGradCamPlusPlus}
BATCH = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--photographs", type=int, help="the first of them; default: all")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    data = data_directory()
    edges = edge_detector(data / "weights/pidinet_bsds.safetensors")
    with open(data / "imagenet/val.csv", newline="") as file:
        names = [row["file"] for row in csv.DictReader(file)][: arguments.photographs]
    # The edges are the same for all networks.
    found_edges: dict[str, torch.Tensor] = {}
    for name in arguments.networks:
        classifier = network(name)
        prepared = PreparedClassifier(classifier)
        done = {row["file"] for row in read(arguments.output) if row["network"] == name}
        waiting = iter([file for file in names if file not in done])
        started, count = time.perf_counter(), 0
        while files := list(islice(waiting, BATCH)):
            images = torch.stack([analyzed(classifier, data / "imagenet/val" / file) for file in files])
            missing = [row for row, file in enumerate(files) if file not in found_edges]
            with torch.no_grad():
                drawn = edges(images[missing]) if missing else []
            found_edges |= {files[row]: one.half() for row, one in zip(missing, drawn, strict=True)}
            rows = measured(prepared, images, torch.stack([found_edges[file].float() for file in files]))
            with open(arguments.output, "a") as file:
                for own, row in zip(files, rows, strict=True):
                    file.write(json.dumps({"network": name, "file": own} | row) + "\n")
            count += len(files)
            print(f"{name}: {count}, {(time.perf_counter() - started) / count:.2f} s each", flush=True)
    print(f"\n{machine()}\n\n{table(read(arguments.output))}")


def analyzed(classifier, path: Path) -> torch.Tensor:  # noqa: ANN001
    """The photograph as the network sees it, `[3,S,S]` in [0,1]."""
    return classifier.preprocessing.analyzed_image(read_image(str(path)).image).float().div(255)


def measured(classifier: PreparedClassifier, images: torch.Tensor, edges: torch.Tensor) -> list[dict]:
    """Of each photograph: its score, and for each map whether its explanation map keeps the class, and the score."""
    with torch.no_grad():
        before, predicted = classifier.logits(images).softmax(dim=1).max(dim=1)
    rows = [{"original": score} for score in before.tolist()]
    baseline = classifier.baseline.view(3, 1, 1)
    for name, make in CAMS.items():
        maps = make().explain(classifier, images, predicted).saliency
        versions = {"CAM": maps} | {version: combinations(images, edges, maps)[version] for version in CHOSEN}
        for version, saliency in versions.items():
            with torch.no_grad():
                scores = classifier.logits(explanation_images(images, saliency, baseline)).softmax(dim=1)
            right = (scores.argmax(dim=1) == predicted).tolist()
            kept = scores.gather(1, predicted[:, None])[:, 0].tolist()
            for row, *values in zip(rows, right, kept, strict=True):
                row[f"{name} {version}"] = values
    return rows


def table(rows: list[dict]) -> str:
    """Markdown: right classification, mean score where right, and mean score of the class over all photographs."""
    versions = ("CAM", *CHOSEN)
    head = " | ".join(["network", "localizer", "figure", *versions])
    lines = [f"| {head} |", "|---|---|---|" + "--:|" * len(versions)]
    for network_name in dict.fromkeys(row["network"] for row in rows):
        group = [row for row in rows if row["network"] == network_name]
        original = np.mean([row["original"] for row in group])
        for cam in CAMS:
            right = {v: np.array([row[f"{cam} {v}"][0] for row in group]) for v in versions}
            score = {v: np.array([row[f"{cam} {v}"][1] for row in group]) for v in versions}
            start = f"| {network_name} ({len(group)}, score {original:.3f}) | {cam} | "
            cells = []
            for values in right.values():
                low, high = wilson_interval(int(values.sum()), len(values))
                cells.append(f"{values.mean():.1%} ({low:.1%} – {high:.1%})")
            lines.append(start + "right | " + " | ".join(cells) + " |")
            gains = [mean_interval(right[v].astype(float) - right["CAM"]) for v in CHOSEN]
            texts = ["", *(f"{mean:+.1%} ({low:+.1%} – {high:+.1%})" for mean, low, high in gains)]
            lines.append(start + "right, gained on the CAM | " + " | ".join(texts) + " |")
            cells = [f"{score[v][right[v]].mean():.3f}" if right[v].any() else "–" for v in versions]
            lines.append(start + "score where right | " + " | ".join(cells) + " |")
            means = [mean_interval(values) for values in score.values()]
            texts = [f"{mean:.3f} ({low:.3f} – {high:.3f})" for mean, low, high in means]
            lines.append(start + "score of the class | " + " | ".join(texts) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
