"""The palette of the demo pictures: flat, slightly muted colors."""

from __future__ import annotations

import numpy as np

from visual_summaries.pipeline.data.demo.drawing import Color

BODIES: tuple[Color, ...] = (
    (226, 109, 92),
    (232, 167, 77),
    (240, 196, 92),
    (143, 177, 102),
    (84, 148, 120),
    (72, 150, 163),
    (82, 121, 172),
    (116, 98, 158),
    (171, 96, 140),
    (214, 132, 140),
    (158, 110, 84),
    (120, 128, 140),
    (201, 84, 68),
    (56, 108, 118),
    (228, 214, 186),
)
LIGHTS: tuple[Color, ...] = (
    (252, 244, 222),
    (255, 232, 170),
    (250, 214, 206),
    (214, 238, 222),
    (214, 232, 248),
    (246, 226, 240),
    (255, 214, 140),
)
DARKS: tuple[Color, ...] = (
    (38, 48, 84),
    (112, 28, 44),
    (24, 74, 66),
    (74, 36, 84),
    (46, 46, 52),
    (88, 48, 28),
    (20, 72, 104),
)
INK: Color = (44, 42, 54)
STEEL: Color = (96, 102, 114)
GLASS: Color = (206, 230, 236)
LEG: Color = (214, 134, 60)


def pick(random: np.random.Generator, colors: tuple[Color, ...]) -> Color:
    """One of the colors, at random."""
    return colors[int(random.integers(len(colors)))]


def shade(color: Color, amount: float) -> Color:
    """Toward black for a negative amount, toward white for a positive one; amount in [-1, 1]."""
    target = 255 if amount > 0 else 0
    return tuple(int(round(channel + (target - channel) * abs(amount))) for channel in color)


def blend(first: Color, second: Color, share: float) -> Color:
    """The color `share` of the way from the first to the second."""
    return tuple(int(round(a + (b - a) * share)) for a, b in zip(first, second, strict=True))


def contrasting(random: np.random.Generator) -> tuple[Color, Color]:
    """A light and a dark color, in random order: base and marks of a pattern."""
    pair = pick(random, LIGHTS), pick(random, DARKS)
    return pair if random.random() < 0.5 else pair[::-1]
