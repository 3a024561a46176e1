"""What an experiment is, and the stage that runs several: → `measurements`, one row per image and figure."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from visual_summaries.pipeline.config import RunConfig
from visual_summaries.pipeline.runtime.stage import Plan, Resources, Stage
from visual_summaries.pipeline.runtime.units import Output, Unit
from visual_summaries.pipeline.stages.context import WorkerContext
from visual_summaries.pipeline.stages.explain import explainer_name
from visual_summaries.pipeline.store.tables import TableStore


class Study:
    """An experiment; subclasses fill in the class attributes, `units` and `measure`.

    Attributes:
        name: its name in the settings and in the column `study`.
        reads: tables that it needs.
        version: raised when the code gives other figures than before.
    """

    name: str
    reads: tuple[str, ...] = ("images",)
    version: int = 1

    def check(self, config: RunConfig) -> None:
        """Raise a ConfigurationError where a setting that it cannot do without is missing or wrong."""

    def settings(self, config: RunConfig) -> Any:
        """The settings that change its figures, as JSON values."""
        raise NotImplementedError

    def units(self, plan: Plan) -> list[Unit]:
        """Its work; `identity` need not hold the settings."""
        raise NotImplementedError

    def measure(self, worker: WorkerContext, unit: Unit, items: Sequence[str], output: Output) -> None:
        """Add rows of `measurements`, made by `row`, and of `errors`."""
        raise NotImplementedError

    def row(
        self,
        worker: WorkerContext,
        unit: Unit,
        variant: str,
        value: float,
        protocol: Mapping[str, Any],
        image_id: str = "",
        summary: int | None = None,
        curve: Sequence[float] | None = None,
    ) -> dict[str, Any]:
        """A row of `measurements`: of an image, of a summary, or of the class."""
        of_maps = "maps" in self.reads
        return {
            "image_id": image_id,
            "label": unit.label,
            "summary": summary,
            "study": self.name,
            "variant": variant,
            "model": worker.config.model.name,
            "explainer": explainer_name(worker.config) if of_maps else "",
            "value": float(value),
            "curve": None if curve is None else [float(number) for number in curve],
            "protocol": json.dumps(protocol, sort_keys=True),
        }


class StudiesStage(Stage):
    """Several studies, in shards of a class."""

    name = "studies"
    writes = "measurements"
    by_class = False
    version = 4
    resources = Resources(gpu=True)
    depends_on = ("classifier",)

    def __init__(self, studies: Iterable[Study]) -> None:
        self.studies = {study.name: study for study in studies}
        self.reads = tuple(dict.fromkeys(table for study in self.studies.values() for table in study.reads))

    def settings(self, config: RunConfig) -> Any:
        # Each unit has those of its own study: one of them changed leaves the others' figures as they are.
        return [config.explain.precision]

    def units(self, plan: Plan) -> list[Unit]:
        return [
            replace(
                unit,
                identity=(study.name, study.version, study.settings(plan.config), *unit.identity),
                payload=(study.name, unit.payload),
            )
            for study in self.studies.values()
            for unit in study.units(plan)
        ]

    def lost(self, store: TableStore, unit: Unit) -> list[str]:
        # A study may look at a few images of those in its unit.
        return sorted(super().lost(store, unit))[: unit.size]

    def compute(self, worker: WorkerContext, unit: Unit, items: Sequence[str]) -> Output:
        name, payload = unit.payload
        output = Output(rows=[])
        self.studies[name].measure(worker, replace(unit, payload=payload), items, output)
        output.rows.sort(key=lambda row: (row["image_id"], row["summary"] or 0, row["variant"]))
        return output
