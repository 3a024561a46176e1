"""Stage `report`: all tables → pages. Class pages are drawn by workers, the index by the driver."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.config import RunConfig, annotated_default
from pipeline.data.decode import DecodeError
from pipeline.report.content import (
    ClassCard,
    ClassContent,
    ErrorContent,
    ExampleContent,
    IndexContent,
    MemberContent,
    MetricContent,
    StageContent,
    SummaryContent,
)
from pipeline.report.site import write_class_page, write_index
from pipeline.stages.stage import Plan, Stage
from pipeline.stages.units import Outcome, Unit
from pipeline.stages.worker import WorkerContext, decode_saliency
from pipeline.store.tables import digest
from pipeline.summarize.regions import decode_run_length
from schemas import EDGES

if TYPE_CHECKING:
    from pipeline.stages.run import RunState

FOLDER = "report"
TABLES_READ = ("images", "maps", "regions", "members", "summaries", "metrics", "errors")
IMAGE_COLUMNS = ["image_id", "uri", "class_index", "prediction", "prediction_name", "explained", "decode_error"]


class ReportStage(Stage):
    """Draws the page of each class; its units give `ClassCard`s instead of shards."""

    name = "report"
    reads = TABLES_READ
    writes = ""

    def settings(self, config: RunConfig) -> Any:
        return []

    def units(self, plan: Plan) -> list[Unit]:
        shards = {table: plan.by_label(table) for table in TABLES_READ[:-2]}
        shared = {
            table: tuple(shard.path for shard in plan.store.manifest(table)) for table in TABLES_READ[-2:]
        }
        return [
            Unit(
                label=group.label,
                identity=(),
                items=(group.label,),
                inputs={table: paths.get(group.label, ()) for table, paths in shards.items()} | shared,
                payload=group.class_index,
                size=len(group.entries),
            )
            for group in plan.inputs.classes
        ]

    def perform(self, worker: WorkerContext, unit: Unit, excluded: Mapping[str, str]) -> Outcome:
        folder = Path(worker.setup.output) / FOLDER
        return Outcome(unit, value=write_class_page(folder, class_content(worker, unit)))


class _Pictures:
    """Analyzed images of a class by id, each read once; None for what cannot be read any more."""

    def __init__(self, worker: WorkerContext, rows: Mapping[str, Mapping[str, Any]]) -> None:
        self._worker, self._rows = worker, rows
        self._images: dict[str, np.ndarray | None] = {}

    def get(self, image_id: str) -> np.ndarray | None:
        if image_id not in self._images:
            try:
                image = self._worker.analyzed_image(self._rows[image_id])
                self._images[image_id] = image.permute(1, 2, 0).contiguous().numpy()
            except DecodeError:
                self._images[image_id] = None
        return self._images[image_id]


def class_content(worker: WorkerContext, unit: Unit) -> ClassContent:
    """Everything on the page of the unit's class."""
    images = worker.read(unit, "images", IMAGE_COLUMNS)
    by_id = {row["image_id"]: row for row in images if row["decode_error"] is None}
    pictures = _Pictures(worker, by_id)
    maps = {row["image_id"]: row for row in worker.read(unit, "maps")}
    masks = _region_masks(worker, unit, maps)
    decoded = list(by_id.values())
    right = [row["prediction"] == row["class_index"] for row in decoded]
    return ClassContent(
        label=unit.label,
        class_name=worker.setup.class_names[unit.payload],
        class_index=unit.payload,
        images=len(images),
        explained=len(maps),
        accuracy=float(np.mean(right)) if right else None,
        **{name: _mean(row[name] for row in maps.values()) for name in ("drop", "area", "crispness")},
        summaries=_summaries(worker, unit, by_id, pictures, masks),
        examples=_examples(worker, maps, by_id, pictures, masks),
        metrics=_metrics(worker.read(unit, "metrics"), unit.label),
        errors=_errors(row for row in worker.read(unit, "errors") if row["label"] == unit.label),
    )


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _region_masks(
    worker: WorkerContext, unit: Unit, maps: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[int, np.ndarray]]:
    masks: dict[str, dict[int, np.ndarray]] = defaultdict(dict)
    for row in worker.read(unit, "regions", ["image_id", "region", "run_length"]):
        shape = tuple(maps[row["image_id"]]["saliency_shape"][1:])
        masks[row["image_id"]][row["region"]] = decode_run_length(row["run_length"], shape)
    return masks


def _summaries(
    worker: WorkerContext,
    unit: Unit,
    images: Mapping[str, Mapping[str, Any]],
    pictures: _Pictures,
    masks: Mapping[str, Mapping[int, np.ndarray]],
) -> list[SummaryContent]:
    members = defaultdict(list)
    for row in worker.read(unit, "members"):
        members[row["cluster"]].append(row)
    contents = []
    for row in worker.read(unit, "summaries"):
        ranked = sorted(members[row["cluster"]], key=lambda member: (not member["kept"], member["rank"]))
        shown = []
        for member in ranked[: worker.config.report.members]:
            image = pictures.get(member["image_id"])
            if image is None:
                continue
            own = [masks[member["image_id"]][number] for number in member["regions"]]
            salient = np.any(own, axis=0) if own else np.zeros(image.shape[:2], bool)
            shown.append(
                MemberContent(
                    image=image,
                    regions_mask=salient,
                    hull=np.array(member["hull"]).reshape(-1, 2),
                    box=[member[edge] for edge in EDGES],
                    image_id=member["image_id"],
                    uri=images[member["image_id"]]["uri"],
                    exemplar=member["rank"] == 0,
                    **{name: member[name] for name in ("similarity", "ssim", "drop", "kept", "reason")},
                )
            )
        names = ("kept", "reason", "members_before", "support", "similarity", "ssim", "class_ssim", "drop")
        contents.append(
            SummaryContent(
                number=row["summary"] + 1,
                members=shown,
                members_kept=row["members"],
                **{name: row[name] for name in names},
            )
        )
    return contents


def _examples(
    worker: WorkerContext,
    maps: Mapping[str, Mapping[str, Any]],
    images: Mapping[str, Mapping[str, Any]],
    pictures: _Pictures,
    masks: Mapping[str, Mapping[int, np.ndarray]],
) -> list[ExampleContent]:
    """A seeded choice of explained images, not the best ones."""
    order = sorted(maps, key=lambda image_id: digest(worker.config.seed, image_id, "example"))
    contents = []
    for image_id in order[: worker.config.report.examples]:
        image, row = pictures.get(image_id), maps[image_id]
        if image is None:
            continue
        own = list(masks[image_id].values())
        saliency = decode_saliency(row).mean(axis=0)
        figures = ("score_before", "score_after", "drop", "area", "crispness")
        contents.append(
            ExampleContent(
                image=image,
                saliency=saliency.round().astype(np.uint8),
                regions_mask=np.any(own, axis=0) if own else np.zeros(saliency.shape, bool),
                image_id=image_id,
                uri=images[image_id]["uri"],
                prediction_name=images[image_id]["prediction_name"],
                **{name: row[name] for name in figures},
            )
        )
    return contents


def _metrics(rows: Sequence[Mapping[str, Any]], label: str) -> list[MetricContent]:
    names = ("value", "low", "high", "n", "unit", "method")
    return [
        MetricContent(name=row["metric"], **{name: row[name] for name in names})
        for row in rows
        if row["label"] == label
    ]


def _errors(rows: Any) -> list[ErrorContent]:
    return [ErrorContent(row["stage"], row["label"], row["reason"], row["uri"], row["image_id"]) for row in rows]


def write_report(state: "RunState", cards: Sequence[ClassCard]) -> str:
    """Write the index from the class cards and the run's tables; return its path."""
    store, config = state.store, state.config
    names = ("stage", "seconds", "units", "units_cached", "worker_seconds", "peak_memory", "rows")
    stages = [StageContent(**{name: row[name] for name in names}) for row in state.stage_rows]
    last = state.stage_rows[-1]
    facts = {**json.loads(last["versions"]), **json.loads(last["host"])}
    content = IndexContent(
        title="Visual summaries",
        model=state.inputs.classifier_name,
        weights=state.inputs.weights_digest,
        explainer=f"{config.explain.explainer}, preset {config.explain.preset}",
        seed=config.seed,
        started=state.stage_rows[0]["started"].strftime("%Y-%m-%d %H:%M UTC"),
        classes=sorted(cards, key=lambda card: card.label),
        metrics=_metrics(store.read_all("metrics").to_pylist(), ""),
        stages=stages,
        errors=_errors(store.read_all("errors").to_pylist()),
        configuration=annotated_default(config),
        versions="\n".join(f"{name}: {value}" for name, value in facts.items()),
    )
    return str(write_index(Path(config.output) / FOLDER, content))
