"""Stage `negatives`: images → `negatives`: the photographs that every class's specialists are trained against."""

import heapq
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as compute

from visual_summaries.pipeline.config import RunConfig
from visual_summaries.pipeline.runtime.stage import Plan, Stage
from visual_summaries.pipeline.runtime.units import Output, Unit
from visual_summaries.pipeline.stages.context import WorkerContext
from visual_summaries.pipeline.store.tables import digest

COLUMNS = ("image_id", "label", "split", "features")


class NegativesStage(Stage):
    """One draw over all classes, so that a class's specialists need not read all the others.

    Each photograph of the split `fit` has a rank, the hash of seed and image id. Of each class the first
    `negatives_per_class` can be drawn, and of these over all classes the first `negatives` are.
    """

    name = "negatives"
    reads = ("images",)
    writes = "negatives"
    by_class = False

    def settings(self, config: RunConfig) -> Any:
        return [config.specialists.negatives_per_class, config.specialists.negatives, config.seed]

    def units(self, plan: Plan) -> list[Unit]:
        shards = plan.shards["images"]
        contents = digest(list(plan.contents("images").items()))
        paths = tuple(shard.path for shard in shards)
        return [Unit("", (contents,), ("",), {"images": paths}, size=sum(shard.size for shard in shards))]

    def compute(self, worker: WorkerContext, unit: Unit, items: Sequence[str]) -> Output:
        settings, seed = worker.config.specialists, worker.config.seed
        draw = Draw(settings.negatives_per_class, settings.negatives)
        for path in unit.inputs["images"]:
            draw.add(_ranked(worker.store.read("images", [path], COLUMNS), seed, settings.negatives_per_class))
            worker.step()
        columns = ("label", "image_id", "features")
        return Output([{name: getattr(one, name) for name in columns} for one in draw.chosen()])


class Photograph(NamedTuple):
    """One that may be drawn; of two the one with the lower rank comes first."""

    rank: str
    label: str
    image_id: str
    features: bytes


class Draw:
    """The first so many photographs of each class, and of these the first so many of all; holds twice as many at most.

    Whoever comes behind enough others never comes forward again: a class gives one up only for one with a lower rank.
    """

    def __init__(self, of_a_class: int, in_all: int) -> None:
        self._of_a_class, self._in_all = of_a_class, in_all
        self._held: dict[str, list[Photograph]] = {}
        self._count = 0

    def add(self, photographs: Iterable[Photograph]) -> None:
        """Take some more."""
        grouped: dict[str, list[Photograph]] = {}
        for one in photographs:
            grouped.setdefault(one.label, []).append(one)
        for label, new in grouped.items():
            before = self._held.get(label, [])
            self._held[label] = sorted([*before, *new])[: self._of_a_class]
            self._count += len(self._held[label]) - len(before)
        if self._count > 2 * self._in_all:
            self._keep_the_first()

    def chosen(self) -> list[Photograph]:
        """Those drawn, in order of classes, then of ranks."""
        self._keep_the_first()
        return [one for label in sorted(self._held) for one in self._held[label]]

    def _keep_the_first(self) -> None:
        everyone = sorted(one for held in self._held.values() for one in held)[: self._in_all]
        self._held, self._count = {}, len(everyone)
        for one in everyone:
            self._held.setdefault(one.label, []).append(one)


def _ranked(images: pa.Table, seed: int, most: int) -> Iterator[Photograph]:
    """The first `most` photographs of each class of these rows of `images`."""
    may_be = compute.and_(compute.equal(images.column("split"), "fit"), compute.is_valid(images.column("features")))
    images = images.filter(may_be)
    grouped: dict[str, list[tuple[str, str, int]]] = {}
    ids, labels = images.column("image_id").to_pylist(), images.column("label").to_pylist()
    for at, (image_id, label) in enumerate(zip(ids, labels, strict=True)):
        grouped.setdefault(label, []).append((digest(seed, image_id, "negative"), image_id, at))
    for label, own in grouped.items():
        for rank, image_id, at in heapq.nsmallest(most, own):
            yield Photograph(rank, label, image_id, images.column("features")[at].as_py())
