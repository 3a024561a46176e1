"""Signs of something suspicious, against sums over all outcomes, on summaries with them and on summaries without."""

from fractions import Fraction
from itertools import combinations, product
from math import comb

import numpy as np
import pytest

from visual_summaries.pipeline.evaluate import suspicion
from visual_summaries.pipeline.evaluate.suspicion import (
    at_borders,
    border_sign,
    corner_sign,
    in_corners,
    outside_sign,
    same_place_sign,
    source_sign,
)

NONE = np.zeros((0, 4))


def boxes_at(centers: np.ndarray, side: float = 0.1) -> np.ndarray:
    centers = np.asarray(centers, float)
    return np.concatenate([centers - side / 2, centers + side / 2], axis=1)


def scattered(count: int, seed: int = 0, side: float = 0.1) -> np.ndarray:
    return boxes_at(np.random.default_rng(seed).uniform(side / 2, 1 - side / 2, (count, 2)), side)


def binomial_tail(count: int, of: int, chance: Fraction) -> float:
    terms = (comb(of, k) * chance**k * (1 - chance) ** (of - k) for k in range(count, of + 1))
    return float(sum(terms))


def test_corners_and_borders_are_what_they_are_called() -> None:
    boxes = np.array(
        [[0.0, 0.0, 0.2, 0.2], [0.7, 0.0, 1.0, 0.2], [0.0, 0.85, 0.1, 1.0], [0.9, 0.9, 0.99, 0.97],
         [0.4, 0.8, 0.6, 1.0], [0.4, 0.7, 0.6, 1.0], [0.1, 0.1, 0.2, 0.2], [0.0, 0.0, 1.0, 1.0]]
    )  # fmt: skip
    corners = [[0], [1], [2], [3], [], [], [0], []]
    borders = [[0, 1], [1], [0, 3], [2], [3], [], [], []]
    assert [np.flatnonzero(row).tolist() for row in in_corners(boxes)] == corners
    assert [np.flatnonzero(row).tolist() for row in at_borders(boxes)] == borders


def test_a_mark_in_a_corner_is_found_with_its_chance() -> None:
    boxes = np.concatenate([boxes_at([[0.9, 0.9]] * 38), boxes_at([[0.5, 0.5], [0.2, 0.5]])])
    others = scattered(60, 1)
    sign = corner_sign(boxes, others)
    assert (sign.kind, sign.where, sign.count, sign.of) == ("corner", "lower right corner", 38, 40)
    inside = int(in_corners(others)[:, 3].sum())
    chance = max(Fraction(inside + 1, 64), Fraction(1, 16))
    assert sign.chance == pytest.approx(float(chance))
    assert sign.p == pytest.approx(4 * binomial_tail(38, 40, chance), rel=1e-9, abs=0)
    # Where everything that is salient lies in that corner, a summary there is nothing special.
    assert corner_sign(boxes, boxes_at([[0.9, 0.9]] * 40)) is None
    # Nor where three fifths of it do, though 38 of 40 are far more than that.
    assert corner_sign(boxes, boxes_at([[0.9, 0.9]] * 36 + [[0.5, 0.5]] * 24)) is None


def test_a_frame_at_the_lower_border_is_found() -> None:
    across = np.random.default_rng(2).uniform(0.2, 0.8, 12)
    boxes = boxes_at(np.stack([across, np.full(12, 0.92)], axis=1), 0.15)
    sign = border_sign(boxes, scattered(40, 3))
    assert (sign.where, sign.count, sign.of) == ("lower border", 12, 12) and corner_sign(boxes, NONE) is None
    assert border_sign(boxes - [0, 0.1, 0, 0.1], scattered(40, 3)) is None


def test_the_same_place_is_judged_by_all_draws_of_other_regions(monkeypatch: pytest.MonkeyPatch) -> None:
    # Seven of eight in one place. Each photograph has two other regions: all 2⁸ draws can be counted.
    boxes = np.concatenate([boxes_at([[0.5, 0.4]] * 7), boxes_at([[0.2, 0.8]])])
    generator = np.random.default_rng(4)
    others = [boxes_at(generator.uniform(0.1, 0.9, (2, 2))) for _ in range(8)]
    others[1][0] = others[0][0]
    counts = []
    for choice in product((0, 1), repeat=8):
        places = np.stack([(own[at, :2] + own[at, 2:]) / 2 for own, at in zip(others, choice, strict=True)])
        counts.append(int((np.linalg.norm(places - np.median(places, axis=0), axis=1) <= 0.06).sum()))
    sign = same_place_sign(boxes, others, draws=20_000)
    assert (sign.count, sign.of) == (7, 8)
    assert sign.chance == pytest.approx(np.mean(counts) / 8, abs=0.01)
    assert sign.p == pytest.approx(1 / 20_001) and max(counts) < 7
    assert same_place_sign(boxes, others, draws=20_000) == sign
    for name in ("LEAST_SHARE", "TIMES_CHANCE"):
        monkeypatch.setattr(suspicion, name, 0)
    monkeypatch.setattr(suspicion, "LEVEL", 1)
    ring = [[0.1, 0.1], [0.9, 0.9], [0.1, 0.9], [0.9, 0.1], [0.2, 0.8], [0.8, 0.2]]
    few = boxes_at([*ring, [0.5, 0.5], [0.51, 0.5]])
    chance = same_place_sign(few, others, draws=20_000)
    assert chance.p == pytest.approx(np.mean([count >= chance.count for count in counts]), abs=0.01)
    assert chance.count == 2 and 0.001 < chance.p < 0.9


def test_what_moves_with_its_content_is_in_no_place() -> None:
    assert same_place_sign(scattered(30, 5), [scattered(3, n) for n in range(30)]) is None
    # A part that fills the square can lie nowhere else; neither can one where all that is salient is.
    centered = boxes_at(0.5 + np.random.default_rng(6).uniform(-0.04, 0.04, (20, 2)), 0.9)
    assert same_place_sign(centered, [NONE] * 20) is None
    tight = boxes_at(0.5 + np.random.default_rng(7).uniform(-0.03, 0.03, (20, 2)))
    assert same_place_sign(tight, [tight[[n]] for n in range(20)]) is None
    assert same_place_sign(tight, [NONE] * 20).count == 20


def test_a_summary_beside_the_object_is_found() -> None:
    objects = [np.array([[0.2, 0.2, 0.8, 0.8], [0.0, 0.0, 0.1, 0.1]])] * 12
    beside = boxes_at([[0.9, 0.5]] * 11 + [[0.5, 0.5]])
    sign = outside_sign(beside, objects)
    assert (sign.kind, sign.count, sign.of) == ("outside", 11, 12)
    inside = np.zeros((32, 32), bool)
    middles = (np.arange(32) + 0.5) / 32
    for x0, y0, x1, y1 in objects[0]:
        inside |= ((middles >= x0) & (middles < x1))[None] & ((middles >= y0) & (middles < y1))[:, None]
    assert sign.chance == pytest.approx(1 - inside.mean())
    assert sign.p == pytest.approx(binomial_tail(11, 12, Fraction(1, 2)))
    assert outside_sign(boxes_at([[0.05, 0.05]] * 12), objects) is None
    assert outside_sign(NONE, []) is None


def test_photographs_of_one_size_are_compared_with_all_others() -> None:
    sizes = ["500 × 375"] * 9 + ["640 × 480"] * 4 + ["300 × 200"] * 4 + ["7 × 7"]
    shown = np.array([1] * 9 + [0, 0, 0, 0, 1, 0, 0, 0, 0], bool)
    sign = source_sign(sizes, shown)
    assert (sign.kind, sign.where, sign.count, sign.of) == ("source", "500 × 375", 9, 9)
    assert sign.chance == pytest.approx(1 / 9)
    # Of all ways to choose ten photographs, those with all of the first size; three sizes have several photographs.
    ways = [set(chosen) >= set(range(9)) for chosen in combinations(range(18), 10)]
    assert sign.p == pytest.approx(3 * np.mean(ways))
    # Half of them would be chance, and so is what all photographs show, or of what there is one size alone.
    assert source_sign(sizes, np.array([1, 0] * 9, bool)) is None
    assert source_sign(sizes, np.ones(18, bool)) is None and source_sign(["1 × 1"] * 18, shown) is None


def test_summaries_at_random_places_of_random_photographs_raise_no_alarm() -> None:
    alarms = 0
    for seed in range(150):
        generator = np.random.default_rng(seed)
        # Photographers center: most of what is salient lies around the middle.
        count = int(generator.integers(8, 40))
        boxes = boxes_at(generator.normal(0.5, 0.12, (count, 2)).clip(0.1, 0.9), 0.2)
        others = [boxes_at(generator.normal(0.5, 0.15, (2, 2)).clip(0.1, 0.9), 0.2) for _ in range(count)]
        every = np.concatenate(others)
        sizes = generator.choice(["a", "b", "c"], count).tolist()
        shown = generator.random(count) < 0.7
        signs = corner_sign(boxes, every), border_sign(boxes, every), source_sign(sizes, shown)
        alarms += sum(sign is not None for sign in (*signs, same_place_sign(boxes, others, 499)))
    assert alarms == 0
