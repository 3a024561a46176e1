"""A contact sheet of FGVis like Fig. 2 of its paper: masks and explanations of a game.

    VISUAL_SUMMARIES_DATA=../shared/data python benchmarks/fgvis_sheet.py sheet.png
    VISUAL_SUMMARIES_DATA=../shared/data python benchmarks/fgvis_sheet.py masks.webp --masks-only
    python benchmarks/fgvis_sheet.py demo.webp --demo

`--masks-only` leaves out what shows the photographs, for where they may not be shown; `--demo` takes the built-in demo
set.
"""

import argparse

import numpy as np
import torch
from mask_sheet import demo_photographs, draw
from photographs import NETWORKS, correct_photographs, network
from torch import Tensor

from visual_summaries.pipeline.explain.engine import Item, explain_stream
from visual_summaries.pipeline.explain.fgvis import FGVis, views
from visual_summaries.pipeline.explain.fgvis_settings import GAMES
from visual_summaries.pipeline.models.loading import load_classifier
from visual_summaries.pipeline.models.preparation import PreparedClassifier, keep_freed_memory

COLUMNS = ("photograph", "mask", "explanation", "complementary mask", "its explanation", "mean mask, brightened")
MASKS = (1, 3, 5)


def main() -> None:
    """Read the command line, explain, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", help="picture to write")
    parser.add_argument("--game", choices=GAMES, default="deletion")
    parser.add_argument("--network", choices=NETWORKS, default=NETWORKS[0])
    parser.add_argument("--photographs", type=int, default=8)
    parser.add_argument("--demo", action="store_true", help="the demo set and its network")
    parser.add_argument("--masks-only", action="store_true", help="leave the photographs out")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    classifier = load_classifier("demo") if arguments.demo else network(arguments.network)
    if arguments.demo:
        chosen = demo_photographs(classifier)[: arguments.photographs]
    else:
        chosen = correct_photographs(classifier, arguments.photographs - 3, 1)
    prepared = PreparedClassifier(classifier)
    stream = [Item(number, photograph.image, photograph.target) for number, photograph in enumerate(chosen)]
    found = dict(explain_stream(FGVis(arguments.game), prepared, stream, prepared.device))
    pictures, captions = [], []
    for number, photograph in enumerate(chosen):
        explanation, image = found[number], photograph.image[None]
        seen = views(arguments.game, image, explanation.saliency, prepared.baseline)
        masks = [seen.mask, seen.explanation, seen.complementary_mask, seen.complementary_explanation]
        pictures.append([shown(image), *map(shown, masks), brightened(seen.mean_mask)])
        before, after = explanation.score_before.item(), explanation.score_after.item()
        captions.append(
            f"{classifier.class_names[photograph.target].split(',')[0]}: score {before:.3f} to {after:.3f}, "
            f"saliency {explanation.saliency.mean():.1%}, {explanation.iterations.item()} passes"
        )
    names = list(COLUMNS)
    if arguments.masks_only:
        pictures, names = [[row[column] for column in MASKS] for row in pictures], [COLUMNS[c] for c in MASKS]
    draw(pictures, names, captions, halves=2 if arguments.masks_only else 1).save(arguments.path)


def shown(images: Tensor) -> np.ndarray:
    """`[1,3,H,W]` to `[H,W,3]`."""
    return images[0].permute(1, 2, 0).numpy()


def brightened(mean_mask: Tensor) -> np.ndarray:
    """`[1,1,H,W]` to `[H,W]`, the half percent of most salient pixels full."""
    brightest = mean_mask.flatten().quantile(0.995).clamp_min(1e-6)
    return (mean_mask[0, 0] / brightest).clamp(0, 1).numpy()


if __name__ == "__main__":
    main()
