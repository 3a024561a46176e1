"""A run's kept summaries against parts whose true boxes are known, for the stage `metrics` and the study `truth`."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from visual_summaries.pipeline.data.annotations import annotated
from visual_summaries.pipeline.data.parts import Parts, read_parts
from visual_summaries.pipeline.evaluate.part_truth import (
    FoundParts,
    PartFigure,
    PartScores,
    found_parts,
    part_overlaps,
    part_scores,
)
from visual_summaries.pipeline.evaluate.parts import analyzed_boxes
from visual_summaries.pipeline.objects import ObjectPath
from visual_summaries.pipeline.runtime.units import Unit
from visual_summaries.pipeline.stages.context import WorkerContext
from visual_summaries.pipeline.stages.metric_rows import metric_row
from visual_summaries.schemas import EDGES

LEAST_OVERLAP = 0.5
"""Median overlap with a part's true boxes from which a summary shows the part."""
LENIENT_OVERLAP = 0.3
NOWHERE = (np.nan,) * 4

OVERLAP_METHOD = (
    "best kept summary: median over its members of the overlap (intersection over union) of the member's box with the "
    "part's true box, 0 where the part is not visible"
)
ALL_CLASSES = "; all classes taken together, 95 % bootstrap interval over classes"


@dataclass(frozen=True)
class ClassTruth:
    """How the kept summaries of a class lie on its discriminative parts.

    Attributes:
        parts: names of the P parts, at least one.
        summaries: numbers of the S kept summaries.
        overlaps: `[S,P]` float64 in 0..1, median overlap of each summary with each part.
    """

    label: str
    parts: tuple[str, ...]
    summaries: tuple[int, ...]
    overlaps: np.ndarray

    def found(self, least: float) -> FoundParts:
        """The parts that are found at an overlap of at least `least`."""
        return found_parts(self.overlaps, least)


def truth_digest(path: Path | ObjectPath) -> str:
    """What the true boxes of a CSV are known by."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


@dataclass(frozen=True)
class KnownParts:
    """True boxes of parts, and the names of each class's discriminative ones."""

    boxes: Parts
    names: Mapping[str, Sequence[str]]


def known_parts(path: Path | ObjectPath) -> KnownParts:
    """Read a CSV as for `read_parts`."""
    boxes = read_parts(path)
    names: dict[str, set[str]] = defaultdict(set)
    for own in boxes.values():
        for (label, part), (_, discriminative) in own.items():
            if discriminative:
                names[label].add(part)
    return KnownParts(boxes, {label: tuple(sorted(parts)) for label, parts in names.items()})


def class_truths(worker: WorkerContext, unit: Unit, known: KnownParts) -> list[ClassTruth]:
    """The truth about each class of the unit that has discriminative parts, in order of labels.

    Reads `images`, `members` and `summaries` of the unit.
    """
    columns = ["image_id", "label", "uri", "width", "height"]
    photographs = {(row["label"], row["image_id"]): row for row in worker.read(unit, "images", columns)}
    kept = {
        (row["label"], row["cluster"]): row["summary"]
        for row in worker.read(unit, "summaries", ["label", "cluster", "summary", "kept"])
        if row["kept"]
    }
    members: dict[tuple[str, int], list[Mapping[str, Any]]] = {key: [] for key in kept}
    for row in worker.read(unit, "members", ["label", "cluster", "image_id", *EDGES, "kept"]):
        if row["kept"] and (row["label"], row["cluster"]) in kept:
            members[row["label"], row["cluster"]].append(row)
    return [
        _class_truth(
            worker,
            label,
            tuple(known.names[label]),
            {kept[key]: members[key] for key in sorted(kept, key=kept.get) if key[0] == label},
            photographs,
            known.boxes,
        )
        for label in sorted({label for label, _ in photographs} & set(known.names))
    ]


def _class_truth(
    worker: WorkerContext,
    label: str,
    parts: tuple[str, ...],
    members: Mapping[int, Sequence[Mapping[str, Any]]],
    photographs: Mapping[tuple[str, str], Mapping[str, Any]],
    truth: Parts,
) -> ClassTruth:
    ids = sorted({row["image_id"] for rows in members.values() for row in rows})
    place = {image_id: number for number, image_id in enumerate(ids)}
    preprocessing = worker.setup.preprocessing
    boxes = np.empty((len(ids), len(parts), 4))
    for image_id, number in place.items():
        photograph = photographs[label, image_id]
        told = annotated(truth, photograph["uri"], label) or {}
        own = np.array([told.get((label, part), (NOWHERE, True))[0] for part in parts], dtype=float)
        view = preprocessing.analyzed_box(photograph["height"], photograph["width"])
        boxes[number] = analyzed_boxes(own, view, preprocessing.crop_side)
    overlaps = part_overlaps(
        [np.array([place[row["image_id"]] for row in rows], dtype=int) for rows in members.values()],
        [np.array([[row[edge] for edge in EDGES] for row in rows]).reshape(-1, 4) for rows in members.values()],
        boxes,
    )
    return ClassTruth(label, parts, tuple(members), overlaps)


def truth_rows(truths: Sequence[ClassTruth], seed: int) -> Iterator[dict[str, Any]]:
    """Rows of `metrics`: what is found of each class, each part's best overlap, and the figures over all classes."""
    for one in truths:
        best = one.overlaps.max(axis=0, initial=0)
        for part, overlap in zip(one.parts, best, strict=True):
            yield metric_row(
                one.label, f"overlap with part: {part}", overlap, len(one.summaries), "0..1", OVERLAP_METHOD
            )
        yield from _score_rows(one.label, [one.found(LEAST_OVERLAP)], LEAST_OVERLAP, seed)
    for least in (LEAST_OVERLAP, LENIENT_OVERLAP) if truths else ():
        yield from _score_rows("", [one.found(least) for one in truths], least, seed)


def named_scores(scores: PartScores) -> dict[str, PartFigure]:
    """The three figures by their names in tables."""
    return {"part precision": scores.precision, "part recall": scores.recall, "part F1": scores.f1}


def _score_rows(label: str, found: Sequence[FoundParts], least: float, seed: int) -> Iterator[dict[str, Any]]:
    shown = (
        "discriminative parts that a kept summary shows (median over its members of the overlap with the part's true "
        f"box ≥ {least}), each part counted once and each summary for one part at most"
    )
    summaries, parts = sum(one.summaries for one in found), sum(one.parts for one in found)
    methods = {
        "part precision": (f"{shown}, as a share of the kept summaries", summaries, "share"),
        "part recall": (f"{shown}, as a share of the discriminative parts", parts, "share"),
        "part F1": ("harmonic mean of part precision and part recall", summaries + parts, "0..1"),
    }
    suffix = "" if least == LEAST_OVERLAP else f", overlap ≥ {least}"
    for name, figure in named_scores(part_scores(found, seed)).items():
        method, n, unit = methods[name]
        method += "" if label else ALL_CLASSES
        yield metric_row(label, f"{name}{suffix}", figure.value, n, unit, method, figure.low, figure.high)
