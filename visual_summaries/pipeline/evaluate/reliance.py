"""Does a network tell a class by the frame of its pictures, or by their colors?

Each photograph that is named as the class asked for is named again after every alteration (`alterations.ALTERATIONS`).
It *changes* where it is named otherwise after all the alterations that take the same thing away; its *fall* is the
smallest of theirs, (before − after) / before. A class is suspicious where most of its photographs change, their scores
fall by half, and other classes' photographs do not: a network that is easily disturbed changes them everywhere.

Classes that change as much are not compared with, or several that go by their frames would hide each other. Chance is
the share of the others' photographs that change, by Laplace's rule, at least `LEAST_CHANCE`: that alone is left where
there is no other class, or where all change. p is the binomial tail, times the classes and the kinds of alterations.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import binom

from visual_summaries.pipeline.evaluate.alterations import ALTERATIONS

LEAST_PHOTOGRAPHS = 4
MOST_CHANGE = 0.6
"""Share of a class's photographs that must change."""
LEAST_FALL = 0.5
"""Median fall of their scores."""
LEAST_CHANCE = 0.05
TIMES_CHANCE = 2.0
LEVEL = 0.001


@dataclass(frozen=True)
class Effect:
    """What an alteration does to the photographs of a class.

    Attributes:
        count, of: photographs that change, of all that were named as asked before.
        fall: median of their falls; negative where scores rise, NaN without photographs.
    """

    count: int
    of: int
    fall: float

    @property
    def substantial(self) -> bool:
        """Whether it changes most of them, whatever happens in other classes."""
        return self.of >= LEAST_PHOTOGRAPHS and self.count >= MOST_CHANGE * self.of and self.fall >= LEAST_FALL


@dataclass(frozen=True)
class RelianceSign:
    """A class that goes by something that is no part of its pictures.

    Attributes:
        kind: frame or colors.
        count, of: its photographs that change, of all.
        other_count, other_of: those of the classes that it was compared with.
        alike: classes that change as much, which it was not compared with.
        fall: median of the falls of its scores.
        chance: share that would change by chance, 0..1.
        p: probability of as many by chance, after all classes and kinds.
    """

    kind: str
    count: int
    of: int
    other_count: int
    other_of: int
    alike: int
    fall: float
    chance: float
    p: float


@dataclass(frozen=True)
class Changed:
    """One photograph: whether all alterations of a kind change its class, and the one that does least to its score."""

    changed: bool
    fall: float
    row: Mapping[str, Any]


def changes(rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Changed]]:
    """Kind of alteration → image id → what became of the photograph.

    Args:
        rows: of the table `alterations`, of one class. Photographs that were not named as asked before do not count,
            nor those whose score was 0 or that lack an alteration.
    """
    grouped: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        if row["named"] and row["score_before"] > 0:
            grouped[ALTERATIONS[row["alteration"]][0], row["image_id"]].append(row)
    needed = [kind for kind, _ in ALTERATIONS.values()]
    found: dict[str, dict[str, Changed]] = {kind: {} for kind in dict.fromkeys(needed)}
    for (kind, image_id), own in grouped.items():
        if len(own) == needed.count(kind):
            least = max(own, key=lambda row: row["score_after"])
            fall = (least["score_before"] - least["score_after"]) / least["score_before"]
            found[kind][image_id] = Changed(all(row["prediction"] != row["target"] for row in own), fall, least)
    return found


def effects(rows: Iterable[Mapping[str, Any]]) -> dict[str, Effect]:
    """Kind of alteration → what it does to the photographs of a class; `rows` as for `changes`."""
    return {kind: effect_of([(one.changed, one.fall) for one in own.values()]) for kind, own in changes(rows).items()}


def effect_of(photographs: Sequence[tuple[bool, float]]) -> Effect:
    """The effect on photographs of which it is known whether each changes, and its fall."""
    fall = float(np.median([fall for _, fall in photographs])) if photographs else float("nan")
    return Effect(sum(changed for changed, _ in photographs), len(photographs), fall)


def reliance_signs(classes: Mapping[str, Mapping[str, Effect]]) -> dict[str, list[RelianceSign]]:
    """Label → signs of its class, the more certain first; only of those that have any.

    Args:
        classes: of every class of a run its `effects`, by label.
    """
    kinds = dict.fromkeys(kind for own in classes.values() for kind in own)
    found: dict[str, list[RelianceSign]] = defaultdict(list)
    for kind in kinds:
        asked = {label: own[kind] for label, own in classes.items() if kind in own and own[kind].of}
        suspected = {label for label, effect in asked.items() if effect.substantial}
        others = [effect for label, effect in asked.items() if label not in suspected]
        count, of = sum(effect.count for effect in others), sum(effect.of for effect in others)
        chance = max(LEAST_CHANCE, (count + 1) / (of + 2)) if of else LEAST_CHANCE
        for label in suspected:
            own = asked[label]
            p = min(1.0, len(asked) * len(kinds) * float(binom.sf(own.count - 1, own.of, chance)))
            if own.count >= TIMES_CHANCE * chance * own.of and p <= LEVEL:
                sign = RelianceSign(kind, own.count, own.of, count, of, len(suspected) - 1, own.fall, chance, p)
                found[label].append(sign)
    return {label: sorted(own, key=lambda sign: sign.p) for label, own in sorted(found.items())}
