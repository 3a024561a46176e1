"""Experiment on summaries with another network's words: are their members more alike than random ones to a tagger that
is not the network under study? (visual summaries §4.2, Fig. 4)"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from visual_summaries.pipeline.config import ConfigurationError, RunConfig
from visual_summaries.pipeline.evaluate.coherence import coherence, cosine_distances, jaccard_distances
from visual_summaries.pipeline.export.contents import KEPT_COLUMNS, kept_clusters
from visual_summaries.pipeline.runtime.stage import Plan, units_per_class
from visual_summaries.pipeline.runtime.units import Output, Unit
from visual_summaries.pipeline.stages.constants import constants
from visual_summaries.pipeline.stages.context import WorkerContext
from visual_summaries.pipeline.stages.crops import described_crops, tags_of
from visual_summaries.pipeline.stages.studies.other_networks import Network, loaded, network_settings, networks_of
from visual_summaries.pipeline.stages.studies.study import StudiesStage, Study
from visual_summaries.pipeline.summarize.tags import label_tags
from visual_summaries.schemas import EDGES

WHOLE, CROPS = "whole images", "crops"
# What a summary is compared with: the paper's way, and ours.
RANDOM = {WHOLE: "random images of the class", CROPS: "random members of the class"}


class CoherenceStudy(Study):
    """Distances of tags and features by each tagger, of whole images (the paper's) and of members' crops, within each
    summary and within random subsets of its class."""

    name = "coherence"
    reads = ("images", "members", "summaries")

    def check(self, config: RunConfig) -> None:
        if not config.evaluation.taggers:
            raise ConfigurationError(
                f"the study {self.name} needs a network that tags photographs and is not the run's own: give it by "
                "--tagger (with --tagger-weights), or set evaluation.taggers"
            )
        own, *taggers = networks_of(config, config.evaluation.taggers)
        names = [tagger.name for tagger in taggers]
        for tagger in taggers:
            if tagger.digest == own.digest:
                raise ConfigurationError(
                    f"evaluation.taggers: {tagger.name} is the run's own network, whose tags the study summaries has; "
                    f"the study {self.name} asks another one: give one with other weights"
                )
            if names.count(tagger.name) > 1:
                raise ConfigurationError(
                    f"evaluation.taggers: {tagger.name} is there twice; its figures could not be told apart, so leave "
                    "it out or rename its weights file"
                )

    def settings(self, config: RunConfig) -> Any:
        taggers = network_settings(config, networks_of(config, config.evaluation.taggers)[1:])
        return [taggers, config.evaluation.tagger_tags, config.seed, constants(coherence, label_tags)]

    def units(self, plan: Plan) -> list[Unit]:
        taggers = tuple(networks_of(plan.config, plan.config.evaluation.taggers)[1:])
        units = units_per_class(plan, ("summaries", "members"), also=("images",))
        return [replace(unit, payload=taggers) for unit in units]

    def measure(self, worker: WorkerContext, unit: Unit, items: Sequence[str], output: Output) -> None:
        summaries = kept_clusters(worker.read(unit, "summaries", KEPT_COLUMNS))
        members = worker.read(unit, "members", ["cluster", "image_id", *EDGES, "kept"])
        if not summaries:
            return
        whole = dict(zip(EDGES, (0, 0, *2 * (worker.setup.preprocessing.crop_side,)), strict=True))
        images = [
            {"image_id": row["image_id"], **whole}
            for row in worker.read(unit, "images", ["image_id", "explained"])
            if row["explained"]
        ]
        for number, tagger in enumerate(unit.payload):
            model = worker.config.evaluation.taggers[number]
            network = loaded(model, worker.config.seed, worker.device, tagger)
            images, *of_images = described_crops(worker, StudiesStage.name, unit, images, output, network)
            places = {image["image_id"]: place for place, image in enumerate(images)}
            # What cannot be read is told once.
            members = [member for member in members if member["image_id"] in places]
            members, *of_members = described_crops(worker, StudiesStage.name, unit, members, output, network)
            groups: dict[int, list[int]] = defaultdict(list)
            for place, member in enumerate(members):
                if member["kept"] and member["cluster"] in summaries:
                    groups[summaries[member["cluster"]]].append(place)
            groups = {summary: group for summary, group in groups.items() if len(group) > 1}
            if not groups:
                continue
            own = {name: [places[members[one]["image_id"]] for one in group] for name, group in groups.items()}
            for kind, described, (scores, features), those in (
                (WHOLE, images, of_images, own),
                (CROPS, members, of_members, groups),
            ):
                tags = tags_of(worker, scores, network, worker.config.evaluation.tagger_tags)
                told = {"tags of each": int(tags.sets[0].sum()), "different tags": len(tags.names)}
                ids = [item["image_id"] for item in described]
                protocol = {f"{kind} of the class": len(described)}
                for of, distances, more in (
                    (f"tags of {kind}", jaccard_distances(tags.sets), told),
                    (f"features of {kind}", cosine_distances(features), {}),
                ):
                    output.rows += self._figures(worker, unit, tagger, of, kind, distances, those, ids, protocol | more)

    def _figures(
        self,
        worker: WorkerContext,
        unit: Unit,
        tagger: Network,
        of: str,
        kind: str,
        distances: np.ndarray,
        groups: Mapping[int, Sequence[int]],
        images: Sequence[str],
        protocol: Mapping[str, Any],
    ) -> Iterator[dict[str, Any]]:
        """μ_S, μ_R and their difference, summary by summary."""
        numbers = np.unique(images, return_inverse=True)[1]
        found = coherence(distances, [np.array(group) for group in groups.values()], numbers, worker.config.seed)
        for number, (summary, group) in enumerate(groups.items()):
            within, random = float(found.within[number]), float(found.random[number].mean())
            for variant, value in (
                (f"distance of {of} within the summary", within),
                (f"distance of {of} within {RANDOM[kind]}", random),
                (f"distance of {of}, random ones less the summary's", random - within),
            ):
                told = {"members": len(group), **protocol}
                yield self.row(worker, unit, f"{variant}, by {tagger.name}", value, told, summary=summary)
