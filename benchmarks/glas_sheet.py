"""GLAS from coarse to fine on one bird, and RGLAS's recursions on a photograph with several.

    VISUAL_SUMMARIES_DATA=… python benchmarks/glas_sheet.py sheet.png
    VISUAL_SUMMARIES_DATA=… python benchmarks/glas_sheet.py maps.webp --maps-only

The bird is a red-winged blackbird, told by its wing (`mobilenet_v2_cub100`); the photograph with several shows
flamingos (`squeezenet1_1`). `--maps-only` leaves the photographs out, for where they may not be shown.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from annotated_photographs import BIRDS, birds, whole_image_network
from mask_sheet import draw
from photographs import NETWORKS, data_directory
from torch import Tensor

from pipeline.data.decode import read_image
from pipeline.explain.glas import Glas, GlasSettings
from pipeline.explain.rglas import RecursiveGlas
from pipeline.models.classifier import Classifier
from pipeline.models.preparation import PreparedClassifier, keep_freed_memory
from pipeline.report.pictures import overlay

SIGMAS = (9.0, 5.0, 3.0, 2.0)
SHOWN = 4


def main() -> None:
    """Read the command line, explain, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", type=Path, help="picture to write")
    parser.add_argument("--bird", default="Red_winged_Blackbird/0032.jpg", help="of cub100")
    parser.add_argument("--several", default="photos/n02007558/image_0015.jpg")
    parser.add_argument("--several-class", type=int, default=130)
    parser.add_argument("--maps-only", action="store_true", help="leave the photographs out")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    bird = next(entry for entry in birds() if entry.name == arguments.bird)
    classifier = whole_image_network(BIRDS)
    image, target = bird.image(classifier)[None], torch.tensor([bird.target])
    scales = [Glas(GlasSettings(s, s, s)).explain(PreparedClassifier(classifier), image, target) for s in SIGMAS]
    first = row(image, [scale.saliency for scale in scales], arguments.maps_only)
    species = bird.label.replace("_", " ")
    scores = ", ".join(f"{scale.score_after.item():.2f}" for scale in scales)
    caption = f"{species}, sigma 9, 5, 3, 2 cells; score {scales[0].score_before.item():.2f}, without the map {scores}"

    classifier = whole_image_network(NETWORKS[0])
    image, target = several(classifier, data_directory() / arguments.several), torch.tensor([arguments.several_class])
    rounds = list(RecursiveGlas("fine-grained").recursions(PreparedClassifier(classifier), image, target))
    chosen = [*rounds[: SHOWN - 1], rounds[-1]] if len(rounds) >= SHOWN else rounds
    second = row(image, [found.fused for found in chosen], arguments.maps_only)
    name = classifier.class_names[arguments.several_class].split(",")[0]
    left = ", ".join(f"{found.scores.item():.2f}" for found in chosen)
    numbers = ", ".join(str(found.rounds.item()) for found in chosen)
    below = f"{name}, after rounds {numbers} of RGLAS; score left {left}"
    draw([first, second], [""] * len(first), [caption, below], halves=1).save(arguments.path)


def row(image: Tensor, maps: list[Tensor], maps_only: bool) -> list[np.ndarray]:
    """The photograph and its maps over it, `[H,W,3]`; or the maps alone, over gray."""
    pixels = image[0].permute(1, 2, 0).mul(255).byte().numpy()
    below = np.full_like(pixels, 128) if maps_only else pixels
    shown = [overlay(below, saliency[0, 0].mul(255).byte().numpy()) / 255 for saliency in maps]
    return shown if maps_only else [pixels / 255, *shown]


def several(classifier: Classifier, path: Path) -> Tensor:
    """The photograph with several instances, `[1,3,S,S]`."""
    return classifier.preprocessing.analyzed_image(read_image(str(path)).image).float().div(255)[None]


if __name__ == "__main__":
    main()
