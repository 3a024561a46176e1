"""Stage `cluster`: matches → `clusters`: affinity propagation over a class's parts."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.config import RunConfig
from pipeline.stages.stage import Plan, Stage, units_per_class
from pipeline.stages.units import Output, Unit, error_row
from pipeline.stages.worker import WorkerContext
from pipeline.summarize.clustering import cluster_scores
from schemas import EDGES


class ClusterStage(Stage):
    """Affinity propagation, class by class."""

    name = "cluster"
    reads = ("matches", "proposals")
    writes = "clusters"

    def settings(self, config: RunConfig) -> Any:
        return [config.clustering.model_dump(), config.seed]

    def units(self, plan: Plan) -> list[Unit]:
        return units_per_class(plan, ("matches",), also=("proposals",))

    def compute(self, worker: WorkerContext, unit: Unit, items: Sequence[str]) -> Output:
        matches = worker.store.read("matches", unit.inputs["matches"])
        parts, scores = score_matrix(matches)
        if not parts:
            reason = "no proposal lies on a salient region: no parts to cluster"
            return Output(rows=[], errors=[error_row(self.name, unit.label, reason)])
        settings = worker.config.clustering
        clustering = cluster_scores(
            scores,
            settings.preference_factor,
            settings.damping,
            settings.maximum_iterations,
            settings.stable_iterations,
            worker.config.seed,
        )
        output = Output(rows=[])
        if not clustering.converged:
            reason = (
                f"affinity propagation did not converge in {clustering.iterations} steps; its last state is used: "
                "raise clustering.damping or clustering.maximum_iterations"
            )
            output.errors.append(error_row(self.name, unit.label, reason))
        columns = ["image_id", "proposal", *EDGES]
        boxes = {
            (row["image_id"], row["proposal"]): {edge: row[edge] for edge in EDGES}
            for row in worker.read(unit, "proposals", columns)
        }
        exemplars = sorted(set(clustering.exemplar.tolist()))
        numbers = {exemplar: number for number, exemplar in enumerate(exemplars)}
        for position, part in enumerate(parts):
            exemplar = int(clustering.exemplar[position])
            output.rows.append(
                {
                    "label": unit.label,
                    "image_id": part[0],
                    "proposal": part[1],
                    **boxes[part],
                    "cluster": numbers[exemplar],
                    "exemplar": exemplar == position,
                    "similarity": float(scores[position, exemplar]),
                    "converged": clustering.converged,
                    "iterations": clustering.iterations,
                    "preference": clustering.preference,
                    "net_similarity": clustering.net_similarity,
                }
            )
        return output


def score_matrix(matches: pa.Table) -> tuple[list[tuple[str, int]], np.ndarray]:
    """Parts (image id, proposal) in order and their scores `[n,n]`, from the rows of `matches` of a class."""
    kept = matches.filter(matches.column("kept"))
    sides = []
    for side in ("a", "b"):
        ids, proposals = kept.column(f"image_{side}").to_pylist(), kept.column(f"proposal_{side}").to_pylist()
        sides.append(list(zip(ids, proposals, strict=True)))
    parts = sorted({part for part, other in zip(*sides, strict=True) if part == other})
    position = {part: number for number, part in enumerate(parts)}
    rows = np.array([position[part] for part in sides[0]], dtype=int)
    columns = np.array([position[part] for part in sides[1]], dtype=int)
    values = kept.column("score").to_numpy()
    scores = np.zeros((len(parts), len(parts)), dtype=np.float32)
    scores[rows, columns] = values
    image = np.array([part[0] for part in parts])
    between = image[rows] != image[columns] if len(parts) else np.zeros(0, bool)
    scores[columns[between], rows[between]] = values[between]
    return parts, scores
