"""The demo set: illustrated things made of named parts, of which it is known what makes each its class.

Every class has one to three *discriminative* parts. Such a part occurs in its class only, and its fine pattern on no
other; everything else (bodies, wings, wheels, cabs, background, all colors) is shared or random and says nothing about
the class. The two birds differ in one part only, and so do the two locomotives.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from visual_summaries.pipeline.data.demo import birds, others, scenery, vehicles
from visual_summaries.pipeline.data.demo.drawing import (
    IMAGE_SIZE,
    SUPERSAMPLING,
    Fill,
    Piece,
    Placement,
    bounds,
    ellipse,
    finish,
    paint,
    paint_labels,
    pixel_boxes,
)

_THINGS: dict[str, Callable[[np.random.Generator], list[Piece]]] = {
    "crested bird": birds.crested_bird,
    "fan-tailed bird": birds.fan_tailed_bird,
    "steam locomotive": vehicles.steam_locomotive,
    "electric locomotive": vehicles.electric_locomotive,
    "pick-up": vehicles.pickup,
    "saxophone": others.saxophone,
    "hot-air balloon": vehicles.balloon,
    "butterfly": others.butterfly,
}
_FLYING = ("hot-air balloon", "butterfly")

CLASS_NAMES: tuple[str, ...] = tuple(_THINGS)
NONE_OF_THESE = "none of these"
NETWORK_CLASS_NAMES: tuple[str, ...] = (*CLASS_NAMES, NONE_OF_THESE)


@dataclass(frozen=True)
class Part:
    """A drawn part: box float32 [4] = x0, y0, x1, y1 in pixels, half-open, around what can be seen of it."""

    name: str
    box: np.ndarray
    discriminative: bool


@dataclass(frozen=True)
class Scene:
    """A picture and its truth.

    image: uint8 [128,128,3], RGB; class_name: the thing shown; parts: in the order of painting;
    part_map: uint8 [128,128], 1 + the index of the part that is uppermost at a pixel, 0 where there is none.
    """

    image: np.ndarray
    class_name: str
    parts: list[Part]
    part_map: np.ndarray


def render(
    class_name: str, seed: int, without: Collection[str] = (), mirrored: bool | None = None
) -> Scene:
    """Draw the scene of this class with this number; the same arguments give the same bytes.

    without: names of parts to leave out; nothing else in the picture changes. mirrored: whether the thing faces the
    other way; half of the scenes when None. Raises ValueError for an unknown class or part name.
    """
    random, pieces = _build(class_name, seed)
    unknown = set(without) - {piece.name for piece in pieces}
    if unknown:
        raise ValueError(f"{class_name!r} has no part {', '.join(sorted(unknown))}")
    flying = class_name in _FLYING
    ground = random.uniform(84, 104)
    placement = _place(random, pieces, ground, flying, mirrored)
    pieces = [placement.piece(piece) for piece in pieces]

    canvas, haze = scenery.sky(random)
    background, shade = scenery.behind(random, haze, ground)
    foreground = scenery.in_front(random)
    x0, _, x1, y1 = bounds(pieces)
    if not flying:
        background.append(Fill(ellipse((x0 + x1) / 2, y1 - 0.5, 0.44 * (x1 - x0), 2.8), shade))
    shown = [piece for piece in pieces if piece.name not in without]
    paint(canvas, background)
    paint(canvas, (fill for piece in shown for fill in piece.fills))
    paint(canvas, foreground)
    labels = paint_labels(shown)
    boxes = pixel_boxes(labels, len(shown))
    parts = [Part(piece.name, box, piece.discriminative) for piece, box in zip(shown, boxes, strict=True)]
    middle = slice(SUPERSAMPLING // 2, None, SUPERSAMPLING)
    return Scene(finish(canvas), class_name, parts, np.ascontiguousarray(labels[middle, middle]))


def discriminative_parts(class_name: str) -> tuple[str, ...]:
    """Names of the class's discriminative parts. Raises ValueError for an unknown class."""
    return tuple(piece.name for piece in _build(class_name, 0)[1] if piece.discriminative)


def write_demo_set(directory: str | Path, images_per_class: int, seed: int) -> None:
    """Write `<class name>/<index>.png` for every class, and `parts.csv` with the truth, into the directory.

    parts.csv: file (relative to the directory), class, part, x0, y0, x1, y1 (pixels, half-open), discriminative
    (true or false). Picture i of a class is `render(class, seed * 1_000_003 + i, mirrored=False)`: all things of a
    class face one way, because proposal flow, which the summaries rest on, does not match mirror images (visual
    summaries paper, footnote 1). The network was trained on both.
    """
    directory = Path(directory)
    digits = max(3, len(str(max(images_per_class - 1, 0))))
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "parts.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["file", "class", "part", "x0", "y0", "x1", "y1", "discriminative"])
        for class_name in CLASS_NAMES:
            (directory / class_name).mkdir(exist_ok=True)
            for index in range(images_per_class):
                scene = render(class_name, seed * 1_000_003 + index, mirrored=False)
                name = f"{class_name}/{index:0{digits}d}.png"
                Image.fromarray(scene.image).save(directory / name)
                for part in scene.parts:
                    box = (f"{value:g}" for value in part.box)
                    table.writerow([name, class_name, part.name, *box, str(part.discriminative).lower()])


def _build(class_name: str, seed: int) -> tuple[np.random.Generator, list[Piece]]:
    """The thing in its own coordinates, and the scene's generator, to go on with."""
    if class_name not in _THINGS:
        raise ValueError(f"unknown demo class {class_name!r}; choose one of {', '.join(CLASS_NAMES)}")
    random = np.random.Generator(np.random.PCG64([seed, CLASS_NAMES.index(class_name)]))
    return random, _THINGS[class_name](random)


def _place(
    random: np.random.Generator, pieces: list[Piece], ground: float, flying: bool, mirrored: bool | None
) -> Placement:
    """Size, turn, flip and shift, such that the thing lies inside the picture, on the ground if it cannot fly."""
    margin = 3.0
    angle, flipped, scale = random.uniform(-0.1, 0.1), bool(random.random() < 0.5), random.uniform(0.92, 1.15)
    flipped = flipped if mirrored is None else mirrored
    turned = [Placement(1.0, angle, flipped).piece(piece) for piece in pieces]
    x0, y0, x1, y1 = bounds(turned)
    room = IMAGE_SIZE - 2 * margin
    scale = min(scale, room / (x1 - x0), (IMAGE_SIZE - 8 - margin) / (y1 - y0))
    free_x = room - scale * (x1 - x0)
    shift_x = margin + random.random() * free_x - scale * x0
    if flying:
        shift_y = margin + random.random() * (IMAGE_SIZE - 8 - margin - scale * (y1 - y0)) - scale * y0
    else:
        bottom = max(min(ground + random.uniform(7, 17), IMAGE_SIZE - 8), margin + scale * (y1 - y0))
        shift_y = bottom - scale * y1
    return Placement(scale, angle, flipped, (shift_x, shift_y))
