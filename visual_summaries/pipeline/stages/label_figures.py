"""How often the labels are right of a network whose classes do not exclude each other: rows of `metrics`."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from visual_summaries.pipeline.runtime.units import Unit
from visual_summaries.pipeline.stages.context import WorkerContext
from visual_summaries.pipeline.stages.metric_rows import mean_row

COLUMNS = ["image_id", "class_index", "probabilities"]
FIGURES = {
    "labels predicted": "share of the class's photographs that are predicted as it, with a score of at least ½",
    "predictions right": "share of the run's photographs predicted as the class, with a score of at least ½, that have "
    "its label",
}
OVER = "; 95 % bootstrap interval over photographs"


def label_rows(
    worker: WorkerContext, classes: Sequence[Unit], labels: Sequence[tuple[str, int]]
) -> list[dict[str, Any]]:
    """Both figures of each class, and of all photographs and classes of the run together.

    Args:
        classes: a unit for each label, which reads its `images`.
        labels: (label, class index) of the run's classes.
    """
    indices = np.array(sorted({index for _, index in labels}))
    classes_of: dict[str, set[int]] = defaultdict(set)
    for _, index, table in _decoded(worker, classes, labels, COLUMNS[:1]):
        for image_id in table["image_id"]:
            classes_of[image_id].add(index)
    # Each photograph once, under whichever of its labels comes first.
    seen: set[str] = set()
    own: dict[str, list[bool]] = {label: [] for label, _ in labels}
    right: dict[int, list[bool]] = {int(index): [] for index in indices}
    for label, index, table in _decoded(worker, classes, labels, COLUMNS):
        for image_id, stored in zip(table["image_id"], table["probabilities"], strict=True):
            predicted = np.frombuffer(stored, np.float32) >= 0.5
            own[label].append(bool(predicted[index]))
            if image_id not in seen:
                seen.add(image_id)
                for one in indices[predicted[indices]].tolist():
                    right[one].append(one in classes_of[image_id])
    by_label = {label: (own[label], right[index]) for label, index in labels}
    by_label[""] = tuple([one for some in found.values() for one in some] for found in (own, right))
    return [
        mean_row(label, name, values, "share", method + OVER, worker.config.seed)
        for label in ["", *(label for label, _ in labels)]
        for (name, method), values in zip(FIGURES.items(), by_label[label], strict=True)
        if values
    ]


def _decoded(
    worker: WorkerContext, classes: Sequence[Unit], labels: Sequence[tuple[str, int]], columns: Sequence[str]
) -> Iterator[tuple[str, int, Mapping[str, list[Any]]]]:
    """Columns of the readable photographs of each class."""
    index_of = dict(labels)
    for unit in classes:
        for path in unit.inputs["images"]:
            table = worker.store.read("images", [path], [*columns, "decode_error"])
            worker.step()
            yield unit.label, index_of[unit.label], table.filter(table.column("decode_error").is_null()).to_pydict()
