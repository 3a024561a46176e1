"""The run: a plain list of stages in the order of the data."""

from visual_summaries.pipeline.runtime.stage import Stage
from visual_summaries.pipeline.stages.alterations import AlterationsStage
from visual_summaries.pipeline.stages.candidates import CandidatesStage
from visual_summaries.pipeline.stages.cluster import ClusterStage
from visual_summaries.pipeline.stages.explain import ExplainStage
from visual_summaries.pipeline.stages.features import FeaturesStage
from visual_summaries.pipeline.stages.images import ImagesStage
from visual_summaries.pipeline.stages.match import MatchStage
from visual_summaries.pipeline.stages.members import MembersStage
from visual_summaries.pipeline.stages.metrics import MetricsStage
from visual_summaries.pipeline.stages.negatives import NegativesStage
from visual_summaries.pipeline.stages.neighbors import NeighborsStage
from visual_summaries.pipeline.stages.parts import PartsStage
from visual_summaries.pipeline.stages.propose import ProposeStage
from visual_summaries.pipeline.stages.regions import RegionsStage
from visual_summaries.pipeline.stages.specialize import SpecializeStage
from visual_summaries.pipeline.stages.summarize import SummarizeStage
from visual_summaries.pipeline.stages.tags import TagsStage

STAGES: list[Stage] = [
    ImagesStage(),
    ExplainStage(),
    RegionsStage(),
    FeaturesStage(),
    AlterationsStage(),
    ProposeStage(),
    NeighborsStage(),
    MatchStage(),
    PartsStage(),
    ClusterStage(),
    CandidatesStage(),
    MembersStage(),
    SummarizeStage(),
    TagsStage(),
    NegativesStage(),
    SpecializeStage(),
    MetricsStage(),
]
