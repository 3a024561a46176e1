"""FGVis's experiments, image by image."""

import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import torch

from visual_summaries.pipeline.config import RunConfig
from visual_summaries.pipeline.evaluate.adversarial import CONFIDENT, adversarial_targets, generate_adversarials
from visual_summaries.pipeline.evaluate.color_bias import SWAPS, color_bias
from visual_summaries.pipeline.explain.engine import Item
from visual_summaries.pipeline.explain.registry import EXPLAINERS
from visual_summaries.pipeline.runtime.stage import Plan
from visual_summaries.pipeline.runtime.units import Output, Unit
from visual_summaries.pipeline.stages.constants import constants
from visual_summaries.pipeline.stages.context import WorkerContext, chunks, decoded_images
from visual_summaries.pipeline.stages.studies.study import StudiesStage, Study

ADVERSARIAL, COLOR_BIAS = "adversarial", "color bias"
FILTERS = {"filter off": False, "filter on": True}


class AdversarialStudy(Study):
    """FGVis's defense against adversarial evidence (Table 1)."""

    name = ADVERSARIAL

    def settings(self, config: RunConfig) -> Any:
        return [config.evaluation.iterations, EXPLAINERS["fgvis"].version, constants(generate_adversarials)]

    def units(self, plan: Plan) -> list[Unit]:
        if len(plan.inputs.class_names) < 2:
            # There is no other class to find evidence for.
            return []
        surest = _surest(_correct(plan), plan.config.evaluation.photographs)
        work = [
            (label, sorted(chosen), variant) for label, chosen in surest.items() for variant in FILTERS
        ]
        return [
            unit
            for label, chosen, variant in sorted(work)
            for unit in image_units(plan, label, chosen, variant)
        ]

    def measure(self, worker: WorkerContext, unit: Unit, items: Sequence[str], output: Output) -> None:
        classifier, iterations, variant = worker.prepared_classifier, worker.config.evaluation.iterations, unit.payload
        stream = decoded_images(worker, StudiesStage.name, unit, worker.photographs(unit), items, output)
        targets: dict[str, int] = {}

        def attacked() -> Iterator[Item]:
            for image_id, image in stream:
                targets[image_id] = int(adversarial_targets(classifier, image[None].to(worker.device)))
                yield Item(image_id, image, targets[image_id])

        outcomes = generate_adversarials(
            classifier,
            attacked(),
            worker.device,
            FILTERS[variant],
            iterations,
            worker.config.explain.batch_size,
            progress=lambda work: worker.reach(unit, work),
        )
        for image_id, outcome in outcomes:
            protocol = {"target": targets[image_id], "iterations": iterations, "steps": outcome.iterations}
            protocol["target score"] = outcome.score
            output.rows.append(self.row(worker, unit, variant, outcome.generated, protocol, image_id))
            worker.advance(unit)


class ColorBiasStudy(Study):
    """Does a class depend on its color (§4.3)? Correctly predicted images with their color channels swapped."""

    name = COLOR_BIAS

    def settings(self, config: RunConfig) -> Any:
        return [constants(color_bias)]

    def units(self, plan: Plan) -> list[Unit]:
        return [
            unit
            for label, images in _correct(plan)
            for unit in image_units(plan, label, sorted(image_id for _, image_id in images))
        ]

    def measure(self, worker: WorkerContext, unit: Unit, items: Sequence[str], output: Output) -> None:
        class_index = worker.read(unit, "images", ["class_index"])[0]["class_index"]
        images = decoded_images(worker, StudiesStage.name, unit, worker.photographs(unit), items, output)
        while batch := list(islice(images, worker.config.model.batch_size)):
            ids, pixels = zip(*batch, strict=True)
            labels = torch.full((len(ids),), class_index, device=worker.device)
            found = color_bias(worker.classifier, torch.stack(pixels).to(worker.device), labels)
            for number, image_id in enumerate(ids):
                protocol = {"correct": bool(found.correct[number])}
                output.rows += [
                    self.row(worker, unit, f"channels {name}", found.kept[name][number], protocol, image_id)
                    for name in SWAPS
                ]
                worker.advance(unit)


def image_units(plan: Plan, label: str, ids: Sequence[str], payload: Any = None) -> list[Unit]:
    """Shards of some images of a class."""
    paths = plan.by_label("images")[label]
    return [
        Unit(
            label=label,
            identity=(payload, tuple(chosen)),
            items=tuple(chosen),
            inputs={"images": paths},
            payload=payload,
            divisible=True,
            size=len(chosen),
        )
        for chosen in chunks(ids, plan.config.explain.shard_size)
    ]


def _correct(plan: Plan) -> Iterator[tuple[str, list[tuple[float, str]]]]:
    """Class by class, minus the score (at most 0.995) and the id of the images that are predicted correctly."""
    columns = ["image_id", "class_index", "prediction", "score"]
    for label, paths in plan.by_label("images").items():
        yield label, [
            (-min(row["score"], CONFIDENT), row["image_id"])
            for row in plan.store.read("images", paths, columns).to_pylist()
            if row["prediction"] == row["class_index"]
        ]


def _surest(correct: Iterable[tuple[str, Sequence[tuple[float, str]]]], count: int) -> dict[str, list[str]]:
    """Ids by class of the `count` images with a score ≥ 0.995, or the surest there are, of those predicted correctly.

    `correct`: class by class, minus the score (at most 0.995) and the id. Where there are more, those with the smallest
    ids, which are hashes: a random choice.
    """
    ranked = ((rank, image_id, label) for label, images in correct for rank, image_id in images)
    chosen = defaultdict(list)
    for _, image_id, label in heapq.nsmallest(count, ranked):
        chosen[label].append(image_id)
    return chosen
