"""Photographs that the classifier calls something else: which summaries of that class they show, which of their own
they lack."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from visual_summaries.pipeline.report.files import slug


@dataclass(frozen=True, eq=False)
class MistakeContent:
    """A photograph that is called something else, to be drawn: image uint8 [S, S, 3], and the scores, 0..1, of the
    class that it is called and of its own."""

    image: np.ndarray
    image_id: str
    uri: str
    called: int
    called_score: float | None = None
    own_score: float | None = None


@dataclass(frozen=True)
class Confusion:
    """The photographs of a class that are called one other class.

    Args:
        called: index of that class among the classifier's outputs, `name` its name, `label` that in the run; None where
            the run has no such class.
        count: photographs.
        own, others: numbers of the kept summaries of the photographs' own class, and of the other, that have a
            specialist.
        names: what people call the other class's summaries, by number.
        shows: numbers of the other class's summaries that a photograph shows, the surest first, by image id.
        lacks: numbers of its own class's summaries that it does not show, by image id.
    """

    called: int
    name: str
    label: str | None
    count: int
    own: Sequence[int] = ()
    others: Sequence[int] = ()
    names: Mapping[int, str] = field(default_factory=dict)
    shows: Mapping[str, Sequence[int]] = field(default_factory=dict)
    lacks: Mapping[str, Sequence[int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Mistakes:
    """Confusions of a class, the most common first; and of its `asked` photographs that are called rightly and took
    no part in its summaries, how many show one of them."""

    confusions: Sequence[Confusion] = ()
    asked: int = 0
    show: int = 0


def in_words(confusion: Confusion, image_id: str, own_names: Mapping[int, str]) -> str:
    """What a photograph shows and lacks, in a line."""
    if not confusion.others and not confusion.own:
        return "neither class has a summary to compare it with"
    parts = []
    if confusion.others:
        parts.append(_listed("shows its ", confusion.shows.get(image_id, ()), confusion.names, "shows none of its"))
    if confusion.own:
        parts.append(_listed("lacks its own ", confusion.lacks.get(image_id, ()), own_names, "lacks none of its own"))
    return "; ".join(parts)


def _listed(before: str, numbers: Sequence[int], names: Mapping[int, str], none: str) -> str:
    if not numbers:
        return f"{none} summaries"
    called = [names.get(number, f"{number}") for number in numbers]
    return f"{before}{'summary' if len(called) == 1 else 'summaries'} {', '.join(called)}"


def most_shown(confusion: Confusion) -> tuple[int, int] | None:
    """The other class's summary that most of the photographs show first, and how many; None where none does."""
    first = Counter(numbers[0] for numbers in confusion.shows.values() if numbers)
    return min(first.items(), key=lambda one: (-one[1], one[0])) if first else None


def pairs(cards: Sequence[Any]) -> list[dict[str, Any]]:
    """Pairs of confused classes, from the `confused` of class cards: those of two classes of the run first, then those
    with most mistakes, either way.

    Each has `sides`, one or two, those with more mistakes first: what a class's card says of the confusion, with the
    card.
    """
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for card in cards:
        for one in card.confused:
            other = one["label"] if one["label"] is not None else f"\0{one['called']}"
            found.setdefault(tuple(sorted((card.label, other))), []).append({"card": card, **one})
    for sides in found.values():
        sides.sort(key=lambda side: (-side["count"], side["card"].label))

    def order(one: tuple[tuple[str, str], list[dict[str, Any]]]) -> tuple[Any, ...]:
        key, sides = one
        return sides[0]["label"] is None, -sum(side["count"] for side in sides), key

    ordered = sorted(found.items(), key=order)
    return [{"sides": sides, "count": sum(side["count"] for side in sides)} for _, sides in ordered]


def anchor(called: int) -> str:
    """Where a class's page of mistakes tells of those called one other class."""
    return f"called-{called}"


def exemplar(label: str, number: int, root: str) -> dict[str, str]:
    """Where another class's summary is, and its exemplar's picture, from a page with this way to the site's folder."""
    folder = f"{root}classes/{slug(label)}/"
    return {"page": f"{folder}summary-{number:02d}.html", "picture": f"{folder}summary-{number:02d}-01.webp"}
