"""The page of the job `compare`: the runs side by side, with the pictures of their own reports.

    <directory>/comparison.html, style.css, pictures/<run>-<class>-<summary>.webp
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from visual_summaries.pipeline.evaluate.paired import PairedAccuracy
from visual_summaries.pipeline.report.class_drawings import PICTURE_SIDE
from visual_summaries.pipeline.report.compared import ComparedPair, alone, disagreements, states_counted
from visual_summaries.pipeline.report.comparison import (
    SHARED_METHOD,
    ComparedClass,
    ComparedRun,
    isolated,
    points,
    short_names,
    verdict,
)
from visual_summaries.pipeline.report.files import slug, write_file
from visual_summaries.pipeline.report.plots import compared_counts
from visual_summaries.pipeline.report.rendering import render, shared_files

CLASSES_SHOWN = 200
"""Classes that the page shows; the table beside it has all."""

SHOWN = 24
"""Parts that only one run looks at, and photographs that only one gets right, of each run; the tables have all."""


@dataclass(frozen=True)
class ComparedPictures:
    """A class in one run.

    Attributes:
        name: of the class.
        exemplars: number of a kept summary → file of its exemplar's picture, which may not be there; members; support.
    """

    name: str
    exemplars: Mapping[int, tuple[Path, int, float]]


@dataclass(frozen=True)
class PairPictures:
    """Pictures of two runs, by their paths from the page; what could not be drawn is not there.

    Attributes:
        parts: run (0 or 1), class and number of a summary → where that run, and the other, look in a photograph of it.
        photographs: image id of a photograph that only one gets right → the photograph.
    """

    parts: Mapping[tuple[int, str, int], tuple[str, str]] = field(default_factory=dict)
    photographs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PairShown:
    """The first run and another one: how often both are right, what they have of each other by class, pictures."""

    accuracy: PairedAccuracy
    pairs: Sequence[tuple[str, ComparedPair]]
    pictures: PairPictures = field(default_factory=PairPictures)


def write_comparison(
    directory: Path,
    runs: Sequence[ComparedRun],
    classes: Sequence[ComparedClass],
    shown: Sequence[Sequence[ComparedPictures]],
    pairs: Sequence[PairShown] = (),
) -> Path:
    """Write the page; returns its path.

    Args:
        shown: for each of the classes, each run's pictures.
        pairs: the first run with each other one.
    """
    (directory / "pictures").mkdir(parents=True, exist_ok=True)
    for name, data in shared_files().items():
        write_file(directory / name, data)
    names = {one.label: own[0].name for one, own in zip(classes, shown, strict=True)}
    # Those in which the runs differ most come first.
    order = sorted(range(len(classes)), key=lambda at: (_likeness(classes[at]), classes[at].label))
    page = render(
        "comparison.html",
        runs=runs,
        pairs=[_pair_view(runs, number, pair, names) for number, pair in enumerate(pairs, 1)],
        classes=[_class_view(directory, classes[at], shown[at]) for at in order[:CLASSES_SHOWN]],
        plot=compared_counts(runs),
        method=SHARED_METHOD,
        not_shown=max(0, len(classes) - CLASSES_SHOWN),
        side=PICTURE_SIDE,
        root="",
        previous=None,
        next=None,
    )
    return write_file(directory / "comparison.html", page)


def _likeness(one: ComparedClass) -> tuple[float, int]:
    apart = [pair.apart for pair in one.pairs]
    return -sum(evidence for evidence, _ in apart), -sum(photographs for _, photographs in apart)


def _pair_view(
    runs: Sequence[ComparedRun], number: int, pair: PairShown, names: Mapping[str, str]
) -> dict[str, Any]:
    """What is said of the first run and the one of this number.

    Args:
        names: of the classes, by label.
    """
    both = short_names([runs[0].name, runs[number].name])
    sides = []
    for run in (0, 1):
        parts, photographs = alone(pair.pairs, run), disagreements(pair.pairs, run)
        states = states_counted([one for _, own in pair.pairs for one in (own.first, own.second)[run]])
        sides.append(
            {
                "number": (1, number + 1)[run],
                "name": both[run],
                "other": both[1 - run],
                "right": (pair.accuracy.first, pair.accuracy.second)[run],
                "only": (pair.accuracy.only_first, pair.accuracy.only_second)[run],
                "states": states,
                "parts": [
                    {"label": label, "class": names[label], "part": one,
                     "pictures": pair.pictures.parts.get((run, label, one.number))}
                    for label, one in parts[:SHOWN]
                ],
                "parts_not_shown": max(0, len(parts) - SHOWN),
                "photographs": [
                    {"photograph": one, "class": names[one.label],
                     "picture": pair.pictures.photographs.get(one.image_id)}
                    for one in photographs[:SHOWN]
                ],
                "photographs_not_shown": max(0, len(photographs) - SHOWN),
            }
        )  # fmt: skip
    said = verdict(isolated(both[0]), isolated(both[1]), pair.accuracy, [own for _, own in pair.pairs])
    accuracy = pair.accuracy
    difference = {name: points(getattr(accuracy, name)) for name in ("difference", "low", "high")}
    return {"verdict": said, "accuracy": accuracy, "points": difference, "sides": sides, "number": number}


def _class_view(directory: Path, one: ComparedClass, shown: Sequence[ComparedPictures]) -> dict[str, Any]:
    rows = []
    for run, (numbers, own) in enumerate(zip(one.summaries, shown, strict=True)):
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
                    "partners": _partners(one, run, number),
                    "overlap": overlaps.get(number),
                    "states": _states(one, run, number),
                    "side": PICTURE_SIDE,
                }
            )
        rows.append(summaries)
    return {"label": one.label, "name": shown[0].name, "runs": rows, "answers": _answers(one)}


def _partners(one: ComparedClass, run: int, number: int) -> list[tuple[int, int]]:
    """Run and number, both from 1, of the summaries that show the same part."""
    if run:
        return [(1, a + 1) for a, b in one.shared[run - 1] if b == number]
    return [(other, b + 1) for other, pairs in enumerate(one.shared, 2) for a, b in pairs if a == number]


def _states(one: ComparedClass, run: int, number: int) -> list[dict[str, Any]]:
    """For each run that has no such summary whether it looks there: its number, from 1, and the comparison."""
    pairs = enumerate(one.pairs, 2) if run == 0 else [(1, one.pairs[run - 1])] if one.pairs else []
    sides = [(other, pair.first if run == 0 else pair.second) for other, pair in pairs]
    found = [(other, summary) for other, side in sides for summary in side if summary.number == number]
    return [{"run": other, "part": summary} for other, summary in found if summary.counterpart is None]


def _answers(one: ComparedClass) -> list[dict[str, Any]]:
    """How many photographs the first run and each other one get right."""
    return [
        {
            "run": other,
            "images": pair.both + pair.neither + len(pair.disagreements),
            "right": [pair.both + pair.only(run) for run in (0, 1)],
            "only": [pair.only(run) for run in (0, 1)],
        }
        for other, pair in enumerate(one.pairs, 2)
    ]
