"""From the table `measurements` to figures: means with intervals, of each class and over all."""

from array import array
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as compute

from visual_summaries.pipeline.evaluate.intervals import class_mean_interval, mean_interval, wilson_interval
from visual_summaries.pipeline.store.tables import TableStore

# What either happens to an image or does not.
EITHER_OR_STUDIES = ("adversarial", "color bias")
EITHER_OR = ("right", "corrected", "spoiled", "pointing game", "regions found")
# Protocols that report the mean of the classes' own accuracies.
CLASS_MEANS = ("pointing game, torchray",)
ROWS_AT_ONCE = 8192


@dataclass(frozen=True)
class Figure:
    """One figure of an experiment.

    Attributes:
        model, explainer: whose maps; the explainer is empty where none takes part.
        label: the class; empty for all classes together.
        of: what `n` counts: images, summaries or classes.
        mean, low, high: with the 95 % interval over these: Wilson's for what either happens or does not, otherwise
            bootstrap. Over all classes, the protocol `torchray` of the pointing game reports the mean of the classes'
            means.
        std: standard deviation over them.
    """

    model: str
    explainer: str
    study: str
    variant: str
    label: str
    of: str
    n: int
    mean: float
    low: float
    high: float
    std: float


@dataclass(frozen=True)
class Curve:
    """Mean curve over the images of all classes, with the band of their middle half."""

    explainer: str
    variant: str
    n: int
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def figures(
    store: TableStore, seed: int = 0, label: str | None = None, shards: Sequence[str] | None = None
) -> list[Figure]:
    """All figures of a run's measurements, in order; reads a shard at a time.

    `label`: those of one class alone, or, if it is empty, those over all classes alone. `shards`: paths of those with
    that class's rows; default: as the manifest says.
    """
    if shards is None:
        shards = [shard.path for shard in store.manifest("measurements") if not label or shard.label == label]
    columns = ["image_id", "label", "summary", "study", "variant", "model", "explainer", "value"]
    values: dict[tuple[str, ...], array] = defaultdict(lambda: array("d"))
    for path in shards:
        for row in _rows(store.read("measurements", [path], columns)):
            of = "images" if row["image_id"] else "classes" if row["summary"] is None else "summaries"
            key = (row["model"], row["explainer"], row["study"], row["variant"], of)
            for whose in (row["label"], ""):
                values[*key, whose].append(row["value"])
    of_classes: dict[tuple[str, ...], list[np.ndarray]] = defaultdict(list)
    for key, numbers in sorted(values.items()):
        if key[-1]:
            of_classes[key[:-1]].append(np.array(numbers))
    return [
        Figure(
            *key[:4],
            key[5],
            key[4],
            len(numbers),
            *_interval(key, np.array(numbers), of_classes[key[:-1]], seed),
            float(np.std(numbers)),
        )
        for key, numbers in sorted(values.items())
        if label is None or key[-1] == label
    ]


def _interval(
    key: tuple[str, ...], values: np.ndarray, of_classes: list[np.ndarray], seed: int
) -> tuple[float, float, float]:
    study, variant, label = key[2], key[3], key[-1]
    if not label and variant.startswith(CLASS_MEANS):
        return class_mean_interval(of_classes, seed)
    if study in EITHER_OR_STUDIES or variant.startswith(EITHER_OR):
        return (float(values.mean()), *wilson_interval(int(values.sum()), len(values)))
    return mean_interval(values, seed)


def curves(store: TableStore) -> list[Curve]:
    """The curves of a run's measurements, over the images of all classes."""
    found: dict[tuple[str, str], list[np.ndarray]] = defaultdict(list)
    for shard in store.manifest("measurements"):
        table = store.read("measurements", [shard.path], ["explainer", "variant", "curve"])
        grouped: dict[tuple[str, str], list[list[float]]] = defaultdict(list)
        for row in _rows(table.filter(compute.is_valid(table.column("curve")))):
            grouped[row["explainer"], row["variant"]].append(row["curve"])
        for key, lines in grouped.items():
            found[key].append(np.array(lines, np.float32))
    return [_curve(key, np.concatenate(found.pop(key))) for key in sorted(found)]


def _curve(key: tuple[str, str], lines: np.ndarray) -> Curve:
    """The mean and the middle half of `lines` `[n,P]`, point by point: of all images they are hundreds of megabytes."""
    points = [column.astype(np.float64) for column in lines.T]
    low, high = np.array([np.quantile(point, (0.25, 0.75)) for point in points]).reshape(-1, 2).T
    return Curve(*key, len(lines), np.array([point.mean() for point in points]), low, high)


def _rows(table: pa.Table) -> Iterator[dict[str, Any]]:
    """The rows of a shard, which may be of all images, some at a time."""
    for batch in table.to_batches(ROWS_AT_ONCE):
        yield from batch.to_pylist()


def figures_table(found: list[Figure]) -> pa.Table:
    """Figures as an Arrow table, a column for each attribute."""
    rows: Iterator[dict] = (vars(figure) for figure in found)
    names = list(Figure.__dataclass_fields__)
    kinds = {"n": pa.int64()} | dict.fromkeys(("mean", "low", "high", "std"), pa.float64())
    return pa.Table.from_pylist(list(rows), schema=pa.schema([(name, kinds.get(name, pa.string())) for name in names]))
