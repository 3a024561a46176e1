"""Classes that change when what is no part of their pictures is taken away: what is shown of them, and the words."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from visual_summaries.pipeline.report import pictures
from visual_summaries.pipeline.report.files import FolderWriter
from visual_summaries.pipeline.report.rendering import count, file_name

SIDE = 160
"""Of a picture, in pixels; they are shown in pairs."""


@dataclass(frozen=True, eq=False)
class AlteredContent:
    """A photograph as it is and altered, to be drawn.

    Args:
        kind: what was taken away, frame or colors.
        image, altered: uint8 [S, S, 3], RGB.
        image_id, uri: of the photograph.
        before, after: score of the class asked for on both, 0..1.
        called: name of the class that the altered one is predicted as; None where it is the class asked for still.
    """

    kind: str
    image: np.ndarray
    altered: np.ndarray
    image_id: str
    uri: str
    before: float
    after: float
    called: str | None = None


def draw_altered(writer: FolderWriter, number: int, content: AlteredContent) -> dict[str, Any]:
    """Write both pictures; return what pages show of them, as JSON values."""
    without = {"frame": "without its frame", "colors": "with its colors balanced"}[content.kind]
    file = file_name(content.uri)
    drawn = {
        "before": (content.image, f"Photograph {file} as it is"),
        "after": (content.altered, f"{file} {without}"),
    }
    written = {
        name: asdict(writer.picture(f"altered-{number:02d}-{name}.webp", pictures.photograph(image, SIDE), alt))
        for name, (image, alt) in drawn.items()
    }
    figures = {name: getattr(content, name) for name in ("kind", "uri", "before", "after", "called")}
    return {"figures": figures, "pictures": written}


def reliance_views(drawn: Mapping[str, Any], signs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each sign of a class, fields of `pipeline.evaluate.reliance.RelianceSign`, in words and with its pictures."""
    return [
        {
            "sign": sign,
            "words": reliance_in_words(sign),
            "pairs": [view for view in drawn["altered"] if view["figures"]["kind"] == sign["kind"]],
        }
        for sign in signs
    ]


def carded(drawn: Mapping[str, Any], views: Sequence[Mapping[str, Any]], page: str) -> list[dict[str, Any]]:
    """The same for the pages about the run, with the class and the places of the pictures from there."""
    place = page.removesuffix("index.html")

    def placed(pair: Mapping[str, Any]) -> dict[str, Any]:
        both = {name: {**one, "path": place + one["path"]} for name, one in pair["pictures"].items()}
        return {**pair, "pictures": both}

    named = {name: drawn["content"][name] for name in ("label", "class_name")}
    return [{**view, **named, "page": page, "pairs": [placed(pair) for pair in view["pairs"]]} for view in views]


def reliance_in_words(sign: Mapping[str, Any]) -> str:
    """A sign of a class as what the class does: "goes by …"."""
    what = {
        "frame": "goes by the frame of its pictures: without it",
        "colors": "is told by the colors of its pictures: with balanced colors",
    }[sign["kind"]]
    changed = f"{sign['count']:,} of {count(sign['of'], 'photograph')} change their class"
    others = "no other class to compare with"
    if sign["other_of"]:
        others = f"other classes: {sign['other_count']:,} of {sign['other_of']:,}"
    if sign["alike"]:
        others += f"; not compared: {count(sign['alike'], 'class that changes', 'classes that change')} as much"
    return f"{what}, {changed} ({others})"


def most_reliant(cards: Sequence[Any]) -> list[Mapping[str, Any]]:
    """What class cards say of this, those first of whose photographs most change that would not by chance."""

    def order(one: Mapping[str, Any]) -> tuple[Any, ...]:
        sign = one["sign"]
        return sign["chance"] - sign["count"] / sign["of"], one["label"], sign["kind"]

    return sorted((one for card in cards for one in card.reliance), key=order)
