"""Stage `summarize`: members → `summaries`: the visual summaries of a class, kept and pruned, with figures."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from visual_summaries.pipeline.config import RunConfig
from visual_summaries.pipeline.evaluate.intervals import mean_interval, wilson_interval
from visual_summaries.pipeline.runtime.stage import Plan, Stage, units_per_class
from visual_summaries.pipeline.runtime.units import Output, Unit
from visual_summaries.pipeline.stages.constants import constants
from visual_summaries.pipeline.stages.context import WorkerContext
from visual_summaries.pipeline.stages.members import EVIDENCE
from visual_summaries.schemas import EDGES

NO_EVIDENCE = "neither needed nor sufficient, more than random salient places of the same size"
FOUND = ("coverage", "added", "coherence", "chance", "found_again")


class SummarizeStage(Stage):
    """One row per cluster or chosen candidate, from its members."""

    name = "summarize"
    reads = ("maps", "members", "candidates")
    writes = "summaries"
    version = 2

    def settings(self, config: RunConfig) -> Any:
        return [config.summaries.selection, config.seed, constants(__name__, mean_interval)]

    def units(self, plan: Plan) -> list[Unit]:
        return units_per_class(plan, ("members", "maps", "candidates"))

    def compute(self, worker: WorkerContext, unit: Unit, items: Sequence[str]) -> Output:
        explained = len(worker.read(unit, "maps", ["image_id"]))
        groups = defaultdict(list)
        for row in worker.read(unit, "members"):
            groups[row["cluster"]].append(row)
        # All rows of a candidate say the same of it.
        columns = ["candidate", "rank", "support", "photographs", *FOUND]
        candidates = {row["candidate"]: row for row in worker.read(unit, "candidates", columns)}
        by_evidence = worker.config.summaries.by_evidence
        rows = []
        for number, members in groups.items():
            worker.step()
            members.sort(key=lambda member: member["rank"])
            row = _summary(unit.label, members, explained, worker.config.seed)
            if by_evidence:
                found = candidates[number]
                total = round(found["photographs"] / found["support"])
                row |= {name: found[name] for name in FOUND} | _support(found["photographs"], total)
                if not evident(members):
                    row |= {"kept": False, "reason": NO_EVIDENCE}
            rows.append((not row["kept"], candidates[number]["rank"] if by_evidence else -row["support"], number, row))
        rows.sort(key=lambda one: one[:3])
        images = {
            number: {member["image_id"] for member in groups[number] if row["kept"] and member["kept"]}
            for _, _, number, row in rows
        }
        several = Counter(image_id for own in images.values() for image_id in own)
        return Output(
            [
                {**row, "summary": place, "alone": sum(several[image_id] == 1 for image_id in images[number])}
                for place, (_, _, number, row) in enumerate(rows)
            ]
        )


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


def _summary(label: str, members: Sequence[Mapping[str, Any]], explained: int, seed: int) -> dict[str, Any]:
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
        **_support(len(kept), explained),
        **dict.fromkeys(FOUND),
        **{name: _mean(kept, name) for name in (*EVIDENCE, "similarity", "drop")},
        **_interval(kept, "necessity", seed),
        **_interval(kept, "sufficiency", seed),
        "measured": sum(member["necessity"] is not None for member in kept),
        "ssim": exemplar["cluster_ssim"],
        "class_ssim": exemplar["class_ssim"],
        "kept": reason is None,
        "reason": reason,
    }


def _support(count: int, total: int) -> dict[str, float]:
    low, high = wilson_interval(count, total)
    return {"support": count / total, "support_low": low, "support_high": high}


def _interval(members: Sequence[Mapping[str, Any]], name: str, seed: int) -> dict[str, float | None]:
    known = np.array([member[name] for member in members if member[name] is not None])
    _, low, high = mean_interval(known, seed) if len(known) else (None, None, None)
    return {f"{name}_low": low, f"{name}_high": high}


def _mean(members: Sequence[Mapping[str, Any]], name: str) -> float | None:
    known = [member[name] for member in members if member[name] is not None]
    return float(np.mean(known)) if known else None
