"""Tables of a run with as many classes as wanted, made up without a pixel, and a store that counts what is read."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from visual_summaries.pipeline.config import RunConfig, load_config
from visual_summaries.pipeline.data.catalog import CatalogClass, CatalogEntry
from visual_summaries.pipeline.models.preprocessing import Preprocessing
from visual_summaries.pipeline.runtime.stage import Plan, PlannedShard, Stage
from visual_summaries.pipeline.runtime.units import Unit
from visual_summaries.pipeline.stages.context import WorkerContext, WorkerSetup
from visual_summaries.pipeline.stages.inputs import Inputs
from visual_summaries.pipeline.stages.order import STAGES
from visual_summaries.pipeline.store.tables import Shard, TableStore, digest
from visual_summaries.schemas import TABLES, make_table

DIMENSIONS = 6


class CountingStore(TableStore):
    """Counts the shards that are read, by table, and how often a manifest is, by `manifest`.

    `most`: shards of a table read at once.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.counts: Counter[str] = Counter()
        self.most: Counter[str] = Counter()

    def read(self, table: str, shards: Any, *args: Any, **named: Any) -> Any:
        shards = list(shards)
        self.counts[table] += len(shards)
        self.most[table] = max(self.most[table], len(shards))
        return super().read(table, shards, *args, **named)

    def manifest(self, table: str) -> list[Shard]:
        self.counts["manifest"] += 1
        return super().manifest(table)


class MadeUp:
    """A run of `classes` classes × `images` photographs, a shard of each table a class.

    Of each class the last photograph but one is a test image, the last is held out. Every second class has a kept
    summary of its first photographs; all have one that is not kept.
    """

    def __init__(self, folder: Path, classes: int, images: int = 6, *settings: str) -> None:
        self.config: RunConfig = load_config(None, [f"data.images={folder}", f"output={folder}", *settings])
        self.store = CountingStore(folder)
        self.labels = [f"class {number:04}" for number in range(classes)]
        self.inputs = Inputs(
            tuple(
                CatalogClass(label, at, tuple(CatalogEntry(f"/{label}/{n}", label, at, "fit") for n in range(images)))
                for at, label in enumerate(self.labels)
            ),
            None, Preprocessing(), "0", "made up", tuple(self.labels), "made up",
        )  # fmt: skip
        setup = WorkerSetup(self.config, folder, self.inputs.preprocessing, "0", self.inputs.class_names)
        self.worker = WorkerContext(setup)
        self.worker.store = self.store
        self.plan = Plan(self.config, self.store, self.inputs, {stage.writes: [] for stage in STAGES})
        self._listed: dict[str, list[Shard]] = {}
        self._generator = np.random.default_rng(classes)
        for at, label in enumerate(self.labels):
            for table, rows in self._of_class(at, label, images).items():
                self.add(table, label, rows)
        for table in self.plan.shards:
            self.manifest(table)

    def add(self, table: str, label: str, rows: list[dict[str, Any]], of: str = "") -> None:
        """One more shard of a table, the only one `of` these or of the class; columns that are not named are empty."""
        known = {field.name: _empty(field.type) for field in TABLES[table].schema if not field.nullable}
        path = self.store.shard_path(table, "f", label, digest(label, of))
        shard = self.store.write(table, path, make_table(table, [known | row for row in rows]), label)
        self.plan.shards.setdefault(table, []).append(PlannedShard(path, label, len(rows), shard.content))
        self._listed.setdefault(table, []).append(shard)

    def manifest(self, table: str) -> None:
        """Let readers find a table as it is now."""
        self.store.write_manifest(table, "f", self._listed.get(table, []), complete=True)

    def rows(self, stage: Stage, labels: set[str] | None = None) -> list[dict[str, Any]]:
        """What a stage makes of the tables, with a shard a unit, as in a run; `labels`: of these classes alone."""
        found = []
        for unit in self.units(stage):
            if labels is None or unit.label in labels:
                output = stage.compute(self.worker, unit, unit.items)
                self.add(stage.writes, unit.label, output.rows)
                found += output.rows
        self.manifest(stage.writes)
        return found

    def units(self, stage: Stage) -> list[Unit]:
        return stage.named_units(self.plan, "f")

    def _of_class(self, at: int, label: str, images: int) -> dict[str, list[dict[str, Any]]]:
        draw = self._generator
        ids = [digest(label, n) for n in range(images)]
        splits = ["fit"] * (images - 2) + ["test", "held-out"]
        features = draw.normal(size=(images, DIMENSIONS)).astype(np.float16)
        features[:, at % DIMENSIONS] += 1
        probabilities = draw.dirichlet(np.ones(len(self.labels)), images).astype(np.float32)
        photographs = [
            {
                "image_id": ids[n], "uri": f"/{label}/{n}", "class_index": at, "split": splits[n], "label": label,
                "explained": splits[n] == "fit", "probabilities": probabilities[n].tobytes(),
                "prediction": int(probabilities[n].argmax()), "features": features[n].tobytes(),
            }
            for n in range(images)
        ]  # fmt: skip
        maps = [
            {"image_id": one["image_id"], "label": label, "drop": draw.random(), "area": draw.random()}
            for one in photographs
            if one["explained"]
        ]
        summaries = [
            {"label": label, "summary": 0, "cluster": 7, "kept": at % 2 == 0, "added": 0.25},
            {"label": label, "summary": 1, "cluster": 8, "kept": False, "added": 0.5},
        ]
        members = [
            {"label": label, "cluster": cluster, "image_id": ids[n], "kept": True} for cluster in (7, 8) for n in (0, 1)
        ]
        return {"images": photographs, "maps": maps, "summaries": summaries, "members": members}


def _empty(kind: pa.DataType) -> Any:
    if pa.types.is_list(kind):
        return []
    if pa.types.is_binary(kind):
        return b""
    if pa.types.is_boolean(kind):
        return False
    return "" if pa.types.is_string(kind) or pa.types.is_dictionary(kind) else 0
