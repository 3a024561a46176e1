"""Draw what the methods propose and the outlines of the exudates: a photograph a row, a method a column.

    VISUAL_SUMMARIES_DATA=../shared/data python benchmarks/lesion_sheet.py lesions docs/images/lesions.webp

What is proposed is the 2 % of the pixels most salient in the map blurred by σ = 2 pixels, in blue; the outlines
are orange, the circle the photograph's edge. No photograph is drawn unless `--photographs` puts one in front of each
row, for one's own eyes.
"""

import argparse
from pathlib import Path

import numpy as np
from lesion_maps import METHODS, path_of, shown
from lesion_network import BLACK, outlined, photographs, picture
from lesion_tables import blurred
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from visual_summaries.pipeline.summarize.regions import salient_pixels

DRAWN = ("fgvis", "gradient", "guided backpropagation", "grad-cam")
BLUR, SHARE = 2.0, 0.02
PAPER, PROPOSED, OUTLINE, EDGE, INK = (255, 255, 255), (47, 95, 190), (235, 110, 0), (170, 170, 170), (30, 30, 30)
CAPTION, GAP = 22, 6


def drawing(proposed: np.ndarray, exudates: np.ndarray, retina: np.ndarray) -> np.ndarray:
    """Masks `[H,W]` bool as a picture uint8 `[H,W,3]`."""
    sheet = np.full((*proposed.shape, 3), PAPER, np.uint8)
    sheet[retina & ~ndimage.binary_erosion(retina, iterations=2)] = EDGE
    sheet[proposed] = PROPOSED
    sheet[ndimage.binary_dilation(exudates, iterations=2) & ~exudates] = OUTLINE
    return sheet


def main() -> None:
    """Read the command line and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where lesion_maps.py wrote")
    parser.add_argument("path", help="picture to write")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(DRAWN))
    parser.add_argument("--rows", type=int, default=5)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--width", type=int, default=240, help="of a tile, pixels")
    parser.add_argument("--photographs", action="store_true", help="draw the photographs, too")
    arguments = parser.parse_args()
    own, rows = photographs(), []
    for number in shown(arguments.folder):
        name = own.names[number]
        paths = [path_of(arguments.folder, method, name) for method in arguments.methods]
        if not all(path.exists() for path in paths):
            continue
        image, exudates = picture(name).numpy(), outlined(name)
        retina = ndimage.binary_fill_holes(ndimage.binary_opening(image.max(axis=0) > BLACK, iterations=2))
        maps = [blurred(np.load(path).astype(np.float32), BLUR) for path in paths]
        tiles = [drawing(salient_pixels(one, share=SHARE), exudates, retina) for one in maps]
        rows.append(([(255 * image).astype(np.uint8).transpose(1, 2, 0)] if arguments.photographs else []) + tiles)
    rows = rows[arguments.first : arguments.first + arguments.rows]
    if not rows:
        raise SystemExit(f"{arguments.folder}: no photograph has maps of all of {', '.join(arguments.methods)}")
    names = (["photograph"] if arguments.photographs else []) + arguments.methods
    width = arguments.width
    height = round(width * rows[0][0].shape[0] / rows[0][0].shape[1])
    sheet = Image.new("RGB", (len(names) * (width + GAP), CAPTION + len(rows) * (height + GAP)), PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for column, name in enumerate(names):
        pen.text((column * (width + GAP) + 4, 3), name, INK, font)
        for line, tiles in enumerate(rows):
            tile = Image.fromarray(tiles[column]).resize((width, height), Image.Resampling.LANCZOS)
            sheet.paste(tile, (column * (width + GAP), CAPTION + line * (height + GAP)))
    sheet.save(arguments.path)


if __name__ == "__main__":
    main()
