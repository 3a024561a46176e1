"""One row of maps for each of a few pictures of the demo set: what the methods show of the same network.

    python benchmarks/method_sheet.py docs/images/methods.webp

Each method has its default settings, but for fewer masks of `rise`.
"""

import argparse

import numpy as np
import torch
from mask_sheet import demo_photographs, draw
from PIL import Image
from torch import Tensor

from visual_summaries.pipeline.explain.registry import make_explainer
from visual_summaries.pipeline.models.loading import load_classifier
from visual_summaries.pipeline.models.preparation import PreparedClassifier, keep_freed_memory
from visual_summaries.pipeline.report.pictures import overlay

METHODS = (
    "crisp", "fgvis", "glas", "rise", "occlusion", "lime", "grad-cam", "feature-cam", "gradient",
    "integrated-gradients",
)
# One picture and this many maps a line.
LINE = 5
CLASSES = ("saxophone", "butterfly", "steam locomotive")


def main() -> None:
    """Read the command line, explain, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", help="picture to write")
    parser.add_argument("--masks", type=int, default=1000, help="of rise")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    classifier = load_classifier("demo")
    found = {classifier.class_names[one.target]: one for one in demo_photographs(classifier)}
    images = torch.stack([found[name].image for name in CLASSES])
    targets = torch.tensor([found[name].target for name in CLASSES])
    prepared = PreparedClassifier(classifier)
    settings = {"crisp": ("robust",), "rise": (arguments.masks,)}
    maps = {}
    for method in METHODS:
        found_maps = make_explainer(method, *settings.get(method, ())).explain(prepared, images, targets).saliency
        maps[method] = found_maps.mean(dim=1)
        print(method, flush=True)
    sheets = []
    for some in (METHODS[:LINE], METHODS[LINE:]):
        pictures = [
            [pixels(image), *(over(image, maps[method][row]) for method in some)] for row, image in enumerate(images)
        ]
        sheets.append(np.asarray(draw(pictures, ["picture", *some], list(CLASSES), halves=1)))
    Image.fromarray(np.concatenate(sheets)).save(arguments.path)


def pixels(image: Tensor) -> np.ndarray:
    return image.permute(1, 2, 0).numpy()


def over(image: Tensor, saliency: Tensor) -> np.ndarray:
    """A map over its picture, `[H,W,3]` in [0,1]; the brightest half percent is full."""
    full = saliency.flatten().quantile(0.995).clamp(min=1e-12)
    shown = saliency.div(full).clamp(0, 1).mul(255).byte().numpy()
    return overlay((pixels(image) * 255).astype(np.uint8), shown) / 255


if __name__ == "__main__":
    main()
