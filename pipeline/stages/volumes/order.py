"""The stages of a run over volumes, in order."""

from pipeline.runtime.stage import Stage
from pipeline.stages.volumes.means import MeansStage
from pipeline.stages.volumes.probes import ProbesStage
from pipeline.stages.volumes.scans import ScansStage
from pipeline.stages.volumes.segments import SegmentsStage

VOLUME_STAGES: tuple[Stage, ...] = (ScansStage(), ProbesStage(), SegmentsStage(), MeansStage())
