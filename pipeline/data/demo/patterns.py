"""The fine patterns that tell discriminative parts apart, with periods of 3 to 8 pixels.

Each function covers the rectangle of `box` = (x0, y0, x1, y1) with marks, as a list of polygons to be painted in one
color upon another. No two kinds of part share a pattern, and nothing else in the pictures has one.
"""

from __future__ import annotations

from itertools import product

import numpy as np

from pipeline.data.demo.drawing import ellipse, rectangle, ribbon

Box = tuple[float, float, float, float]
Marks = list[np.ndarray]


def _steps(low: float, high: float, step: float) -> np.ndarray:
    """Multiples of the step around the middle of [low, high], reaching past both ends."""
    count = int(np.ceil((high - low) / step / 2)) + 1
    return (low + high) / 2 + step * np.arange(-count, count + 1)


def arcs(center: tuple[float, float], radius: float, period: float = 4.6) -> list[tuple[np.ndarray, bool]]:
    """Discs around `center`, from large to small, to be painted in turns (True: as a mark)."""
    radii = np.arange(radius, 0, -period / 2)
    return [(ellipse(*center, float(r)), bool(i % 2)) for i, r in enumerate(radii)]


def eyespots(box: Box, period: float = 7.2) -> list[tuple[np.ndarray, bool]]:
    """Staggered rings with a dot inside."""
    x0, y0, x1, y1 = box
    spots: list[tuple[np.ndarray, bool]] = []
    for row, y in enumerate(_steps(y0, y1, period * 0.87)):
        for x in _steps(x0, x1, period):
            x = x + (row % 2) * period / 2
            spots += [(ellipse(x, y, 3.1), True), (ellipse(x, y, 2.0), False), (ellipse(x, y, 1.05), True)]
    return spots


def bricks(box: Box, length: float = 7.0, height: float = 4.2, joint: float = 1.3) -> Marks:
    """Bricks in running bond."""
    x0, y0, x1, y1 = box
    marks = []
    for row, y in enumerate(_steps(y0, y1, height)):
        for x in _steps(x0, x1, length):
            x = x + (row % 2) * length / 2
            marks.append(rectangle(x, y, x + length - joint, y + height - joint))
    return marks


def lattice(box: Box, period: float = 6.0, width: float = 1.5) -> Marks:
    """Two families of thin diagonal bars."""
    x0, y0, x1, y1 = box
    height = y1 - y0
    marks = []
    for x in _steps(x0 - height, x1 + height, period * 1.15):
        marks += [ribbon([(x, y0 - 2), (x + height + 4, y1 + 2)], width), ribbon([(x, y0 - 2), (x - height - 4, y1 + 2)], width)]
    return marks


def scallops(box: Box, period: float = 6.0) -> list[tuple[np.ndarray, bool]]:
    """Overlapping scales, each with a rim."""
    x0, y0, x1, y1 = box
    scales: list[tuple[np.ndarray, bool]] = []
    for row, y in reversed(list(enumerate(_steps(y0, y1, period * 0.62)))):
        for x in _steps(x0, x1, period):
            x = x + (row % 2) * period / 2
            scales += [(ellipse(x, y, period * 0.56), True), (ellipse(x, y - 0.3, period * 0.34), False)]
    return scales


def dots(box: Box, period: float = 4.8, radius: float = 1.55) -> Marks:
    """A square grid of round dots."""
    x0, y0, x1, y1 = box
    return [ellipse(x, y, radius) for x, y in product(_steps(x0, x1, period), _steps(y0, y1, period))]


def herringbone(box: Box, period: float = 4.4, column: float = 6.0) -> Marks:
    """Columns of slanted strokes that change direction from column to column."""
    x0, y0, x1, y1 = box
    marks = []
    for index, x in enumerate(_steps(x0, x1, column)):
        rise = 3.6 if index % 2 else -3.6
        for y in _steps(y0 - 4, y1 + 4, period):
            thick = period / 2
            marks.append(np.array([[x, y], [x + column, y + rise], [x + column, y + rise + thick], [x, y + thick]]))
    return marks


def checks(box: Box, period: float = 7.0) -> Marks:
    """A chessboard."""
    x0, y0, x1, y1 = box
    half = period / 2
    columns, rows = _steps(x0, x1, half), _steps(y0, y1, half)
    return [
        rectangle(x, y, x + half, y + half)
        for (i, x), (j, y) in product(enumerate(columns), enumerate(rows))
        if (i + j) % 2
    ]


def triangles(box: Box, width: float = 5.4, height: float = 5.0) -> Marks:
    """Rows of triangles, like bunting."""
    x0, y0, x1, y1 = box
    return [
        np.array([[x, y], [x + width, y], [x + width / 2, y + height]])
        for x, y in product(_steps(x0, x1, width), _steps(y0, y1, height))
    ]


def weave(box: Box, cell: float = 5.6) -> Marks:
    """Squares of two bars each, upright and level in turns."""
    x0, y0, x1, y1 = box
    bar = cell / 4
    marks = []
    for (i, x), (j, y) in product(enumerate(_steps(x0, x1, cell)), enumerate(_steps(y0, y1, cell))):
        for offset in (bar / 2, 2.5 * bar):
            if (i + j) % 2:
                marks.append(rectangle(x + offset, y, x + offset + bar, y + cell))
            else:
                marks.append(rectangle(x, y + offset, x + cell, y + offset + bar))
    return marks
