"""Sky, hills, trees and the other plain things around the subject of a demo picture."""

from __future__ import annotations

import numpy as np
from PIL import Image

from visual_summaries.pipeline.data.demo.colors import BODIES, INK, LIGHTS, Color, blend, pick, shade
from visual_summaries.pipeline.data.demo.drawing import (
    IMAGE_SIZE,
    SUPERSAMPLING,
    Fill,
    Placement,
    ellipse,
    rectangle,
    ribbon,
    smooth,
)

SKIES: tuple[tuple[Color, Color], ...] = (
    ((126, 190, 226), (226, 242, 246)),
    ((104, 164, 214), (250, 232, 206)),
    ((244, 170, 132), (254, 228, 178)),
    ((150, 140, 196), (250, 204, 188)),
    ((148, 208, 200), (240, 246, 222)),
    ((70, 92, 142), (206, 178, 196)),
    ((238, 206, 190), (252, 240, 220)),
)
LANDS: tuple[Color, ...] = (
    (120, 172, 96),
    (92, 152, 104),
    (168, 184, 92),
    (206, 176, 104),
    (132, 160, 132),
    (188, 148, 120),
    (110, 146, 158),
)


def sky(random: np.random.Generator) -> tuple[Image.Image, Color]:
    """The canvas filled with a vertical gradient, and the color at its foot."""
    top, bottom = SKIES[int(random.integers(len(SKIES)))]
    side = IMAGE_SIZE * SUPERSAMPLING
    share = np.linspace(0, 1, side)[:, None] ** 0.8
    column = np.asarray(top) * (1 - share) + np.asarray(bottom) * share
    pixels = Image.fromarray(column[:, None].round().astype(np.uint8))
    return pixels.resize((side, side), Image.Resampling.NEAREST), bottom


def behind(random: np.random.Generator, haze: Color, ground: float) -> tuple[list[Fill], Color]:
    """Sun, clouds, hills, trees and the ground, whose upper edge lies near y = `ground`; and a shadow's color there."""
    fills: list[Fill] = []
    if random.random() < 0.55:
        x, y, radius = random.uniform(12, 116), random.uniform(10, 45), random.uniform(7, 13)
        sun = pick(random, ((255, 246, 214), (255, 220, 130), (250, 150, 110)))
        fills += [Fill(ellipse(x, y, radius * 1.5), blend(haze, sun, 0.35)), Fill(ellipse(x, y, radius), sun)]
    for _ in range(int(random.integers(0, 4))):
        fills += cloud(random, random.uniform(0, 128), random.uniform(6, 48), random.uniform(0.5, 1.1), haze)
    land = pick(random, LANDS)
    layers = int(random.integers(2, 4))
    for layer in range(layers):
        near = (layer + 1) / (layers + 1)
        color = blend(haze, land, 0.25 + 0.5 * near)
        level = ground - (1 - near) * random.uniform(24, 42)
        peaked = layer == 0 and random.random() < 0.4
        fills.append(Fill(_ridge(random, level, 11 * (1.2 - near), peaked), color))
        for _ in range(int(random.integers(0, 4))):
            x = random.uniform(2, 126)
            fills += tree(random, x, level + 7, random.uniform(0.5, 0.75) * (0.5 + near), shade(color, -0.18))
    fills.append(Fill(_ridge(random, ground, 1.6), blend(haze, land, 0.95)))
    fills.append(Fill(_ridge(random, ground + 9, 2.2), shade(land, -0.1)))
    for _ in range(int(random.integers(0, 3))):
        fills += distractor(random, ground)
    return fills, shade(land, -0.28)


def in_front(random: np.random.Generator) -> list[Fill]:
    """Grass and flowers along the lower edge."""
    color = shade(pick(random, LANDS), -0.25)
    fills = []
    for _ in range(int(random.integers(2, 9))):
        x, y = random.uniform(0, 128), random.uniform(122, 130)
        for tip in (-3, 0, 3):
            lean = tip + random.uniform(-1, 1)
            fills.append(
                Fill(
                    np.array([[x - 1.2 + tip / 3, y], [x + lean, y - random.uniform(4, 7)], [x + 1.2 + tip / 3, y]]),
                    color,
                )
            )
        if random.random() < 0.35:
            petals = pick(random, LIGHTS)
            fills += [Fill(ellipse(x, y - 6, 2.6), petals), Fill(ellipse(x, y - 6, 1.1), (236, 170, 60))]
    return fills


def cloud(random: np.random.Generator, x: float, y: float, scale: float, haze: Color) -> list[Fill]:
    """A cloud of overlapping discs around (x, y)."""
    color = blend((255, 255, 255), haze, random.uniform(0, 0.4))
    puffs = [(-12, 0, 7), (-4, -5, 8.5), (6, -3, 8), (14, 1, 6)]
    fills = [Fill(ellipse(x + scale * dx, y + scale * dy, scale * r), color) for dx, dy, r in puffs]
    return [*fills, Fill(rectangle(x - 18 * scale, y, x + 19 * scale, y + 7 * scale, 3.5 * scale), color)]


def tree(random: np.random.Generator, x: float, y: float, scale: float, color: Color) -> list[Fill]:
    """A conifer or a leafy tree whose foot is at (x, y)."""
    trunk = Fill(ribbon([(x, y), (x, y - 12 * scale)], 3 * scale), blend(color, (96, 66, 52), 0.6))
    if random.random() < 0.5:
        layers = [(12, 9), (20, 7.5), (27, 5.5)]
        crown = [
            np.array(
                [
                    [x - w * scale, y - (h - 8) * scale],
                    [x + w * scale, y - (h - 8) * scale],
                    [x, y - (h + 4) * scale],
                ]
            )
            for h, w in layers
        ]
    else:
        crown = [
            ellipse(x + dx * scale, y - dy * scale, r * scale) for dx, dy, r in ((-4, 16, 8), (5, 17, 7), (0, 23, 8))
        ]
    return [trunk, *(Fill(points, color) for points in crown)]


def distractor(random: np.random.Generator, ground: float) -> list[Fill]:
    """A house, a fence, wires on poles, a kite, stones, a bush or a rainbow: plain, or with coarse stripes only."""
    x = random.uniform(6, 122)
    kind = int(random.integers(7))
    color = pick(random, BODIES)
    if kind == 0:
        scale = random.uniform(0.7, 1.1)
        at = Placement(scale=scale, shift=(x, ground + 2))
        wall = Fill(rectangle(-11, -16, 11, 2), shade(color, 0.35))
        roof = Fill(np.array([[-15, -15], [0, -28], [15, -15]], dtype=float), shade(color, -0.2))
        openings = [Fill(rectangle(-7, -11, -1, -5), INK), Fill(rectangle(3, -9, 8, 2), shade(color, -0.4))]
        return [at.fill(fill) for fill in (wall, roof, *openings)]
    if kind == 1:
        posts = [
            Fill(ribbon([(px, ground + 6), (px, ground - 6)], 2.2), (232, 222, 204))
            for px in np.arange(x - 24, x + 24, 11)
        ]
        return [
            Fill(ribbon([(x - 28, ground + dy), (x + 26, ground + dy)], 1.7), (220, 208, 188)) for dy in (-2.5, 2)
        ] + posts
    if kind == 2:
        pole = Fill(ribbon([(x, ground + 4), (x, 22)], 2.4), (104, 82, 72))
        arm = Fill(ribbon([(x - 8, 26), (x + 8, 26)], 2), (104, 82, 72))
        wires = [Fill(ribbon(smooth([(-4, y), (x, 26), (132, y)], closed=False), 0.8), INK) for y in (20, 24)]
        return [*wires, pole, arm]
    if kind == 3:
        y, size = random.uniform(12, 50), random.uniform(6, 10)
        at = Placement(angle=random.uniform(-0.6, 0.6), shift=(x, y))
        kite = Fill(np.array([[0, -size], [size * 0.7, 0], [0, size * 1.3], [-size * 0.7, 0]]), color)
        half = Fill(np.array([[0, -size], [size * 0.7, 0], [0, size * 1.3]]), shade(color, 0.3))
        tail = Fill(
            ribbon(smooth([(0, size * 1.3), (3, size * 2), (-2, size * 2.7), (2, size * 3.3)], closed=False), 0.9),
            INK,
        )
        return [at.fill(fill) for fill in (tail, kite, half)]
    if kind == 4:
        stones = []
        for _ in range(int(random.integers(2, 5))):
            sx, sy, radius = (
                x + random.uniform(-14, 14),
                ground + random.uniform(4, 18),
                random.uniform(2.5, 6),
            )
            stones += [Fill(ellipse(sx, sy, radius, radius * 0.7), (150, 148, 150))]
            stones += [
                Fill(
                    ellipse(sx - radius * 0.2, sy - radius * 0.2, radius * 0.6, radius * 0.35),
                    (182, 180, 180),
                )
            ]
        return stones
    if kind == 5:
        green = pick(random, LANDS)
        return [
            Fill(ellipse(x + dx, ground + 4 - dy, r), shade(green, -0.2))
            for dx, dy, r in ((-8, 0, 7), (0, 4, 9), (9, 0, 7))
        ]
    rainbow = ((228, 110, 96), (244, 196, 100), (120, 178, 120), (96, 146, 196))
    radius, width = random.uniform(34, 52), 3.6
    turn = np.linspace(np.pi, 2 * np.pi, 40)
    return [
        Fill(
            ribbon(np.stack([x + r * np.cos(turn), ground + r * np.sin(turn)], axis=1), width + 0.5),
            blend(stripe, (255, 255, 255), 0.35),
        )
        for stripe, r in ((c, radius - i * width) for i, c in enumerate(rainbow))
    ]


def _ridge(random: np.random.Generator, level: float, height: float, peaked: bool = False) -> np.ndarray:
    x = np.linspace(-4, 132, 9 if peaked else 40)
    if peaked:
        y = level - height * random.uniform(-0.4, 1.6, len(x))
    else:
        y = level + height * np.sin(2 * np.pi * (x / random.uniform(50, 130) + random.random()))
        y = y + height * 0.4 * np.sin(2 * np.pi * (x / random.uniform(25, 50) + random.random()))
    return np.concatenate([np.stack([x, y], axis=1), [(132, 132), (-4, 132)]])
