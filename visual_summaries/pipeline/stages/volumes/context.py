"""What a worker gives the stages over volumes beside the tables: scans, the atlas and the classifier."""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from visual_summaries.pipeline.data.volumes.atlas import LabelVolume, read_atlas
from visual_summaries.pipeline.data.volumes.scans import read_scan
from visual_summaries.pipeline.explain.atlas import Atlas, atlas_of
from visual_summaries.pipeline.explain.passes import PASS_MEMORY
from visual_summaries.pipeline.models.answers import same_answers
from visual_summaries.pipeline.models.preparation import keep_freed_memory, use_precision
from visual_summaries.pipeline.models.volumes import VolumeClassifier
from visual_summaries.pipeline.objects import ObjectPath
from visual_summaries.pipeline.runtime.context import Context
from visual_summaries.pipeline.runtime.failures import WorkerUnfit
from visual_summaries.pipeline.runtime.sight import Sight
from visual_summaries.pipeline.stages.volumes.inputs import classifier_of, on_disk, scan_path
from visual_summaries.pipeline.stages.volumes.settings import VolumeConfig

# A GPU that is given two volumes at a time waits for the next two.
GPU_PASS_MEMORY = 16 * PASS_MEMORY


@dataclass(frozen=True)
class VolumeSetup:
    """What every worker is started with; called, it makes the worker's context.

    `atlas`: digest of the atlas; `answers` of the classifier on volumes of `channels` channels.
    """

    config: VolumeConfig
    output: Path | ObjectPath
    atlas: str
    weights_digest: str
    answers: tuple[float, ...]
    channels: int
    sight: Sight | None = None

    def __call__(self, gpu: bool, board: Any) -> "VolumeContext":
        """The context of this process, which is a worker's from now on."""
        keep_freed_memory()
        torch.set_num_threads(1)
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        return VolumeContext(self, gpu, board)


class VolumeContext(Context):
    """A stage's view of its worker: tables, scans, the atlas and the classifier, loaded when first needed."""

    def __init__(self, setup: VolumeSetup, gpu: bool = False, board: Any = None) -> None:
        super().__init__(setup.output, gpu, board, setup.sight)
        self.setup, self.config = setup, setup.config

    @cached_property
    def labels(self) -> LabelVolume:
        """The atlas, checked to be the one that the driver planned with."""
        config = self.config
        found = read_atlas(on_disk(config.atlas, "--atlas"), config.names and on_disk(config.names, "--names"))
        if found.digest != self.setup.atlas:
            raise WorkerUnfit(
                f"the atlas {config.atlas} on this worker differs from the driver's: put the same file at the same "
                "path on every node"
            )
        return found

    @cached_property
    def atlas(self) -> Atlas:
        """Its segments and their centers, on the classifier's device."""
        return atlas_of(torch.from_numpy(self.labels.labels).to(self.device))

    @cached_property
    def classifier(self) -> VolumeClassifier:
        """The classifier, checked to be the one that the driver planned with."""
        classifier = classifier_of(self.config)
        found, _ = classifier.answers(self.setup.channels, self.labels.labels.shape)
        expected = np.asarray(self.setup.answers, dtype=np.float32)
        if classifier.weights_digest != self.setup.weights_digest or not same_answers(expected, found):
            raise WorkerUnfit(
                f"{classifier.name} is another classifier on this worker than on the driver: put the same code, "
                "weights and libraries at the same paths on every node"
            )
        use_precision("float32")
        if classifier.module is not None:
            classifier.module.to(self.device)
        return classifier

    @cached_property
    def device(self) -> torch.device:
        """Where volumes are: the GPU that Ray reserved for this worker if a network takes them, else the processor."""
        on_gpu = self.gpu and torch.cuda.is_available() and self.classifier_is_network
        return torch.device("cuda" if on_gpu else "cpu")

    @property
    def classifier_is_network(self) -> bool:
        """Whether the classifier has weights that can be moved to a GPU."""
        return bool(self.setup.weights_digest)

    @property
    def pass_memory(self) -> int:
        """Bytes of perturbed volumes in one pass."""
        return GPU_PASS_MEMORY if self.device.type == "cuda" else PASS_MEMORY

    def scan(self, uri: str, image_id: str) -> Tensor:
        """A scan as the classifier gets it, float32 `[1,C,D,H,W]`; raises as `read_scan`."""
        self.step()
        dark_is_named = self.config.dark is not None
        values = read_scan(scan_path(uri), self.labels, dark_is_named, image_id, self.setup.channels)
        return torch.from_numpy(values)[None].to(self.device)

    def spoiled(self, error: Exception) -> bool:
        # A kernel that failed on the GPU leaves the process without it.
        return isinstance(error, torch.AcceleratorError)
