"""What the network says of the images set aside, alone and together with the summaries' specialists."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as compute

from visual_summaries.pipeline.runtime.units import Unit
from visual_summaries.pipeline.stages.context import WorkerContext
from visual_summaries.pipeline.summarize.mixtures import MIXTURES
from visual_summaries.pipeline.summarize.specialists import Specialist, SpecializedClasses, normalized

IMAGE_COLUMNS = ("image_id", "label", "class_index", "split", "probabilities", "features")
MACHINE_COLUMNS = ("coefficients", "intercept", "fit_accuracy")
AT_ONCE = 512


def stored_specialist(row: Mapping[str, Any]) -> Specialist:
    """Of a row of `specialists` with `MACHINE_COLUMNS`."""
    return Specialist(np.frombuffer(row["coefficients"], np.float32), row["intercept"], row["fit_accuracy"])


@dataclass(frozen=True)
class Fusion:
    """Predictions of n test images, which took part neither in the summaries nor in the choice of the strength.

    Attributes:
        image_ids, labels: `[n]`.
        truth, before, after: `[n]` int64 class indices: true, of the network, of the network and its specialists.
        before_among, after_among: the same where the run's classes alone are asked about. Of the other classes there
            are no photographs, so no specialist can correct what the network takes for one of them.
        deciding: `[n]`, of the class predicted after, the (label, summary) whose specialist is surest; None without.
        way: `logarithmic` or `convex`, see `pipeline.summarize.mixtures`.
        strength: of the specialists, 0 for the network alone.
        held_out: images that the strength was chosen on.
    """

    image_ids: list[str]
    labels: np.ndarray
    truth: np.ndarray
    before: np.ndarray
    after: np.ndarray
    before_among: np.ndarray
    after_among: np.ndarray
    deciding: list[tuple[str, int] | None]
    way: str
    strength: float
    held_out: int

    @property
    def said(self) -> str:
        """How network and specialists decide together, in words."""
        if self.way == "convex":
            return f"α·network + (1−α)·specialists, α = {1 - self.strength:.4g}"
        return f"network · exp(β·decision values of the specialists), β = {self.strength:.4g}"


def fused_predictions(worker: WorkerContext, unit: Unit, labels: Sequence[tuple[str, int]]) -> Fusion | None:
    """Read `images` and `specialists` of a unit; None where no image was set aside as a test, and where classes do not
    exclude each other: specialists share among them what one image has of all.

    Args:
        labels: (label, class index) of the run's classes.
    """
    if worker.setup.independent:
        return None
    index_of = dict(labels)
    # By class index: several labels may mean one class.
    machines: dict[int, list[Specialist]] = defaultdict(list)
    names: dict[int, list[tuple[str, int]]] = defaultdict(list)
    for row in worker.read(unit, "specialists", ["label", "summary", *MACHINE_COLUMNS]):
        index = index_of[row["label"]]
        machines[index].append(stored_specialist(row))
        names[index].append((row["label"], row["summary"]))
    classes = np.array(sorted(machines), dtype=int)
    among = np.array(sorted({*index_of.values()}), dtype=int)
    specialized = SpecializedClasses([machines[index] for index in classes])
    way = worker.config.specialists.fusion
    mixture = MIXTURES[way]
    costs, held_out = np.zeros(len(mixture.strengths)), 0
    for batch in _batches(worker, unit, "held-out"):
        held_out += len(batch.truth)
        decisions = specialized.decisions(batch.features)
        costs += mixture.costs(batch.probabilities, decisions, classes, batch.truth)
    strength = mixture.best(costs)
    image_ids: list[str] = []
    deciding: list[tuple[str, int] | None] = []
    found: list[tuple[np.ndarray, ...]] = []
    for batch in _batches(worker, unit, "test"):
        before = batch.probabilities
        together = mixture.together(before, specialized.decisions(batch.features), classes, strength)
        after = together.argmax(axis=1)
        of_the_run = (among[each[:, among].argmax(axis=1)] for each in (before, together))
        found.append((np.array(batch.labels), batch.truth, before.argmax(axis=1), after, *of_the_run))
        image_ids += batch.image_ids
        decided = zip(batch.features, after.tolist(), strict=True)
        deciding += [_surest(image, machines.get(index, ()), names.get(index, ())) for image, index in decided]
    if not image_ids:
        return None
    return Fusion(image_ids, *map(np.concatenate, zip(*found, strict=True)), deciding, way, strength, held_out)


@dataclass(frozen=True)
class _Batch:
    """Some images with what the network says of them: `[n]`, truth int64, probabilities `[n,K]`, features `[n,D]`."""

    image_ids: list[str]
    labels: list[str]
    truth: np.ndarray
    probabilities: np.ndarray
    features: np.ndarray


def _batches(worker: WorkerContext, unit: Unit, split: str) -> Iterator[_Batch]:
    """The images of a split, some at a time: all their probabilities would be millions of rows of a number a class."""
    waiting: list[dict[str, Any]] = []
    for path in unit.inputs["images"]:
        table = worker.store.read("images", [path], IMAGE_COLUMNS, where=("split", [split]))
        waiting += table.filter(compute.is_valid(table.column("features"))).to_pylist()
        worker.step()
        while len(waiting) >= AT_ONCE:
            yield _batch(waiting[:AT_ONCE])
            del waiting[:AT_ONCE]
    if waiting:
        yield _batch(waiting)


def _batch(rows: Sequence[Mapping[str, Any]]) -> _Batch:
    return _Batch(
        [row["image_id"] for row in rows],
        [row["label"] for row in rows],
        np.array([row["class_index"] for row in rows]),
        np.stack([np.frombuffer(row["probabilities"], np.float32) for row in rows]),
        np.stack([np.frombuffer(row["features"], np.float16) for row in rows]),
    )


def _surest(
    features: np.ndarray, machines: Sequence[Specialist], names: Sequence[tuple[str, int]]
) -> tuple[str, int] | None:
    """The summary whose specialist has the highest decision value."""
    if not machines:
        return None
    image = normalized(features[None])[0]
    return names[int(np.argmax([image @ machine.coefficients + machine.intercept for machine in machines]))]
