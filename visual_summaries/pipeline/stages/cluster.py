"""Stage `cluster`: matches → `clusters`: affinity propagation over a class's parts."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as compute

from visual_summaries.pipeline.config import RunConfig
from visual_summaries.pipeline.runtime.stage import Plan, Stage, units_per_class
from visual_summaries.pipeline.runtime.units import Output, Unit, error_row
from visual_summaries.pipeline.stages.constants import constants
from visual_summaries.pipeline.stages.context import WorkerContext
from visual_summaries.pipeline.stages.exemplars import exemplar_edges
from visual_summaries.pipeline.summarize.clustering import Clustering, cluster_edges
from visual_summaries.pipeline.summarize.conv_descriptors import conv_descriptors
from visual_summaries.pipeline.summarize.pair_scores import match_pairs
from visual_summaries.pipeline.summarize.similarity import Edges, joined_edges
from visual_summaries.schemas import EDGES, TABLES


class ClusterStage(Stage):
    """Affinity propagation, class by class."""

    name = "cluster"
    reads = ("matches", "pairs", "proposals", "features")
    writes = "clusters"
    version = 3
    depends_on = ("preprocessing",)

    def wanted(self, config: RunConfig) -> bool:
        return config.summaries.with_proposals

    def settings(self, config: RunConfig) -> Any:
        matching = config.matching
        own = [config.clustering.model_dump(), matching.score, matching.mode, config.proposals.descriptor, config.seed]
        return [*own, constants(cluster_edges, match_pairs, conv_descriptors)]

    def units(self, plan: Plan) -> list[Unit]:
        return units_per_class(plan, ("matches", "pairs", "proposals", "features"))

    def compute(self, worker: WorkerContext, unit: Unit, items: Sequence[str]) -> Output:
        columns = ["image_a", "proposal_a", "image_b", "proposal_b", "score", "kept"]
        parts, edges = part_edges(worker.store.read("matches", unit.inputs["matches"], columns))
        count = len(parts)
        if not count:
            reason = "no proposal lies on a salient region: no parts to cluster"
            return Output(rows=[], errors=[error_row(self.name, unit.label, reason)])
        clustering = cluster_parts(worker.config, edges, count, progress=worker.step)
        complete: set[str] = set()
        for _ in range(worker.config.clustering.exemplar_rounds):
            # In a class of which not all pairs were matched; elsewhere nothing is missing.
            more = exemplar_edges(worker, unit, parts, clustering.exemplar, complete)
            if more is None:
                break
            edges = joined_edges([edges, more])
            clustering = cluster_parts(worker.config, edges, count, progress=worker.step)
        errors = []
        if not clustering.converged:
            reason = (
                f"affinity propagation did not converge in {clustering.iterations} steps; its last state is used: "
                "raise clustering.damping or clustering.maximum_iterations"
            )
            errors.append(error_row(self.name, unit.label, reason))
        return Output(rows=[], errors=errors, table=self._table(worker, unit, parts, edges, clustering))

    def _table(
        self, worker: WorkerContext, unit: Unit, parts: pa.Table, edges: Edges, clustering: Clustering
    ) -> pa.Table:
        exemplar, count = clustering.exemplar, len(parts)
        points = np.arange(count)
        numbers = np.unique(exemplar[exemplar >= 0])
        similarity = np.zeros(count, dtype=np.float32)
        chosen = edges.second == exemplar[edges.first]
        similarity[edges.first[chosen]] = edges.scores[chosen]
        boxes = worker.store.read("proposals", unit.inputs["proposals"], ["image_id", "proposal", *EDGES])
        keys = ["image_id", "proposal"]
        # A join keeps no order.
        placed = parts.append_column("place", pa.array(points)).join(boxes, keys, join_type="inner").sort_by("place")
        values = {
            "label": pa.repeat(unit.label, count),
            **{name: placed.column(name) for name in (*keys, *EDGES)},
            "cluster": pa.array(np.searchsorted(numbers, exemplar), pa.int32(), mask=exemplar < 0),
            "exemplar": pa.array(exemplar == points),
            "similarity": pa.array(similarity),
            "converged": pa.repeat(clustering.converged, count),
            "iterations": pa.repeat(pa.scalar(clustering.iterations, pa.int32()), count),
            "preference": pa.repeat(pa.scalar(clustering.preference, pa.float64()), count),
            "net_similarity": pa.repeat(pa.scalar(clustering.net_similarity, pa.float64()), count),
        }
        schema = TABLES["clusters"].schema
        return pa.table([values[field.name] for field in schema], schema=schema)


def cluster_parts(
    config: RunConfig,
    edges: Edges,
    count: int,
    seed: int | None = None,
    progress: Callable[[], None] = lambda: None,
) -> Clustering:
    """Affinity propagation with the run's settings; `seed` instead of the run's, if given; see `cluster_edges`."""
    settings = config.clustering
    return cluster_edges(
        edges.first,
        edges.second,
        edges.scores,
        count,
        settings.preference_factor,
        settings.damping,
        settings.maximum_iterations,
        settings.stable_iterations,
        config.seed if seed is None else seed,
        settings.dense_up_to,
        progress,
    )


def part_edges(matches: pa.Table) -> tuple[pa.Table, Edges]:
    """The parts of a class, image_id and proposal in order, and the scores among them, from rows of `matches`."""
    kept = matches.filter(matches.column("kept")).combine_chunks()
    names, images = _image_numbers(kept)
    proposals = [kept.column(f"proposal_{side}").to_numpy().astype(np.int64) for side in "ab"]
    itself = (images[0] == images[1]) & (proposals[0] == proposals[1])
    # One number for each (image, proposal), in their order.
    reach = max((int(numbers.max(initial=0)) for numbers in proposals), default=0) + 1
    keys = [image * reach + proposal for image, proposal in zip(images, proposals, strict=True)]
    parts = np.unique(keys[0][itself])
    first, second = (np.searchsorted(parts, key) for key in keys)
    scores = kept.column("score").to_numpy()
    between = images[0] != images[1]
    edges = Edges(
        np.concatenate([first, second[between]]),
        np.concatenate([second, first[between]]),
        np.concatenate([scores, scores[between]]),
    )
    table = pa.table(
        {"image_id": names.take(pa.array(parts // reach)), "proposal": pa.array(parts % reach, pa.int32())}
    )
    return table, edges


def _image_numbers(kept: pa.Table) -> tuple[pa.Array, list[np.ndarray]]:
    """Image ids in order, and for both sides of every row the number of its image."""
    sides = [kept.column(f"image_{side}").cast(pa.string()) for side in "ab"]
    names = pa.array(sorted(set().union(*(compute.unique(side).to_pylist() for side in sides))), pa.string())
    return names, [compute.index_in(side, names).to_numpy().astype(np.int64) for side in sides]
