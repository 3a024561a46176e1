"""Stage `summarize`: members → `summaries`: the visual summaries of a class, kept and pruned, with figures."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.config import RunConfig
from pipeline.stages.stage import Plan, Stage, units_per_class
from pipeline.stages.units import Output, Unit
from pipeline.stages.worker import WorkerContext
from schemas import EDGES


class SummarizeStage(Stage):
    """One row per cluster, from its members."""

    name = "summarize"
    reads = ("maps", "members")
    writes = "summaries"

    def settings(self, config: RunConfig) -> Any:
        return []

    def units(self, plan: Plan) -> list[Unit]:
        return units_per_class(plan, ("members", "maps"))

    def compute(self, worker: WorkerContext, unit: Unit, items: Sequence[str]) -> Output:
        explained = len(worker.read(unit, "maps", ["image_id"]))
        clusters = defaultdict(list)
        for row in worker.read(unit, "members"):
            clusters[row["cluster"]].append(row)
        rows = [self._summary(unit.label, members, explained) for members in clusters.values()]
        rows.sort(key=lambda row: (not row["kept"], -row["support"], row["cluster"]))
        return Output([{**row, "summary": number} for number, row in enumerate(rows)])

    def _summary(self, label: str, members: list[dict[str, Any]], explained: int) -> dict[str, Any]:
        members = sorted(members, key=lambda member: member["rank"])
        exemplar = members[0]
        kept = [member for member in members if member["kept"]]
        reason = exemplar["cluster_reason"]
        return {
            "label": label,
            "cluster": exemplar["cluster"],
            "exemplar_image": exemplar["image_id"],
            "exemplar_proposal": exemplar["proposal"],
            **{edge: exemplar[edge] for edge in EDGES},
            "members": len(kept),
            "members_before": len(members),
            "support": len(kept) / explained,
            "similarity": float(np.mean([member["similarity"] for member in kept])) if kept else None,
            "ssim": exemplar["cluster_ssim"],
            "class_ssim": exemplar["class_ssim"],
            "drop": float(np.mean([member["drop"] for member in kept])) if kept else None,
            "kept": reason is None,
            "reason": reason,
        }
