"""Experiments on the images, maps and summaries of a run: what to measure, by name."""

from visual_summaries.pipeline.stages.studies.coherence import CoherenceStudy
from visual_summaries.pipeline.stages.studies.fgvis import AdversarialStudy, ColorBiasStudy
from visual_summaries.pipeline.stages.studies.maps import (
    ExplanationMapStudy,
    FaithfulnessStudy,
    LocalizationStudy,
    SanityStudy,
)
from visual_summaries.pipeline.stages.studies.robustness import MapStabilityStudy, TransferStudy, WholenessStudy
from visual_summaries.pipeline.stages.studies.specialists import SpecialistsStudy
from visual_summaries.pipeline.stages.studies.study import StudiesStage, Study
from visual_summaries.pipeline.stages.studies.summaries import SummariesStudy
from visual_summaries.pipeline.stages.studies.truth import TruthStudy

STUDIES: dict[str, Study] = {
    study.name: study
    for study in (
        FaithfulnessStudy(),
        ExplanationMapStudy(),
        LocalizationStudy(),
        SanityStudy(),
        MapStabilityStudy(),
        WholenessStudy(),
        TransferStudy(),
        SummariesStudy(),
        CoherenceStudy(),
        TruthStudy(),
        SpecialistsStudy(),
        AdversarialStudy(),
        ColorBiasStudy(),
    )
}

__all__ = ["STUDIES", "StudiesStage", "Study"]
