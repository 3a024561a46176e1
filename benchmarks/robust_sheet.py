"""Draw the contact sheet of crisp masks by preset: a photograph a column, `fast`, `authors` and `robust` below it.

    VISUAL_SUMMARIES_DATA=../shared/data python benchmarks/robust_sheet.py study sheet.png --photographs
    VISUAL_SUMMARIES_DATA=../shared/data python benchmarks/robust_sheet.py study docs/images/robust-masks.webp

The maps are those that `robust_masks.py` left in the folder `study`. Without `--photographs` the photographs are left
out, for where they may not be shown.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from mask_sheet import INK, MARGIN, TILE, tile
from photographs import network
from PIL import Image, ImageDraw, ImageFont
from robust_masks import NETWORKS, maps_of, photographs

METHODS = ("fast", "authors", "robust")
LABEL, CAPTION = 62, 20


def main() -> None:
    """Read the command line and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", type=Path, help="folder of results of robust_masks.py")
    parser.add_argument("path", help="picture to write")
    parser.add_argument("--network", default="squeezenet1_1", choices=NETWORKS)
    parser.add_argument("--half", type=int, choices=(0, 1), default=1)
    parser.add_argument("--photographs", action="store_true", help="draw the photographs, too")
    arguments = parser.parse_args()
    classifier = network(arguments.network)
    with torch.no_grad():
        shown = photographs(classifier, arguments.half)
    rows: list[tuple[str, list[np.ndarray]]] = []
    if arguments.photographs:
        rows.append(("", [photograph.images["original"].permute(1, 2, 0).numpy() for photograph in shown]))
    for method in METHODS:
        stored = maps_of(arguments.study, arguments.network, method, arguments.half, "original")
        if stored is None:
            raise SystemExit(f"{arguments.study}: no maps of {arguments.network}, {method}; run robust_masks.py first")
        rows.append((method, [one[0].astype(np.float64) / 255 for one in stored["mask"]]))
    # Twice six columns: twelve in a line are too small to see.
    half = -(-len(shown) // 2)
    height = CAPTION + len(rows) * (TILE + MARGIN) + MARGIN
    sheet = Image.new("RGB", (LABEL + half * (TILE + MARGIN), 2 * height), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for number, photograph in enumerate(shown):
        left, top = LABEL + number % half * (TILE + MARGIN), number // half * height
        pen.text((left, top + 3), classifier.class_names[photograph.target].split(",")[0], INK, font)
        for line, (name, pictures) in enumerate(rows):
            corner = (left, top + CAPTION + line * (TILE + MARGIN))
            sheet.paste(tile(pictures[number]), corner)
            pen.rectangle((*corner, corner[0] + TILE - 1, corner[1] + TILE - 1), outline=(200, 200, 200))
            if number % half == 0:
                pen.text((4, corner[1] + TILE // 2), name, INK, font)
    sheet.save(arguments.path)


if __name__ == "__main__":
    main()
