"""The run: a plain list of stages in the order of the data."""

from pipeline.runtime.stage import Stage
from pipeline.stages.candidates import CandidatesStage
from pipeline.stages.cluster import ClusterStage
from pipeline.stages.explain import ExplainStage
from pipeline.stages.features import FeaturesStage
from pipeline.stages.images import ImagesStage
from pipeline.stages.match import MatchStage
from pipeline.stages.members import MembersStage
from pipeline.stages.metrics import MetricsStage
from pipeline.stages.negatives import NegativesStage
from pipeline.stages.neighbors import NeighborsStage
from pipeline.stages.parts import PartsStage
from pipeline.stages.propose import ProposeStage
from pipeline.stages.regions import RegionsStage
from pipeline.stages.specialize import SpecializeStage
from pipeline.stages.summarize import SummarizeStage
from pipeline.stages.tags import TagsStage

STAGES: list[Stage] = [
    ImagesStage(),
    ExplainStage(),
    RegionsStage(),
    FeaturesStage(),
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
