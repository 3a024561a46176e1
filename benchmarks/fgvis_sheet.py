"""A contact sheet of FGVis like Fig. 2 of its paper: masks and explanations of a game.

    VISUAL_SUMMARIES_DATA=../shared/data python benchmarks/fgvis_sheet.py sheet.png
    VISUAL_SUMMARIES_DATA=../shared/data python benchmarks/fgvis_sheet.py masks.webp --masks-only
    python benchmarks/fgvis_sheet.py demo.webp --demo
    python benchmarks/fgvis_sheet.py games.webp --demo --game all

`--game all` draws of each of the four games what shows the evidence, and the mean mask. `--masks-only` leaves out what
shows the photographs, for where they may not be shown; `--demo` takes the built-in demo set.
"""

import argparse

import numpy as np
import torch
from mask_sheet import demo_photographs, draw
from photographs import NETWORKS, Photograph, correct_photographs, network
from torch import Tensor

from visual_summaries.pipeline.explain.engine import Item, explain_stream
from visual_summaries.pipeline.explain.fgvis import FGVis, views
from visual_summaries.pipeline.explain.fgvis_settings import GAMES
from visual_summaries.pipeline.explain.interface import Explanation
from visual_summaries.pipeline.models.loading import load_classifier
from visual_summaries.pipeline.models.preparation import PreparedClassifier, keep_freed_memory

COLUMNS = ("photograph", "mask", "explanation", "complementary mask", "its explanation", "mean mask, brightened")
MASKS = (1, 3, 5)
ALL = "all"


def main() -> None:
    """Read the command line, explain, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", help="picture to write")
    parser.add_argument("--game", choices=(*GAMES, ALL), default="deletion")
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
    class_names = [name.split(",")[0] for name in classifier.class_names]
    if arguments.game == ALL:
        pictures, names, captions = all_games(prepared, chosen, class_names)
        if arguments.masks_only:
            pictures, names = [row[2::2] for row in pictures], names[2::2]
    else:
        pictures, names, captions = one_game(prepared, chosen, class_names, arguments.game)
        if arguments.masks_only:
            pictures, names = [[row[column] for column in MASKS] for row in pictures], [COLUMNS[c] for c in MASKS]
    draw(pictures, names, captions, halves=2 if arguments.masks_only else 1).save(arguments.path)


def one_game(
    prepared: PreparedClassifier, chosen: list[Photograph], class_names: list[str], game: str
) -> tuple[list[list[np.ndarray]], list[str], list[str]]:
    """Pictures in the columns of Fig. 2, the columns' names, and a caption for each photograph."""
    pictures, captions = [], []
    for photograph, explanation in zip(chosen, explained(prepared, chosen, game), strict=True):
        image = photograph.image[None]
        seen = views(game, image, explanation.saliency, prepared.baseline)
        masks = [seen.mask, seen.explanation, seen.complementary_mask, seen.complementary_explanation]
        pictures.append([shown(image), *map(shown, masks), brightened(seen.mean_mask)])
        before, after = explanation.score_before.item(), explanation.score_after.item()
        captions.append(
            f"{class_names[photograph.target]}: score {before:.3f} to {after:.3f}, "
            f"saliency {explanation.saliency.mean():.1%}, {explanation.iterations.item()} passes"
        )
    return pictures, list(COLUMNS), captions


def all_games(
    prepared: PreparedClassifier, chosen: list[Photograph], class_names: list[str]
) -> tuple[list[list[np.ndarray]], list[str], list[str]]:
    """As `one_game`: of each game the evidence on the mean color, and the mean mask."""
    pictures = [[shown(photograph.image[None])] for photograph in chosen]
    saliencies: list[list[str]] = [[] for _ in chosen]
    names = ["photograph"]
    for game in GAMES:
        names += [game, "mean mask, brightened"]
        for number, explanation in enumerate(explained(prepared, chosen, game)):
            seen = views(game, chosen[number].image[None], explanation.saliency, prepared.baseline)
            pictures[number] += [shown(seen.evidence), brightened(seen.mean_mask)]
            missed = "" if explanation.diagnostics["reached"] else ", goal missed"
            saliencies[number].append(f"{game} {explanation.saliency.mean():.1%}{missed}")
    captions = [
        f"{class_names[photograph.target]}: saliency {'; '.join(found)}"
        for photograph, found in zip(chosen, saliencies, strict=True)
    ]
    return pictures, names, captions


def explained(prepared: PreparedClassifier, chosen: list[Photograph], game: str) -> list[Explanation]:
    stream = [Item(number, photograph.image, photograph.target) for number, photograph in enumerate(chosen)]
    found = dict(explain_stream(FGVis(game), prepared, stream, prepared.device))
    return [found[number] for number in range(len(chosen))]


def shown(images: Tensor) -> np.ndarray:
    """`[1,3,H,W]` to `[H,W,3]`."""
    return images[0].permute(1, 2, 0).numpy()


def brightened(mean_mask: Tensor) -> np.ndarray:
    """`[1,1,H,W]` to `[H,W]`, the half percent of most salient pixels full."""
    brightest = mean_mask.flatten().quantile(0.995).clamp_min(1e-6)
    return (mean_mask[0, 0] / brightest).clamp(0, 1).numpy()


if __name__ == "__main__":
    main()
