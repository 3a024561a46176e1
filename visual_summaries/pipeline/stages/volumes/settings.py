"""The settings of a run over volumes; `RunSettings` of the runtime."""

from typing import Literal

from pydantic import Field

from visual_summaries.pipeline.explain.atlas import LIGHT, SHADOW
from visual_summaries.pipeline.runtime.settings import Location, RaySettings, Section
from visual_summaries.pipeline.settings import Share


class VolumeConfig(Section):
    """All that a run over volumes is told."""

    scans: Location = Field(description="folder <class>/**/*.nii.gz, .nii, .npy or .npz")
    atlas: Location = Field(description="volume of integer labels, 0 outside the segments")
    names: Location | None = Field(None, description="CSV with the columns label and name")
    model: str = Field(min_length=1, description="module:function")
    weights: Location | None = Field(None, description="weights file of the network")
    labels: Location | None = Field(None, description="file of class names in the order of the classifier's outputs")
    class_map: Location | None = Field(None, description="which class a folder is: CSV with label and class_index")
    output: Location = Field(description="folder of tables and report")
    light: float = Field(LIGHT, gt=0, description="σ of the light, in voxels")
    shadow: float = Field(SHADOW, gt=0, description="σ of the shadow, in voxels")
    mode: Literal["fusion", "light", "shadow"] = Field("fusion", description="light and shadow, or one of them")
    dark: float | None = Field(None, description="value of darkness; default: 0, and scans must not go below it")
    seed: int = Field(0, description="of the intervals' bootstrap")
    error_tolerance: Share = Field(0.05, description="share of scans that may be lost before the run fails")
    log: Literal["file", "json"] = Field("file", description="events of the run, in <output>/logs")
    ray: RaySettings = Field(RaySettings(), description="where the work is done")
