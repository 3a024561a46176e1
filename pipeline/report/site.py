"""The report's pages: plain data in, HTML and pictures in a folder out.

    <directory>/index.html, style.css
    <directory>/classes/<slug>/index.html and its pictures; summaries.webp holds all kept summaries

The pages need no script and nothing from another host, and open from a disk. All text is escaped. Each file is
written beside its place and renamed, so a reader never sees half of one. Class pages are independent of each
other: different processes may write them at once; the index comes last, from the cards they return.
"""

import hashlib
import math
import os
import re
import secrets
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from pipeline.report import pictures
from pipeline.report.content import (
    ClassCard,
    ClassContent,
    ErrorContent,
    ExampleContent,
    IndexContent,
    MemberContent,
    SummaryContent,
)

PICTURE_SIDE = 224
SHEET_SIDE = 160
SHEET_COLUMNS = 8
# WebP ends at 16,383 pixels, and people's patience earlier.
SHEET_ROWS = 40
STRIP_SIDE = 160
STRIP_COLUMNS = 3
STRIP_GAP = 4

MEMBERS_SHOWN = 12
"""Members of a summary that are shown at once; the others are folded away."""

ERRORS_SHOWN = 200
"""Errors that a page lists; it counts the others."""

_TEMPLATES = Path(__file__).parent / "templates"
_RESERVED_BY_WINDOWS = re.compile(r"con|prn|aux|nul|(com|lpt)\d")


def slug(label: str) -> str:
    """Name of the folder of a class: safe in every file system and address, different for different labels.

    A label of at most 64 small ASCII letters, digits, hyphens and underscores is its own name. Any other one
    becomes what is readable of it, a dot (which the first kind cannot hold) and 16 digits of its sha256.
    """
    if re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", label) and not _RESERVED_BY_WINDOWS.fullmatch(label):
        return label
    ascii_only = unicodedata.normalize("NFKD", label).encode("ascii", "ignore").decode().lower()
    readable = re.sub(r"[^a-z0-9]+", "-", ascii_only)[:40].strip("-") or "class"
    if _RESERVED_BY_WINDOWS.fullmatch(readable):
        readable = f"class-{readable}"
    return f"{readable}.{hashlib.sha256(label.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"


def write_class_page(directory: Path, content: ClassContent) -> ClassCard:
    """Write the page of one class with its pictures into `<directory>/classes/<slug>/`.

    An older page of the same class is replaced; its pictures that the new page does not show are removed.

    Returns:
        What the index needs to know of the class.

    Raises:
        ValueError: a picture's arrays have the wrong type or shape; the message names the image.
    """
    directory = Path(directory)
    name = slug(content.label)
    folder = directory / "classes" / name
    folder.mkdir(parents=True, exist_ok=True)
    writer = _PictureWriter(folder, content.class_name)
    kept = [_summary_view(writer, summary) for summary in content.summaries if summary.kept]
    pruned = [_summary_view(writer, summary) for summary in content.summaries if not summary.kept]
    examples = [_example_view(writer, number, example) for number, example in enumerate(content.examples, 1)]
    strip = _write_strip(writer, content)
    sheet = _write_sheet(writer, content)
    page = _render(
        "class.html",
        content=content,
        title=content.class_name or content.label,
        kept=kept,
        pruned=pruned,
        examples=examples,
        sheet=sheet,
        root="../../",
        **_error_view(content.errors),
    )
    _write_style(directory)
    _write(folder / "index.html", page)
    writer.remove_others()
    place = f"classes/{name}/"
    return ClassCard(
        label=content.label,
        class_name=content.class_name,
        class_index=content.class_index,
        page=f"{place}index.html",
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
    )


def write_index(directory: Path, content: IndexContent) -> Path:
    """Write `<directory>/index.html`, which shows the cards of all classes and the figures of the run.

    Returns:
        The path of the page.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    _write_style(directory)
    cards = [{"card": card, "share": _strip_share(card)} for card in content.classes]
    page = _render(
        "index.html",
        content=content,
        title=content.title,
        cards=cards,
        longest=max((stage.seconds for stage in content.stages), default=0.0),
        root="",
        **_error_view(content.errors),
    )
    return _write(directory / "index.html", page)


@dataclass(frozen=True)
class _Picture:
    path: str
    width: int
    height: int
    alt: str


class _PictureWriter:
    """Writes the pictures of one class page and remembers which ones it wrote."""

    def __init__(self, folder: Path, class_name: str) -> None:
        self.folder = folder
        self.class_name = class_name
        self.written: set[str] = set()

    def write(self, name: str, picture: np.ndarray, alt: str) -> _Picture:
        _write(self.folder / name, pictures.encode(picture))
        self.written.add(name)
        return _Picture(name, picture.shape[1], picture.shape[0], alt)

    def remove_others(self) -> None:
        for path in self.folder.iterdir():
            ours = re.fullmatch(r"((summary|example)-\d+-\w+|strip|summaries)\.webp", path.name)
            if ours and path.name not in self.written:
                path.unlink(missing_ok=True)


def _summary_view(writer: _PictureWriter, summary: SummaryContent) -> dict[str, Any]:
    members = [
        {"member": member, "picture": _write_member(writer, summary, place, member)}
        for place, member in enumerate(_exemplar_first(summary.members), 1)
    ]
    staying = [view for view in members if view["member"].kept]
    return {
        "summary": summary,
        "shown": staying[:MEMBERS_SHOWN],
        "folded": staying[MEMBERS_SHOWN:],
        "left_out": [view for view in members if not view["member"].kept],
        "not_shown": max(0, summary.members_kept - len(staying)),
    }


def _write_member(
    writer: _PictureWriter, summary: SummaryContent, place: int, member: MemberContent
) -> _Picture:
    role = "Exemplar" if member.exemplar else f"Member {place}"
    alt = (
        f"{role} of summary {summary.number} of {writer.class_name}, {_file_name(member.uri)}: "
        "the salient part in color, the common part outlined in red"
    )
    return writer.write(f"summary-{summary.number:02d}-{place:02d}.webp", _draw(member, PICTURE_SIDE), alt)


def _draw(member: MemberContent, size: int) -> np.ndarray:
    try:
        return pictures.member_picture(member.image, member.regions_mask, member.hull, member.box, size)
    except ValueError as error:
        raise ValueError(f"{member.uri} (image {member.image_id[:12]}) cannot be drawn: {error}") from error


def _example_view(writer: _PictureWriter, number: int, example: ExampleContent) -> dict[str, Any]:
    try:
        photograph = pictures.photograph(example.image, PICTURE_SIDE)
        heat = pictures.overlay(photograph, example.saliency)
        salient = pictures.salient_picture(example.image, example.regions_mask, PICTURE_SIDE)
    except ValueError as error:
        raise ValueError(f"{example.uri} (image {example.image_id[:12]}) cannot be drawn: {error}") from error
    stem, file = f"example-{number:02d}", _file_name(example.uri)
    return {
        "example": example,
        "pictures": [
            writer.write(f"{stem}-photograph.webp", photograph, f"Photograph {file}"),
            writer.write(f"{stem}-saliency.webp", heat, f"Saliency map of {file}"),
            writer.write(f"{stem}-salient.webp", salient, f"{file} with its salient part in color"),
        ],
    }


def _write_strip(writer: _PictureWriter, content: ClassContent) -> _Picture | None:
    """The exemplars of the first kept summaries, side by side."""
    rows = _member_rows(content)[:STRIP_COLUMNS]
    if not rows:
        return None
    row = [_draw(members[0], STRIP_SIDE) for _, members in rows]
    alt = f"Exemplars of the first summaries of {content.class_name}"
    return writer.write("strip.webp", pictures.contact_sheet(row, STRIP_COLUMNS, STRIP_GAP), alt)


def _write_sheet(writer: _PictureWriter, content: ClassContent) -> _Picture | None:
    """The first kept summaries, one to a row, the framed exemplar first: the look of the paper's Figure 1."""
    every = _member_rows(content)
    rows = every[:SHEET_ROWS]
    if not rows:
        return None
    columns = min(SHEET_COLUMNS, max(len(members) for _, members in rows))
    cells: list[np.ndarray | None] = []
    for _, members in rows:
        drawn = [_draw(member, SHEET_SIDE) for member in members[:columns]]
        cells += [pictures.framed(drawn[0]), *drawn[1:], *[None] * (columns - len(drawn))]
    captions = [
        f"Summary {summary.number}: {_count(summary.members_kept, 'image')} of {content.explained:,}"
        for summary, _ in rows
    ]
    sheet = pictures.contact_sheet(cells, columns, gap=6, captions=captions)
    which = "All kept summaries" if len(rows) == len(every) else f"The first {len(rows)} of {len(every)} kept summaries"
    alt = f"{which} of {content.class_name}, one to a row, the exemplar first"
    return writer.write("summaries.webp", sheet, alt)


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


def _strip_share(card: ClassCard) -> float:
    """Width of the card's strip in percent of a full one."""
    full = STRIP_COLUMNS * (STRIP_SIDE + STRIP_GAP) - STRIP_GAP
    return round(100.0 * card.strip_width / full, 2)


def _error_view(errors: Sequence[ErrorContent]) -> dict[str, Any]:
    return {"errors": errors[:ERRORS_SHOWN], "errors_not_shown": max(0, len(errors) - ERRORS_SHOWN)}


def _file_name(uri: str) -> str:
    return re.split(r"[/\\]", uri.rstrip("/\\"))[-1] or uri


def _shortened(name: str, length: int) -> str:
    """The name with its middle left out: the end of a file name tells more than what all names begin with."""
    return name if len(name) <= length else f"{name[: length // 3]}…{name[length // 3 + 1 - length :]}"


def _count(number: int, noun: str, plural: str | None = None) -> str:
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def _share(value: float | None, digits: int = 1) -> str:
    """In percent; near the whole with a digit more, where the distance to it is what matters."""
    if value is not None and 0.995 <= value < 1:
        digits += 1
    return "–" if value is None or not math.isfinite(value) else f"{100.0 * value:.{digits}f}%"


def _figure(value: float | None, unit: str = "") -> str:
    """About three digits and the unit; shares in percent, nothing for scales such as 0..1."""
    if value is None or not math.isfinite(value):
        return "–"
    if unit == "share":
        return _share(value)
    size = abs(value)
    counted = value == int(value) and unit and ".." not in unit
    if size >= 100 or counted:
        text = f"{value:,.0f}"
    elif size >= 0.001 or value == 0:
        text = f"{value:.{1 if size >= 10 else 2 if size >= 1 else 3}f}"
    else:
        text = f"{value:.1e}"
    return text if not unit or ".." in unit else f"{text}\N{NO-BREAK SPACE}{unit}"


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        share=_share, figure=_figure, count=_count, file_name=_file_name, shortened=_shortened
    )
    return environment


_ENVIRONMENT = _environment()


def _render(template: str, **values: Any) -> bytes:
    # A file name that is not UTF-8 reaches us with lone surrogates, which no page can hold.
    return _ENVIRONMENT.get_template(template).render(**values).encode("utf-8", "replace")


def _write_style(directory: Path) -> None:
    _write(directory / "style.css", (_TEMPLATES / "style.css").read_bytes())


def _write(path: Path, data: bytes) -> Path:
    """Write beside the place and rename. Not flushed to the disk: a lost report can be drawn again."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part.tmp")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path
