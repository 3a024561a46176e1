"""Experiments on what maps show: does it stay, does it hang together, does it mean something to another network?"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from visual_summaries.pipeline.config import ConfigurationError, RunConfig
from visual_summaries.pipeline.evaluate.map_stability import CHANGES, map_stability, shift_length
from visual_summaries.pipeline.evaluate.transfer import transfer
from visual_summaries.pipeline.evaluate.wholeness import LEAST, wholeness
from visual_summaries.pipeline.explain.engine import Item, explain_stream
from visual_summaries.pipeline.explain.registry import make_explainer
from visual_summaries.pipeline.models.preparation import PreparedClassifier
from visual_summaries.pipeline.report.robustness_plots import BEYOND, CONTROL, DROP, OVERLAP
from visual_summaries.pipeline.runtime.stage import Plan, units_per_shard
from visual_summaries.pipeline.runtime.units import Output, Unit, error_row
from visual_summaries.pipeline.settings import ModelSettings
from visual_summaries.pipeline.stages.constants import constants
from visual_summaries.pipeline.stages.context import (
    WorkerContext,
    decode_saliency,
    decoded_images,
    own_rows,
)
from visual_summaries.pipeline.stages.explain import image_generator, method_of, own_settings, stored_saliency
from visual_summaries.pipeline.stages.regions import cut_of, salient_mask, salient_of
from visual_summaries.pipeline.stages.studies.maps import MapStudy, SampledMapStudy, batches
from visual_summaries.pipeline.stages.studies.other_networks import Network, loaded, network_settings, networks_of
from visual_summaries.pipeline.stages.studies.study import StudiesStage, Study
from visual_summaries.pipeline.store.tables import digest

# What transfer removes pixels by, whatever the run's maps were made with: all explainers are asked the same.
PERTURBATION = "authors"


class MapStabilityStudy(SampledMapStudy):
    """The run's maps against maps made anew of images that are hardly changed, and with another seed."""

    name = "map stability"
    version = 2

    def settings(self, config: RunConfig) -> Any:
        own = [config.evaluation.stability_images, config.seed, cut_of(config)]
        return [*own, method_of(config), constants(map_stability)]

    def count(self, config: RunConfig) -> int:
        return config.evaluation.stability_images

    def measure(self, worker: WorkerContext, unit: Unit, items: Sequence[str], output: Output) -> None:
        config, rows = worker.config, {row["image_id"]: row for row in self.chosen(worker, unit, items)}
        photographs = worker.photographs(unit)
        margin = shift_length(worker.setup.preprocessing.crop_side)
        frames = decoded_images(worker, StudiesStage.name, unit, photographs, rows, output, margin)

        def changed() -> Iterator[Item]:
            for image_id, frame in frames:
                for name, change in CHANGES.items():
                    generator = image_generator(config.seed + change.reseeded, image_id, worker.device)
                    yield Item((image_id, name), change.apply(frame, margin), rows[image_id]["target"], generator)

        explain, done = config.explain, Counter()
        explainer = make_explainer(explain.explainer, *own_settings(explain), memory=explain.pass_memory)
        found = explain_stream(explainer, worker.prepared_classifier, changed(), worker.device, explain.batch_size)
        for (image_id, name), explanation in found:
            if explanation.saliency.isfinite().all() and explanation.score_before.isfinite().all():
                again = stored_saliency(explanation)
                output.rows += self._figures(worker, unit, rows[image_id], name, again)
            else:
                reason = f"the map made anew ({name}) is not finite (NaN or infinity)"
                uri = photographs[image_id]["uri"]
                output.errors.append(error_row(StudiesStage.name, unit.label, reason, image_id, uri))
            done[image_id] += 1
            if done[image_id] == len(CHANGES):
                worker.advance(unit)

    def _figures(
        self, worker: WorkerContext, unit: Unit, row: Mapping[str, Any], name: str, again: np.ndarray
    ) -> Iterator[dict[str, Any]]:
        """Both figures of a map `again` `[C,H,W]` uint8 of an image changed as `name` says."""
        both = (decode_saliency(row), again)
        maps, others = (torch.from_numpy(stored.mean(axis=0))[None] for stored in both)
        salient, other = (torch.from_numpy(salient_of(stored, worker.config))[None] for stored in both)
        overlap, correlation = map_stability(CHANGES[name], maps, salient, others, other)
        protocol = {"target": row["target"], "shift": shift_length(min(again.shape[1:]))} | cut_of(worker.config)
        for variant, value in ((OVERLAP, float(overlap)), ("rank correlation, ", float(correlation))):
            # Two empty masks, or a constant map: n says how many could be compared.
            if value == value:
                yield self.row(worker, unit, f"{variant}{name}", value, protocol, row["image_id"])


class WholenessStudy(Study):
    """How much of what is salient lies in regions that are large enough to be parts."""

    name = "wholeness"
    reads = ("maps",)

    def settings(self, config: RunConfig) -> Any:
        return [cut_of(config), constants(wholeness)]

    def units(self, plan: Plan) -> list[Unit]:
        return units_per_shard(plan, "maps")

    def measure(self, worker: WorkerContext, unit: Unit, items: Sequence[str], output: Output) -> None:
        protocol = cut_of(worker.config)
        for row in own_rows(unit, worker.read(unit, "maps", ["image_id", "saliency", "saliency_shape"]), items):
            found = wholeness(salient_mask(row, worker.config))
            values = {
                "salient share of the image": found.area,
                f"share of the salient pixels in regions of at least {LEAST:.0%}": found.whole,
                f"number of regions of at least {LEAST:.0%}": found.regions,
            }
            output.rows += [
                self.row(worker, unit, variant, value, protocol, row["image_id"])
                for variant, value in values.items()
                # What is salient of an empty map lies nowhere.
                if value == value
            ]
            worker.advance(unit)


class TransferStudy(MapStudy):
    """What the removal of the salient pixels does to the score that other networks give, and the run's own."""

    name = "transfer"

    def check(self, config: RunConfig) -> None:
        if not config.evaluation.other_models:
            raise ConfigurationError(
                f"the study {self.name} needs other networks that know the same classes: give them by --other-model "
                "(with --other-weights), or set evaluation.other_models"
            )
        own, *others = networks = networks_of(config, config.evaluation.other_models)
        names = [network.name for network in networks]
        for other in others:
            if other.classes != own.classes:
                raise ConfigurationError(
                    f"evaluation.other_models: {other.name} knows {other.classes} classes, {own.name} {own.classes}; "
                    f"the study {self.name} matches classes by their number: give a network trained for the same ones"
                )
            if names.count(other.name) > 1:
                raise ConfigurationError(
                    f"evaluation.other_models: {other.name} is there twice, or is the run's own network; its figures "
                    "could not be told apart, so leave it out or rename its weights file"
                )

    def settings(self, config: RunConfig) -> Any:
        networks = network_settings(config, networks_of(config, config.evaluation.other_models))
        return [networks, config.seed, cut_of(config), constants(__name__, transfer)]

    def units(self, plan: Plan) -> list[Unit]:
        networks = tuple(networks_of(plan.config, plan.config.evaluation.other_models))
        return [replace(unit, payload=networks) for unit in super().units(plan)]

    def measure(self, worker: WorkerContext, unit: Unit, items: Sequence[str], output: Output) -> None:
        config, rows = worker.config, self.chosen(worker, unit, items)
        masks = {row["image_id"]: torch.from_numpy(salient_mask(row, config)) for row in rows}
        # A round in random order: the controls are the same masks, each on another image.
        order = sorted(masks, key=lambda image_id: digest(config.seed, image_id, self.name))
        control_of = dict(zip(order, order[1:] + order[:1], strict=True))
        settings = {"batch_size": config.model.batch_size, "perturbation": PERTURBATION}
        for batch in batches(worker, unit, output, rows):
            ids = [row["image_id"] for row in batch.rows]
            own, controls = (
                torch.stack([masks[image_id] for image_id in chosen]).to(worker.device)
                for chosen in (ids, [control_of[image_id] for image_id in ids])
            )
            for number, network in enumerate(unit.payload):
                asked = _network(worker, number, network)
                found = transfer(asked, batch.images, own, controls, batch.targets, network.side, **settings)
                for place in found.right.nonzero().flatten().tolist():
                    image_id = ids[place]
                    protocol = {"target": batch.rows[place]["target"], "before": float(found.before[place])}
                    protocol |= {"perturbation": PERTURBATION, "map of": control_of[image_id]} | cut_of(config)
                    drop, control = float(found.drop[place]), float(found.control[place])
                    values = {"": drop}
                    if control_of[image_id] != image_id:
                        values |= {CONTROL: control, BEYOND: drop - control}
                    output.rows += [
                        self.row(worker, unit, f"{DROP}{network.name}{variant}", value, protocol, image_id)
                        for variant, value in values.items()
                    ]
            worker.advance(unit, len(ids))


def _network(worker: WorkerContext, number: int, network: Network) -> PreparedClassifier:
    """The run's own network (number 0), or another one, checked to be the one that the driver knows."""
    if number == 0:
        return worker.prepared_classifier
    model = worker.config.evaluation.other_models[number - 1]
    return _prepared(model, worker.config.seed, worker.config.explain.precision, worker.device, network)


@lru_cache
def _prepared(
    model: ModelSettings, seed: int, precision: str, device: torch.device, network: Network
) -> PreparedClassifier:
    """Another network, made ready once per worker."""
    return PreparedClassifier(loaded(model, seed, device, network), precision)
