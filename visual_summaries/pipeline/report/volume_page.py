"""The page of a run over volumes: for each class its segments, ranked, and slices through the first of them.

    <directory>/index.html, style.css, icon.svg, segments.csv, <class>.webp
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from visual_summaries.pipeline.report import pictures
from visual_summaries.pipeline.report.class_pages import error_view
from visual_summaries.pipeline.report.files import slug
from visual_summaries.pipeline.report.rendering import render, shared_files
from visual_summaries.pipeline.report.slices import COLORS, sections

SEGMENTS_SHOWN = 12
# Of the first segment's mean score: what has less is not outlined.
OUTLINED_SHARE = 0.05


@dataclass(frozen=True)
class SlicedScan:
    """A scan to be drawn: its file's name, its values `[D,H,W]`, and the score of its class."""

    name: str
    values: np.ndarray
    score: float


@dataclass(frozen=True)
class VolumeClass:
    """A class of a run over volumes.

    Attributes:
        label: of the class; `class_name`: of the output that is explained.
        scans: that the means are over; `right`: of them, those whose prediction is the class.
        segments: rows of the table `segment_means`, by segment; none where no scan could be explained.
        example: the scan that is drawn, where it could be read again.
    """

    label: str
    class_name: str
    scans: int
    right: int
    segments: Sequence[Mapping[str, Any]]
    example: SlicedScan | None


def segment_name(row: Mapping[str, Any]) -> str:
    """What a segment is called."""
    return row["name"] or f"segment {row['segment']}"


def ranked(segments: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Rows of `segment_means` by rank, then label; none where no light shows the class in any scan."""
    return sorted((row for row in segments if row["rank"] is not None), key=lambda row: (row["rank"], row["segment"]))


def volume_files(
    title: str,
    facts: Mapping[str, str],
    classes: Sequence[VolumeClass],
    errors: Sequence[Mapping[str, Any]],
    labels: np.ndarray,
    affine: np.ndarray | None,
) -> dict[str, bytes]:
    """The page and its files, name → content, `index.html` last.

    Args:
        facts: of the run, in words.
        errors: rows of the table `errors`.
        labels: the atlas, int64 `[D,H,W]`; `affine`: of it, where it is known.
    """
    files = dict(shared_files())
    views = []
    for one in classes:
        first = ranked(one.segments)
        outlined = [row["segment"] for row in first if row["relative"] >= OUTLINED_SHARE][: len(COLORS)]
        picture = None
        if first and one.example is not None:
            sheet = sections(
                one.example.values,
                labels,
                outlined,
                [row["relative"] for row in one.segments],
                [row["segment"] for row in one.segments],
                first[0]["center"],
                affine,
            )
            name = f"{slug(one.label)}.webp"
            files[name] = pictures.encode(sheet)
            picture = {"path": name, "width": sheet.shape[1], "height": sheet.shape[0]}
        rows = [
            {**row, "called": segment_name(row), "color": bytes(COLORS[at]).hex() if at < len(outlined) else None}
            for at, row in enumerate(first[:SEGMENTS_SHOWN])
        ]
        views.append({"class": one, "rows": rows, "more": len(first) - len(rows), "picture": picture})
    files["index.html"] = render(
        "volumes.html",
        title=title,
        facts=facts,
        classes=views,
        **error_view(errors),
        root="",
        previous=None,
        next=None,
    )
    return files
