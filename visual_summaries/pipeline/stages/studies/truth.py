"""Experiment on data whose parts are known: are the summaries the parts, each once?"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from visual_summaries.pipeline.config import ConfigurationError, RunConfig
from visual_summaries.pipeline.evaluate.part_truth import part_scores
from visual_summaries.pipeline.runtime.stage import Plan, units_per_class
from visual_summaries.pipeline.runtime.units import Output, Unit
from visual_summaries.pipeline.stages.constants import constants
from visual_summaries.pipeline.stages.context import WorkerContext
from visual_summaries.pipeline.stages.inputs import DEMO
from visual_summaries.pipeline.stages.part_truth import (
    LEAST_OVERLAP,
    LENIENT_OVERLAP,
    class_truths,
    known_parts,
    named_scores,
    truth_digest,
)
from visual_summaries.pipeline.stages.studies.study import Study

LEVELS = (LEAST_OVERLAP, LENIENT_OVERLAP)


class TruthStudy(Study):
    """Precision, recall and F1 of each class's discriminative parts, and what each summary overlaps with most."""

    name = "truth"
    reads = ("images", "members", "summaries")

    def check(self, config: RunConfig) -> None:
        if not knows_parts(config):
            raise ConfigurationError(
                f"the study {self.name} needs the true boxes of parts: set data.parts, or take the demo set"
            )

    def settings(self, config: RunConfig) -> Any:
        return [*LEVELS, constants(part_scores)]

    def units(self, plan: Plan) -> list[Unit]:
        parts = plan.inputs.parts
        truth = truth_digest(parts)
        units = units_per_class(plan, ("summaries", "members", "images"))
        return [replace(unit, identity=(truth, *unit.identity), payload=parts) for unit in units]

    def measure(self, worker: WorkerContext, unit: Unit, items: Sequence[str], output: Output) -> None:
        for one in class_truths(worker, unit, known_parts(unit.payload)):
            counts = {"parts": len(one.parts), "summaries": len(one.summaries)}
            for least in LEVELS:
                found = one.found(least)
                pairs = zip(one.parts, found.summary_of, strict=True)
                protocol = counts | {"summary of a part": {part: one.summaries[at] for part, at in pairs if at >= 0}}
                for name, figure in named_scores(part_scores([found])).items():
                    if figure.value == figure.value:
                        output.rows.append(
                            self.row(worker, unit, f"{name} of a class, overlap ≥ {least}", figure.value, protocol)
                        )
            for summary, overlaps in zip(one.summaries, one.overlaps, strict=True):
                protocol = {"part": one.parts[overlaps.argmax()]}
                output.rows.append(
                    self.row(worker, unit, "largest overlap with a part", overlaps.max(), protocol, summary=summary)
                )


def knows_parts(config: RunConfig) -> bool:
    """Whether the true boxes of parts are known."""
    return config.data.parts is not None or config.data.images == DEMO
