"""Flat shapes as polygons, and how they become antialiased pixels.

Points are float arrays [N,2] (x to the right, y down). Things are designed in a unit that is one pixel of the
finished picture at scale 1, around an origin of their own; `Placement` carries them into the picture.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

IMAGE_SIZE = 128
SUPERSAMPLING = 4

Color = tuple[int, int, int]


@dataclass(frozen=True)
class Fill:
    """One filled polygon with `marks` (smaller polygons) painted on it and clipped to its outline."""

    outline: np.ndarray
    color: Color
    marks: tuple[tuple[np.ndarray, Color], ...] = ()


@dataclass(frozen=True)
class Piece:
    """A named part of a thing: its fills in the order of painting."""

    name: str
    fills: tuple[Fill, ...]
    discriminative: bool = False


@dataclass(frozen=True)
class Placement:
    """p ↦ scale · R(angle) · diag(±1, 1) · p + shift; angles in radians, shift in pixels."""

    scale: float = 1.0
    angle: float = 0.0
    flipped: bool = False
    shift: tuple[float, float] = (0.0, 0.0)
    matrix: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        cosine, sine = np.cos(self.angle), np.sin(self.angle)
        matrix = self.scale * np.array([[cosine, -sine], [sine, cosine]])
        if self.flipped:
            matrix = matrix @ np.diag([-1.0, 1.0])
        object.__setattr__(self, "matrix", matrix)

    def __call__(self, points: np.ndarray) -> np.ndarray:
        return points @ self.matrix.T + np.asarray(self.shift)

    def fill(self, fill: Fill) -> Fill:
        if not fill.marks:
            return Fill(self(fill.outline), fill.color)
        points = self(np.concatenate([fill.outline, *(mark for mark, _ in fill.marks)]))
        ends = np.cumsum([len(fill.outline), *(len(mark) for mark, _ in fill.marks)])
        outline, *marks = np.split(points, ends[:-1])
        return Fill(outline, fill.color, tuple(zip(marks, (color for _, color in fill.marks), strict=True)))

    def piece(self, piece: Piece) -> Piece:
        return Piece(piece.name, tuple(self.fill(fill) for fill in piece.fills), piece.discriminative)


def ellipse(x: float, y: float, radius_x: float, radius_y: float | None = None, angle: float = 0.0) -> np.ndarray:
    """Outline of an ellipse around (x, y), turned by `angle` radians."""
    radius_y = radius_x if radius_y is None else radius_y
    points = _unit_circle(int(np.clip(3 * (radius_x + radius_y), 12, 64))) * [radius_x, radius_y]
    return Placement(angle=angle, shift=(x, y))(points) if angle else points + [x, y]


def rectangle(x0: float, y0: float, x1: float, y1: float, radius: float = 0.0) -> np.ndarray:
    """Outline of a rectangle, its corners rounded by `radius`."""
    if radius <= 0:
        return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], dtype=float)
    radius = min(radius, (x1 - x0) / 2, (y1 - y0) / 2)
    corners = [
        (x1 - radius, y1 - radius),
        (x0 + radius, y1 - radius),
        (x0 + radius, y0 + radius),
        (x1 - radius, y0 + radius),
    ]
    return np.concatenate([_QUARTERS[quarter] * radius + corner for quarter, corner in enumerate(corners)])


def smooth(points: Sequence[Sequence[float]], closed: bool = True, steps: int = 8) -> np.ndarray:
    """Catmull-Rom curve through the points."""
    knots = np.asarray(points, dtype=float)
    knots = np.concatenate([knots[-1:], knots, knots[:2]] if closed else [knots[:1], knots, knots[-1:]])
    a, b, c, d = (knots[i : len(knots) - 3 + i][:, None] for i in range(4))
    t = np.linspace(0, 1, steps, endpoint=False)[None, :, None]
    curve = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    curve = curve.reshape(-1, 2)
    return curve if closed else np.concatenate([curve, knots[-1:]])


def ribbon(points: np.ndarray | Sequence[Sequence[float]], width: float | Sequence[float]) -> np.ndarray:
    """Outline of a line of the given width (one value, or one at each end, interpolated), with round ends."""
    line = np.asarray(points, dtype=float)
    half = np.interp(np.linspace(0, 1, len(line)), np.linspace(0, 1, np.size(width)), np.atleast_1d(width)) / 2
    direction = np.gradient(line, axis=0)
    direction /= np.maximum(np.linalg.norm(direction, axis=1, keepdims=True), 1e-9)
    normal = np.stack([-direction[:, 1], direction[:, 0]], axis=1) * half[:, None]
    turn = np.linspace(np.pi / 2, -np.pi / 2, 6)[1:-1]

    def cap(center: np.ndarray, forward: np.ndarray, radius: float) -> np.ndarray:
        side = np.array([-forward[1], forward[0]])
        return center + radius * (np.cos(turn)[:, None] * forward + np.sin(turn)[:, None] * side)

    end = cap(line[-1], direction[-1], half[-1])
    start = cap(line[0], -direction[0], half[0])
    return np.concatenate([line + normal, end, (line - normal)[::-1], start])


def bounds(pieces: Iterable[Piece]) -> tuple[float, float, float, float]:
    """x0, y0, x1, y1 of everything the pieces paint."""
    points = np.concatenate([fill.outline for piece in pieces for fill in piece.fills])
    return (*points.min(axis=0), *points.max(axis=0))


def paint(canvas: Image.Image, fills: Iterable[Fill]) -> None:
    """Paint fills given in finished pixels onto the supersampled canvas, in place."""
    draw = ImageDraw.Draw(canvas)
    for fill in fills:
        outline = fill.outline * SUPERSAMPLING
        if not fill.marks:
            draw.polygon(_vertices(outline), fill=fill.color)
            continue
        low = np.floor(outline.min(axis=0)).clip(0, canvas.width).astype(int)
        high = np.ceil(outline.max(axis=0) + 1).clip(0, canvas.width).astype(int)
        if (high <= low).any():
            continue
        size = (int(high[0] - low[0]), int(high[1] - low[1]))
        tile = Image.new("RGB", size, fill.color)
        tile_draw = ImageDraw.Draw(tile)
        for points, color in fill.marks:
            tile_draw.polygon(_vertices(points * SUPERSAMPLING - low), fill=color)
        mask = Image.new("L", size, 0)
        ImageDraw.Draw(mask).polygon(_vertices(outline - low), fill=255)
        canvas.paste(tile, (int(low[0]), int(low[1])), mask)


def paint_labels(pieces: Iterable[Piece]) -> np.ndarray:
    """uint8 [512,512], supersampled: 1 + the index of the uppermost piece, 0 where there is none."""
    side = IMAGE_SIZE * SUPERSAMPLING
    labels = Image.new("L", (side, side), 0)
    draw = ImageDraw.Draw(labels)
    for label, piece in enumerate(pieces, start=1):
        for fill in piece.fills:
            draw.polygon(_vertices(fill.outline * SUPERSAMPLING), fill=label)
    return np.array(labels)


def pixel_boxes(labels: np.ndarray, count: int) -> np.ndarray:
    """float32 [count,4]: for each label the half-open box of the whole pixels in which it can be seen at all.

    All zeros for a label that is nowhere.
    """
    boxes = np.zeros((count, 4), dtype=np.float32)
    for index, place in enumerate(ndimage.find_objects(labels, count)):
        if place is not None:
            rows, columns = place
            low = np.array([columns.start, rows.start]) // SUPERSAMPLING
            high = -(-np.array([columns.stop, rows.stop]) // SUPERSAMPLING)
            boxes[index] = (*low, *high)
    return boxes


def finish(canvas: Image.Image) -> np.ndarray:
    """uint8 [128,128,3]: the canvas averaged down to the size of the picture."""
    return np.array(canvas.reduce(SUPERSAMPLING))


@lru_cache(maxsize=64)
def _unit_circle(count: int) -> np.ndarray:
    turn = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.stack([np.cos(turn), np.sin(turn)], axis=1)


_QUARTERS = [_unit_circle(20)[[(5 * quarter + step) % 20 for step in range(6)]] for quarter in range(4)]


def _vertices(points: np.ndarray) -> list[tuple[float, float]]:
    return [tuple(point) for point in points.tolist()]
