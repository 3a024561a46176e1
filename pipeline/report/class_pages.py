"""The pages of one class: its summaries, each summary by itself, and single photographs.

    <directory>/classes/<slug>/index.html, summary-01.html …, photographs.html, card.json and pictures

Pages of different classes are independent of each other: different processes may write them at once.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.report import pictures
from pipeline.report.content import ClassCard, ClassContent, ErrorContent, ExampleContent, MemberContent, SummaryContent
from pipeline.report.files import FolderWriter, Picture, slug, write_file
from pipeline.report.rendering import count, file_name, render

PICTURE_SIDE = 224
SHEET_SIDE = 160
SHEET_COLUMNS = 8
# WebP ends at 16,383 pixels, and people's patience earlier.
SHEET_ROWS = 40
STRIP_SIDE = 160
STRIP_COLUMNS = 3
STRIP_GAP = 4

MEMBERS_SHOWN = 12
"""Members of a summary that the class's page shows; the summary's own page shows the others too."""

ERRORS_SHOWN = 200
"""Errors that a page lists; it counts the others."""

SEARCHED_WORDS = 1
"""Tags of a summary by which the overview finds its class."""


def class_page(label: str) -> str:
    """Path of a class's page relative to the site's folder."""
    return f"classes/{slug(label)}/index.html"


def write_class_page(directory: Path, content: ClassContent, state: str = "") -> ClassCard:
    """Write the pages of one class with their pictures into `<directory>/classes/<slug>/`.

    Older pages of the same class are replaced; what they left is removed.

    Args:
        state: what the content was made from, in short; `written_card` asks for it.

    Returns:
        What the overview needs to know of the class.

    Raises:
        ValueError: a picture's arrays have the wrong type or shape; the message names the image.
    """
    page = class_page(content.label)
    writer = FolderWriter((directory / page).parent)
    # Members are drawn once; the sheet and the strip show the same drawings smaller.
    drawn: dict[int, np.ndarray] = {}
    kept = [_summary_view(writer, content, summary, drawn) for summary in content.summaries if summary.kept]
    pruned = [_summary_view(writer, content, summary, drawn) for summary in content.summaries if not summary.kept]
    examples = [_example_view(writer, number, example) for number, example in enumerate(content.examples, 1)]
    strip, sheet = _write_strip(writer, content, drawn), _write_sheet(writer, content, drawn)
    common = {
        "content": content,
        "name": content.class_name or content.label,
        "root": "../../",
        "examples": examples,
        "previous": _neighbor(content.previous),
        "next": _neighbor(content.next),
    }
    for place, view in enumerate(kept):
        beside = {
            "earlier": kept[place - 1]["page"] if place else None,
            "later": kept[place + 1]["page"] if place + 1 < len(kept) else None,
        }
        writer.file(view["page"], render("summary.html", view=view, **common, **beside))
    if examples:
        writer.file("photographs.html", render("photographs.html", **common))
    own = render("class.html", kept=kept, pruned=pruned, sheet=sheet, **common, **error_view(content.errors))
    writer.file("index.html", own)
    place = page.removesuffix("index.html")
    card = ClassCard(
        label=content.label,
        class_name=content.class_name,
        class_index=content.class_index,
        page=page,
        strip=place + strip.path if strip else None,
        strip_width=strip.width if strip else 0,
        strip_height=strip.height if strip else 0,
        sheet=place + sheet.path if sheet else None,
        summaries=len(kept),
        pruned=len(pruned),
        images=content.images,
        explained=content.explained,
        accuracy=content.accuracy,
        drop=content.drop,
        errors=len(content.errors),
        deletion=next((figure.value for figure in content.evaluation if figure.name == "deletion"), None),
        words=_words(content.summaries),
        supports=[float(summary.support) for summary in content.summaries if summary.kept],
        distributions=content.distributions,
    )
    writer.written.add("card.json")
    writer.remove_others()
    # Last: a folder with a card is whole.
    write_file(writer.folder / "card.json", json.dumps({"state": state, "card": asdict(card)}).encode())
    return card


def written_card(directory: Path, label: str, state: str) -> ClassCard | None:
    """The card of a class whose pages were all written from the same `state`; else None."""
    folder = (directory / class_page(label)).parent
    try:
        found = json.loads((folder / "card.json").read_bytes())
        return ClassCard(**found["card"]) if found["state"] == state and (folder / "index.html").is_file() else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _neighbor(beside: tuple[str, str] | None) -> dict[str, str] | None:
    return None if beside is None else {"name": beside[1] or beside[0], "page": f"../{slug(beside[0])}/index.html"}


def _words(summaries: Sequence[SummaryContent]) -> list[str]:
    words: dict[str, None] = {}
    for summary in summaries:
        if summary.kept:
            words |= dict.fromkeys(name for name, _ in (*summary.names, *summary.tags[:SEARCHED_WORDS]))
    return list(words)


def _summary_view(
    writer: FolderWriter, content: ClassContent, summary: SummaryContent, drawn: dict[int, np.ndarray]
) -> dict[str, Any]:
    ordered = _exemplar_first(summary.members)
    on_sheet = {id(member) for member in [one for one in ordered if one.kept and summary.kept][:SHEET_COLUMNS]}
    members = [
        {
            "member": member,
            "picture": _write_member(
                writer, content.class_name, summary, place, member, id(member) in on_sheet, drawn
            ),
        }
        for place, member in enumerate(ordered, 1)
    ]
    staying = [view for view in members if view["member"].kept]
    return {
        "summary": summary,
        "page": f"summary-{summary.number:02d}.html",
        "shown": staying[:MEMBERS_SHOWN],
        "folded": staying[MEMBERS_SHOWN:],
        "left_out": [view for view in members if not view["member"].kept],
        "not_shown": max(0, summary.members_kept - len(staying)),
    }


def _write_member(
    writer: FolderWriter,
    class_name: str,
    summary: SummaryContent,
    place: int,
    member: MemberContent,
    on_sheet: bool,
    drawn: dict[int, np.ndarray],
) -> Picture:
    role = "Exemplar" if member.exemplar else f"Member {place}"
    alt = (
        f"{role} of summary {summary.number} of {class_name}, {file_name(member.uri)}: "
        "the salient part in color, the common part outlined in red"
    )
    try:
        picture = pictures.member_picture(member.image, member.regions_mask, member.hull, member.box, PICTURE_SIDE)
    except ValueError as error:
        raise ValueError(f"{member.uri} (image {member.image_id[:12]}) cannot be drawn: {error}") from error
    if on_sheet:
        drawn[id(member)] = picture
    return writer.picture(f"summary-{summary.number:02d}-{place:02d}.webp", picture, alt)


def _example_view(writer: FolderWriter, number: int, example: ExampleContent) -> dict[str, Any]:
    stem, file = f"example-{number:02d}", file_name(example.uri)
    masks = [region.mask for region in example.regions]
    drawn: dict[str, tuple[np.ndarray, str]] = {}
    try:
        photograph = pictures.photograph(example.image, PICTURE_SIDE)
        drawn["photograph"] = photograph, f"Photograph {file}"
        drawn["saliency"] = pictures.overlay(photograph, example.saliency), f"Saliency map of {file}"
        drawn["mask"] = pictures.mask_picture(example.saliency, PICTURE_SIDE), f"Saliency map of {file}, white on black"
        salient = pictures.salient_picture(example.image, example.regions_mask, PICTURE_SIDE)
        drawn["salient"] = salient, f"{file} with its salient part in color"
        drawn["regions"] = (
            pictures.numbered_regions(photograph, masks),
            f"The {count(len(masks), 'salient region')} of {file}, outlined and numbered",
        )
        if example.parts:
            numbers = [number for number, _ in example.parts]
            parts = pictures.numbered_regions(photograph, [mask for _, mask in example.parts], numbers)
            drawn["parts"] = parts, f"The {count(len(numbers), 'part')} of {file}, with the numbers of their summaries"
            left = example.regions_mask & ~np.any([mask for _, mask in example.parts], axis=0)
            rest = pictures.salient_picture(example.image, left, PICTURE_SIDE)
            drawn["unaccounted"] = rest, f"{file} with what is salient but in no summary in color"
        if example.proposals is not None:
            boxes = np.asarray(example.proposals, float).reshape(-1, 4) * (PICTURE_SIDE / example.image.shape[0])
            many = count(len(boxes), "proposal")
            drawn["proposals"] = pictures.boxed(photograph, boxes), f"The {many} of {file} that were kept as parts"
    except ValueError as error:
        raise ValueError(f"{example.uri} (image {example.image_id[:12]}) cannot be drawn: {error}") from error
    return {
        "example": example,
        "number": number,
        "pictures": {name: writer.picture(f"{stem}-{name}.webp", *drawing) for name, drawing in drawn.items()},
    }


def _write_strip(writer: FolderWriter, content: ClassContent, drawn: dict[int, np.ndarray]) -> Picture | None:
    """The exemplars of the first kept summaries, side by side."""
    rows = _member_rows(content)[:STRIP_COLUMNS]
    if not rows:
        return None
    row = [pictures.photograph(drawn[id(members[0])], STRIP_SIDE) for _, members in rows]
    alt = f"Exemplars of the first summaries of {content.class_name}"
    return writer.picture("strip.webp", pictures.contact_sheet(row, STRIP_COLUMNS, STRIP_GAP), alt)


def _write_sheet(writer: FolderWriter, content: ClassContent, drawn: dict[int, np.ndarray]) -> Picture | None:
    """The first kept summaries, one to a row, the framed exemplar first: the look of the paper's Figure 1."""
    every = _member_rows(content)
    rows = every[:SHEET_ROWS]
    if not rows:
        return None
    columns = min(SHEET_COLUMNS, max(len(members) for _, members in rows))
    cells: list[np.ndarray | None] = []
    for _, members in rows:
        row = [pictures.photograph(drawn[id(member)], SHEET_SIDE) for member in members[:columns]]
        cells += [pictures.framed(row[0]), *row[1:], *[None] * (columns - len(row))]
    captions = [
        f"Summary {summary.number}: {count(summary.members_kept, 'image')} of {content.explained:,}"
        for summary, _ in rows
    ]
    sheet = pictures.contact_sheet(cells, columns, gap=6, captions=captions)
    which = "All kept summaries" if len(rows) == len(every) else f"The first {len(rows)} of {len(every)} kept summaries"
    alt = f"{which} of {content.class_name}, one to a row, the exemplar first"
    return writer.picture("summaries.webp", sheet, alt)


def _member_rows(content: ClassContent) -> list[tuple[SummaryContent, list[MemberContent]]]:
    """The kept summaries that have a kept member, with these members, the exemplar first."""
    rows = []
    for summary in content.summaries:
        members = [member for member in _exemplar_first(summary.members) if member.kept]
        if summary.kept and members:
            rows.append((summary, members))
    return rows


def _exemplar_first(members: Sequence[MemberContent]) -> list[MemberContent]:
    return sorted(members, key=lambda member: not member.exemplar)


def error_view(errors: Sequence[ErrorContent]) -> dict[str, Any]:
    """The first errors, and how many more there are."""
    return {"errors": errors[:ERRORS_SHOWN], "errors_not_shown": max(0, len(errors) - ERRORS_SHOWN)}
