"""Stage `candidates`: features, maps and clusters → `candidates`: a class's candidate parts, and which are chosen."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from visual_summaries.pipeline.config import RunConfig
from visual_summaries.pipeline.runtime.stage import Plan, Stage, units_per_class
from visual_summaries.pipeline.runtime.units import Output, Unit, error_row, known
from visual_summaries.pipeline.stages.constants import constants
from visual_summaries.pipeline.stages.context import WorkerContext, apart
from visual_summaries.pipeline.stages.features import stored_features
from visual_summaries.pipeline.stages.regions import cut_of, salient_mask
from visual_summaries.pipeline.summarize.candidates import Candidate, candidate_of_boxes
from visual_summaries.pipeline.summarize.class_parts import ClassImages, PartSettings
from visual_summaries.pipeline.summarize.part_selection import Judged, SelectionSettings
from visual_summaries.pipeline.summarize.regions import decode_run_length, encode_run_length
from visual_summaries.pipeline.summarize.resampling import Rerun, found_again
from visual_summaries.schemas import EDGES


@dataclass(frozen=True)
class ClassEvidence:
    """What a class's parts are found in, N images in the order of their ids.

    Attributes:
        ids: N image ids.
        features: `[N,G,G,D]` float16.
        masks: `[N,S,S]` bool, salient pixels.
        more: candidates from clusters of proposals.
    """

    ids: list[str]
    features: np.ndarray
    masks: np.ndarray
    more: list[Candidate]


class CandidatesStage(Stage):
    """The fewest candidates that account for a class's evidence, and what all others are."""

    name = "candidates"
    reads = ("maps", "features", "clusters")
    writes = "candidates"
    version = 3

    def wanted(self, config: RunConfig) -> bool:
        return config.summaries.by_evidence

    def settings(self, config: RunConfig) -> Any:
        summaries = config.summaries
        return [
            sorted(summaries.sources),
            summaries.resamples,
            asdict(part_settings(config)),
            cut_of(config),
            config.seed,
            constants(ClassImages, found_again),
        ]

    def units(self, plan: Plan) -> list[Unit]:
        return units_per_class(plan, ("features", "maps", "clusters"))

    def compute(self, worker: WorkerContext, unit: Unit, items: Sequence[str]) -> Output:
        output = Output(rows=[])
        evidence = class_evidence(worker, self.name, unit, output)
        if evidence is None:
            reason = "nothing is salient in any image of the class: no parts to find"
            output.errors.append(error_row(self.name, unit.label, reason))
            return output
        config = worker.config
        images = ClassImages.of(evidence.features, evidence.masks, part_settings(config), config.seed)
        worker.step()
        found = images.parts(config.seed, evidence.more)
        again = np.full(len(found.summaries), np.nan)
        if config.summaries.resamples:
            chosen = [one.candidate for one in found.summaries]
            rerun = telling(worker, images.again(evidence.more))
            again = found_again(chosen, rerun, len(evidence.ids), config.summaries.resamples, seed=config.seed)
        shares = [*again.tolist(), *[np.nan] * len(found.others)]
        for number, (one, share) in enumerate(zip([*found.summaries, *found.others], shares, strict=True)):
            output.rows += _rows(unit.label, number, one, share, evidence.ids)
        return output


def telling(worker: WorkerContext, rerun: Rerun) -> Rerun:
    """The same, each time told of as a step of the worker's."""

    def again(images: np.ndarray, seed: int) -> Sequence[Candidate]:
        worker.step()
        return rerun(images, seed)

    return again


def class_evidence(worker: WorkerContext, stage: str, unit: Unit, output: Output) -> ClassEvidence | None:
    """Features and masks of the unit's class; None where no image has them.

    What goes wrong with one image becomes a row of the errors of `output`.
    """
    seen = {row["image_id"]: row for row in worker.read(unit, "features")}
    features, masks = {}, {}
    for row in worker.read(unit, "maps", ["image_id", "saliency", "saliency_shape"]):
        image_id = row["image_id"]
        if image_id in seen:
            with apart(stage, unit, {"image_id": image_id, "uri": None}, output):
                features[image_id], masks[image_id] = stored_features(seen[image_id]), salient_mask(row, worker.config)
    ids = sorted(masks)
    if not ids:
        return None
    side = features[ids[0]].shape[0]
    more = _clusters(worker, unit, ids, side) if worker.config.summaries.with_proposals else []
    return ClassEvidence(ids, np.stack([features[one] for one in ids]), np.stack([masks[one] for one in ids]), more)


def stored_candidates(worker: WorkerContext, unit: Unit, ids: Sequence[str]) -> dict[int, Candidate]:
    """The chosen candidates of the unit's class by their numbers, their images numbered as in `ids`, without others."""
    place = {image_id: number for number, image_id in enumerate(ids)}
    rows = defaultdict(list)
    for row in worker.read(unit, "candidates", ["candidate", "image_id", *EDGES, "segment", "side", "source", "rank"]):
        if row["rank"] is not None and row["image_id"] in place:
            rows[row["candidate"]].append(row)
    found = {}
    for number, own in sorted(rows.items()):
        own.sort(key=lambda row: place[row["image_id"]])
        found[number] = Candidate(
            own[0]["source"],
            np.array([place[row["image_id"]] for row in own]),
            np.array([[row[edge] for edge in EDGES] for row in own], dtype=np.float32),
            np.stack([decode_run_length(row["segment"], (row["side"], row["side"])) for row in own]),
        )
    return found


def part_settings(config: RunConfig) -> PartSettings:
    """How the run's configuration has parts found."""
    own, default = config.summaries, PartSettings()
    return PartSettings(
        factors=default.factors if "factors" in own.sources else (),
        regions=default.regions if "regions" in own.sources else (),
        minimum_area=config.regions.minimum_area,
        selection=SelectionSettings(
            least_photographs=config.pruning.minimum_members, least_support=own.least_support, price=own.price
        ),
    )


def _clusters(worker: WorkerContext, unit: Unit, ids: Sequence[str], grid: int) -> list[Candidate]:
    """The clusters of proposals, the members most like the exemplar first where an image has several."""
    place = {image_id: number for number, image_id in enumerate(ids)}
    clusters = defaultdict(list)
    for row in worker.read(unit, "clusters", ["image_id", *EDGES, "cluster", "similarity"]):
        if row["cluster"] is not None and row["image_id"] in place:
            clusters[row["cluster"]].append(row)
    side = worker.setup.preprocessing.crop_side
    found = []
    for _, rows in sorted(clusters.items()):
        rows.sort(key=lambda row: -row["similarity"])
        boxes = np.array([[row[edge] for edge in EDGES] for row in rows])
        images = [place[row["image_id"]] for row in rows]
        found.append(candidate_of_boxes("proposals", images, boxes, (side, side), grid))
    return found


def _rows(label: str, number: int, one: Judged, found_again: float, ids: Sequence[str]) -> list[dict[str, Any]]:
    candidate, coherence = one.candidate, one.coherence
    common = {
        "label": label,
        "candidate": number,
        "source": candidate.source,
        "photographs": one.photographs,
        "support": one.support,
        "coverage": one.coverage,
        "coherence": known(coherence.value),
        "chance": known(coherence.chance),
        "chance_std": known(coherence.std),
        "specificity": one.specificity,
        "rank": one.rank if one.rank >= 0 else None,
        "gain": one.gain,
        "added": one.added,
        "found_again": known(found_again),
        "belongs_to": one.belongs_to if one.belongs_to >= 0 else None,
        "relation": one.relation or None,
        "reason": one.reason or None,
    }
    return [
        {
            **common,
            "image_id": ids[candidate.images[at]],
            **{edge: float(value) for edge, value in zip(EDGES, candidate.boxes[at], strict=True)},
            "segment": np.asarray(encode_run_length(candidate.segments[at])).tolist(),
            "side": candidate.segments.shape[1],
            "likeness": known(coherence.members[at]),
            "mirrored": bool(coherence.mirrored[at]),
        }
        for at in range(len(candidate))
    ]
