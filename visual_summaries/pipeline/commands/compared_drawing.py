"""The pictures of the job `compare`: where two networks look in the same photograph."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from visual_summaries.pipeline.commands.compared import ClassOfRun, Run
from visual_summaries.pipeline.objects import ObjectPath
from visual_summaries.pipeline.report import pictures
from visual_summaries.pipeline.report.compared import ComparedPair, ComparedSummary, Disagreement, alone, disagreements
from visual_summaries.pipeline.report.comparison_page import SHOWN, PairPictures
from visual_summaries.pipeline.report.files import write_file
from visual_summaries.pipeline.review.drawing import Unreadable, analyzed_photograph
from visual_summaries.pipeline.review.questions import Photograph
from visual_summaries.schemas import EDGES

SIDE = 224


def drawn_pair(
    folder: Path | ObjectPath, number: int, runs: tuple[Run, Run], pairs: Sequence[tuple[str, ComparedPair]]
) -> PairPictures:
    """Draw the parts that only one of two runs looks at, in its square with what is salient to either, and the
    photographs that only one gets right, with what is salient to that one.

    Photographs that cannot be read any more are left out.

    Args:
        number: of the pair of runs, from 1.
        pairs: class and comparison.
    """
    folder.mkdir(parents=True, exist_ok=True)
    known: dict[str, tuple[ClassOfRun, ClassOfRun]] = {}

    def of_class(label: str) -> tuple[ClassOfRun, ClassOfRun]:
        # Lists are ordered by evidence, so that a class may come again much later; its tables are small.
        if label not in known:
            known[label] = ClassOfRun(runs[0], label), ClassOfRun(runs[1], label)
        return known[label]

    parts: dict[tuple[int, str, int], tuple[str, str]] = {}
    photographs: dict[str, str] = {}
    for run in (0, 1):
        for place, (label, one) in enumerate(alone(pairs, run)[:SHOWN], 1):
            both = of_class(label)
            drawn = _part(both[run], both[1 - run], one)
            if drawn is not None:
                names = [f"alone-{number}-{run + 1}-{place:02d}-{which}.webp" for which in ("own", "other")]
                for name, picture in zip(names, drawn, strict=True):
                    write_file(folder / name, pictures.encode(picture))
                parts[run, label, one.number] = (f"{folder.name}/{names[0]}", f"{folder.name}/{names[1]}")
        for place, one in enumerate(disagreements(pairs, run)[:SHOWN], 1):
            picture = _photograph(of_class(one.label)[run], one)
            if picture is not None:
                name = f"right-{number}-{run + 1}-{place:02d}.webp"
                write_file(folder / name, pictures.encode(picture))
                photographs[one.image_id] = f"{folder.name}/{name}"
    return PairPictures(parts, photographs)


def _part(own: ClassOfRun, other: ClassOfRun, summary: ComparedSummary) -> tuple[np.ndarray, np.ndarray] | None:
    """The same photograph twice, the summary's part outlined, with what is salient to either run."""
    image_id = summary.shown
    image = None if image_id is None else _square(own, image_id)
    if image is None:
        return None
    member = own.members[summary.number][image_id]
    hull, box = np.array(member["hull"]).reshape(-1, 2), [member[edge] for edge in EDGES]

    def drawn(salient: np.ndarray) -> np.ndarray:
        return pictures.member_picture(image, salient, hull, box, SIDE)

    return drawn(own.salient(image_id)), drawn(other.salient_in(own, image_id))


def _photograph(own: ClassOfRun, one: Disagreement) -> np.ndarray | None:
    image = _square(own, one.image_id)
    if image is None:
        return None
    if one.image_id not in own.explained:
        return pictures.photograph(image, SIDE)
    return pictures.salient_picture(image, own.salient(one.image_id), SIDE)


def _square(own: ClassOfRun, image_id: str) -> np.ndarray | None:
    """The square that the run's classifier sees; None where the photograph cannot be read or is another one."""
    row = own.images[image_id]
    try:
        return analyzed_photograph(Photograph(image_id, row["uri"], own.label), own.run.preprocessing)
    except Unreadable:
        return None
