"""Experiments on saliency maps: are they faithful, do they point at the object, do they depend on the network?"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from visual_summaries.pipeline.config import ConfigurationError, RunConfig
from visual_summaries.pipeline.data.annotations import annotated, read_boxes, read_landmarks
from visual_summaries.pipeline.evaluate.explanation_maps import explanation_map_scores
from visual_summaries.pipeline.evaluate.faithfulness import STEPS, deletion_curve, insertion_curve
from visual_summaries.pipeline.evaluate.lesions import OVERLAPS, image_sensitivities, region_overlaps
from visual_summaries.pipeline.evaluate.localization import (
    box_mask,
    inside,
    is_small,
    landmark_distance,
    localization_point,
    maximum_point,
    overlap_above,
)
from visual_summaries.pipeline.evaluate.parts import analyzed_boxes, analyzed_places
from visual_summaries.pipeline.evaluate.pointing import small_objects, torchray_hits
from visual_summaries.pipeline.evaluate.sanity import cascading_randomization, layers_from_output, rank_correlations
from visual_summaries.pipeline.evaluate.sanity import structural_similarities as map_similarities
from visual_summaries.pipeline.explain.registry import make_explainer
from visual_summaries.pipeline.models.classifier import Classifier
from visual_summaries.pipeline.models.preparation import PreparedClassifier
from visual_summaries.pipeline.runtime.settings import Location
from visual_summaries.pipeline.runtime.stage import Plan, units_per_shard
from visual_summaries.pipeline.runtime.units import Output, Unit
from visual_summaries.pipeline.stages.constants import constants
from visual_summaries.pipeline.stages.context import WorkerContext, decoded_images, own_rows
from visual_summaries.pipeline.stages.explain import image_generator, method_of, own_settings
from visual_summaries.pipeline.stages.regions import cut_of, salient_mask
from visual_summaries.pipeline.stages.studies.study import StudiesStage, Study
from visual_summaries.pipeline.store.tables import digest

THRESHOLDS = tuple(number / 10 for number in range(1, 10))
MAP_COLUMNS = ("image_id", "target", "saliency", "saliency_shape", "score_before", "score_after", "drop", "seconds")


@dataclass(frozen=True)
class Batch:
    """Some images with their maps.

    Attributes:
        images: `[B,3,S,S]` float32 in [0,1], on the worker's device.
        maps: `[B,S,S]` float32 in [0,1], there as well.
        targets: `[B]` int64, the classes that were explained.
        rows: their rows of `maps` and `images` together.
    """

    images: Tensor
    maps: Tensor
    targets: Tensor
    rows: list[dict[str, Any]]


class MapStudy(Study):
    """Base of the studies of maps, a shard of maps at a time."""

    reads = ("images", "maps")

    def units(self, plan: Plan) -> list[Unit]:
        return units_per_shard(plan, "maps", also=("images",))

    def measure(self, worker: WorkerContext, unit: Unit, items: Sequence[str], output: Output) -> None:
        for batch in batches(worker, unit, output, self.chosen(worker, unit, items)):
            output.rows += self.figures(worker, unit, batch)
            worker.advance(unit, len(batch.rows))

    def chosen(self, worker: WorkerContext, unit: Unit, items: Sequence[str]) -> list[dict[str, Any]]:
        """Rows of `maps` to measure of a unit restricted to `items`; default: all."""
        return own_rows(unit, worker.read(unit, "maps", MAP_COLUMNS), items)

    def figures(self, worker: WorkerContext, unit: Unit, batch: Batch) -> list[dict[str, Any]]:
        """Rows of `measurements`."""
        raise NotImplementedError


def batches(worker: WorkerContext, unit: Unit, output: Output, maps: list[dict[str, Any]]) -> Iterator[Batch]:
    """These rows of `maps` with their images, decoded ahead."""
    columns = ["image_id", "uri", "width", "height"]
    photographs = {row["image_id"]: row for row in worker.read(unit, "images", columns)}
    by_id = {row["image_id"]: row for row in maps}
    stream = decoded_images(worker, StudiesStage.name, unit, photographs, list(by_id), output)
    while found := list(islice(stream, worker.config.explain.batch_size or worker.config.model.batch_size)):
        rows = [by_id[image_id] | photographs[image_id] for image_id, _ in found]
        saliency = [
            np.frombuffer(row["saliency"], np.uint8).reshape(row["saliency_shape"]).mean(axis=0) / 255 for row in rows
        ]
        yield Batch(
            torch.stack([image for _, image in found]).to(worker.device),
            torch.from_numpy(np.stack(saliency)).float().to(worker.device),
            torch.tensor([row["target"] for row in rows], device=worker.device),
            rows,
        )


class FaithfulnessStudy(MapStudy):
    """Deletion and insertion (RISE's protocol), and the score drop by the explainer's own perturbation."""

    name = "faithfulness"

    def settings(self, config: RunConfig) -> Any:
        return [config.seed, constants(__name__, deletion_curve)]

    def figures(self, worker: WorkerContext, unit: Unit, batch: Batch) -> list[dict[str, Any]]:
        arguments = (worker.prepared_classifier, batch.images, batch.maps, batch.targets)
        settings = {"batch_size": worker.config.model.batch_size, "seed": worker.config.seed}
        deletion, insertion = (curve(*arguments, **settings) for curve in (deletion_curve, insertion_curve))
        rows = []
        for number, row in enumerate(batch.rows):
            score = "sigmoid" if worker.setup.independent else "softmax"
            protocol = {"target": row["target"], "steps": STEPS, "score": score}
            for variant, curve in (("deletion", deletion), ("insertion", insertion)):
                area, scores = curve.area[number], curve.scores[number].tolist()
                rows.append(self.row(worker, unit, variant, area, protocol, row["image_id"], curve=scores))
            if row["drop"] is not None:
                scores = {"before": row["score_before"], "after": row["score_after"]}
                rows.append(self.row(worker, unit, "drop", row["drop"], scores, row["image_id"]))
        return rows


class ExplanationMapStudy(MapStudy):
    """Feature CAM's Tables 2 and 3: what the network says of the most salient fifth of the image."""

    name = "explanation maps"

    def settings(self, config: RunConfig) -> Any:
        return [constants(explanation_map_scores)]

    def figures(self, worker: WorkerContext, unit: Unit, batch: Batch) -> list[dict[str, Any]]:
        found = explanation_map_scores(
            worker.prepared_classifier, batch.images, batch.maps, batch_size=worker.config.model.batch_size
        )
        rows = []
        for number, row in enumerate(batch.rows):
            protocol = {"predicted": int(found.predicted[number]), "before": float(found.before[number])}
            for variant, values in (("right", found.right), ("confidence", found.confidence)):
                rows.append(self.row(worker, unit, variant, float(values[number]), protocol, row["image_id"]))
        return rows


class LocalizationStudy(MapStudy):
    """Pointing games, intersection over union with boxes, and distance to landmarks."""

    name = "localization"

    def check(self, config: RunConfig) -> None:
        if not (config.data.boxes or config.data.landmarks):
            raise ConfigurationError(
                f"the study {self.name} needs to know where objects are: set data.boxes or data.landmarks"
            )

    def settings(self, config: RunConfig) -> Any:
        paths = (config.data.boxes, config.data.landmarks)
        files = [hashlib.sha256(path.path.read_bytes()).hexdigest() if path else None for path in paths]
        measures = (image_sensitivities, localization_point, maximum_point, torchray_hits)
        return [*files, cut_of(config), constants(__name__, *measures)]

    def units(self, plan: Plan) -> list[Unit]:
        # Annotations are of files by name.
        images = plan.contents("images")
        return [
            replace(unit, identity=(*unit.identity, images.get(unit.label, ()))) for unit in super().units(plan)
        ]

    def figures(self, worker: WorkerContext, unit: Unit, batch: Batch) -> list[dict[str, Any]]:
        boxes, landmarks = annotations(worker.config.data.boxes, worker.config.data.landmarks)
        rows = []
        for number, row in enumerate(batch.rows):
            saliency = batch.maps[number].cpu().numpy()
            own, places = (annotated(known, row["uri"], unit.label) for known in (boxes, landmarks))
            view = worker.setup.preprocessing.analyzed_box(row["height"], row["width"])
            values: dict[str, float] = {}
            if own is not None:
                values |= _boxed(saliency, salient_mask(row, worker.config), own, view)
            if places is not None:
                values |= _marked(saliency, places, view)
            rows += [self.row(worker, unit, name, value, {}, row["image_id"]) for name, value in values.items()]
        return rows


@lru_cache(maxsize=1)
def annotations(boxes: Location | None, landmarks: Location | None) -> tuple[dict, dict]:
    """The annotations of a run, read once per worker."""
    return (read_boxes(boxes.path) if boxes else {}, read_landmarks(landmarks.path) if landmarks else {})


def _boxed(
    saliency: np.ndarray, salient: np.ndarray, boxes: np.ndarray, view: tuple[float, float, float, float]
) -> dict[str, float]:
    """Both pointing games, the overlap at nine thresholds, and whether the `salient` pixels, as the run's summaries
    take them, cover enough of a box; nothing where the crop holds no part of a box."""
    side = len(saliency)
    seen = analyzed_boxes(boxes, view, side)
    seen = seen[(seen[:, 2:] > seen[:, :2]).all(axis=1)]
    if not len(seen):
        return {}
    hit = float(inside(localization_point(saliency), seen))
    values = {"pointing game, glas": hit}
    if is_small(seen, side, side):
        values["pointing game, glas, small objects"] = hit
    # In pixels of the photograph, of the part of it that the network saw.
    left, top, right, bottom = (round(edge) for edge in view)
    objects = torch.from_numpy(box_mask(boxes - [left, top, left, top], bottom - top, right - left))[None]
    if objects.any():
        hit = float(torchray_hits(torch.from_numpy(saliency)[None], objects)[0])
        values["pointing game, torchray"] = hit
        if small_objects(objects)[0]:
            values["pointing game, torchray, small objects"] = hit
    truth = box_mask(seen, side, side)
    values |= {f"overlap above {level:g}": overlap_above(saliency, truth, level) for level in THRESHOLDS}
    # FGVis Table 3: what a detector with these maps finds of the annotated regions.
    regions = torch.stack([torch.from_numpy(box_mask(box[None], side, side)) for box in seen])
    overlaps = region_overlaps(torch.from_numpy(salient)[None], regions[None])
    for least in OVERLAPS:
        (found,), present = image_sensitivities(overlaps.numpy(), (least,))
        if present:
            values[f"regions found, {least:.0%} covered"] = float(found)
    return values


def _marked(
    saliency: np.ndarray, places: Mapping[str, tuple[float, float]], view: tuple[float, float, float, float]
) -> dict[str, float]:
    """Distance from the map's maximum to each part, in pixels of the analyzed square."""
    point = maximum_point(saliency)
    seen = analyzed_places(np.array(list(places.values())).reshape(-1, 2), view, len(saliency))
    return {
        f"distance to {part}": landmark_distance(point, [place])
        for part, place in zip(places, seen.tolist(), strict=True)
    }


class SampledMapStudy(MapStudy):
    """Base of the studies that make maps anew, which costs as much as the maps: of a few images of each class."""

    def count(self, config: RunConfig) -> int:
        """Images of a class."""
        raise NotImplementedError

    def units(self, plan: Plan) -> list[Unit]:
        # The first shard of each class holds more images than are looked at.
        first = {unit.label: unit for unit in reversed(super().units(plan))}
        size = self.count(plan.config)
        return [replace(unit, size=min(unit.size, size)) for unit in first.values()]

    def chosen(self, worker: WorkerContext, unit: Unit, items: Sequence[str]) -> list[dict[str, Any]]:
        seed, every = worker.config.seed, worker.read(unit, "maps", MAP_COLUMNS)
        rows = sorted(every, key=lambda row: digest(seed, row["image_id"], self.name))
        # Of those that were drawn, so that one left out does not bring in another one.
        return own_rows(unit, rows[: self.count(worker.config)], items)


class SanityStudy(SampledMapStudy):
    """Do the maps change when the network's weights are randomized, from the output back?"""

    name = "sanity"
    version = 2

    def settings(self, config: RunConfig) -> Any:
        own = [config.evaluation.sanity_images, config.evaluation.sanity_steps, config.seed]
        return [*own, method_of(config), constants(cascading_randomization)]

    def count(self, config: RunConfig) -> int:
        return config.evaluation.sanity_images

    def figures(self, worker: WorkerContext, unit: Unit, batch: Batch) -> list[dict[str, Any]]:
        config, rows = worker.config, []
        explainer = make_explainer(
            config.explain.explainer, *own_settings(config.explain), memory=config.explain.pass_memory
        )
        count = len(layers_from_output(worker.classifier.module))
        steps = {round(count * (step + 1) / config.evaluation.sanity_steps) for step in range(count)}
        randomized = cascading_randomization(worker.classifier.module, config.seed)
        for layers, (_, module) in enumerate(randomized, start=1):
            if layers not in steps and layers != 1:
                continue
            own = worker.classifier
            randomized_classifier = Classifier(
                module, own.preprocessing, own.class_names, name=own.name, head=own.head
            )
            classifier = PreparedClassifier(randomized_classifier, config.explain.precision)
            generators = [image_generator(config.seed, row["image_id"], worker.device) for row in batch.rows]
            found = explainer.explain(classifier, batch.images, batch.targets, generators).saliency.mean(dim=1)
            # As the originals are stored.
            others = found.mul(255).round().div(255)
            for name, values in (
                ("rank correlation", rank_correlations(batch.maps.flatten(1), others.flatten(1))),
                ("structural similarity", map_similarities(batch.maps, others)),
            ):
                rows += [
                    self.row(
                        worker,
                        unit,
                        f"{name}, {layers} of {count} layers randomized",
                        value,
                        {"layers": layers, "of": count},
                        row["image_id"],
                    )
                    for row, value in zip(batch.rows, values.tolist(), strict=True)
                    # The ranks of a constant map are no order: n says how many had one.
                    if value == value
                ]
        return rows
