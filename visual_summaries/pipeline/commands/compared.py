"""What the job `compare` reads of finished runs, class by class."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from visual_summaries.pipeline.commands.stored import StoredRun
from visual_summaries.pipeline.config import RunConfig
from visual_summaries.pipeline.evaluate.counterparts import View, in_other_square, in_photograph, looked_at
from visual_summaries.pipeline.evaluate.stability import found_again_in, matched_summaries, member_overlap
from visual_summaries.pipeline.export.contents import KEPT_COLUMNS, kept_clusters
from visual_summaries.pipeline.models.preprocessing import Preprocessing
from visual_summaries.pipeline.objects import ObjectPath
from visual_summaries.pipeline.report.class_pages import class_page
from visual_summaries.pipeline.report.compared import ComparedPair, ComparedSummary, Disagreement
from visual_summaries.pipeline.report.comparison import ComparedClass
from visual_summaries.pipeline.report.comparison_page import ComparedPictures
from visual_summaries.pipeline.report.story import in_words
from visual_summaries.pipeline.stages.members import member_pixels
from visual_summaries.pipeline.stages.report.stage import FOLDER as REPORT
from visual_summaries.pipeline.store.tables import TableStore
from visual_summaries.pipeline.summarize.regions import decode_run_length
from visual_summaries.schemas import EDGES

IMAGE_COLUMNS = ["image_id", "uri", "width", "height", "class_index", "prediction", "prediction_name"]
IMAGE_COLUMNS += ["prediction_score", "score", "decode_error"]
MEMBER_COLUMNS = ["cluster", "image_id", *EDGES, "segment", "side", "rank", "hull", "regions", "kept"]
SUMMARY_COLUMNS = [*KEPT_COLUMNS, "members", "support", "added", "necessity", "sufficiency", "drop", "found_again"]


class FinishedTables(TableStore):
    """Tables that nobody changes meanwhile: each manifest is read once, not for every class."""

    def __init__(self, root: str | Path | ObjectPath) -> None:
        super().__init__(root)
        self._by_label: dict[str, dict[str, list[str]]] = {}

    def read_all(self, table: str, columns: Sequence[str] | None = None, label: str | None = None) -> pa.Table:
        if label is None:
            return super().read_all(table, columns)
        if table not in self._by_label:
            found: dict[str, list[str]] = {}
            for shard in self.manifest(table):
                found.setdefault(shard.label, []).append(shard.path)
            self._by_label[table] = found
        return self.read(table, self._by_label[table].get(label, ()), columns)


@dataclass(frozen=True)
class Run:
    """A finished run."""

    store: TableStore
    config: RunConfig
    preprocessing: Preprocessing

    @classmethod
    def opened(cls, stored: StoredRun) -> "Run":
        return cls(FinishedTables(stored.folder), stored.config, stored.recorded.preprocessing.value())

    @property
    def geometry(self) -> tuple[Any, ...]:
        """What decides which part of a photograph the classifier sees, and how large."""
        own = self.preprocessing
        return own.resize_side, own.crop_side, own.squash, own.squash_side, own.floor_crop


class ClassOfRun:
    """What a run has of a class; masks are decoded when they are asked for."""

    def __init__(self, run: Run, label: str) -> None:
        self.run, self.label = run, label
        rows = run.store.read_all("images", IMAGE_COLUMNS, label).to_pylist()
        self.images = {row["image_id"]: row for row in rows if row["decode_error"] is None}
        shapes = run.store.read_all("maps", ["image_id", "saliency_shape"], label).to_pylist()
        self.explained = {row["image_id"]: tuple(row["saliency_shape"][1:]) for row in shapes}
        self.summaries = {
            row["summary"]: row
            for row in run.store.read_all("summaries", SUMMARY_COLUMNS, label).to_pylist()
            if row["kept"]
        }

    @cached_property
    def right(self) -> dict[str, bool]:
        """Image id → whether the photograph is called rightly, of those that could be read."""
        return {image_id: row["prediction"] == row["class_index"] for image_id, row in self.images.items()}

    @property
    def pictures(self) -> ComparedPictures:
        """The name of the class and the exemplars of its kept summaries, as the run's own report shows them."""
        named = (self.images[image_id]["prediction_name"] for image_id, right in self.right.items() if right)
        folder = (self.run.store.root / REPORT / class_page(self.label)).parent
        found = {
            number: (folder / f"summary-{number + 1:02d}-01.webp", row["members"], row["support"])
            for number, row in self.summaries.items()
        }
        return ComparedPictures(next(named, self.label), found)

    @cached_property
    def members(self) -> dict[int, dict[str, dict[str, Any]]]:
        """Kept members: number of the summary → image id → row, the most typical first."""
        kept = kept_clusters(self.summaries.values())
        found: dict[int, dict[str, dict[str, Any]]] = {number: {} for number in sorted(self.summaries)}
        rows = self.run.store.read_all("members", MEMBER_COLUMNS, self.label).to_pylist()
        for row in sorted(rows, key=lambda row: row["rank"]):
            if row["kept"] and row["cluster"] in kept:
                found[kept[row["cluster"]]][row["image_id"]] = row
        return {number: own for number, own in found.items() if own}

    def view(self, image_id: str) -> View:
        """Where the square that the classifier sees lies in the photograph."""
        row = self.images[image_id]
        return self.run.preprocessing.analyzed_box(row["height"], row["width"])

    @cached_property
    def _run_lengths(self) -> dict[str, dict[int, Sequence[int]]]:
        found: dict[str, dict[int, Sequence[int]]] = defaultdict(dict)
        for row in self.run.store.read_all("regions", ["image_id", "region", "run_length"], self.label).to_pylist():
            found[row["image_id"]][row["region"]] = row["run_length"]
        return found

    def salient(self, image_id: str, regions: Sequence[int] | None = None) -> np.ndarray:
        """The salient regions of a photograph that was explained, or those of these numbers: bool `[S,S]`."""
        own = self._run_lengths.get(image_id, {})
        mask = np.zeros(self.explained[image_id], bool)
        for number in own if regions is None else regions:
            mask |= decode_run_length(own[number], mask.shape)
        return mask

    def salient_in(self, other: "ClassOfRun", image_id: str) -> np.ndarray:
        """The salient regions of a photograph as another run's square shows them: bool `[S,S]`."""
        mask, side = self.salient(image_id), other.explained[image_id][0]
        if self.run.geometry == other.run.geometry:
            return mask
        return in_other_square(mask, self.view(image_id), other.view(image_id), side)


def compared_class(own: Sequence[ClassOfRun]) -> ComparedClass:
    """What several runs have of a class: which summaries the first shares with each other one, and which only one of
    the two has.

    Each two runs are compared on the images that both explained: what one of them never saw says nothing of the other.
    Boxes are compared in pixels of the photographs where the runs' classifiers see different parts of them.
    """
    shared, overlaps, again, pairs = [], [], [], []
    for other in own[1:]:
        both = own[0].explained.keys() & other.explained.keys()
        alike = own[0].run.geometry == other.run.geometry
        first, second = (
            [
                {image: _box(one, image, row, alike) for image, row in members.items() if image in both}
                for members in one.members.values()
            ]
            for one in (own[0], other)
        )
        numbers = list(own[0].members), list(other.members)
        matched = [(numbers[0][a], numbers[1][b]) for a, b in matched_summaries(first, second)]
        shared.append(tuple(matched))
        again.append(tuple(found_again_in([members for members in first if members], second)))
        near = np.array([[member_overlap(a, b) for b in second] for a in first]).reshape(len(first), len(second))
        overlaps.append(tuple(near.max(axis=0, initial=0.0).tolist()))
        partners = dict(matched), {b: a for a, b in matched}
        pairs.append(
            ComparedPair(
                _compared_summaries(own[0], other, partners[0], near.max(axis=1, initial=0.0)),
                _compared_summaries(other, own[0], partners[1], near.max(axis=0, initial=0.0)),
                **_answers(own[0], other),
                explained=len(both),
            )
        )
    return ComparedClass(
        own[0].label,
        tuple(tuple(one.members) for one in own),
        tuple(shared),
        tuple(overlaps),
        tuple(again),
        tuple((sum(one.right.values()), len(one.right)) for one in own),
        tuple(pairs),
    )


def _box(own: ClassOfRun, image_id: str, row: Mapping[str, Any], alike: bool) -> np.ndarray:
    box = np.array([row[edge] for edge in EDGES])
    return box if alike else in_photograph(box, own.view(image_id), own.run.preprocessing.crop_side)


def _compared_summaries(
    own: ClassOfRun, other: ClassOfRun, partners: Mapping[int, int], near: Sequence[float]
) -> tuple[ComparedSummary, ...]:
    """A run's summaries and what the other run has of them.

    Args:
        partners: numbers of the summaries that have a counterpart → that one's.
        near: of each summary the largest overlap with one of the other run.
    """
    found = []
    for (number, members), overlap in zip(own.members.items(), near, strict=True):
        row = own.summaries[number]
        seen = [image_id for image_id in members if image_id in own.explained and image_id in other.explained]
        parts = [member_pixels(members[image_id], own.salient(image_id)) for image_id in seen]
        looked = looked_at(parts, [other.salient_in(own, image_id) for image_id in seen])
        elsewhere = (image_id for image_id, there in zip(seen, looked.there, strict=True) if not there)
        words = in_words(
            {**row, "members_kept": row["members"]}, len(own.explained), own.run.config.summaries.resamples
        )
        found.append(
            ComparedSummary(
                number=number,
                words=words,
                evidence=max(0.0, row["support"] if row["added"] is None else row["added"]),
                counterpart=partners.get(number),
                overlap=float(overlap),
                photographs=looked.photographs,
                looked=looked.looked,
                chance=looked.chance,
                shown=next(elsewhere, seen[0] if seen else None),
            )
        )
    return tuple(found)


def _answers(own: ClassOfRun, other: ClassOfRun) -> dict[str, Any]:
    """Which photographs both get right, neither, and only one of the two."""
    both = neither = 0
    apart = []
    for image_id in sorted(own.images.keys() & other.images.keys()):
        rows = own.images[image_id], other.images[image_id]
        right = [own.right[image_id], other.right[image_id]]
        both, neither = both + all(right), neither + (not any(right))
        if right[0] != right[1]:
            wrong = rows[right[0]]
            apart.append(
                Disagreement(
                    image_id=image_id,
                    uri=wrong["uri"],
                    label=own.label,
                    right=int(right[1]),
                    called=wrong["prediction_name"] or str(wrong["prediction"]),
                    called_score=wrong["prediction_score"],
                    own_score=wrong["score"],
                )
            )
    return {"both": both, "neither": neither, "disagreements": tuple(apart)}
