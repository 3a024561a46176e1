"""The stages of a run over volumes, in order."""

from visual_summaries.pipeline.runtime.stage import Stage
from visual_summaries.pipeline.stages.volumes.means import MeansStage
from visual_summaries.pipeline.stages.volumes.probes import ProbesStage
from visual_summaries.pipeline.stages.volumes.scans import ScansStage
from visual_summaries.pipeline.stages.volumes.segments import SegmentsStage

VOLUME_STAGES: tuple[Stage, ...] = (ScansStage(), ProbesStage(), SegmentsStage(), MeansStage())
