"""Stage `summarize`: members → `summaries`: the visual summaries of a class, kept and pruned, with figures."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.config import RunConfig
from pipeline.stages.features import needs_features
from pipeline.stages.members import EVIDENCE
from pipeline.stages.stage import Plan, Stage, units_per_class
from pipeline.stages.units import Output, Unit
from pipeline.stages.worker import WorkerContext
from schemas import EDGES

NO_EVIDENCE = "neither needed nor sufficient, more than random salient places of the same size"
FOUND = ("coverage", "added", "coherence", "chance", "found_again")


class SummarizeStage(Stage):
    """One row per cluster or chosen candidate, from its members."""

    name = "summarize"
    reads = ("maps", "members", "candidates")
    writes = "summaries"
    version = 2

    def settings(self, config: RunConfig) -> Any:
        return [config.summaries.selection]

    def units(self, plan: Plan) -> list[Unit]:
        return units_per_class(plan, ("members", "maps", "candidates"))

    def compute(self, worker: WorkerContext, unit: Unit, items: Sequence[str]) -> Output:
        explained = len(worker.read(unit, "maps", ["image_id"]))
        groups = defaultdict(list)
        for row in worker.read(unit, "members"):
            groups[row["cluster"]].append(row)
        # All rows of a candidate say the same of it.
        columns = ["candidate", "rank", "support", *FOUND]
        candidates = {row["candidate"]: row for row in worker.read(unit, "candidates", columns)}
        by_evidence = needs_features(worker.config)
        rows = []
        for number, members in groups.items():
            members.sort(key=lambda member: member["rank"])
            row = _summary(unit.label, members, explained)
            if by_evidence:
                row |= {name: candidates[number][name] for name in ("support", *FOUND)}
                if not evident(members):
                    row |= {"kept": False, "reason": NO_EVIDENCE}
            rows.append((not row["kept"], candidates[number]["rank"] if by_evidence else -row["support"], number, row))
        rows.sort(key=lambda one: one[:3])
        return Output([{**row, "summary": place} for place, (*_, row) in enumerate(rows)])


def evident(members: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the members are needed, or suffice, more than random salient places of the same images, on average.

    True where nothing was measured, which speaks neither for nor against them.
    """
    gains = []
    for own, random in (("necessity", "random_necessity"), ("sufficiency", "random_sufficiency")):
        pairs = [(member[own], member[random]) for member in members]
        known = np.array([pair for pair in pairs if None not in pair], dtype=float)
        if len(known):
            gains.append(float((known[:, 0] - known[:, 1]).mean()))
    return not gains or max(gains) > 0


def _summary(label: str, members: Sequence[Mapping[str, Any]], explained: int) -> dict[str, Any]:
    exemplar = members[0]
    kept = [member for member in members if member["kept"]]
    reason = exemplar["cluster_reason"]
    return {
        "label": label,
        "cluster": exemplar["cluster"],
        "source": exemplar["source"],
        "exemplar_image": exemplar["image_id"],
        "exemplar_proposal": exemplar["proposal"],
        **{edge: exemplar[edge] for edge in EDGES},
        "members": len(kept),
        "members_before": len(members),
        "support": len(kept) / explained,
        **dict.fromkeys(FOUND),
        **{name: _mean(kept, name) for name in (*EVIDENCE, "similarity", "drop")},
        "measured": sum(member["necessity"] is not None for member in kept),
        "ssim": exemplar["cluster_ssim"],
        "class_ssim": exemplar["class_ssim"],
        "kept": reason is None,
        "reason": reason,
    }


def _mean(members: Sequence[Mapping[str, Any]], name: str) -> float | None:
    known = [member[name] for member in members if member[name] is not None]
    return float(np.mean(known)) if known else None
