"""The pages of one class: its summaries, each summary by itself, and single photographs.

    <directory>/classes/<slug>/index.html, summary-01.html …, photographs.html, drawn.json, card.json and pictures

Pages of different classes are independent of each other: different processes may write them at once. What is drawn of
a class follows from its own tables (`class_drawings`, kept in drawn.json); what its pages say beside that, such as
figures that need all classes, may be told later without drawing anything again.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from visual_summaries.pipeline.report import altered
from visual_summaries.pipeline.report.class_drawings import draw_class
from visual_summaries.pipeline.report.content import ClassCard, ClassContent, ToldContent
from visual_summaries.pipeline.report.files import FolderWriter, slug
from visual_summaries.pipeline.report.mistake_views import confused, confusion_views
from visual_summaries.pipeline.report.near import carded, near_view
from visual_summaries.pipeline.report.rendering import render
from visual_summaries.pipeline.report.story import in_words, shares
from visual_summaries.pipeline.report.worries import signs_in_words

ERRORS_SHOWN = 200
"""Errors that a page lists; it counts the others."""

SEARCHED_WORDS = 1
"""Tags of a summary by which the overview finds its class."""


def class_page(label: str) -> str:
    """Path of a class's page relative to the site's folder."""
    return f"classes/{slug(label)}/index.html"


def write_class_page(
    directory: Path, content: ClassContent, told: ToldContent | None = None, state: str = "", drawn: str = ""
) -> ClassCard:
    """Write the pages of one class with their pictures into `<directory>/classes/<slug>/`.

    Older pages of the same class are replaced; what they left is removed.

    Args:
        state: what content and told were made from, in short; `written_card` asks for it.
        drawn: what the content alone was made from; `tell_class` asks for it.

    Returns:
        What the overview needs to know of the class.

    Raises:
        ValueError: a picture's arrays have the wrong type or shape; the message names the image.
    """
    writer = FolderWriter((directory / class_page(content.label)).parent)
    # While the pictures are replaced, they are of no state.
    for name in ("card.json", "drawn.json"):
        (writer.folder / name).unlink(missing_ok=True)
    text = json.dumps({"state": drawn, "drawn": draw_class(writer, content)}, default=float)
    writer.file("drawn.json", text.encode())
    # As whoever tells more later will find it.
    card = _write_pages(writer, json.loads(text)["drawn"], told or ToldContent(), state)
    writer.remove_others()
    return card


def tell_class(directory: Path, label: str, told: ToldContent, state: str, drawn: str) -> ClassCard | None:
    """Write the pages of a class anew around the pictures that are there; None where those are not of state `drawn`."""
    folder = (directory / class_page(label)).parent
    found = _read(folder / "drawn.json", drawn)
    return None if found is None else _write_pages(FolderWriter(folder), found["drawn"], told, state)


def drawn_class(directory: Path, label: str, drawn: str) -> bool:
    """Whether the pictures of a class were all drawn from the state `drawn`."""
    return _read((directory / class_page(label)).parent / "drawn.json", drawn) is not None


def written_card(directory: Path, label: str, state: str) -> ClassCard | None:
    """The card of a class whose pages were all written from the same `state`; else None."""
    folder = (directory / class_page(label)).parent
    found = _read(folder / "card.json", state)
    try:
        return ClassCard(**found["card"]) if found and (folder / "index.html").is_file() else None
    except (KeyError, TypeError):
        return None


def _read(path: Path, state: str) -> dict[str, Any] | None:
    """What a file of ours says, if it is whole and of this state."""
    try:
        found = json.loads(path.read_bytes())
        return found if found["state"] == state else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write_pages(writer: FolderWriter, drawn: Mapping[str, Any], told: ToldContent, state: str) -> ClassCard:
    """Write pages and card around pictures that are there."""
    content, kept, pruned, examples = (drawn[name] for name in ("content", "kept", "pruned", "examples"))
    confusions = confusion_views(drawn, told, "../../")
    for view in (*kept, *pruned):
        summary = view["summary"]
        summary["names"] = told.names.get(summary["number"], ())
        view["worry"] = signs_in_words(summary["signs"])
        view["words"] = in_words(summary, content["explained"], content["resamples"])
    common = {
        "content": content,
        "told": told,
        "name": content["class_name"] or content["label"],
        "root": "../../",
        "examples": examples,
        "confusions": confusions,
        "near": near_view(told.near, "../../"),
        "reliance": altered.reliance_views(drawn, told.reliance),
        "left": [view for view in examples if "unaccounted" in view["pictures"]],
        "shares": shares([view["summary"] for view in kept]),
        "previous": _neighbor(told.previous),
        "next": _neighbor(told.next),
    }
    for place, view in enumerate(kept):
        beside = {
            "earlier": kept[place - 1]["page"] if place else None,
            "later": kept[place + 1]["page"] if place + 1 < len(kept) else None,
        }
        writer.file(view["page"], render("summary.html", view=view, **common, **beside))
    if examples:
        writer.file("photographs.html", render("photographs.html", **common))
    if confusions:
        writer.file("mistakes.html", render("mistaken.html", **common))
    sheet = drawn["sheet"]
    own = render("class.html", kept=kept, pruned=pruned, sheet=sheet, **common, **error_view(told.errors))
    writer.file("index.html", own)
    card = _card(drawn, told)
    # Last: a folder with a card is whole.
    writer.file("card.json", json.dumps({"state": state, "card": asdict(card)}).encode())
    return card


def _card(drawn: Mapping[str, Any], told: ToldContent) -> ClassCard:
    content, strip, sheet = drawn["content"], drawn["strip"], drawn["sheet"]
    page = class_page(content["label"])
    place = page.removesuffix("index.html")
    same = ("label", "class_name", "class_index", "images", "explained", "accuracy", "drop", "distributions")
    return ClassCard(
        page=page,
        strip=place + strip["path"] if strip else None,
        strip_width=strip["width"] if strip else 0,
        strip_height=strip["height"] if strip else 0,
        sheet=place + sheet["path"] if sheet else None,
        summaries=len(drawn["kept"]),
        pruned=len(drawn["pruned"]),
        errors=len(told.errors),
        deletion=next((figure.value for figure in told.evaluation if figure.name == "deletion"), None),
        words=_words([view["summary"] for view in drawn["kept"]]),
        worries=_worries(drawn, place),
        reliance=altered.carded(drawn, altered.reliance_views(drawn, told.reliance), page),
        near=carded(told.near, drawn, place),
        confused=confused(told, place + "mistakes.html"),
        **{name: getattr(told.mistakes, name) for name in ("asked", "show")},
        supports=[float(view["summary"]["support"]) for view in drawn["kept"]],
        **{name: content[name] for name in same},
    )


def _worries(drawn: Mapping[str, Any], place: str) -> list[dict[str, Any]]:
    """The kept summaries with something suspicious, for the pages about the run."""
    content = drawn["content"]
    found = []
    for view in drawn["kept"]:
        summary, shown = view["summary"], view["shown"]
        if summary["signs"]:
            picture = shown[0]["picture"] if shown else None
            found.append(
                {
                    **{name: content[name] for name in ("label", "class_name")},
                    **{name: summary[name] for name in ("number", "signs", "coverage")},
                    "page": place + view["page"],
                    "picture": picture and {**picture, "path": place + picture["path"]},
                }
            )
    return found


def _neighbor(beside: tuple[str, str] | None) -> dict[str, str] | None:
    return None if beside is None else {"name": beside[1] or beside[0], "page": f"../{slug(beside[0])}/index.html"}


def _words(kept: Sequence[Mapping[str, Any]]) -> list[str]:
    words: dict[str, None] = {}
    for summary in kept:
        words |= dict.fromkeys(name for name, _ in (*summary["names"], *summary["tags"][:SEARCHED_WORDS]))
    return list(words)


def error_view(errors: Sequence[Any]) -> dict[str, Any]:
    """The first errors, and how many more there are."""
    return {"errors": errors[:ERRORS_SHOWN], "errors_not_shown": max(0, len(errors) - ERRORS_SHOWN)}
