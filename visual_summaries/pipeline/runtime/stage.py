"""What a stage is: the tables it reads, the one table it writes, its resources, its units of work."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from visual_summaries.pipeline.runtime.context import Context
from visual_summaries.pipeline.runtime.settings import RunInputs
from visual_summaries.pipeline.runtime.units import Output, Unit, error_row
from visual_summaries.pipeline.store.tables import Shard, TableStore, digest
from visual_summaries.schemas import TABLES
from visual_summaries.schemas.tables import VERSION


@dataclass(frozen=True)
class Resources:
    """What a worker needs for a stage's units, beside the memory that is set aside for each.

    `gpu`: a GPU, where the cluster has any; one processor else.
    """

    gpu: bool = False


@dataclass(frozen=True, slots=True)
class PlannedShard:
    """A shard that a stage will have written.

    Attributes:
        path, label: of the shard.
        size: images that it is about.
        content: what stands for its rows, so that units are named by what they compute with, not by where it lies.
        items: what its unit could be taken apart into, image ids or uris; empty where it could not.
    """

    path: str
    label: str
    size: int
    content: str = ""
    items: tuple[str, ...] = ()

    @classmethod
    def of(cls, shard: Shard, unit: Unit) -> "PlannedShard":
        """A shard that is there, made by this unit."""
        return cls(
            shard.path,
            shard.label,
            unit.size,
            shard.content or shard.sha256,
            unit.items if unit.divisible else (),
        )


@dataclass
class Plan:
    """What a stage sees when it plans: configuration, inputs, and the shards of the tables it reads."""

    config: Any
    store: TableStore
    inputs: RunInputs
    shards: dict[str, list[PlannedShard]]

    def by_label(self, table: str) -> dict[str, tuple[str, ...]]:
        """Shard paths of a table for each class, in class order."""
        return self._grouped(table, "path")

    def contents(self, table: str) -> dict[str, tuple[str, ...]]:
        """What the shards of a table hold for each class, in class order: what a unit that reads them is named by."""
        return self._grouped(table, "content")

    def _grouped(self, table: str, attribute: str) -> dict[str, tuple[str, ...]]:
        grouped: dict[str, list[str]] = {}
        for shard in self.shards[table]:
            grouped.setdefault(shard.label, []).append(getattr(shard, attribute))
        return {label: tuple(values) for label, values in grouped.items()}

    def over_all(self, tables: Sequence[str]) -> tuple[dict[str, tuple[str, ...]], list[Any]]:
        """Shards that a unit about all classes reads, by table, and what they hold, which such a unit is named by."""
        inputs = {table: tuple(shard.path for shard in self.shards[table]) for table in tables}
        return inputs, [[table, [shard.content for shard in self.shards[table]]] for table in tables]

    def images_by_label(self, table: str) -> Counter[str]:
        """Images of each class that a table is about."""
        found: Counter[str] = Counter()
        for shard in self.shards[table]:
            found[shard.label] += shard.size
        return found


class Stage:
    """Base of all stages; subclasses fill in the class attributes, `settings`, `units` and `compute`."""

    name: str
    reads: tuple[str, ...] = ()
    writes: str
    version: int = 1
    resources: Resources = Resources()
    depends_on: tuple[str, ...] = ()
    """What of the run's inputs changes its table, beside its settings and the tables it reads; see the inputs."""
    counts: str = "images"
    """What a unit's size counts."""
    by_class: bool = True
    """Whether a class's units follow from that class's shards alone, so that it need not wait for the others."""
    tried_again: bool = False
    """Whether a later stage does what fails of it, so that no failure counts."""
    plans_from_rows: bool = False
    """Whether its units follow from what the tables it reads hold, not only from their shards' names."""

    def wanted(self, config: Any) -> bool:
        """Whether a run with this configuration needs the stage at all; else its table stays empty."""
        return True

    def settings(self, config: Any) -> Any:
        """The settings that change this stage's table, as JSON values."""
        raise NotImplementedError

    def units(self, plan: Plan) -> list[Unit]:
        """All work of the stage, in order."""
        raise NotImplementedError

    def excluded_row(self, unit: Unit, item: str, reason: str) -> dict[str, Any]:
        """The row of `errors` for an item that had to be left out of a unit."""
        return error_row(self.name, unit.label, reason, image_id=item, retry=True)

    def lost(self, store: TableStore, unit: Unit) -> Collection[str]:
        """Ids of the images that a unit loses when it fails; empty where they are not known.

        Default: its items, or else the images in the first of its tables that names any. Only what has failed is read.
        """
        if unit.divisible:
            return unit.items
        for table, shards in unit.inputs.items():
            if shards and "image_id" in TABLES[table].schema.names:
                # What could not be decoded has no id; it is lost already.
                return set(store.read(table, shards, ["image_id"]).column("image_id").to_pylist()) - {"", None}
        return ()

    def compute(self, worker: Context, unit: Unit, items: Sequence[str]) -> Output:
        """Do `unit`, restricted to `items`; called in a worker process. Without a table: give a value."""
        raise NotImplementedError

    def fingerprint(self, config: Any, inputs: RunInputs) -> str:
        """Hash of everything but the shards it reads that determines the stage's table."""
        return digest(
            self.name,
            self.version,
            VERSION,
            self.settings(config),
            *inputs.identity(self.depends_on),
        )

    def named_units(self, plan: Plan, fingerprint: str) -> list[Unit]:
        """The units with their shards' names: the hash of fingerprint, class and identity.

        Two that would compute the same, such as from two shards without rows, are told apart by their order.
        """
        named: dict[str, Unit] = {}
        if not self.wanted(plan.config):
            return []
        for unit in self.units(plan):
            name, twins = digest(fingerprint, unit.label, unit.identity), 0
            while name in named:
                twins += 1
                name = digest(fingerprint, unit.label, unit.identity, twins)
            named[name] = replace(unit, name=name, fingerprint=fingerprint)
        return list(named.values())


def units_per_shard(plan: Plan, table: str, also: Sequence[str] = ()) -> list[Unit]:
    """One unit per shard of `table`, determined by what the shard holds.

    It can be taken apart into what the shard's own unit could be. `also` names tables whose shards of the class are
    read too, but only to find what the shard is about.
    """
    others = {name: plan.by_label(name) for name in also}
    return [
        Unit(
            label=shard.label,
            identity=(shard.content,),
            items=shard.items or (shard.path,),
            divisible=bool(shard.items),
            size=shard.size,
            inputs={table: (shard.path,)} | {name: shards.get(shard.label, ()) for name, shards in others.items()},
        )
        for shard in plan.shards[table]
    ]


def units_per_class(
    plan: Plan, tables: Sequence[str], also: Sequence[str] = (), apart: str | None = None
) -> list[Unit]:
    """One unit per class of the first of `tables`, determined by what the class's shards of all `tables` hold.

    `also` names tables that are read too, but only to find what the others are about; `apart` the one whose images can
    be worked on alone, where the stage can leave single ones out.
    """
    grouped = {name: plan.by_label(name) for name in (*tables, *also)}
    contents = {name: plan.contents(name) for name in tables}
    sizes = plan.images_by_label(tables[0])
    items: dict[str, list[str]] = {}
    for shard in plan.shards[apart] if apart else ():
        items.setdefault(shard.label, []).extend(shard.items)
    return [
        Unit(
            label=label,
            identity=tuple(contents[name].get(label, ()) for name in tables),
            items=tuple(items.get(label, ())) or (label,),
            divisible=bool(items.get(label)),
            size=sizes[label],
            inputs={name: shards.get(label, ()) for name, shards in grouped.items()},
            quadratic=True,
        )
        for label in grouped[tables[0]]
    ]
