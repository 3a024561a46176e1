"""Draw a contact sheet of crisp masks: photograph, rough mask, crisp mask, photograph with the mask blurred.

    VISUAL_SUMMARIES_DATA=../shared/data python benchmarks/mask_sheet.py sheet.png
    VISUAL_SUMMARIES_DATA=../shared/data python benchmarks/mask_sheet.py masks.webp --masks-only
    python benchmarks/mask_sheet.py demo.webp --demo

`--masks-only` leaves the photographs out, for where they may not be shown; `--demo` takes the built-in demo set.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from photographs import FLAT, Photograph, correct_photographs, network
from PIL import Image, ImageDraw, ImageFont

from visual_summaries.pipeline.data.decode import read_image
from visual_summaries.pipeline.data.demo.scenes import write_demo_set
from visual_summaries.pipeline.explain.crisp import PRESETS, CrispMasks
from visual_summaries.pipeline.explain.perturbation import PERTURBATIONS
from visual_summaries.pipeline.models.classifier import Classifier
from visual_summaries.pipeline.models.loading import load_classifier
from visual_summaries.pipeline.models.preparation import PreparedClassifier, keep_freed_memory

COLUMNS = ("photograph", "rough mask", "crisp mask", "salient pixels blurred")
TILE, MARGIN, HEADER, CAPTION = 150, 6, 24, 18
INK = (40, 40, 40)


def demo_photographs(classifier: Classifier) -> list[Photograph]:
    """One or two pictures of each class of the demo set."""
    chosen = []
    with tempfile.TemporaryDirectory() as folder:
        write_demo_set(Path(folder), 2, seed=3)
        for number, path in enumerate(sorted(Path(folder).rglob("*.png"))):
            image = classifier.preprocessing.analyzed_image(read_image(str(path)).image).float().div(255)
            target = int(classifier.logits(image[None]).argmax())
            # Two of every second class, one of the others: twelve.
            if number % 4 != 3:
                chosen.append(Photograph(path.name, target, image))
    return chosen


def explained(
    classifier: Classifier, photographs: list[Photograph], preset: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[float]]:
    """Rough and crisp maps `[n,H,W]`, photographs with the salient pixels blurred `[n,H,W,3]`, and drops."""
    prepared = PreparedClassifier(classifier)
    images = torch.stack([photograph.image for photograph in photographs])
    targets = torch.tensor([photograph.target for photograph in photographs])
    rough = CrispMasks(PRESETS[preset].rough_only()).explain(prepared, images, targets)
    crisp = CrispMasks(preset).explain(prepared, images, targets)
    perturbation = PERTURBATIONS[PRESETS[preset].blur]
    blurred = perturbation.apply(perturbation.prepare(images), 1 - crisp.saliency)
    drops = (1 - crisp.score_after / crisp.score_before).tolist()
    return rough.saliency[:, 0].numpy(), crisp.saliency[:, 0].numpy(), blurred.permute(0, 2, 3, 1).numpy(), drops


def tile(values: np.ndarray) -> Image.Image:
    """A picture `[H,W,3]`, or a map `[H,W]` (salient is dark), in [0,1]."""
    pixels = values if values.ndim == 3 else 1 - values
    return Image.fromarray((np.clip(pixels, 0, 1) * 255).round().astype(np.uint8)).convert("RGB").resize((TILE, TILE))


def draw(
    pictures: list[list[np.ndarray]], names: list[str], captions: list[str], halves: int = 2
) -> Image.Image:
    """The sheet: two photographs a line (or `halves`), the columns `names` for each."""
    rows = -(-len(pictures) // halves)
    width = halves * (len(names) * (TILE + MARGIN) + 2 * MARGIN) + MARGIN
    sheet = Image.new("RGB", (width, HEADER + rows * (TILE + CAPTION + MARGIN)), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    step = len(names) * (TILE + MARGIN) + 2 * MARGIN
    for half in range(halves):
        for column, name in enumerate(names):
            pen.text((MARGIN + half * step + column * (TILE + MARGIN), 5), name, INK, font)
    for number, row in enumerate(pictures):
        left, top = MARGIN + number % halves * step, HEADER + number // halves * (TILE + CAPTION + MARGIN)
        for column, values in enumerate(row):
            sheet.paste(tile(values), (left + column * (TILE + MARGIN), top))
            corner = (left + column * (TILE + MARGIN), top)
            pen.rectangle((*corner, corner[0] + TILE - 1, corner[1] + TILE - 1), outline=(200, 200, 200))
        pen.text((left, top + TILE + 1), captions[number], INK, font)
    return sheet


def main() -> None:
    """Read the command line, explain, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", help="picture to write")
    parser.add_argument("--network", default="squeezenet1_1", help="of the test data (default squeezenet1_1)")
    parser.add_argument("--preset", default="fast", choices=list(PRESETS))
    parser.add_argument("--demo", action="store_true", help="the demo set and its network")
    parser.add_argument("--masks-only", action="store_true", help="leave the photographs out")
    arguments = parser.parse_args()
    keep_freed_memory()
    classifier = load_classifier("demo") if arguments.demo else network(arguments.network)
    per_class = 2
    photographs = (
        demo_photographs(classifier)
        if arguments.demo
        else correct_photographs(classifier, 12 - per_class * len(FLAT), per_class)
    )
    rough, crisp, blurred, drops = explained(classifier, photographs, arguments.preset)
    captions = [
        f"{classifier.class_names[photograph.target].split(',')[0]}: drop {drop:.2%}, area {crisp[number].mean():.0%}"
        for number, (photograph, drop) in enumerate(zip(photographs, drops, strict=True))
    ]
    pictures = [
        [photograph.image.permute(1, 2, 0).numpy(), rough[number], crisp[number], blurred[number]]
        for number, photograph in enumerate(photographs)
    ]
    names = list(COLUMNS)
    if arguments.masks_only:
        pictures, names = [row[1:3] for row in pictures], names[1:3]
    draw(pictures, names, captions).save(arguments.path)


if __name__ == "__main__":
    main()
