"""What the pages of mistakes show: of a class, by what its photographs are called, and of the run, by pairs."""

from collections.abc import Mapping, Sequence
from typing import Any

from visual_summaries.pipeline.report.content import ClassCard, ToldContent
from visual_summaries.pipeline.report.mistakes import anchor, exemplar, in_words, most_shown, pairs

EXEMPLARS = 6
"""Summaries of either class that a pair shows side by side."""

PAIRS_SHOWN = 300
PAIRS_AT_ONCE = 3


def confusion_views(drawn: Mapping[str, Any], told: ToldContent, root: str) -> list[dict[str, Any]]:
    """For each confusion of a class its two sides and its photographs."""
    own = [
        {"number": view["summary"]["number"], "page": view["page"], "picture": view["shown"][0]["picture"]["path"]}
        for view in drawn["kept"]
        if view["shown"]
    ]
    own_names = {number: tags[0][0] for number, tags in told.names.items()}
    views = []
    for confusion in told.mistakes.confusions:
        shown = [view for view in drawn["mistakes"] if view["mistake"]["called"] == confusion.called]
        theirs = [{"number": n, **exemplar(confusion.label, n, root)} for n in confusion.others[:EXEMPLARS]]
        views.append(
            {
                "confusion": confusion,
                "anchor": anchor(confusion.called),
                "own": own[:EXEMPLARS],
                "others": theirs,
                "photographs": [
                    {**view, "words": in_words(confusion, view["mistake"]["image_id"], own_names)} for view in shown
                ],
                "not_shown": confusion.count - len(shown),
            }
        )
    return views


def confused(told: ToldContent, page: str) -> list[dict[str, Any]]:
    """What a class's card says of its confusions."""
    return [
        {
            **{name: getattr(one, name) for name in ("called", "name", "label", "count")},
            "most": most_shown(one),
            "page": f"{page}#{anchor(one.called)}",
        }
        for one in told.mistakes.confusions
    ]


def run_mistakes(cards: Sequence[ClassCard], at_most: int = PAIRS_SHOWN) -> dict[str, Any]:
    """What the page of the run's mistakes shows."""
    found = pairs(cards)
    for pair in found[:at_most]:
        for side in pair["sides"]:
            most = side["most"]
            other = exemplar(side["label"], most[0], "") if most and side["label"] is not None else None
            side["other"] = other and {**other, "number": most[0], "count": most[1]}
    return {
        "pairs": found[:at_most],
        "pairs_not_shown": max(0, len(found) - at_most),
        "mistakes": sum(pair["count"] for pair in found),
        "asked": sum(card.asked for card in cards),
        "show": sum(card.show for card in cards),
    }
