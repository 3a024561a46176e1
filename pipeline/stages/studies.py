"""Stage `studies`: images → `measurements`: FGVis's experiments, image by image, on the workers."""

import heapq
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from pipeline.config import RunConfig
from pipeline.evaluate.adversarial import CONFIDENT, adversarial_targets, generate_adversarials
from pipeline.evaluate.color_bias import SWAPS, color_bias
from pipeline.explain.engine import Item
from pipeline.stages.stage import Plan, Stage
from pipeline.stages.units import Output, Unit
from pipeline.stages.worker import WorkerContext, chunks, decoded_images

ADVERSARIAL, COLOR_BIAS = "adversarial", "color bias"
FILTERS = {"filter off": False, "filter on": True}


class StudiesStage(Stage):
    """The adversarial defense (Table 1) and the color bias (§4.3), in shards of a class."""

    name = "studies"
    reads = ("images",)
    writes = "measurements"
    uses_model = True

    def settings(self, config: RunConfig) -> Any:
        return [config.evaluation.iterations, config.explain.precision]

    def units(self, plan: Plan) -> list[Unit]:
        by_label = plan.by_label("images")
        columns = ["image_id", "class_index", "prediction", "score"]
        correct = {
            label: [
                (-min(row["score"], CONFIDENT), row["image_id"])
                for row in plan.store.read("images", paths, columns).to_pylist()
                if row["prediction"] == row["class_index"]
            ]
            for label, paths in by_label.items()
        }
        surest = _surest(correct, plan.config.evaluation.photographs)
        size = plan.config.explain.shard_size
        units = []
        for label, paths in by_label.items():
            work = [(COLOR_BIAS, "", ids) for ids in chunks(sorted(image_id for _, image_id in correct[label]), size)]
            chosen = sorted(surest[label])
            work += [(ADVERSARIAL, variant, ids) for variant in FILTERS for ids in chunks(chosen, size)]
            units += [
                Unit(
                    label=label,
                    identity=(study, variant, tuple(ids)),
                    items=tuple(ids),
                    inputs={"images": paths},
                    payload=(study, variant),
                    divisible=True,
                    size=len(ids),
                )
                for study, variant, ids in work
            ]
        return units

    def compute(self, worker: WorkerContext, unit: Unit, items: Sequence[str]) -> Output:
        study, variant = unit.payload
        output = Output(rows=[])
        stream = decoded_images(worker, self.name, unit, worker.photographs(unit), items, output)
        measured = _adversarial(worker, variant, stream) if study == ADVERSARIAL else _color_bias(worker, unit, stream)
        for image_id, values, protocol in measured:
            output.rows += [
                {
                    "image_id": image_id,
                    "label": unit.label,
                    "study": study,
                    "variant": name,
                    "value": value,
                    "protocol": json.dumps(protocol),
                }
                for name, value in values.items()
            ]
            worker.advance(unit)
        output.rows.sort(key=lambda row: (row["image_id"], row["variant"]))
        return output


def _surest(correct: Mapping[str, Sequence[tuple[float, str]]], count: int) -> dict[str, list[str]]:
    """Ids by class of the `count` images with a score ≥ 0.995, or the surest there are, of those predicted correctly.

    `correct`: by class, minus the score (at most 0.995) and the id. Where there are more, those with the smallest ids,
    which are hashes: a random choice.
    """
    ranked = ((rank, image_id, label) for label, images in correct.items() for rank, image_id in images)
    chosen = defaultdict(list)
    for _, image_id, label in heapq.nsmallest(count, ranked):
        chosen[label].append(image_id)
    return chosen


# Image id, value by variant, protocol.
Measured = Iterator[tuple[str, dict[str, float], dict[str, Any]]]


def _adversarial(worker: WorkerContext, variant: str, images: Iterator[tuple[str, Tensor]]) -> Measured:
    """Whether evidence for the least likely class could be generated."""
    classifier, iterations = worker.prepared_classifier, worker.config.evaluation.iterations
    targets: dict[str, int] = {}

    def items() -> Iterator[Item]:
        for image_id, image in images:
            targets[image_id] = int(adversarial_targets(classifier, image[None].to(worker.device)))
            yield Item(image_id, image, targets[image_id])

    outcomes = generate_adversarials(
        classifier, items(), worker.device, FILTERS[variant], iterations, worker.config.explain.batch_size
    )
    for image_id, outcome in outcomes:
        protocol = {"target": targets[image_id], "iterations": iterations, "steps": outcome.iterations}
        yield image_id, {variant: float(outcome.generated)}, protocol | {"target score": outcome.score}


def _color_bias(worker: WorkerContext, unit: Unit, images: Iterator[tuple[str, Tensor]]) -> Measured:
    """Whether an image that is predicted correctly still is with its color channels swapped."""
    class_index = worker.read(unit, "images", ["class_index"])[0]["class_index"]
    while batch := list(islice(images, worker.config.model.batch_size)):
        ids, pixels = zip(*batch, strict=True)
        labels = torch.full((len(ids),), class_index, device=worker.device)
        found = color_bias(worker.classifier, torch.stack(pixels).to(worker.device), labels)
        for number, image_id in enumerate(ids):
            values = {f"channels {name}": float(found.kept[name][number]) for name in SWAPS}
            yield image_id, values, {"correct": bool(found.correct[number])}
