"""A contact sheet of FGVis like Fig. 2 of its paper, of real photographs; keep it out of the project.

    VISUAL_SUMMARIES_DATA=… python benchmarks/fgvis_sheet.py --output sheet.png --game deletion --photographs 4

A row per photograph: photograph, mask, explanation, complementary mask, explanation of the complementary mask, mean
over colors. Masks are drawn as they are, a gray world where nothing is kept.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from photographs import NETWORKS, correct_photographs, network
from PIL import Image, ImageDraw
from torch import Tensor

from pipeline.explain.engine import Item, explain_stream
from pipeline.explain.fgvis import GAMES, FGVis, views
from pipeline.models.preparation import PreparedClassifier, keep_freed_memory

CAPTION = 14


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--game", choices=GAMES, default="deletion")
    parser.add_argument("--network", choices=NETWORKS, default=NETWORKS[0])
    parser.add_argument("--photographs", type=int, default=4)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    classifier = network(arguments.network)
    prepared = PreparedClassifier(classifier)
    chosen = correct_photographs(classifier, arguments.photographs)
    stream = [Item(number, photograph.image, photograph.target) for number, photograph in enumerate(chosen)]
    rows: list[Tensor | None] = [None] * len(chosen)
    captions = [""] * len(chosen)
    for number, explanation in explain_stream(FGVis(arguments.game), prepared, stream, prepared.device):
        image = chosen[number].image[None]
        seen = views(arguments.game, image, explanation.saliency, prepared.reference)
        pictures = [image, seen.mask, seen.explanation, seen.complementary_mask, seen.complementary_explanation]
        rows[number] = torch.cat([*pictures, seen.mean_mask.expand_as(image)], dim=3)[0]
        captions[number] = (
            f"{classifier.class_names[chosen[number].target]}: score {explanation.score_before.item():.3f} -> "
            f"{explanation.score_after.item():.3f}, saliency {explanation.saliency.mean().item():.4f}, "
            f"{explanation.iterations.item()} passes"
        )
        print(f"{chosen[number].name}: {captions[number]}", flush=True)
    save_sheet(rows, captions, arguments.output)


def save_sheet(rows: list[Tensor], captions: list[str], path: Path) -> None:
    """Rows of pictures `[3,H,W]` in [0,1], each under its caption, as one image."""
    height, width = rows[0].shape[1:]
    sheet = Image.new("RGB", (width, (height + CAPTION) * len(rows)), "white")
    draw = ImageDraw.Draw(sheet)
    for number, (row, caption) in enumerate(zip(rows, captions, strict=True)):
        top = number * (height + CAPTION)
        draw.text((2, top + 1), caption, fill="black")
        pixels = row.clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).numpy()
        sheet.paste(Image.fromarray(np.ascontiguousarray(pixels)), (0, top + CAPTION))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)


if __name__ == "__main__":
    main()
