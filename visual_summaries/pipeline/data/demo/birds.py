"""The two birds: one bird, to which a striped crest or an eyespotted fan of tail feathers is added."""

from __future__ import annotations

import numpy as np

from visual_summaries.pipeline.data.demo.colors import BODIES, INK, LEG, contrasting, pick, shade
from visual_summaries.pipeline.data.demo.drawing import Fill, Piece, Placement, ellipse, ribbon, smooth
from visual_summaries.pipeline.data.demo.patterns import arcs, eyespots, patterned


def bird(random: np.random.Generator) -> tuple[list[Piece], Placement]:
    """The parts that both birds have, and where the head is."""
    color = pick(random, BODIES)
    second = pick(random, BODIES) if random.random() < 0.5 else shade(color, -0.25)
    beak = pick(random, (LEG, (240, 190, 70), (90, 84, 92), (222, 96, 76)))
    stride = random.uniform(-5, 5)
    legs = []
    for foot, hip in ((-4 + stride, -2), (8 - stride, 5)):
        legs += [
            Fill(ribbon([(hip, 14), (foot, 30)], 2.0), shade(LEG, -0.1)),
            Fill(ribbon([(foot - 3, 30.5), (foot + 5, 30.5)], 2.0), shade(LEG, -0.1)),
        ]
    droop = random.uniform(0.1, 0.5)
    tail_at = Placement(angle=-droop, shift=(-17, 6))
    tail = tail_at.fill(Fill(smooth([(4, -6), (-12, -6), (-22, -4), (-23, 3), (-10, 6), (4, 8)]), second))
    body = Fill(
        smooth([(-25, 4), (-16, -11), (0, -15), (14, -20), (24, -10), (22, 6), (10, 17), (-8, 18), (-20, 13)]),
        color,
    )
    belly = Fill(smooth([(-10, 16), (2, 4), (20, 0), (21, 7), (10, 16.5), (0, 18)]), shade(color, 0.45))
    head_at = Placement(
        angle=random.uniform(-0.3, 0.25), shift=(19 + random.uniform(-1, 2), -19 + random.uniform(-3, 2))
    )
    head = head_at.fill(Fill(ellipse(0, 0, 12.5, 12), color))
    cheek = head_at.fill(Fill(ellipse(2, 5, 5.5, 4), shade(color, 0.35)))
    eye = [
        head_at.fill(Fill(ellipse(5, -2.5, 3.3), (255, 255, 255))),
        head_at.fill(Fill(ellipse(5.8, -2.4, 1.9), INK)),
        head_at.fill(Fill(ellipse(6.4, -3.1, 0.65), (255, 255, 255))),
    ]
    bill = head_at.fill(Fill(smooth([(10.5, -2.5), (16, -0.5), (21, 3), (15, 4.6), (10, 5)]), beak))
    flap = random.choice([random.uniform(-0.15, 0.25), random.uniform(0.5, 0.9)])
    wing_at = Placement(angle=flap, shift=(7, -4))
    wing = [
        wing_at.fill(Fill(smooth([(2, -4), (-10, -7), (-24, -3), (-31, 3), (-20, 7), (-8, 9), (2, 7)]), second)),
        wing_at.fill(Fill(smooth([(0, -2), (-9, -4), (-18, -2), (-22, 1), (-13, 3), (-4, 4)]), shade(second, 0.25))),
    ]
    pieces = [
        Piece("legs", tuple(legs)),
        Piece("tail", (tail,)),
        Piece("body", (body, belly)),
        Piece("beak", (bill,)),
        Piece("head", (head, cheek, *eye)),
        Piece("wing", tuple(wing)),
    ]
    return pieces, head_at


def crested_bird(random: np.random.Generator) -> list[Piece]:
    """The bird with a striped crest, its discriminative part."""
    pieces, head_at = bird(random)
    spread, reach = random.uniform(0.6, 0.72), random.uniform(29, 32)
    turns = np.linspace(-np.pi / 2 - spread, -np.pi / 2 + spread, 57)
    feathers = reach * (1 - 0.11 * np.cos(2 * np.pi * (turns - turns[0]) / spread) ** 2)
    edge = np.stack([feathers * np.cos(turns), feathers * np.sin(turns) + 3], axis=1)
    outline = np.concatenate(
        [smooth([(-9.5, -5), (-8.5, -1), (0, 0.5), (8.5, -1), (9.5, -5)], closed=False)[::-1], edge]
    )
    crest = patterned(outline, arcs((0, 7), reach + 6), contrasting(random))
    at = Placement(angle=random.uniform(-0.28, -0.02), shift=(-1.5, -7))
    *rest, wing = pieces
    return [*rest, Piece("crest", (head_at.fill(at.fill(crest)),), True), wing]


def fan_tailed_bird(random: np.random.Generator) -> list[Piece]:
    """The bird with a fan of eyespots behind its tail, its discriminative part."""
    pieces, _ = bird(random)
    long, wide = random.uniform(19, 22), random.uniform(19, 22)
    turns = np.linspace(np.pi - 2.3, np.pi + 2.3, 61)
    feathers = 1 - 0.07 * np.cos(4.5 * (turns - np.pi)) ** 2
    round_x, round_y = (np.sign(way) * np.abs(way) ** 0.8 for way in (np.cos(turns), np.sin(turns)))
    edge = np.stack([long * feathers * round_x - 23, wide * feathers * round_y], axis=1)
    outline = np.concatenate([[(0, 6)], edge, [(0, -6)]])
    fan = patterned(outline, eyespots((-46, -wide, 0, wide)), contrasting(random))
    at = Placement(angle=random.uniform(0.3, 0.6), shift=(-15, -6))
    legs, tail, *rest = pieces
    return [legs, Piece("fan", (at.fill(fan),), True), tail, *rest]
