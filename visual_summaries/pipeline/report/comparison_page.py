"""The page of the job `compare`: the runs' summaries side by side, with the pictures of their own reports.

    <directory>/comparison.html, style.css, pictures/<run>-<class>-<summary>.webp
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visual_summaries.pipeline.report.class_drawings import PICTURE_SIDE
from visual_summaries.pipeline.report.comparison import SHARED_METHOD, ComparedClass, ComparedRun
from visual_summaries.pipeline.report.files import slug, write_file
from visual_summaries.pipeline.report.plots import compared_counts
from visual_summaries.pipeline.report.rendering import render, shared_files

CLASSES_SHOWN = 200
"""Classes that the page shows; the table beside it has all."""


@dataclass(frozen=True)
class ComparedPictures:
    """A class in one run.

    Attributes:
        name: of the class.
        exemplars: number of a kept summary → file of its exemplar's picture, which may not be there; members; support.
    """

    name: str
    exemplars: Mapping[int, tuple[Path, int, float]]


def write_comparison(
    directory: Path,
    runs: Sequence[ComparedRun],
    classes: Sequence[ComparedClass],
    shown: Sequence[Sequence[ComparedPictures]],
) -> Path:
    """Write the page; returns its path.

    Args:
        shown: for each of the classes, each run's pictures.
    """
    (directory / "pictures").mkdir(parents=True, exist_ok=True)
    for name, data in shared_files().items():
        write_file(directory / name, data)
    views = [_class_view(directory, one, own) for one, own in zip(classes, shown, strict=True)][:CLASSES_SHOWN]
    page = render(
        "comparison.html",
        runs=runs,
        classes=views,
        plot=compared_counts(runs),
        method=SHARED_METHOD,
        not_shown=max(0, len(classes) - CLASSES_SHOWN),
        root="",
        previous=None,
        next=None,
    )
    return write_file(directory / "comparison.html", page)


def _class_view(directory: Path, one: ComparedClass, shown: Sequence[ComparedPictures]) -> dict[str, Any]:
    rows = []
    for run, (numbers, own) in enumerate(zip(one.summaries, shown, strict=True)):
        partners = {b: a for a, b in one.shared[run - 1]} if run else {}
        overlaps = dict(zip(numbers, one.overlaps[run - 1], strict=True)) if run else {}
        summaries = []
        for number in numbers:
            file, members, support = own.exemplars[number]
            name = f"pictures/{run + 1}-{slug(one.label)}-{number + 1}.webp"
            # The page may be given to others; what a link leads to may not be for them.
            there = file.is_file() and not (isinstance(file, Path) and file.is_symlink())
            if there:
                write_file(directory / name, file.read_bytes())
            summaries.append(
                {
                    "number": number + 1,
                    "picture": name if there else None,
                    "members": members,
                    "support": support,
                    "partner": partners[number] + 1 if number in partners else None,
                    "overlap": overlaps.get(number),
                    "side": PICTURE_SIDE,
                }
            )
        rows.append(summaries)
    return {"label": one.label, "name": shown[0].name, "runs": rows}
