"""Which classes go by frames or colors: counted by hand, chances by scipy's own test."""

import math

import pytest
from scipy.stats import binomtest

from visual_summaries.pipeline.evaluate import reliance
from visual_summaries.pipeline.evaluate.alterations import COLORS, FRAME
from visual_summaries.pipeline.evaluate.reliance import Effect, changes, effects, reliance_signs


def row(image: str, alteration: str, after: float, prediction: int | None, **changed) -> dict:
    told = {"image_id": image, "alteration": alteration, "score_after": after, "prediction": prediction}
    return {"target": 3, "named": True, "score_before": 0.8, **told, **changed}


def test_a_photograph_changes_where_every_way_changes_it_and_falls_by_the_least_of_them() -> None:
    rows = [
        row("a", "frame mirrored", 0.2, 5), row("a", "frame cut off", 0.4, 1),
        row("b", "frame mirrored", 0.1, None), row("b", "frame cut off", 0.6, 3),
        # Asked in one of the two ways alone, not named as asked before, and without a score to fall from.
        row("c", "frame mirrored", 0.1, 5),
        *(row("d", one, 0.1, 5, named=False) for one in ("frame mirrored", "frame cut off")),
        *(row("e", one, 0.0, 5, score_before=0.0) for one in ("frame mirrored", "frame cut off")),
        row("a", "colors leveled", 0.9, 3),
    ]  # fmt: skip
    found = changes(rows)
    assert {image: (one.changed, round(one.fall, 6)) for image, one in found[FRAME].items()} == {
        "a": (True, 0.5), "b": (False, 0.25),
    }  # fmt: skip
    assert [found[FRAME][image].row["alteration"] for image in "ab"] == ["frame cut off"] * 2
    whole = effects(rows)
    assert (whole[FRAME].count, whole[FRAME].of) == (1, 2) and whole[FRAME].fall == pytest.approx(0.375)
    assert (whole[COLORS].count, whole[COLORS].of) == (0, 1) and whole[COLORS].fall == pytest.approx(-0.125)
    nothing = effects([])
    assert nothing[FRAME].of == 0 and math.isnan(nothing[FRAME].fall) and not nothing[FRAME].substantial


def classes(frames: dict[str, tuple[int, int, float]], colors: tuple[int, int, float] = (0, 8, 0.0)) -> dict:
    return {label: {FRAME: Effect(*one), COLORS: Effect(*colors)} for label, one in frames.items()}


def test_a_planted_class_is_named_with_the_chance_of_the_others() -> None:
    others = {f"other {number}": (int(number < 3), 8, 0.01) for number in range(11)}
    found = reliance_signs(classes({"nautilus": (7, 8, 0.9), **others}))
    ((label, (sign,)),) = found.items()
    chance = 4 / 90
    assert label == "nautilus" and (sign.kind, sign.count, sign.of) == (FRAME, 7, 8)
    assert (sign.other_count, sign.other_of, sign.alike, sign.fall) == (3, 88, 0, 0.9)
    assert sign.chance == reliance.LEAST_CHANCE > chance
    assert sign.p == pytest.approx(24 * binomtest(7, 8, 0.05, alternative="greater").pvalue)


def test_chance_is_laplaces_where_others_change_more_often() -> None:
    others = {f"other {number}": (1, 8, 0.1) for number in range(11)}
    ((sign,),) = reliance_signs(classes({"nautilus": (8, 8, 0.9), **others})).values()
    assert sign.chance == pytest.approx(12 / 90)
    assert sign.p == pytest.approx(24 * binomtest(8, 8, 12 / 90, alternative="greater").pvalue)


@pytest.mark.parametrize(
    ("frames", "named"),
    [
        # A network that is easily disturbed, a few photographs, a small fall, half of the photographs.
        ({"a": (6, 8, 0.9), **{f"o{n}": (3, 8, 0.4) for n in range(11)}}, set()),
        ({"a": (3, 3, 0.9), **{f"o{n}": (0, 8, 0.0) for n in range(11)}}, set()),
        ({"a": (8, 8, 0.4), **{f"o{n}": (0, 8, 0.0) for n in range(11)}}, set()),
        ({"a": (20, 40, 0.9), **{f"o{n}": (0, 40, 0.0) for n in range(11)}}, set()),
        # Five of eight are enough in a dozen classes that stay, and not in a thousand.
        ({"a": (5, 8, 0.9), **{f"o{n}": (0, 8, 0.0) for n in range(11)}}, {"a"}),
        ({"a": (5, 8, 0.9), **{f"o{n}": (0, 8, 0.0) for n in range(999)}}, set()),
        # Several do not hide each other; alone or all together there is no other to compare with.
        ({**{f"p{n}": (7, 8, 0.9) for n in range(6)}, **{f"o{n}": (0, 8, 0.0) for n in range(2)}},
         {f"p{n}" for n in range(6)}),
        ({"a": (7, 8, 0.9)}, {"a"}),
        ({f"p{n}": (7, 8, 0.9) for n in range(4)}, {f"p{n}" for n in range(4)}),
        # Classes without photographs are none.
        ({"a": (7, 8, 0.9), **{f"o{n}": (0, 0, float("nan")) for n in range(5000)}}, {"a"}),
    ],
)  # fmt: skip
def test_what_is_named(frames: dict, named: set[str]) -> None:
    found = reliance_signs(classes(frames))
    assert set(found) == named
    for label, signs in found.items():
        assert [sign.kind for sign in signs] == [FRAME] and signs[0].alike == len(named) - 1, label


def test_both_kinds_are_told_the_surer_first() -> None:
    both = {"a": {FRAME: Effect(6, 8, 0.9), COLORS: Effect(8, 8, 0.6)}, "b": {FRAME: Effect(0, 8, 0.0)}}
    assert [sign.kind for sign in reliance_signs(both)["a"]] == [COLORS, FRAME]
