"""Stages `pages` and `report`: tables → pages. Class pages are made by workers, those about the run by the driver."""

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import reduce
from itertools import pairwise
from typing import Any

from visual_summaries.pipeline.config import RunConfig, annotated_default
from visual_summaries.pipeline.evaluate.reliance import reliance_signs
from visual_summaries.pipeline.evaluate.suspicion import same_place_sign
from visual_summaries.pipeline.objects import ObjectPath
from visual_summaries.pipeline.report import plots
from visual_summaries.pipeline.report.class_pages import drawn_class, tell_class, write_class_page, written_card
from visual_summaries.pipeline.report.content import ClassCard, IndexContent, StageContent
from visual_summaries.pipeline.report.files import write_file
from visual_summaries.pipeline.report.near import Near
from visual_summaries.pipeline.report.rendering import look
from visual_summaries.pipeline.report.site import write_site
from visual_summaries.pipeline.review.export import current_ratings
from visual_summaries.pipeline.runtime.records import RunState
from visual_summaries.pipeline.runtime.stage import Plan, Stage
from visual_summaries.pipeline.runtime.units import Output, Unit
from visual_summaries.pipeline.stages.constants import constants
from visual_summaries.pipeline.stages.context import WorkerContext
from visual_summaries.pipeline.stages.explain import explainer_name
from visual_summaries.pipeline.stages.report.altered import classes_reliant
from visual_summaries.pipeline.stages.report.content import (
    DISTRIBUTIONS,
    class_content,
    class_told,
    errors,
    evaluation,
    metrics,
    names_of,
    ratings,
    rows_of_class,
)
from visual_summaries.pipeline.stages.report.mistakes import OtherClass, called_otherwise
from visual_summaries.pipeline.stages.report.nearness import classes_near
from visual_summaries.pipeline.stages.report.signs import object_boxes
from visual_summaries.pipeline.stages.studies.figures import curves
from visual_summaries.pipeline.store.tables import StoreError, TableStore, digest

FOLDER = "report"
BY_CLASS = ("images", "alterations", "maps", "regions", "clusters", "candidates", "members", "summaries", "tags")
SHARED = ("metrics", "errors")
SPECIALISTS = "specialists"
# The job `evaluate` writes it, so a run may lack it.
MEASURED = "measurements"


@dataclass(frozen=True)
class Drawn:
    """What the pictures of a class are drawn from: its index, and what its own tables hold."""

    class_index: int
    contents: Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Place(Drawn):
    """A class among the others: labels and names of those beside it, and what else is said of it.

    `measured`: what its shards of the job `evaluate` hold. `said`: what shards about all classes say of it, rows by
    path. `ratings`: what people said of it. `others`: all classes by their index, which its photographs may be called,
    and `others_state` a hash of what is known of them but for the names that people gave. `near`: where the class is
    among them. `reliance`: what it goes by that is no part of its pictures.
    """

    previous: tuple[str, str] | None
    next: tuple[str, str] | None
    measured: Sequence[str]
    said: Mapping[str, list[dict[str, Any]]]
    ratings: Sequence[Mapping[str, Any]]
    others: Mapping[int, OtherClass]
    others_state: str
    near: Near
    reliance: Sequence[Mapping[str, Any]] = ()


class PagesStage(Stage):
    """Draws the pages of a class as soon as its own tables are complete, while others are still worked on.

    What needs all classes is said by `ReportStage`, which also draws what is not drawn.
    """

    name = "pages"
    reads = BY_CLASS
    writes = ""
    tried_again = True

    def settings(self, config: RunConfig) -> Any:
        return []

    def units(self, plan: Plan) -> list[Unit]:
        paths = {table: plan.by_label(table) for table in BY_CLASS}
        contents = {table: plan.contents(table) for table in BY_CLASS}
        return [
            Unit(
                label=group.label,
                identity=(),
                items=(group.label,),
                inputs={table: found.get(group.label, ()) for table, found in paths.items()},
                payload=Drawn(
                    group.class_index, {table: found.get(group.label, ()) for table, found in contents.items()}
                ),
                size=len(group.entries),
            )
            for group in plan.inputs.classes
        ]

    def compute(self, worker: WorkerContext, unit: Unit, items: Sequence[str]) -> Output:
        folder, drawn = worker.store.root / FOLDER, drawn_state(worker, unit)
        if not drawn_class(folder, unit.label, drawn):
            write_class_page(folder, class_content(worker, unit), drawn=drawn)
        return Output([])


class ReportStage(Stage):
    """Completes the pages of each class unless they are whole; its units give `ClassCard`s instead of shards."""

    name = "report"
    reads = (*BY_CLASS, *SHARED, SPECIALISTS)
    writes = ""
    by_class = False

    def settings(self, config: RunConfig) -> Any:
        return []

    def units(self, plan: Plan) -> list[Unit]:
        # What is about all classes is read once, not for each of them.
        own = {table: plan.shards[table] for table in (*BY_CLASS, SPECIALISTS)}
        own[MEASURED] = list(plan.store.listed(MEASURED).values())
        shards = {table: _by_label((shard.label, shard.path) for shard in found) for table, found in own.items()}
        contents = {table: _by_label((shard.label, shard.content) for shard in found) for table, found in own.items()}
        said: dict[str, dict[str, list[dict[str, Any]]]] = defaultdict(dict)
        for table in SHARED:
            shards[table] = _shared(plan.store, table, said)
        ratings = _by_label((row["label"], row) for row in current_ratings(plan.store))
        others = _others(plan, shards[SPECIALISTS], ratings)
        known = [[index, other.label] for index, other in others.items()]
        others_state = digest(known, [shard.content for shard in plan.shards[SPECIALISTS]])
        near = classes_near(plan, shards["tags"], shards["summaries"])
        reliance = classes_reliant(plan, shards["alterations"])
        names = plan.inputs.class_names
        line = [None, *((group.label, names[group.class_index]) for group in plan.inputs.classes), None]
        beside = {own[0]: (before, after) for (before, own), (_, after) in pairwise(pairwise(line))}
        return [
            Unit(
                label=group.label,
                identity=(),
                items=(group.label,),
                inputs={table: paths.get(group.label, ()) for table, paths in shards.items()},
                payload=Place(
                    group.class_index,
                    {table: contents[table].get(group.label, ()) for table in BY_CLASS},
                    *beside[group.label],
                    contents[MEASURED].get(group.label, ()),
                    said.get(group.label, {}),
                    ratings.get(group.label, ()),
                    others,
                    others_state,
                    near.get(group.label, Near()),
                    reliance.get(group.label, ()),
                ),
                size=len(group.entries),
            )
            for group in plan.inputs.classes
        ]

    def compute(self, worker: WorkerContext, unit: Unit, items: Sequence[str]) -> Output:
        folder = worker.store.root / FOLDER
        state, drawn = class_state(worker, unit), drawn_state(worker, unit)
        card = written_card(folder, unit.label, state)
        if card is None:
            told = class_told(worker, unit)
            card = tell_class(folder, unit.label, told, state, drawn)
            if card is None:
                card = write_class_page(folder, class_content(worker, unit), told, state, drawn)
        return Output([], value=card)


def drawn_state(worker: WorkerContext, unit: Unit) -> str:
    """Hash of all that the pictures of a class are drawn from."""
    name = worker.setup.class_names[unit.payload.class_index]
    boxes, _ = object_boxes(worker.config)
    judged = constants(__name__, same_place_sign, reliance_signs)
    settings = [worker.config.report.model_dump(), worker.config.seed, boxes, judged]
    beside = [unit.label, name, unit.payload.class_index, worker.setup.head]
    return digest(look(), unit.payload.contents, settings, beside)


def class_state(worker: WorkerContext, unit: Unit) -> str:
    """Hash of all that the pages of a class are made from."""
    place = unit.payload
    rows = [*(rows_of_class(worker, unit, table) for table in SHARED), place.ratings]
    said = json.dumps(rows, default=str, sort_keys=True)
    called = [place.others[index] for index in called_otherwise(worker, unit) if index in place.others]
    names = [[other.label, other.names] for other in called]
    beside = [place.previous, place.next, place.others_state, names, asdict(place.near), place.reliance]
    return digest(drawn_state(worker, unit), said, place.measured, beside)


def _others(
    plan: Plan, specialists: Mapping[str, Sequence[str]], ratings: Mapping[str, Sequence[Mapping[str, Any]]]
) -> dict[int, OtherClass]:
    """The run's classes by index; of several labels with one index the first."""
    found: dict[int, OtherClass] = {}
    for group in plan.inputs.classes:
        own = ratings.get(group.label, ())
        named = names_of(own, plan.config.seed) if own else {}
        names = {number: tags[0][0] for number, tags in named.items()}
        found.setdefault(group.class_index, OtherClass(group.label, specialists.get(group.label, ()), names))
    return found


def with_pages(stages: Sequence[Stage]) -> list[Stage]:
    """The stages of a run, with the pages of each class right after the last one that they show the table of."""
    last = max(place for place, stage in enumerate(stages) if stage.writes in BY_CLASS)
    return [*stages[: last + 1], PagesStage(), *stages[last + 1 :]]


def _by_label(pairs: Iterable[tuple[str, Any]]) -> dict[str, tuple[Any, ...]]:
    found = defaultdict(list)
    for label, one in pairs:
        found[label].append(one)
    return {label: tuple(own) for label, own in found.items()}


def _shared(
    store: TableStore, table: str, said: dict[str, dict[str, list[dict[str, Any]]]]
) -> dict[str, tuple[str, ...]]:
    """Paths of the shards that are about each class; rows of those about all are added to `said`, by class and path."""
    pairs = []
    for shard in store.manifest(table):
        labels = [shard.label]
        if not shard.label:
            rows = store.read(table, [shard.path]).to_pylist()
            own = {label: list(found) for label, found in _by_label((row["label"], row) for row in rows).items()}
            for label, found in own.items():
                said[label][shard.path] = found
            labels = list(own)
        pairs += [(label, shard.path) for label in labels]
    return _by_label(pairs)


def write_report(state: RunState, cards: Sequence[ClassCard]) -> str:
    """Write the pages about the run from the class cards and the run's tables; return the overview's path."""
    store, config = state.store, state.config
    last = state.stage_rows[-1]
    facts = {**json.loads(last["versions"]), **json.loads(last["host"])}
    stages = stage_rows(store, {stage.name for stage in state.stages if not stage.wanted(config)})
    figures = store.read_all("metrics").to_pylist()
    measured = evaluation(store, config.seed)
    content = IndexContent(
        title="Visual summaries",
        model=state.inputs.classifier_name,
        weights=state.inputs.weights_digest,
        explainer=explainer_name(config),
        seed=config.seed,
        head=state.inputs.head,
        started=stages[0]["started"].strftime("%Y-%m-%d %H:%M UTC"),
        classes=sorted(cards, key=lambda card: card.label),
        metrics=metrics(row for row in figures if not row["label"]),
        evaluation=measured,
        methods=figure_methods([*((row["metric"], row["method"]) for row in figures if row["label"]),
                                *((figure.name, figure.method) for figure in measured)]),
        ratings=ratings(store, config.seed),
        boxes=bool(object_boxes(config)[1]),
        altered=bool(store.listed("alterations")),
        plots=run_plots(store, cards),
        stages=[StageContent(**{name: row[name] for name in StageContent.__dataclass_fields__}) for row in stages],
        errors=errors(store.read_all("errors").to_pylist()),
        configuration=annotated_default(config),
        versions="\n".join(f"{name}: {value}" for name, value in facts.items()),
    )
    # A page in an object store is refused if another run has taken over.
    write = state.write if isinstance(store.root, ObjectPath) else write_file
    return str(write_site(store.root / FOLDER, content, write))


def figure_methods(said: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Names of figures with their methods, each method once, by the first figure that has it."""
    first: dict[str, str] = {}
    for name, method in said:
        first.setdefault(method, name)
    return [(name, method) for method, name in first.items()]


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
