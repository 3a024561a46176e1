"""Stage `report`: all tables → pages. Class pages are drawn by workers, those about the run by the driver."""

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from functools import reduce
from itertools import pairwise
from typing import Any

from pipeline.config import RunConfig, annotated_default
from pipeline.objects import ObjectPath
from pipeline.report import plots
from pipeline.report.class_pages import write_class_page, written_card
from pipeline.report.content import ClassCard, IndexContent, StageContent
from pipeline.report.files import write_file
from pipeline.report.rendering import look
from pipeline.report.site import write_site
from pipeline.runtime.records import RunState
from pipeline.runtime.stage import Plan, Stage
from pipeline.runtime.units import Output, Unit
from pipeline.stages.context import WorkerContext
from pipeline.stages.explain import explainer_name
from pipeline.stages.report.content import (
    DISTRIBUTIONS,
    class_content,
    errors,
    evaluation,
    metrics,
    ratings,
    rows_of_class,
)
from pipeline.stages.studies.figures import curves
from pipeline.store.tables import StoreError, TableStore, digest

FOLDER = "report"
BY_CLASS = ("images", "maps", "regions", "clusters", "candidates", "members", "summaries", "tags")
SHARED = ("metrics", "errors")
# Other jobs write these, so a run may lack them.
ADDED = ("measurements", "ratings")


@dataclass(frozen=True)
class Place:
    """A class among the others: its index, labels and names of those beside it, and what its tables hold."""

    class_index: int
    previous: tuple[str, str] | None
    next: tuple[str, str] | None
    contents: tuple[tuple[str, tuple[str, ...]], ...] = ()


class ReportStage(Stage):
    """Draws the pages of each class unless they are there already; its units give `ClassCard`s instead of shards."""

    name = "report"
    reads = (*BY_CLASS, *SHARED)
    writes = ""
    by_class = False

    def settings(self, config: RunConfig) -> Any:
        return []

    def units(self, plan: Plan) -> list[Unit]:
        shards = {table: plan.by_label(table) for table in BY_CLASS}
        contents = {table: plan.contents(table) for table in BY_CLASS}
        shared = {table: tuple(shard.path for shard in plan.store.manifest(table)) for table in SHARED}
        names = plan.inputs.class_names
        line = [None, *((group.label, names[group.class_index]) for group in plan.inputs.classes), None]
        beside = {own[0]: (before, after) for (before, own), (_, after) in pairwise(pairwise(line))}
        return [
            Unit(
                label=group.label,
                identity=(),
                items=(group.label,),
                inputs={table: paths.get(group.label, ()) for table, paths in shards.items()} | shared,
                payload=Place(
                    group.class_index,
                    *beside[group.label],
                    tuple((table, found.get(group.label, ())) for table, found in contents.items()),
                ),
                size=len(group.entries),
            )
            for group in plan.inputs.classes
        ]

    def compute(self, worker: WorkerContext, unit: Unit, items: Sequence[str]) -> Output:
        folder = worker.store.root / FOLDER
        state = class_state(worker, unit)
        card = written_card(folder, unit.label, state)
        if card is None:
            card = write_class_page(folder, class_content(worker, unit), state)
        return Output([], value=card)


def class_state(worker: WorkerContext, unit: Unit) -> str:
    """Hash of all that the pages of a class are made from."""
    shared = {table: rows_of_class(worker, unit, table) for table in SHARED}
    added = {table: [shard.content for shard in _listed(worker.store, table, unit.label)] for table in ADDED}
    name = worker.setup.class_names[unit.payload.class_index]
    settings = [worker.config.report.model_dump(), worker.config.seed, name, asdict(unit.payload)]
    return digest(look(), json.dumps(shared, default=str, sort_keys=True), added, settings)


def _listed(store: TableStore, table: str, label: str) -> list[Any]:
    """A class's shards of a table that may not be there."""
    try:
        return [shard for shard in store.manifest(table) if shard.label in (label, "")]
    except StoreError:
        return []


def write_report(state: RunState, cards: Sequence[ClassCard]) -> str:
    """Write the pages about the run from the class cards and the run's tables; return the overview's path."""
    store, config = state.store, state.config
    last = state.stage_rows[-1]
    facts = {**json.loads(last["versions"]), **json.loads(last["host"])}
    stages = stage_rows(store, {stage.name for stage in state.stages if not stage.wanted(config)})
    content = IndexContent(
        title="Visual summaries",
        model=state.inputs.classifier_name,
        weights=state.inputs.weights_digest,
        explainer=explainer_name(config),
        seed=config.seed,
        started=stages[0]["started"].strftime("%Y-%m-%d %H:%M UTC"),
        classes=sorted(cards, key=lambda card: card.label),
        metrics=metrics(row for row in store.read_all("metrics").to_pylist() if not row["label"]),
        evaluation=evaluation(store, config.seed),
        ratings=ratings(store, config.seed),
        plots=run_plots(store, cards),
        stages=[StageContent(**{name: row[name] for name in StageContent.__dataclass_fields__}) for row in stages],
        errors=errors(store.read_all("errors").to_pylist()),
        configuration=annotated_default(config),
        versions="\n".join(f"{name}: {value}" for name, value in facts.items()),
    )
    # A page in an object store is refused if another run has taken over.
    write = state.write if isinstance(store.root, ObjectPath) else write_file
    return str(write_site(store.root / FOLDER, content, write))


def stage_rows(store: TableStore, without: Collection[str] = ()) -> list[dict[str, Any]]:
    """The last row of `runs` of each stage, which has its whole cost, in the order in which they ran first.

    `without`: stages that only runs with other settings had.
    """
    rows: dict[str, dict[str, Any]] = {}
    for row in store.read_all("runs").to_pylist():
        rows[row["stage"]] = row
    return [row for stage, row in rows.items() if stage not in without]


def run_plots(store: TableStore, cards: Sequence[ClassCard]) -> list[plots.Plot]:
    """The plots of the run, from what the class pages counted; those that the overview shows come first."""
    empty = plots.Histogram()
    found = {
        name: reduce(plots.Histogram.merge, (plots.Histogram(**card.distributions[name]) for card in cards), empty)
        for name in DISTRIBUTIONS
    }
    supports = empty.add([support for card in cards for support in card.supports])
    drawn = [
        plots.distribution(found["drop"], "drop"),
        plots.summaries_against_accuracy(cards),
        plots.support(supports),
        plots.distribution(found["area"], "area"),
        plots.distribution(found["binarization_error"], "binarization_error"),
    ]
    try:
        lines = curves(store)
    except StoreError:
        return drawn
    return [*drawn, *plots.curves(lines)]
