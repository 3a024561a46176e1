"""Summaries of different classes that are alike, and the map of all summaries of a run."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from visual_summaries.pipeline.report.drawing import placed_labels
from visual_summaries.pipeline.report.files import slug

WIDTH, HEIGHT, MARGIN = 1000, 640, 24
POINTS_SHOWN = 2000
"""On the map with a link each; of each class the first summaries. The others are dots without one."""

RADIUS, LEAST_RADIUS, ROOMY = 7.0, 2.5, 200
"""Of a point: the first for up to `ROOMY` points, smaller for more, so that all cover about as much."""

NAMED = 60
"""Classes at most whose names stand in the map."""

PAIRS_SHOWN = 30
CLASSES_SHOWN = 300


@dataclass(frozen=True)
class Point:
    """A summary among those of all classes: its place on the map, and the one of another class that is most like it.

    Args:
        number: of the summary, from 1.
        x, y: 0..1, from the left and from the top.
        label, name: of the other class; None and empty where there is none.
        other: number of its summary.
        likeness: −1..1.
        shared: whether they are so alike that they count as the same part.
    """

    number: int
    x: float
    y: float
    label: str | None = None
    name: str = ""
    other: int = 0
    likeness: float = 0.0
    shared: bool = False


@dataclass(frozen=True)
class Near:
    """Where a class is among the others: its summaries, and the class that shares most of what they hold.

    Args:
        points: by number.
        label, name: of that class; None and empty where no class shares anything.
        share: of the evidence that the class's summaries hold, 0..1.
        least: likeness from which two summaries count as the same part.
        recognized: share of the run's summaries whose members, seen alone, have no name more often than that of their
            own class; where it is small, none counts as shared.
    """

    points: Sequence[Point] = ()
    label: str | None = None
    name: str = ""
    share: float = 0.0
    least: float = 0.0
    recognized: float = 1.0


def near_view(near: Near, root: str) -> dict[str, Any] | None:
    """What a class's page says; None where it shares nothing."""
    if near.label is None:
        return None
    folder = f"{root}classes/{slug(near.label)}/"
    own = [point for point in near.points if point.shared and point.label == near.label]
    return {"near": near, "page": f"{folder}index.html", "points": own, "folder": folder}


def carded(near: Near, drawn: Mapping[str, Any], place: str) -> dict[str, Any]:
    """What a class's card says: `Near` as a dictionary, of the summaries whose exemplars are drawn, with their pages
    and pictures."""
    there = {}
    for view in drawn["kept"]:
        if view["shown"]:
            picture = view["shown"][0]["picture"]["path"]
            there[view["summary"]["number"]] = {"page": place + view["page"], "picture": place + picture}
    points = [{**asdict(point), **there[point.number]} for point in near.points if point.number in there]
    return {**asdict(near), "points": points}


def map_view(cards: Sequence[Any]) -> dict[str, Any]:
    """What the page of the map shows, from the `near` of class cards."""
    every = [(card, point) for card in cards for point in card.near.get("points", ())]
    ordered = sorted(every, key=lambda one: one[1]["number"])
    shown, others = ordered[:POINTS_SHOWN], ordered[POINTS_SHOWN:]
    numbers = {card.label: number for number, card in enumerate(cards)}
    points = [
        {
            **point,
            "called": card.class_name or card.label,
            **dict(zip(("left", "top"), _place(point), strict=True)),
            "color": numbers[card.label] % 6 + 1,
        }
        for card, point in shown
    ]
    classes = [card for card in cards if card.near.get("label") is not None]
    classes.sort(key=lambda card: (-card.near["share"], card.label))
    pairs = _pairs(every)
    return {
        "points": points,
        "others": len(others),
        # One path of strokes without length, which round ends make dots: thousands of elements would be slow.
        "dots": "".join("M{:g} {:g}h0".format(*_place(point)) for _, point in others),
        "radius": round(max(LEAST_RADIUS, RADIUS * min(1.0, (ROOMY / max(1, len(every))) ** 0.5)), 1),
        "names": _names(points) if len(cards) <= NAMED else [],
        "width": WIDTH,
        "height": HEIGHT,
        "shared": pairs[:PAIRS_SHOWN],
        "shared_not_shown": max(0, len(pairs) - PAIRS_SHOWN),
        "near_classes": [
            {"card": card, "page": f"classes/{slug(card.near['label'])}/index.html"} for card in classes[:CLASSES_SHOWN]
        ],
        "classes_not_shown": max(0, len(classes) - CLASSES_SHOWN),
        "recognized": min((card.near.get("recognized", 1) for card in cards), default=1),
        "least": max((card.near.get("least", 0) for card in cards), default=0),
    }


def _place(point: Mapping[str, Any]) -> tuple[float, float]:
    """Where a point is on the map, from the left and from the top."""
    left, top = MARGIN + point["x"] * (WIDTH - 2 * MARGIN), MARGIN + point["y"] * (HEIGHT - 2 * MARGIN)
    return round(left, 1), round(top, 1)


def _names(points: Sequence[Mapping[str, Any]]) -> list[Any]:
    """The name of each class beside its first summary, where there is room."""
    first = {point["called"]: point for point in reversed(points)}
    names = [point["called"] if first[point["called"]] is point else "" for point in points]
    return placed_labels([(point["left"], point["top"]) for point in points], names, WIDTH, HEIGHT)


def _pairs(every: Sequence[tuple[Any, Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Summaries that count as the same part, each pair once, the most alike first."""
    known = {(card.label, point["number"]): (card, point) for card, point in every}
    found = {}
    for card, point in every:
        other = known.get((point["label"], point["other"]))
        if point["shared"] and other is not None:
            key = tuple(sorted([(card.label, point["number"]), (other[0].label, other[1]["number"])]))
            found[key] = {"likeness": point["likeness"], "sides": [known[one] for one in key]}
    return [pair for _, pair in sorted(found.items(), key=lambda one: (-one[1]["likeness"], one[0]))]
