"""The picture of the page on shortcuts: marks on drawn pictures, and the summaries that runs found on marks.

    VISUAL_SUMMARIES_DATA=../shared/data python benchmarks/shortcut_sheet.py FOLDER docs/images/shortcuts.webp \\
        --rows photos:mobilenet_v2:0:n01531178:12 …

FOLDER is that of benchmarks/shortcuts.py, each row a class of one of its suites, in a run on so many photographs a
class. At the left is the mark on two pictures of the demo set; then the members of the first summary on the mark, in
the order of the class page. Of the photographs, which belong to their owners, the mark alone is shown, where it is
salient; other salient pixels are gray, those of the member darker.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage
from shortcut_judging import MOST, share_on_mark
from shortcut_marks import plant
from shortcut_networks import SIDE, photographs
from shortcuts import Suite, explain_settings, mark_of, planted_run

from visual_summaries.pipeline.data.demo.scenes import write_demo_set
from visual_summaries.pipeline.stages.members import member_pixels
from visual_summaries.pipeline.stages.regions import salient_mask
from visual_summaries.pipeline.store.tables import TableStore

TILE, GAP, TITLE, DRAWN = 128, 6, 24, 2
EMPTY, SALIENT, MEMBER, INK, RED = 246, 214, 150, (70, 70, 70), (200, 16, 46)


def drawn_tiles(folder: Path, kind: str, row: int) -> list[Image.Image]:
    """The mark on `DRAWN` pictures of the demo set, other classes in each row."""
    classes = sorted(path for path in folder.iterdir() if path.is_dir())
    tiles = []
    for at in range(DRAWN):
        file = sorted(classes[(DRAWN * row + at) % len(classes)].iterdir())[row % 2]
        picture = Image.open(file).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        tiles.append(Image.fromarray(plant(kind, np.array(picture), row * DRAWN + at).picture))
    return tiles


def member_tile(picture: np.ndarray, salient: np.ndarray, pixels: np.ndarray, mark: np.ndarray) -> Image.Image:
    """One member, outlined in red: salient pixels of the mark in color, others gray, darker in the member."""
    shown = np.full_like(picture, EMPTY)
    shown[salient], shown[pixels] = SALIENT, MEMBER
    shown[salient & mark] = picture[salient & mark]
    edge = ndimage.binary_dilation(pixels, iterations=2) & ~pixels
    shown[edge] = RED
    return Image.fromarray(shown)


def found_tiles(folder: Path, suite: Suite, label: str, most: int) -> tuple[str, list[Image.Image]]:
    """What the row is called, and the members of the class's first summary on the mark."""
    store = TableStore(folder)
    uris = {row["image_id"]: row["uri"] for row in store.read_all("images", ["image_id", "uri"]).to_pylist()}
    maps = store.read_all("maps", None, label).to_pylist()
    salient = {row["image_id"]: salient_mask(row, explain_settings(())) for row in maps}
    kind = suite.planted[photographs(suite.photographs).names.index(label)]
    marks = {image: mark_of(kind, uris[image]) for image in salient}
    members = store.read_all("members", None, label).to_pylist()
    summaries = [row for row in store.read_all("summaries", None, label).to_pylist() if row["kept"]]
    for one in sorted(summaries, key=lambda row: row["summary"]):
        own = [row for row in members if row["cluster"] == one["cluster"] and row["kept"]]
        if share_on_mark(own, salient, marks) > MOST:
            break
    else:
        raise SystemExit(f"{folder}: no summary of {label} is on the mark")
    tiles = []
    for row in sorted(own, key=lambda row: row["rank"])[:most]:
        image = row["image_id"]
        picture = np.array(Image.open(uris[image]))
        tiles.append(member_tile(picture, salient[image], member_pixels(row, salient[image]), marks[image]))
    return f"summary {one['summary'] + 1} of {len(summaries)}, in {len(own)} of {len(salient)} photographs", tiles


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--rows", nargs="+", required=True, help="set:network:planting:label:images")
    parser.add_argument("--members", type=int, default=6, help="shown, at most")
    arguments = parser.parse_args()
    width = (DRAWN + arguments.members) * (TILE + GAP) + 3 * GAP
    sheet = Image.new("RGB", (width, len(arguments.rows) * (TILE + TITLE + GAP)), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    with tempfile.TemporaryDirectory() as drawn:
        write_demo_set(drawn, 2, seed=0)
        for number, written in enumerate(arguments.rows):
            name, label, images = written.rsplit(":", 2)
            suite = Suite.of(name)
            kind = suite.planted[photographs(suite.photographs).names.index(label)]
            run = planted_run(suite, arguments.folder.resolve(), int(images)).output
            title, found = found_tiles(run, suite, label, arguments.members)
            top = number * (TILE + TITLE + GAP)
            pen.text((0, top + 4), f"{kind}, as planted", INK, font)
            pen.text((DRAWN * (TILE + GAP) + 3 * GAP, top + 4), title, INK, font)
            for at, tile in enumerate([*drawn_tiles(Path(drawn), kind, number), *found]):
                left = at * (TILE + GAP) + (3 * GAP if at >= DRAWN else 0)
                sheet.paste(tile.resize((TILE, TILE), Image.Resampling.LANCZOS), (left, top + TITLE))
    sheet.save(arguments.picture, quality=88)


if __name__ == "__main__":
    main()
