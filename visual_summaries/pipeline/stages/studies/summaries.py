"""Experiments on the summaries of a class: do they belong together, do they show one part, are they found again?"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from visual_summaries.pipeline.config import RunConfig
from visual_summaries.pipeline.data.annotations import annotated
from visual_summaries.pipeline.evaluate.coherence import Coherence, coherence, cosine_distances, jaccard_distances
from visual_summaries.pipeline.evaluate.found_again import KEPT_SHARE, summaries_found_again
from visual_summaries.pipeline.evaluate.landmark_purity import landmark_purity, without_sides
from visual_summaries.pipeline.evaluate.parts import analyzed_places
from visual_summaries.pipeline.evaluate.purity import part_purity
from visual_summaries.pipeline.evaluate.stability import adjusted_rand_index, again_share, matched_share
from visual_summaries.pipeline.export.contents import KEPT_COLUMNS, kept_clusters
from visual_summaries.pipeline.runtime.stage import Plan, units_per_class
from visual_summaries.pipeline.runtime.units import Output, Unit
from visual_summaries.pipeline.stages.candidates import class_evidence, part_settings, stored_candidates, telling
from visual_summaries.pipeline.stages.cluster import cluster_parts, part_edges
from visual_summaries.pipeline.stages.constants import constants
from visual_summaries.pipeline.stages.context import WorkerContext, apart
from visual_summaries.pipeline.stages.crops import described_crops, tags_of
from visual_summaries.pipeline.stages.regions import cut_of, salient_mask
from visual_summaries.pipeline.stages.studies.maps import LocalizationStudy, annotations
from visual_summaries.pipeline.stages.studies.study import StudiesStage, Study
from visual_summaries.pipeline.store.tables import digest
from visual_summaries.pipeline.summarize.class_parts import remaking
from visual_summaries.pipeline.summarize.clustering import cluster_edges
from visual_summaries.pipeline.summarize.similarity import Edges
from visual_summaries.pipeline.summarize.tags import label_tags
from visual_summaries.schemas import EDGES

MEMBER_COLUMNS = ("cluster", "image_id", "proposal", *EDGES, "kept")


class SummariesStudy(Study):
    """Coherence by tags and features, purity where landmarks are known, whether summaries are found again; class by
    class."""

    name = "summaries"
    reads = ("images", "maps", "features", "matches", "clusters", "candidates", "members", "summaries")

    def settings(self, config: RunConfig) -> Any:
        evaluation = config.evaluation
        clustering = config.clustering.model_dump()
        where = LocalizationStudy().settings(config)[1]
        least = config.pruning.minimum_members
        own = [evaluation.tags, evaluation.subsamples, clustering, least, where, cut_of(config), config.seed]
        measures = (coherence, label_tags, landmark_purity, part_purity, summaries_found_again, adjusted_rand_index)
        made = [config.summaries.selection, sorted(config.summaries.sources), asdict(part_settings(config))]
        return [*own, *made, constants(*measures, remaking, cluster_edges)]

    def units(self, plan: Plan) -> list[Unit]:
        return units_per_class(
            plan, ("summaries", "members", "candidates", "features", "clusters", "matches", "maps", "images")
        )

    def measure(self, worker: WorkerContext, unit: Unit, items: Sequence[str], output: Output) -> None:
        members = worker.read(unit, "members", MEMBER_COLUMNS)
        summaries = kept_clusters(worker.read(unit, "summaries", KEPT_COLUMNS))
        if worker.config.summaries.by_evidence:
            output.rows += self._found_again(worker, unit, summaries, output)
        else:
            output.rows += self._stability(worker, unit)
        if summaries:
            output.rows += self._coherence(worker, unit, members, summaries, output)
            output.rows += self._purity(worker, unit, members, summaries, output)

    def _coherence(
        self,
        worker: WorkerContext,
        unit: Unit,
        members: list[dict[str, Any]],
        summaries: Mapping[int, int],
        output: Output,
    ) -> Iterator[dict[str, Any]]:
        """μ_S and μ_R by the classifier's top labels of the members' crops, and in its feature space."""
        members, scores, features = described_crops(worker, StudiesStage.name, unit, members, output)
        if not members:
            return
        images = np.unique([member["image_id"] for member in members], return_inverse=True)[1]
        groups: dict[int, list[int]] = defaultdict(list)
        for number, member in enumerate(members):
            if member["kept"] and member["cluster"] in summaries:
                groups[summaries[member["cluster"]]].append(number)
        groups = {summary: group for summary, group in groups.items() if len(group) > 1}
        tags = tags_of(worker, scores)
        count = int(tags.sets[0].sum())
        for name, distances in (("tags", jaccard_distances(tags.sets)), ("features", cosine_distances(features))):
            found: Coherence = coherence(distances, list(groups.values()), images, worker.config.seed)
            for number, (summary, group) in enumerate(groups.items()):
                protocol: dict[str, Any] = {"members": len(group), "crops of the class": len(members)}
                if name == "tags":
                    common = tags.most_common(group)[:count]
                    protocol |= {"tags of a member": count, "tags": [[tag, round(share, 3)] for tag, share in common]}
                for variant, value in (
                    ("within the summary", found.within[number]),
                    ("within random members of the class", found.random[number].mean()),
                ):
                    yield self.row(worker, unit, f"distance of {name} {variant}", value, protocol, summary=summary)

    def _purity(
        self,
        worker: WorkerContext,
        unit: Unit,
        members: list[dict[str, Any]],
        summaries: Mapping[int, int],
        output: Output,
    ) -> Iterator[dict[str, Any]]:
        """How far the members show one landmark, and random boxes do: by the nearest to their middles, and by the
        entropy of those inside."""
        _, landmarks = annotations(worker.config.data.boxes, worker.config.data.landmarks)
        if not landmarks:
            return
        photographs = {
            row["image_id"]: row for row in worker.read(unit, "images", ["image_id", "uri", "width", "height"])
        }
        masks = {}
        for row in worker.read(unit, "maps", ["image_id", "saliency", "saliency_shape"]):
            with apart(StudiesStage.name, unit, photographs[row["image_id"]], output):
                masks[row["image_id"]] = salient_mask(row, worker.config)
        parts = sorted({part for places in landmarks.values() for part in places})
        names, kinds = without_sides(parts)
        for cluster, summary in summaries.items():
            worker.step()
            own = [
                member
                for member in members
                if member["cluster"] == cluster
                and member["kept"]
                and annotated(landmarks, photographs[member["image_id"]]["uri"], unit.label) is not None
                and member["image_id"] in masks
                and masks[member["image_id"]].any()
            ]
            if not own:
                continue
            boxes = np.array([[member[edge] for edge in EDGES] for member in own])
            shown = [photographs[member["image_id"]] for member in own]
            told = [annotated(landmarks, one["uri"], unit.label) for one in shown]
            places = np.array([_seen(worker, one, at, parts) for one, at in zip(shown, told, strict=True)])
            salient = np.stack([masks[member["image_id"]] for member in own])
            inside = part_purity(boxes, places, salient, worker.config.seed)
            nearest = landmark_purity(boxes, places, kinds, salient, worker.config.seed)
            in_boxes = {part: int(count) for part, count in zip(parts, inside.counts, strict=True) if count}
            at_middles = {name: int(count) for name, count in zip(names, nearest.counts, strict=True) if count}
            entropies = {"members": len(own), "landmarks": in_boxes, "boxes without one": inside.empty}
            purities = {"members": len(own), "nearest landmarks": at_middles}
            for variant, value, protocol in (
                ("entropy of landmarks in the boxes", inside.entropy, entropies),
                ("entropy of landmarks in random boxes", inside.random_entropy, entropies),
                ("part purity", nearest.purity, purities),
                ("part purity of random salient boxes", nearest.random_purity, purities),
                ("part purity, gain over random salient boxes", nearest.gain, purities),
            ):
                if value == value:
                    yield self.row(worker, unit, variant, value, protocol, summary=summary)

    def _found_again(
        self, worker: WorkerContext, unit: Unit, summaries: Mapping[int, int], output: Output
    ) -> Iterator[dict[str, Any]]:
        """Summaries from candidates, made anew with other seeds and without a fifth of the images."""
        evidence = class_evidence(worker, StudiesStage.name, unit, output)
        if evidence is None or not summaries:
            return
        chosen = stored_candidates(worker, unit, evidence.ids)
        repetitions = worker.config.evaluation.subsamples
        rerun = remaking(evidence.features, evidence.masks, part_settings(worker.config), evidence.more)
        found = summaries_found_again(
            [chosen[cluster] for cluster in summaries],
            telling(worker, rerun),
            len(evidence.ids),
            repetitions,
            worker.config.seed,
        )
        protocol = {"repetitions": repetitions, "images": len(evidence.ids)}
        for variant, shares in (("another seed", found.seeds), (f"{KEPT_SHARE:.0%} of the images", found.images)):
            for summary, share in zip(summaries.values(), shares, strict=True):
                if share == share:
                    yield self.row(worker, unit, f"found again, {variant}", share, protocol, summary=summary)

    def _stability(self, worker: WorkerContext, unit: Unit) -> Iterator[dict[str, Any]]:
        """Clusters of the same scores with other tie-breaking noise, and without a fifth of the images."""
        columns = ["image_a", "proposal_a", "image_b", "proposal_b", "score", "kept"]
        parts, edges = part_edges(worker.store.read("matches", unit.inputs["matches"], columns))
        rows = worker.read(unit, "clusters", ["image_id", "proposal", *EDGES])
        boxes = {(row["image_id"], row["proposal"]): np.array([row[edge] for edge in EDGES]) for row in rows}
        keys = list(zip(parts.column("image_id").to_pylist(), parts.column("proposal").to_pylist(), strict=True))
        images = sorted({image for image, _ in keys})
        if len(images) < 2:
            return
        seed, least = worker.config.seed, worker.config.pruning.minimum_members
        everything = _clusters(worker, keys, edges, np.arange(len(keys)), seed)
        whole = _as_members(everything, boxes, least)
        again = [("another seed", np.arange(len(keys)), seed + 1, whole)]
        for number in range(worker.config.evaluation.subsamples):
            order = sorted(images, key=lambda image: digest(seed, number, image, "subsample"))
            chosen = set(order[: max(1, round(KEPT_SHARE * len(order)))])
            kept = np.array([n for n, (image, _) in enumerate(keys) if image in chosen], dtype=int)
            # Against the whole without the images left out, and summaries that would be too small by that.
            fewer = {part: cluster for part, cluster in everything.items() if part[0] in chosen}
            again.append((f"{KEPT_SHARE:.0%} of the images", kept, seed, _as_members(fewer, boxes, least)))
        for number, (variant, kept, own_seed, before) in enumerate(again):
            worker.step()
            found = _clusters(worker, keys, edges, kept, own_seed)
            after = _as_members(found, boxes, least)
            protocol = {"number": number, "clusters": [len(before), len(after)], "parts": len(kept)}
            for name, value in (
                ("adjusted Rand index", adjusted_rand_index(everything, found)),
                ("matched clusters", matched_share(before, after)),
                ("clusters found again", again_share(before, after)),
            ):
                if value == value:
                    yield self.row(worker, unit, f"{name}, {variant}", value, protocol)


def _clusters(
    worker: WorkerContext, keys: Sequence[tuple[str, int]], edges: Edges, kept: np.ndarray, seed: int
) -> dict[tuple[str, int], int]:
    """Part → cluster, of the parts with numbers `kept` alone; noise is left out."""
    place = np.full(len(keys), -1)
    place[kept] = np.arange(len(kept))
    first, second = place[edges.first], place[edges.second]
    inside = (first >= 0) & (second >= 0)
    own = Edges(first[inside], second[inside], edges.scores[inside])
    found = cluster_parts(worker.config, own, len(kept), seed, worker.step)
    return {
        keys[part]: int(exemplar) for part, exemplar in zip(kept, found.exemplar, strict=True) if exemplar >= 0
    }


def _as_members(
    clusters: Mapping[tuple[str, int], int], boxes: Mapping[tuple[str, int], np.ndarray], least: int
) -> list[dict[str, np.ndarray]]:
    """Each cluster as image → box, those of too few images left out; of several parts of an image the first."""
    found: dict[int, dict[str, np.ndarray]] = defaultdict(dict)
    for part in sorted(clusters):
        found[clusters[part]].setdefault(part[0], boxes[part])
    return [members for members in found.values() if len(members) >= least]


def _seen(
    worker: WorkerContext,
    photograph: Mapping[str, Any],
    places: Mapping[str, tuple[float, float]],
    parts: Sequence[str],
) -> np.ndarray:
    """Places of the parts `[L,2]` in pixels of the analyzed square; NaN for those that are not visible in it."""
    preprocessing = worker.setup.preprocessing
    view = preprocessing.analyzed_box(photograph["height"], photograph["width"])
    own = np.array([places.get(part, (np.nan, np.nan)) for part in parts])
    seen = analyzed_places(own, view, preprocessing.crop_side)
    # What the crop leaves out is nearest to nothing that the network sees.
    inside = ((seen >= 0) & (seen < preprocessing.crop_side)).all(axis=1)
    return np.where(inside[:, None], seen, np.nan)
