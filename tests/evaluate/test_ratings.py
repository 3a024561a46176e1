"""Names, faith % and interpretability index on cases worked out by hand."""

import json
from itertools import combinations, product
from math import isnan

import numpy as np
import pytest

from visual_summaries.pipeline.evaluate.ratings import (
    class_names,
    faith,
    interpretability_index,
    study_results,
    tags_of,
)


def answer(rater: str, kind: str, label: str = "robin", **changes) -> dict:
    values = dict(summary=None, image_id=None, text=None, value=None, protocol="{}", answered=None)
    return dict(rater=rater, kind=kind, label=label) | values | changes


def name(rater: str, summary: int, text: str | None, label: str = "robin") -> dict:
    return answer(rater, "part name", label, summary=summary, text=text)


def search(rater: str, found: int, pool: int, distractors: str) -> dict:
    protocol = json.dumps({"pool": ["x"] * pool, "distractors": distractors})
    return answer(rater, "find the image", image_id="x", value=float(found), protocol=protocol)


def test_tags_of_an_answer() -> None:
    assert tags_of("  Head ,side  window;\nHEAD., ,") == ("head", "side window")
    assert tags_of(None) == tags_of(" , ") == ()
    assert tags_of("ＷＩＮＧ") == ("wing",)


def test_agreement_by_hand() -> None:
    named = {
        0: {"ann": ("head",), "bob": ("head", "beak"), "eve": ("eye",)},
        1: {"ann": ("wing",), "bob": ("wing",), "eve": ()},
        2: {"ann": ("tail",)},
    }
    names, agreement = class_names("robin", named)
    # Distances of the first: ½ (head of head, beak), 1, 1; of the second: 0. Nobody to compare with in the third.
    assert names[0].distance == pytest.approx(2.5 / 3)
    assert names[1].distance == 0 and isnan(names[2].distance)
    assert agreement.value == pytest.approx((2.5 / 3 + 0) / 2) and agreement.summaries == 2
    # No two sets for different summaries share a tag.
    assert agreement.chance == 1
    assert [(own.name, own.named, own.unsure) for own in names] == [("head", 3, 0), ("wing", 2, 1), ("tail", 1, 0)]
    assert dict(names[0].tags) == {"head": 2, "beak": 1, "eye": 1}


def test_chance_against_brute_force() -> None:
    generator = np.random.default_rng(3)
    words = ("head", "wing", "tail", "leg", "eye")
    named = {
        summary: {
            rater: tuple(generator.choice(words, generator.integers(1, 4), replace=False).tolist())
            for rater in ("ann", "bob", "eve", "kim")
        }
        for summary in range(3)
    }

    def distance(a: tuple, b: tuple) -> float:
        return 1 - len(set(a) & set(b)) / len(set(a) | set(b))

    within = [
        np.mean([distance(a, b) for a, b in combinations(answers.values(), 2)]) for answers in named.values()
    ]
    items = [(summary, rater, named[summary][rater]) for summary in named for rater in named[summary]]
    chance = [distance(a[2], b[2]) for a, b in product(items, items) if a[0] != b[0] and a[1] != b[1]]
    _, agreement = class_names("robin", named)
    assert agreement.value == pytest.approx(np.mean(within))
    assert agreement.chance == pytest.approx(np.mean(chance))


def test_a_plural_is_its_singular_only_where_both_were_given() -> None:
    names, agreement = class_names("robin", {0: {"ann": ("wings",), "bob": ("wing",)}, 1: {"ann": ("legs",)}})
    assert names[0].tags == (("wing", 2),) and agreement.value == 0
    assert names[1].tags == (("legs", 1),)


def test_of_equally_used_tags_the_first_given_is_the_name() -> None:
    names, _ = class_names("robin", {0: {"ann": ("wheel", "axle"), "bob": ("axle", "wheel")}})
    assert names[0].name == "wheel"


def test_faith_with_wilson() -> None:
    estimate = faith([True] * 24 + [False])
    # Feature CAM's 96 % of 25 participants; Wilson's interval as worked out by hand: (0.8046, 0.9929).
    assert estimate.value == pytest.approx(0.96) and estimate.count == 25
    assert (estimate.low, estimate.high) == pytest.approx((0.8046, 0.9929), abs=1e-4)
    assert isnan(faith([]).value) and faith([]).count == 0


def test_index_is_the_mean_rating() -> None:
    estimate = interpretability_index([0, 6, 3, 3], seed=1)
    assert estimate.value == 3 and 0 <= estimate.low < 3 < estimate.high <= 6 and estimate.count == 4
    same = interpretability_index([4] * 9)
    assert (same.value, same.low, same.high) == (4, 4, 4)
    alone = interpretability_index([5])
    assert alone.value == 5 and isnan(alone.low) and isnan(alone.high)
    with pytest.raises(ValueError, match="0…6"):
        interpretability_index([7])


def test_results_of_a_whole_study() -> None:
    rows = [
        name("ann", 0, "head"),
        name("bob", 0, "Head"),
        name("ann", 1, "leg"),
        name("bob", 1, "wing"),
        name("ann", 0, "bellows, keys", "accordion"),
        name("bob", 0, "keys", "accordion"),
        name("eve", 0, None, "accordion"),
        search("ann", 1, 4, "same class"),
        search("bob", 1, 4, "same class"),
        search("ann", 0, 2, "other classes"),
        answer("ann", "map rating", value=2.0),
        answer("kim", "map rating", value=5.0),
    ]
    results = study_results(rows)
    assert results.raters == 4
    # robin: (0 + 1) / 2; accordion: ½.
    assert [(own.label, own.value) for own in results.agreement] == [("accordion", 0.5), ("robin", 0.5)]
    assert results.mean_agreement.value == 0.5 and results.mean_agreement.count == 3
    assert results.chance_agreement == 1
    assert results.faith.value == pytest.approx(2 / 3) and results.chance_faith == pytest.approx((0.25 * 2 + 0.5) / 3)
    assert {name: (own.value, own.count) for name, own in results.faith_by_pool.items()} == {
        "same class": (1, 2),
        "other classes": (0, 1),
    }
    assert results.index.value == 3.5
    assert [(own.label, own.summary, own.name, own.unsure) for own in results.names] == [
        ("accordion", 0, "keys", 1),
        ("robin", 0, "head", 0),
        ("robin", 1, "leg", 0),
    ]


def test_no_answers_are_no_figures() -> None:
    results = study_results([])
    assert results.raters == 0 and results.names == () and results.agreement == ()
    figures = (results.mean_agreement.value, results.chance_agreement, results.faith.value, results.index.value)
    assert all(map(isnan, figures)) and results.faith_by_pool == {}
