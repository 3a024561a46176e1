"""The photographs of a class that are called something else, from its table `images` and the specialists."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from visual_summaries.pipeline.evaluate.mistakes import decisions, shown
from visual_summaries.pipeline.report.mistakes import Confusion, Mistakes
from visual_summaries.pipeline.runtime.units import Unit
from visual_summaries.pipeline.stages.context import WorkerContext
from visual_summaries.pipeline.stages.fusion import MACHINE_COLUMNS, stored_specialist
from visual_summaries.pipeline.summarize.specialists import Specialist

COLUMNS = ["image_id", "class_index", "prediction", "prediction_name", "split", "features", "decode_error"]
MISTAKES_DRAWN = 48
"""Of a class, those called the most common other class first."""


@dataclass(frozen=True)
class OtherClass:
    """A class of the run, to whoever's photographs are called it: label, paths of its specialists, and what people
    call its summaries, by number."""

    label: str
    specialists: Sequence[str]
    names: Mapping[int, str] = field(default_factory=dict)


def _wrong(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [row for row in rows if row["decode_error"] is None and row["prediction"] not in (None, row["class_index"])]


def mistaken(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Rows of `images` that are called something else: those called what most are called first, then the surest."""
    wrong = _wrong(rows)
    counts: dict[int, int] = defaultdict(int)
    for row in wrong:
        counts[row["prediction"]] += 1

    def order(row: Mapping[str, Any]) -> tuple[Any, ...]:
        return -counts[row["prediction"]], row["prediction"], -(row.get("prediction_score") or 0), row["image_id"]

    return sorted(wrong, key=order)


def called_otherwise(worker: WorkerContext, unit: Unit) -> list[int]:
    """Indices of the classes that photographs of the unit's class are called by mistake, in order."""
    rows = worker.read(unit, "images", ["class_index", "prediction", "decode_error"])
    return sorted({row["prediction"] for row in _wrong(rows)})


def told_mistakes(worker: WorkerContext, unit: Unit, others: Mapping[int, OtherClass]) -> Mistakes:
    """What is said of the mistakes of the unit's class. Reads its own specialists and those of the classes that its
    photographs are called, and no others.

    Args:
        others: the run's classes by their index.
    """
    rows = worker.read(unit, "images", COLUMNS)
    numbers, machines = _machines(worker, unit.inputs["specialists"])
    by_class: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for row in mistaken(rows):
        by_class[row["prediction"]].append(row)
    confusions = []
    for called, wrong in by_class.items():
        worker.step()
        other = others.get(called)
        theirs, their_machines = _machines(worker, other.specialists if other else ())
        known = [row for row in wrong if row["features"]]
        ids, features = [row["image_id"] for row in known], _features(known)
        has = shown(decisions(features, machines), numbers)
        confusions.append(
            Confusion(
                called=called,
                name=wrong[0]["prediction_name"] or (other.label if other else str(called)),
                label=other.label if other else None,
                count=len(wrong),
                own=numbers,
                others=theirs,
                names=other.names if other else {},
                shows=dict(zip(ids, shown(decisions(features, their_machines), theirs), strict=True)),
                lacks={
                    image_id: [number for number in numbers if number not in own]
                    for image_id, own in zip(ids, has, strict=True)
                },
            )
        )
    apart = [
        row
        for row in rows
        if row["split"] != "fit" and row["prediction"] == row["class_index"] and row["features"] and machines
    ]
    found = shown(decisions(_features(apart), machines), numbers)
    return Mistakes(confusions, len(apart), sum(bool(one) for one in found))


def _machines(worker: WorkerContext, paths: Sequence[str]) -> tuple[list[int], list[Specialist]]:
    """Numbers, from 1, of a class's summaries that have a specialist, and these."""
    rows = worker.store.read("specialists", paths, ["summary", *MACHINE_COLUMNS]).to_pylist() if paths else []
    rows.sort(key=lambda row: row["summary"])
    return [row["summary"] + 1 for row in rows], [stored_specialist(row) for row in rows]


def _features(rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
    return np.array([np.frombuffer(row["features"], np.float16) for row in rows])
