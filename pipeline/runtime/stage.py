"""What a stage is: the tables it reads, the one table it writes, its resources, its units of work."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipeline.runtime.context import Context
from pipeline.runtime.settings import RunInputs
from pipeline.runtime.units import Output, Unit, error_row
from pipeline.store.tables import TableStore, digest
from schemas import TABLES
from schemas.tables import VERSION


@dataclass(frozen=True)
class Resources:
    """What a worker needs for a stage's units, beside the memory that is set aside for each.

    `gpu`: a GPU, where the cluster has any; one processor else.
    """

    gpu: bool = False


@dataclass(frozen=True)
class PlannedShard:
    """A shard that a stage will have written: its path, class and number of images.

    `items`: what its unit could be taken apart into, image ids or uris; empty where it could not.
    """

    path: str
    label: str
    size: int
    items: tuple[str, ...] = ()


@dataclass
class Plan:
    """What a stage sees when it plans: configuration, inputs, and the shards of the tables it reads."""

    config: Any
    store: TableStore
    inputs: RunInputs
    shards: dict[str, list[PlannedShard]]

    def by_label(self, table: str) -> dict[str, tuple[str, ...]]:
        """Shard paths of a table for each class, in class order."""
        grouped: dict[str, list[str]] = {}
        for shard in self.shards[table]:
            grouped.setdefault(shard.label, []).append(shard.path)
        return {label: tuple(paths) for label, paths in grouped.items()}

    def images_in(self, table: str, label: str) -> int:
        """Images of a class that a table is about."""
        return sum(shard.size for shard in self.shards[table] if shard.label == label)


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
        """The units with their shards' names: the hash of fingerprint, class and identity."""
        named = []
        if not self.wanted(plan.config):
            return named
        for unit in self.units(plan):
            name = digest(fingerprint, unit.label, unit.identity)
            named.append(replace(unit, name=name, fingerprint=fingerprint))
        return named


def units_per_shard(plan: Plan, table: str, also: Sequence[str] = ()) -> list[Unit]:
    """One unit per shard of `table`, with the class's shards of further tables as inputs.

    It can be taken apart into what the shard's own unit could be.
    """
    others = {name: plan.by_label(name) for name in also}
    return [
        Unit(
            label=shard.label,
            identity=(shard.path,),
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
    """One unit per class of the first of `tables`, determined by the class's shards of all `tables`.

    `also` names tables that are read too but whose content is settled by the others; `apart` the one whose images can
    be worked on alone, where the stage can leave single ones out.
    """
    grouped = {name: plan.by_label(name) for name in (*tables, *also)}
    items: dict[str, list[str]] = {}
    for shard in plan.shards[apart] if apart else ():
        items.setdefault(shard.label, []).extend(shard.items)
    return [
        Unit(
            label=label,
            identity=tuple(grouped[name].get(label, ()) for name in tables),
            items=tuple(items.get(label, ())) or (label,),
            divisible=bool(items.get(label)),
            size=plan.images_in(tables[0], label),
            inputs={name: shards.get(label, ()) for name, shards in grouped.items()},
            bounded=False,
        )
        for label in grouped[tables[0]]
    ]
