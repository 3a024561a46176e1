"""Pick-up, balloon and the two locomotives: one engine with a brick smokestack or a lattice pantograph added."""

from __future__ import annotations

import numpy as np

from visual_summaries.pipeline.data.demo.colors import (
    BODIES,
    DARKS,
    GLASS,
    INK,
    LIGHTS,
    STEEL,
    contrasting,
    pick,
    shade,
)
from visual_summaries.pipeline.data.demo.drawing import Fill, Piece, Placement, ellipse, rectangle, ribbon, smooth
from visual_summaries.pipeline.data.demo.patterns import (
    bricks,
    checks,
    herringbone,
    lattice,
    patterned,
    triangles,
    weave,
)


def wheel(x: float, y: float, radius: float, hub: tuple[int, int, int]) -> list[Fill]:
    """A tire with its hub."""
    return [
        Fill(ellipse(x, y, radius), INK),
        Fill(ellipse(x, y, radius * 0.66), hub),
        Fill(ellipse(x, y, radius * 0.24), shade(hub, -0.45)),
    ]


def locomotive(random: np.random.Generator) -> list[Piece]:
    """The parts that both locomotives share."""
    color, roof, hub = pick(random, BODIES), pick(random, DARKS), pick(random, BODIES)
    lower = shade(color, -0.3)
    spacing = random.uniform(-1.5, 1.5)
    wheels = [fill for x in (-34, -14 + spacing, 10 - spacing, 32) for fill in wheel(x, 22, 8.5, hub)]
    rod = random.uniform(-3, 3)
    pane = GLASS if random.random() < 0.6 else (255, 226, 150)
    boiler = Fill(
        smooth([(-16, -11), (10, -12), (34, -11.5), (42, -7), (44, 2), (43, 12), (10, 15), (-16, 15)], steps=10),
        color,
    )
    shine = Fill(ribbon([(-6, -7.5), (34, -7.5)], 2.6), shade(color, 0.35))
    band = [Fill(rectangle(x, -11.6, x + 2.6, 14), lower) for x in (-2, 36)]
    return [
        Piece("wheels", (*wheels, Fill(ribbon([(-34, 22 + rod), (32, 22 + rod)], 2.8), STEEL))),
        Piece("boiler", (boiler, shine, *band)),
        Piece(
            "cab",
            (
                Fill(rectangle(-46, -26, -12, 15, 3), shade(color, -0.12)),
                Fill(rectangle(-46, 4, -12, 7), pick(random, LIGHTS)),
                Fill(rectangle(-50, -30, -8, -25, 2.5), roof),
            ),
        ),
        Piece("windows", tuple(Fill(rectangle(x, -20, x + 11, -5, 2.5), pane) for x in (-42, -27))),
        Piece("frame", (Fill(rectangle(-48, 12, 46, 17, 2), roof), Fill(rectangle(44, 9, 51, 15, 2), STEEL))),
        Piece("lamp", (Fill(ellipse(44, -3, 3.6), STEEL), Fill(ellipse(45, -3, 2.4), (255, 240, 170)))),
    ]


def steam_locomotive(random: np.random.Generator) -> list[Piece]:
    """The locomotive with a brick smokestack, its discriminative part."""
    tall, wide = random.uniform(26, 31), random.uniform(13, 15.5)
    outline = np.array(
        [[-10, 1], [-10, -7], [-wide, -tall + 9], [-wide, -tall + 2], [-wide + 2, -tall]]
        + [[wide - 2, -tall], [wide, -tall + 2], [wide, -tall + 9], [10, -7], [10, 1]]
    )
    stack = patterned(outline, bricks((-wide, -tall, wide, 2)), contrasting(random))
    at = Placement(angle=random.uniform(-0.1, 0.1), shift=(random.uniform(10, 26), -10.5))
    return [Piece("smokestack", (at.fill(stack),), True), *locomotive(random)]


def electric_locomotive(random: np.random.Generator) -> list[Piece]:
    """The locomotive with a latticed pantograph, its discriminative part."""
    tall, wide = random.uniform(22, 26), random.uniform(17, 20)
    outline = np.array([[-11, 1], [-13.5, -4], [-wide, -tall], [wide, -tall], [13.5, -4], [11, 1]])
    frame = patterned(outline, lattice((-wide, -tall, wide, 2)), contrasting(random))
    shoe = Fill(
        ribbon(
            smooth([(-wide - 1, 2), (-wide + 2, 0), (0, -0.8), (wide - 2, 0), (wide + 1, 2)], closed=False),
            2.4,
        ),
        STEEL,
    )
    shoe = Placement(shift=(0, -tall)).fill(shoe)
    at = Placement(angle=random.uniform(-0.06, 0.06), shift=(random.uniform(-30, -24), -30))
    return [Piece("pantograph", (at.fill(frame), at.fill(shoe)), True), *locomotive(random)]


def pickup(random: np.random.Generator) -> list[Piece]:
    """A pick-up; its load and its hood are discriminative."""
    color, hub = pick(random, BODIES), pick(random, LIGHTS)
    lower = shade(color, -0.28)
    lean = random.uniform(-2, 2)
    cab = Fill(smooth([(-8, 8), (-8, -17), (-4, -22), (9, -22), (15 + lean, -17), (20, 0), (20, 8)], steps=6), color)
    window = Fill(rectangle(-3, -17, 5, -4, 2), GLASS)
    windshield = Fill(np.array([[8, -17], [12 + lean, -16.5], [17, -4], [8, -4]]), GLASS)
    heap = random.uniform(20, 25)
    slope = random.uniform(-3, 3)
    outline = smooth(
        [
            (-51, 1),
            (-51.5, -heap * 0.6),
            (-45, -heap + slope),
            (-30, -heap - 3),
            (-17, -heap - slope),
            (-10.5, -heap * 0.6),
            (-11, 1),
        ]
    )
    load = patterned(outline, herringbone((-52, -34, -10, 5)), contrasting(random))
    hood_outline = smooth([(20, 14), (20, -9), (24, -12), (40, -11), (49, -6), (51, 3), (50, 14)], steps=6)
    hood = patterned(hood_outline, checks((18, -14, 52, 15)), contrasting(random))
    return [
        Piece("load", (load,), True),
        Piece(
            "bed",
            (
                Fill(rectangle(-54, 0, -8, 16, 2), shade(color, -0.1)),
                Fill(rectangle(-55, -2, -7, 2.5, 2), lower),
            ),
        ),
        Piece("cab", (cab, Fill(rectangle(-8, 2, 22, 16), color), Fill(rectangle(-3, 1, 1.5, 2.8), lower))),
        Piece("windows", (window, windshield)),
        Piece("hood", (hood,), True),
        Piece("frame", (Fill(rectangle(-54, 13, 52, 18, 2), lower), Fill(rectangle(50, 11, 56, 17, 2), STEEL))),
        Piece("wheels", tuple(fill for x in (-34, 32) for fill in wheel(x, 19.5, 9.5, hub))),
    ]


def balloon(random: np.random.Generator) -> list[Piece]:
    """A hot-air balloon; its band and its basket are discriminative."""
    first, second = pick(random, BODIES), pick(random, BODIES)
    swing = Placement(angle=random.uniform(-0.2, 0.2), shift=(0, 18))
    radius = random.uniform(23, 25)
    turn = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    width = radius * np.cos(turn)
    height = -8 + np.where(np.sin(turn) > 0, radius * 1.2, radius) * np.sin(turn)
    width = np.where(np.sin(turn) > 0, width * (1 - 0.28 * np.sin(turn) ** 2), width)
    envelope = np.stack([width, height], axis=1)
    gores = tuple(
        (np.stack([width * share, height], axis=1), first if index % 2 else second)
        for index, share in enumerate((0.62, 0.24))
    )
    rows = np.linspace(-1, 1, 9)
    top, bottom = -18.0, 3.0
    reach = radius * 1.02
    bow = 1.5 * (1 - rows**2)
    band_outline = np.concatenate(
        [
            np.stack([rows * reach * 0.95, top + bow], axis=1),
            np.stack([rows * reach, bottom + bow], axis=1)[::-1],
        ]
    )
    band = patterned(band_outline, triangles((-reach, top, reach, bottom + 3)), contrasting(random))
    weaving = patterned(
        smooth([(-11, 12), (-11.5, 20), (-10, 29), (0, 30.5), (10, 29), (11.5, 20), (11, 12), (0, 11.5)]),
        weave((-12, 10, 12, 32)),
        contrasting(random),
    )
    ropes = [Fill(ribbon([(x, 0), (x * 1.02, 14)], 1.2), INK) for x in (-9.5, 0, 9.5)]
    rim = Fill(ribbon([(-12, 12), (12, 12)], 3), shade(first, -0.35))
    return [
        Piece("ropes", tuple(swing.fill(rope) for rope in ropes)),
        Piece("envelope", (Fill(envelope, first, gores),)),
        Piece("band", (band,), True),
        Piece("basket", (swing.fill(weaving),), True),
        Piece("rim", (swing.fill(rim),)),
    ]
