"""GLAS from coarse to fine on one bird, and RGLAS's recursions on a photograph with several.

    VISUAL_SUMMARIES_DATA=… python benchmarks/glas_sheet.py sheet.png
    python benchmarks/glas_sheet.py demo.webp --demo

The bird is a red-winged blackbird, told by its wing (`mobilenet_v2_cub100`); the photograph with several shows
flamingos (`squeezenet1_1`). `--demo` takes the built-in demo set, whose pictures may be shown anywhere: its crested
bird, and two steam locomotives side by side.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from annotated_photographs import BIRDS, birds, whole_image_network
from mask_sheet import demo_photographs, draw
from photographs import NETWORKS, data_directory
from torch import Tensor
from torch.nn import functional

from visual_summaries.pipeline.data.decode import read_image
from visual_summaries.pipeline.explain.glas import Glas, GlasSettings
from visual_summaries.pipeline.explain.rglas import RecursiveGlas
from visual_summaries.pipeline.models.classifier import Classifier
from visual_summaries.pipeline.models.loading import load_classifier
from visual_summaries.pipeline.models.preparation import PreparedClassifier, keep_freed_memory
from visual_summaries.pipeline.report.pictures import overlay

SIGMAS = (9.0, 5.0, 3.0, 2.0)


def main() -> None:
    """Read the command line, explain, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", type=Path, help="picture to write")
    parser.add_argument("--bird", default="Red_winged_Blackbird/0032.jpg", help="of cub100")
    parser.add_argument("--several", default="photos/n02007558/image_0015.jpg")
    parser.add_argument("--several-class", type=int, default=130)
    parser.add_argument("--demo", action="store_true", help="the demo set and its network")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    if arguments.demo:
        classifier = load_classifier("demo")
        pictures = {entry.target: entry.image for entry in demo_photographs(classifier)}
        names = {name: index for index, name in enumerate(classifier.class_names)}
        bird, engine = names["crested bird"], names["steam locomotive"]
        two = [functional.interpolate(pictures[engine][None], scale_factor=(1, 0.5), mode="area")] * 2
        rows = [
            scales(classifier, pictures[bird][None], bird, "crested bird"),
            recursions(classifier, torch.cat(two, dim=3), engine, "steam locomotives"),
        ]
    else:
        bird = next(entry for entry in birds() if entry.name == arguments.bird)
        classifier, other = whole_image_network(BIRDS), whole_image_network(NETWORKS[0])
        pixels = read_image(str(data_directory() / arguments.several)).image
        several = other.preprocessing.analyzed_image(pixels).float().div(255)[None]
        name = other.class_names[arguments.several_class].split(",")[0]
        rows = [
            scales(classifier, bird.image(classifier)[None], bird.target, bird.label.replace("_", " ")),
            recursions(other, several, arguments.several_class, name),
        ]
    pictures, captions = zip(*rows, strict=True)
    draw(list(pictures), [""] * (1 + len(SIGMAS)), list(captions), halves=1).save(arguments.path)


def scales(classifier: Classifier, image: Tensor, target: int, name: str) -> tuple[list[np.ndarray], str]:
    """An image and its maps from coarse to fine, and the caption."""
    prepared, targets = PreparedClassifier(classifier), torch.tensor([target])
    found = [Glas(GlasSettings(sigma, sigma, sigma)).explain(prepared, image, targets) for sigma in SIGMAS]
    left = ", ".join(f"{one.score_after.item():.2f}" for one in found)
    sigmas = ", ".join(f"{sigma:g}" for sigma in SIGMAS)
    caption = f"{name}, sigma {sigmas} cells; score {found[0].score_before.item():.2f}, darkened by the map {left}"
    return row(image, [one.saliency for one in found]), caption


def recursions(classifier: Classifier, image: Tensor, target: int, name: str) -> tuple[list[np.ndarray], str]:
    """An image and the sum of its maps after some rounds, the last among them, and the caption."""
    glas = RecursiveGlas("fine-grained")
    rounds = list(glas.recursions(PreparedClassifier(classifier), image, torch.tensor([target])))
    chosen = [*rounds[: len(SIGMAS) - 1], rounds[-1]] if len(rounds) > len(SIGMAS) else rounds
    left = ", ".join(f"{one.scores.item():.2f}" for one in chosen)
    numbers = ", ".join(str(one.rounds.item()) for one in chosen)
    return row(image, [one.fused for one in chosen]), f"{name}, RGLAS after rounds {numbers}; score left {left}"


def row(image: Tensor, maps: list[Tensor]) -> list[np.ndarray]:
    """A picture and its maps over it, `[H,W,3]`."""
    pixels = image[0].permute(1, 2, 0).mul(255).byte().numpy()
    return [pixels / 255, *(overlay(pixels, saliency[0, 0].mul(255).byte().numpy()) / 255 for saliency in maps)]


if __name__ == "__main__":
    main()
