"""Saxophone and butterfly."""

from __future__ import annotations

import numpy as np

from visual_summaries.pipeline.data.demo.colors import BODIES, INK, contrasting, pick, shade
from visual_summaries.pipeline.data.demo.drawing import Fill, Piece, Placement, ellipse, ribbon, smooth
from visual_summaries.pipeline.data.demo.patterns import crosses, dashes, dots, patterned, scallops


def saxophone(random: np.random.Generator) -> list[Piece]:
    """A saxophone; its keys and its bell are discriminative."""
    color = pick(random, BODIES)
    sway = random.uniform(-2, 2)
    neck = smooth([(-33, -36 + sway), (-28, -42), (-20, -45), (-13, -42), (-11, -34)], closed=False)
    tube = smooth([(-11, -36), (-9, -10), (-6, 18), (1, 33), (13, 36), (23, 28), (26, 14)], closed=False)
    bell_at = Placement(angle=random.uniform(-0.12, 0.2), shift=(26, 16))
    bell_outline = smooth(
        [
            (-9, 3),
            (-11, -8),
            (-15, -17),
            (-19, -25),
            (0, -28),
            (20, -25),
            (16, -17),
            (11, -8),
            (9, 3),
            (0, 5),
        ],
        steps=5,
    )
    bell = patterned(bell_outline, scallops((-22, -32, 22, 8)), contrasting(random))
    plate_outline = smooth(
        [(-20, -26), (-18, -8), (-15, 13), (-5, 17), (4, 13), (2, -8), (-1, -26), (-10.5, -30)], steps=5
    )
    plate = patterned(plate_outline, dots((-21, -36, 6, 22)), contrasting(random))
    mouthpiece = Fill(ribbon([(-37, -30 + sway), (-32, -37 + sway)], [3.5, 5.5]), INK)
    return [
        Piece("mouthpiece", (mouthpiece,)),
        Piece("neck", (Fill(ribbon(neck, [4.5, 6.5]), color),)),
        Piece(
            "tube",
            (
                Fill(ribbon(tube, [7, 17]), color),
                Fill(ribbon(tube - [1.5, 1.5], [1.5, 3]), shade(color, 0.35)),
            ),
        ),
        Piece("keys", (plate,), True),
        Piece("bell", (bell_at.fill(bell),), True),
    ]


def butterfly(random: np.random.Generator) -> list[Piece]:
    """A butterfly; its fore- and hindwing are discriminative."""
    color, second = pick(random, BODIES), pick(random, BODIES)
    spread, fold = random.uniform(-0.16, 0.16), random.uniform(-0.16, 0.16)
    fore_at = Placement(angle=spread, shift=(2, -6))
    hind_at = Placement(angle=fold, shift=(0, 2))
    fore_outline = smooth(
        [(3, 0), (2, -14), (-4, -32), (-17, -38), (-31, -35), (-36, -21), (-30, -6), (-12, 2)], steps=6
    )
    hind_outline = smooth([(1, -2), (-14, -3), (-29, -1), (-34, 10), (-31, 23), (-19, 28), (-7, 23), (0, 9)], steps=6)
    far = fore_at.fill(
        Fill(
            smooth([(3, 1), (8, -14), (9, -34), (0, -43), (-10, -38), (-8, -14)], steps=6),
            shade(second, 0.15),
        )
    )
    fore = patterned(fore_outline, dashes((-40, -46, 6, 6)), contrasting(random))
    hind = patterned(hind_outline, crosses((-40, -6, 6, 32)), contrasting(random))
    body = [Fill(smooth([(-9, 14), (-4, 4), (3, -8), (8, -9), (8, -4), (2, 6), (-5, 17)], steps=6), color)]
    body += [
        Fill(ellipse(8.5, -10.5, 4.4), shade(color, -0.2)),
        Fill(ellipse(10, -11.2, 1.4), (255, 255, 255)),
    ]
    feelers = []
    for tip in ((20, -27), (26, -21)):
        line = smooth([(10, -13), ((10 + tip[0]) / 2 + 1, (-13 + tip[1]) / 2 - 3), tip], closed=False)
        feelers += [Fill(ribbon(line, 1.4), INK), Fill(ellipse(*tip, 1.8), INK)]
    return [
        Piece("far wing", (far,)),
        Piece("feelers", tuple(feelers)),
        Piece("hindwing", (hind_at.fill(hind),), True),
        Piece("forewing", (fore_at.fill(fore),), True),
        Piece("body", tuple(body)),
    ]
