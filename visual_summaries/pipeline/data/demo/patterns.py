"""The fine patterns that tell discriminative parts apart, with periods of 3 to 8 pixels.

Each function covers the rectangle of `box` = (x0, y0, x1, y1) with marks: polygons to be painted in turn, each with
True for the marks' color or False for the base color. No two kinds of part share a pattern, and nothing else in the
pictures has one.
"""

from __future__ import annotations

from itertools import product

import numpy as np

from visual_summaries.pipeline.data.demo.drawing import Color, Fill, ellipse, rectangle, ribbon

Box = tuple[float, float, float, float]
Marks = list[tuple[np.ndarray, bool]]


def patterned(outline: np.ndarray, marks: Marks, colors: tuple[Color, Color]) -> Fill:
    """The outline in the first color, with the marks in the second (and their False ones in the first)."""
    return Fill(outline, colors[0], tuple((points, colors[int(is_mark)]) for points, is_mark in marks))


def _steps(low: float, high: float, step: float) -> np.ndarray:
    """Multiples of the step around the middle of [low, high], reaching past both ends."""
    count = int(np.ceil((high - low) / step / 2)) + 1
    return (low + high) / 2 + step * np.arange(-count, count + 1)


def arcs(center: tuple[float, float], radius: float, period: float = 4.6) -> Marks:
    """Discs around `center`, from large to small, to be painted in turns (True: as a mark)."""
    radii = np.arange(radius, 0, -period / 2)
    return [(ellipse(*center, float(r)), bool(i % 2)) for i, r in enumerate(radii)]


def eyespots(box: Box, period: float = 7.2) -> Marks:
    """Staggered rings with a dot inside."""
    x0, y0, x1, y1 = box
    spots: Marks = []
    for row, y in enumerate(_steps(y0, y1, period * 0.87)):
        for x in _steps(x0, x1, period):
            x = x + (row % 2) * period / 2
            spots += [(ellipse(x, y, 3.1), True), (ellipse(x, y, 2.0), False), (ellipse(x, y, 1.05), True)]
    return spots


def bricks(box: Box, length: float = 7.0, height: float = 4.2, joint: float = 1.3) -> Marks:
    """Bricks in running bond."""
    x0, y0, x1, y1 = box
    marks: Marks = []
    for row, y in enumerate(_steps(y0, y1, height)):
        for x in _steps(x0, x1, length):
            x = x + (row % 2) * length / 2
            marks.append((rectangle(x, y, x + length - joint, y + height - joint), True))
    return marks


def lattice(box: Box, period: float = 6.0, width: float = 1.5) -> Marks:
    """Two families of thin diagonal bars."""
    x0, y0, x1, y1 = box
    height = y1 - y0
    marks: Marks = []
    for x in _steps(x0 - height, x1 + height, period * 1.15):
        for way in (1, -1):
            marks.append((ribbon([(x, y0 - 2), (x + way * (height + 4), y1 + 2)], width), True))
    return marks


def scallops(box: Box, period: float = 6.0) -> Marks:
    """Overlapping scales, each with a rim."""
    x0, y0, x1, y1 = box
    scales: Marks = []
    for row, y in reversed(list(enumerate(_steps(y0, y1, period * 0.62)))):
        for x in _steps(x0, x1, period):
            x = x + (row % 2) * period / 2
            scales += [(ellipse(x, y, period * 0.56), True), (ellipse(x, y - 0.3, period * 0.34), False)]
    return scales


def dots(box: Box, period: float = 4.8, radius: float = 1.55) -> Marks:
    """A square grid of round dots."""
    x0, y0, x1, y1 = box
    return [(ellipse(x, y, radius), True) for x, y in product(_steps(x0, x1, period), _steps(y0, y1, period))]


def herringbone(box: Box, period: float = 4.4, column: float = 6.0) -> Marks:
    """Columns of slanted strokes that change direction from column to column."""
    x0, y0, x1, y1 = box
    marks: Marks = []
    for index, x in enumerate(_steps(x0, x1, column)):
        rise = 3.6 if index % 2 else -3.6
        for y in _steps(y0 - 4, y1 + 4, period):
            thick = period / 2
            stroke = np.array([[x, y], [x + column, y + rise], [x + column, y + rise + thick], [x, y + thick]])
            marks.append((stroke, True))
    return marks


def checks(box: Box, period: float = 7.0) -> Marks:
    """A chessboard."""
    x0, y0, x1, y1 = box
    half = period / 2
    columns, rows = _steps(x0, x1, half), _steps(y0, y1, half)
    return [
        (rectangle(x, y, x + half, y + half), True)
        for (i, x), (j, y) in product(enumerate(columns), enumerate(rows))
        if (i + j) % 2
    ]


def triangles(box: Box, width: float = 5.4, height: float = 5.0) -> Marks:
    """Rows of triangles, like bunting."""
    x0, y0, x1, y1 = box
    return [
        (np.array([[x, y], [x + width, y], [x + width / 2, y + height]]), True)
        for x, y in product(_steps(x0, x1, width), _steps(y0, y1, height))
    ]


def weave(box: Box, cell: float = 5.6) -> Marks:
    """Squares of two bars each, upright and level in turns."""
    x0, y0, x1, y1 = box
    bar = cell / 4
    marks: Marks = []
    for (i, x), (j, y) in product(enumerate(_steps(x0, x1, cell)), enumerate(_steps(y0, y1, cell))):
        for offset in (bar / 2, 2.5 * bar):
            if (i + j) % 2:
                marks.append((rectangle(x + offset, y, x + offset + bar, y + cell), True))
            else:
                marks.append((rectangle(x, y + offset, x + cell, y + offset + bar), True))
    return marks


def dashes(box: Box, period: float = 4.6, length: float = 5.6, width: float = 2.1) -> Marks:
    """Staggered short strokes, all along the way from the box's lower right to its upper left corner."""
    x0, y0, x1, y1 = box
    along = np.array([x0 - x1, y0 - y1]) / np.hypot(x1 - x0, y1 - y0)
    across = np.array([-along[1], along[0]])
    center = np.array([(x0 + x1) / 2, (y0 + y1) / 2])
    reach = np.hypot(x1 - x0, y1 - y0) / 2
    marks: Marks = []
    for row, v in enumerate(_steps(-reach, reach, period)):
        for u in _steps(-reach, reach, length + 2):
            middle = center + v * across + (u + (row % 2) * (length + 2) / 2) * along
            marks.append(
                (
                    ribbon([middle - along * (length - width) / 2, middle + along * (length - width) / 2], width),
                    True,
                )
            )
    return marks


def crosses(box: Box, period: float = 6.2, arm: float = 2.3, width: float = 1.6) -> Marks:
    """Staggered plus signs."""
    x0, y0, x1, y1 = box
    half = width / 2
    marks: Marks = []
    for row, y in enumerate(_steps(y0, y1, period * 0.8)):
        for x in _steps(x0, x1, period):
            x = x + (row % 2) * period / 2
            marks.append((rectangle(x - arm, y - half, x + arm, y + half), True))
            marks.append((rectangle(x - half, y - arm, x + half, y + arm), True))
    return marks
