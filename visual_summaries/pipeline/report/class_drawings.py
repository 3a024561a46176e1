"""What is drawn of one class: pictures in its folder, and what its pages say of them, as JSON values."""

from collections.abc import Collection, Sequence
from dataclasses import asdict, fields
from typing import Any

import numpy as np

from visual_summaries.pipeline.report import pictures
from visual_summaries.pipeline.report.altered import draw_altered
from visual_summaries.pipeline.report.content import ClassContent, ExampleContent, MemberContent, SummaryContent
from visual_summaries.pipeline.report.files import FolderWriter, Picture
from visual_summaries.pipeline.report.mistakes import MistakeContent
from visual_summaries.pipeline.report.rendering import count, file_name

PICTURE_SIDE = 224
SHEET_SIDE = 160
SHEET_COLUMNS = 8
# WebP ends at 16,383 pixels, and people's patience earlier.
SHEET_ROWS = 40
STRIP_SIDE = 160
STRIP_COLUMNS = 3
STRIP_GAP = 4

MEMBERS_SHOWN = 8
"""Members of a summary that the class's page shows, a row of the paper's Figure 1; the summary's own page shows the
others too."""


def draw_class(writer: FolderWriter, content: ClassContent) -> dict[str, Any]:
    """Write the pictures of a class; return all that its pages show of it, as JSON values.

    Raises:
        ValueError: a picture's arrays have the wrong type or shape; the message names the image.
    """
    # Members are drawn once; the sheet and the strip show the same drawings smaller.
    drawn: dict[int, np.ndarray] = {}
    kept = [_summary_view(writer, content, summary, drawn) for summary in content.summaries if summary.kept]
    pruned = [_summary_view(writer, content, summary, drawn) for summary in content.summaries if not summary.kept]
    return {
        "content": _said(content, ("summaries", "examples", "mistakes", "altered")),
        "kept": kept,
        "pruned": pruned,
        "examples": [_example_view(writer, number, example) for number, example in enumerate(content.examples, 1)],
        "mistakes": [_mistake_view(writer, number, mistake) for number, mistake in enumerate(content.mistakes, 1)],
        "altered": [draw_altered(writer, number, one) for number, one in enumerate(content.altered, 1)],
        "strip": _as_json(_write_strip(writer, content, drawn)),
        "sheet": _as_json(_write_sheet(writer, content, drawn)),
    }


def _said(content: Any, without: Collection[str]) -> dict[str, Any]:
    """The fields of a content that are no pictures."""
    return {one.name: getattr(content, one.name) for one in fields(content) if one.name not in without}


def _as_json(picture: Picture | None) -> dict[str, Any] | None:
    return None if picture is None else asdict(picture)


def _summary_view(
    writer: FolderWriter, content: ClassContent, summary: SummaryContent, drawn: dict[int, np.ndarray]
) -> dict[str, Any]:
    ordered = _exemplar_first(summary.members)
    on_sheet = {id(member) for member in [one for one in ordered if one.kept and summary.kept][:SHEET_COLUMNS]}
    members = [
        {
            "member": _said(member, ("image", "regions_mask", "hull", "box")),
            "picture": asdict(
                _write_member(writer, content.class_name, summary, place, member, id(member) in on_sheet, drawn)
            ),
        }
        for place, member in enumerate(ordered, 1)
    ]
    staying = [view for view in members if view["member"]["kept"]]
    return {
        "summary": _said(summary, ("members",)),
        "page": f"summary-{summary.number:02d}.html",
        "shown": staying[:MEMBERS_SHOWN],
        "folded": staying[MEMBERS_SHOWN:],
        "left_out": [view for view in members if not view["member"]["kept"]],
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
        "example": {
            **_said(example, ("image", "saliency", "regions_mask", "parts")),
            "regions": [{"drop": region.drop} for region in example.regions],
            "proposals": 0 if example.proposals is None else len(example.proposals),
        },
        "number": number,
        "pictures": {name: asdict(writer.picture(f"{stem}-{name}.webp", *one)) for name, one in drawn.items()},
    }


def _mistake_view(writer: FolderWriter, number: int, mistake: MistakeContent) -> dict[str, Any]:
    picture = pictures.photograph(mistake.image, PICTURE_SIDE)
    alt = f"Photograph {file_name(mistake.uri)}"
    return {
        "mistake": _said(mistake, ("image",)),
        "picture": asdict(writer.picture(f"mistake-{number:02d}.webp", picture, alt)),
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
