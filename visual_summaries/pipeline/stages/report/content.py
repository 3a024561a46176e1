"""What the pages of a class show, from the run's tables and the photographs."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from visual_summaries.pipeline.evaluate.ratings import study_results
from visual_summaries.pipeline.export.contents import KEPT_COLUMNS, kept_clusters
from visual_summaries.pipeline.report.content import (
    ClassContent,
    ErrorContent,
    ExampleContent,
    MemberContent,
    MetricContent,
    RegionContent,
    SummaryContent,
    ToldContent,
)
from visual_summaries.pipeline.report.mistakes import MistakeContent
from visual_summaries.pipeline.report.plots import Histogram
from visual_summaries.pipeline.review.export import current_ratings
from visual_summaries.pipeline.runtime.units import Output, Unit
from visual_summaries.pipeline.stages.context import WorkerContext, apart, decode_saliency
from visual_summaries.pipeline.stages.members import member_pixels
from visual_summaries.pipeline.stages.regions import salient_mask
from visual_summaries.pipeline.stages.report.altered import altered_contents
from visual_summaries.pipeline.stages.report.mistakes import MISTAKES_DRAWN, mistaken, told_mistakes
from visual_summaries.pipeline.stages.report.signs import class_signs
from visual_summaries.pipeline.stages.studies.figures import figures
from visual_summaries.pipeline.store.tables import StoreError, TableStore, digest
from visual_summaries.pipeline.summarize.regions import decode_run_length
from visual_summaries.schemas import EDGES

IMAGE_COLUMNS = ["image_id", "uri", "class_index", "prediction", "prediction_name", "prediction_score", "score"]
IMAGE_COLUMNS += ["explained", "decode_error"]
DISTRIBUTIONS = ("drop", "area", "binarization_error")
MEMBER_FIGURES = ("similarity", "ssim", "drop", "necessity", "sufficiency", "kept", "reason")
SUMMARY_FIGURES = (
    *("kept", "reason", "source", "members_before", "support", "similarity", "ssim", "class_ssim", "drop"),
    *("coverage", "added", "necessity", "random_necessity", "sufficiency", "random_sufficiency", "region_sufficiency"),
    *("measured", "alone", "coherence", "chance", "found_again"),
)


class _Pictures:
    """Analyzed images of a class by id, each read once; None for what cannot be read any more."""

    def __init__(self, worker: WorkerContext, unit: Unit, rows: Mapping[str, Mapping[str, Any]]) -> None:
        self._worker, self._unit, self._rows = worker, unit, rows
        self._images: dict[str, np.ndarray | None] = {}

    def get(self, image_id: str) -> np.ndarray | None:
        if image_id not in self._images:
            self._images[image_id] = None
            with apart("report", self._unit, self._rows[image_id], Output([])):
                image = self._worker.analyzed_image(self._rows[image_id])
                self._images[image_id] = image.permute(1, 2, 0).contiguous().numpy()
        return self._images[image_id]


def class_content(worker: WorkerContext, unit: Unit) -> ClassContent:
    """What is drawn of the unit's class: from its own tables alone."""
    images = worker.read(unit, "images", IMAGE_COLUMNS)
    by_id = {row["image_id"]: row for row in images if row["decode_error"] is None}
    pictures = _Pictures(worker, unit, by_id)
    maps = {row["image_id"]: row for row in worker.read(unit, "maps")}
    masks = _region_masks(worker, unit, maps)
    decoded = list(by_id.values())
    right = [row["prediction"] == row["class_index"] for row in decoded]
    return ClassContent(
        label=unit.label,
        class_name=worker.setup.class_names[unit.payload.class_index],
        class_index=unit.payload.class_index,
        images=len(images),
        explained=len(maps),
        head=worker.setup.head,
        resamples=worker.config.summaries.resamples,
        accuracy=float(np.mean(right)) if right else None,
        **{name: _mean(row[name] for row in maps.values()) for name in ("drop", "area", "binarization_error")},
        accounted=_accounted(worker, unit),
        summaries=_summaries(worker, unit, by_id, pictures, masks),
        examples=_examples(worker, unit, maps, by_id, pictures, masks),
        mistakes=_mistakes(images, pictures),
        altered=altered_contents(worker, unit, by_id, pictures.get),
        distributions={
            name: asdict(Histogram().add([row[name] for row in maps.values()])) for name in DISTRIBUTIONS
        },
    )


def class_told(worker: WorkerContext, unit: Unit) -> ToldContent:
    """What else is said of the unit's class, once the run knows all of it."""
    return ToldContent(
        metrics=metrics(rows_of_class(worker, unit, "metrics")),
        evaluation=evaluation(worker.store, worker.config.seed, unit.label, unit.inputs["measurements"]),
        errors=errors(rows_of_class(worker, unit, "errors")),
        names=names_of(unit.payload.ratings, worker.config.seed),
        mistakes=told_mistakes(worker, unit, unit.payload.others),
        near=unit.payload.near,
        reliance=unit.payload.reliance,
        previous=unit.payload.previous,
        next=unit.payload.next,
    )


def _accounted(worker: WorkerContext, unit: Unit) -> float | None:
    if not worker.config.summaries.by_evidence:
        return None
    return sum(row["added"] for row in worker.read(unit, "summaries", ["added", "kept"]) if row["kept"])


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
    tags, relatives, signs = _tags(worker, unit), _relatives(worker, unit), class_signs(worker, unit)
    members = defaultdict(list)
    for row in worker.read(unit, "members"):
        members[row["cluster"]].append(row)
    contents = []
    for row in worker.read(unit, "summaries"):
        ranked = sorted(members[row["cluster"]], key=lambda member: (not member["kept"], member["rank"]))
        if worker.config.summaries.by_evidence:
            # A spread, from the most typical member to the least: the first ones alone would flatter.
            most = min(len(ranked), worker.config.report.members)
            ranked = [ranked[at] for at in np.linspace(0, len(ranked) - 1, most).round().astype(int)]
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
                    **{name: member[name] for name in MEMBER_FIGURES},
                )
            )
        contents.append(
            SummaryContent(
                number=row["summary"] + 1,
                members=shown,
                members_kept=row["members"],
                tags=tags.get(row["summary"], ()),
                intervals={
                    name: (row[f"{name}_low"], row[f"{name}_high"])
                    for name in ("support", "necessity", "sufficiency")
                    if row[f"{name}_low"] is not None
                },
                signs=[asdict(sign) for sign in signs.get(row["summary"], ())],
                relatives=relatives.get(row["cluster"], ()),
                **{name: row[name] for name in SUMMARY_FIGURES},
            )
        )
    return contents


def _relatives(worker: WorkerContext, unit: Unit) -> dict[int, list[tuple[str, int]]]:
    """What other candidates are to each chosen one that they lie on, and how many."""
    rows = worker.read(unit, "candidates", ["candidate", "rank", "belongs_to", "relation"])
    of_rank = {row["rank"]: row["candidate"] for row in rows if row["rank"] is not None}
    related = {(row["candidate"], row["belongs_to"], row["relation"]) for row in rows if row["relation"] is not None}
    counts = Counter((of_rank[rank], relation) for _, rank, relation in related)
    found = defaultdict(list)
    for (candidate, relation), number in sorted(counts.items()):
        found[candidate].append((relation, number))
    return found


def _tags(worker: WorkerContext, unit: Unit) -> dict[int, list[tuple[str, float]]]:
    """What the classifier calls the members of each summary."""
    found = defaultdict(list)
    for row in worker.read(unit, "tags", ["summary", "tag", "share"]):
        found[row["summary"]].append((row["tag"], row["share"]))
    return found


def names_of(ratings: Sequence[Mapping[str, Any]], seed: int) -> dict[int, list[tuple[str, int]]]:
    """What people call the part of each summary of a class, by its number; nothing where nobody was asked."""
    found = study_results(list(ratings), seed)
    return {own.summary + 1: list(own.tags) for own in found.names if own.tags}


def _examples(
    worker: WorkerContext,
    unit: Unit,
    maps: Mapping[str, Mapping[str, Any]],
    images: Mapping[str, Mapping[str, Any]],
    pictures: _Pictures,
    masks: Mapping[str, Mapping[int, np.ndarray]],
) -> list[ExampleContent]:
    """A seeded choice of explained images, not the best ones."""
    order = sorted(maps, key=lambda image_id: digest(worker.config.seed, image_id, "example"))
    boxes = defaultdict(list)
    for row in worker.read(unit, "clusters", ["image_id", *EDGES]):
        boxes[row["image_id"]].append([row[edge] for edge in EDGES])
    has_proposals = worker.config.summaries.with_proposals
    parts = _parts(worker, unit)
    drops = defaultdict(dict)
    for row in worker.read(unit, "regions", ["image_id", "region", "drop"]):
        drops[row["image_id"]][row["region"]] = row["drop"]
    contents = []
    for image_id in order[: worker.config.report.examples]:
        image, row = pictures.get(image_id), maps[image_id]
        if image is None:
            continue
        own = [masks[image_id][number] for number in sorted(masks[image_id])]
        saliency, salient = decode_saliency(row).mean(axis=0), salient_mask(row, worker.config)
        figures = ("score_before", "score_after", "drop", "area", "binarization_error")
        contents.append(
            ExampleContent(
                image=image,
                saliency=saliency.round().astype(np.uint8),
                regions_mask=np.any(own, axis=0) if own else np.zeros(saliency.shape, bool),
                image_id=image_id,
                uri=images[image_id]["uri"],
                prediction_name=images[image_id]["prediction_name"],
                regions=[
                    RegionContent(masks[image_id][region], drop) for region, drop in sorted(drops[image_id].items())
                ],
                proposals=np.array(boxes[image_id], float).reshape(-1, 4) if has_proposals else None,
                parts=[(number, member_pixels(member, salient)) for number, member in parts.get(image_id, ())],
                **{name: row[name] for name in figures},
            )
        )
    return contents


def _mistakes(images: Sequence[Mapping[str, Any]], pictures: _Pictures) -> list[MistakeContent]:
    contents = []
    for row in mistaken(images)[:MISTAKES_DRAWN]:
        image = pictures.get(row["image_id"])
        if image is not None:
            scores = row["prediction_score"], row["score"]
            contents.append(MistakeContent(image, row["image_id"], row["uri"], row["prediction"], *scores))
    return contents


def _parts(worker: WorkerContext, unit: Unit) -> dict[str, list[tuple[int, dict[str, Any]]]]:
    """Image id → numbers of the kept summaries that it is a kept member of, with the rows of `members`."""
    kept = kept_clusters(worker.read(unit, "summaries", KEPT_COLUMNS))
    found = defaultdict(list)
    for row in worker.read(unit, "members", ["cluster", "image_id", *EDGES, "segment", "side", "kept"]):
        if row["kept"] and row["cluster"] in kept:
            found[row["image_id"]].append((kept[row["cluster"]] + 1, row))
    return {image_id: sorted(own, key=lambda one: one[0]) for image_id, own in found.items()}


def metrics(rows: Iterable[Mapping[str, Any]]) -> list[MetricContent]:
    """Rows of `metrics` for a page."""
    names = ("value", "low", "high", "n", "unit", "method")
    return [MetricContent(name=row["metric"], **{name: row[name] for name in names}) for row in rows]


def evaluation(
    store: TableStore, seed: int, label: str = "", shards: Sequence[str] | None = None
) -> list[MetricContent]:
    """What the job `evaluate` measured of a class, or of all; nothing if it did not run.

    `shards`: paths of the class's, where they are known.
    """
    try:
        found = figures(store, seed, label, shards)
    except StoreError:
        return []
    return [
        MetricContent(f.variant, f.mean, f.low, f.high, f.n, "", f"{f.study}; mean over {f.of}, 95 % interval")
        for f in found
    ]


def ratings(store: TableStore, seed: int) -> list[MetricContent]:
    """What people said in the review server, summed up; nothing if nobody did."""
    rows = current_ratings(store)
    if not rows:
        return []
    found = study_results(rows, seed)
    asked = f"{found.raters} {'rater' if found.raters == 1 else 'raters'}"
    chance = f"by chance {found.chance_agreement:.3f}"
    lucky = f"by chance {found.chance_faith:.0%}"
    figures = (
        ("interpretability index", found.index, "0..6", "mean rating of maps, 0 to 6 (Feature CAM, Table 1)"),
        (
            "faith",
            found.faith,
            "share",
            f"answers that found the photograph from its map; {lucky} (Feature CAM, Table 1)",
        ),
        (
            "distance of names",
            found.mean_agreement,
            "0..1",
            f"Jaccard distance between raters' names of a summary, mean over classes; {chance} (visual summaries §4.2)",
        ),
    )
    return [
        MetricContent(name, figure.value, figure.low, figure.high, figure.count, unit, f"{method}; {asked}")
        for name, figure, unit, method in figures
        if figure.count
    ]


def errors(rows: Iterable[Mapping[str, Any]]) -> list[ErrorContent]:
    """Rows of `errors` for a page."""
    return [ErrorContent(row["stage"], row["label"], row["reason"], row["uri"], row["image_id"]) for row in rows]


def rows_of_class(worker: WorkerContext, unit: Unit, table: str) -> list[dict[str, Any]]:
    """The class's rows of a table that has shards about all classes, too; those were read when the unit was planned."""
    found = []
    for path in unit.inputs[table]:
        known = unit.payload.said.get(path)
        found += worker.store.read(table, [path]).to_pylist() if known is None else known
    return found
