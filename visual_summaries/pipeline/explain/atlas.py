"""GLAS on volumes: light and shadow at the center of each segment of an atlas, one score for each segment ("Salient
Explanation for Fine-Grained Classification", §IV-E).

Shapes: B volumes of C channels and D by H by W voxels, P segments.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from visual_summaries.pipeline.explain.glas import GlasSettings, SearchPoints, probe
from visual_summaries.pipeline.explain.interface import Classified, target_scores
from visual_summaries.pipeline.explain.passes import PASS_MEMORY

# The paper's, in voxels.
LIGHT, SHADOW = 10.0, 15.0


@dataclass(frozen=True)
class Atlas:
    """Segments of a volume, made by `atlas_of`.

    Attributes:
        labels: `[D,H,W]` int64, 0 where there is no segment.
        segments: `[P]` int64, the labels that occur, in ascending order, without 0.
        sizes: `[P]` int64, how many voxels each has.
        points: the segments' centroids; σ in voxels.
    """

    labels: Tensor
    segments: Tensor
    sizes: Tensor
    points: SearchPoints


@dataclass(frozen=True)
class VolumeExplanation:
    """How much each segment of each volume matters.

    Attributes:
        segment_scores: f_l·f_s `[B,P]` float64.
        light, shadow: f_l and f_s `[B,P]` float64, as in `pipeline.explain.glas.Probes`.
        saliency: `[B,D,H,W]` float32 in [0,1]: each voxel has its segment's score, divided by the volume's largest; 0
            outside the segments.
        score_before: `[B]`, the target's score on the volume.
    """

    segment_scores: Tensor
    light: Tensor
    shadow: Tensor
    saliency: Tensor
    score_before: Tensor


def atlas_of(labels: Tensor) -> Atlas:
    """The segments of a label volume `[…]` of integers, of any number of dimensions, and their centroids.

    Raises:
        ValueError: not integers, or no segment.
    """
    if labels.is_floating_point() or labels.ndim < 1:
        raise ValueError(f"an atlas holds integer labels, got {labels.dtype} {list(labels.shape)}")
    labels = labels.long()
    places = labels.nonzero()
    if not len(places):
        raise ValueError("the atlas has no segment: every label is 0")
    segments, number = labels[tuple(places.T)].unique(return_inverse=True)
    sums = torch.zeros(len(segments), labels.ndim, dtype=torch.float64, device=labels.device)
    sums.index_add_(0, number, places.double())
    sizes = number.bincount()
    centroids = sums / sizes[:, None]
    return Atlas(labels, segments, sizes, SearchPoints(centroids, (1.0,) * labels.ndim, tuple(labels.shape)))


@torch.no_grad()
def explain_volumes(
    classifier: Classified,
    volumes: Tensor,
    targets: Tensor,
    atlas: Atlas,
    light: float = LIGHT,
    shadow: float = SHADOW,
    mode: str = "fusion",
    memory: int = PASS_MEMORY,
    dark: float = 0.0,
) -> VolumeExplanation:
    """Explain `targets` `[B]` int64 in `volumes` `[B,C,D,H,W]` float.

    Args:
        classifier: a function from volumes `[n,C,D,H,W]` to scores `[n,K]` in [0,1], or an object with `logits`.
        light: σ_l in voxels.
        shadow: σ_s in voxels.
        mode: `fusion`, `light` or `shadow`.
        memory: bytes of the perturbed volumes in one forward pass.
        dark: the value of darkness, to which shadows and the world around a light fade: −1000 of Hounsfield's units.

    Raises:
        ValueError: the volumes do not have the atlas's shape, or a setting is out of range.
    """
    if volumes.shape[2:] != atlas.labels.shape or len(volumes) != len(targets) or not volumes.is_floating_point():
        raise ValueError(
            f"volumes must be float [{len(targets)}, channels, {', '.join(map(str, atlas.labels.shape))}], "
            f"got {volumes.dtype} {list(volumes.shape)}"
        )
    settings = GlasSettings(light=light, shadow=shadow, mode=mode, memory=memory)
    before = target_scores(classifier, volumes, targets)
    probed = _Lifted.of(classifier, dark) if dark else classifier
    probes = probe(probed, volumes - dark, targets, before, atlas.points, settings)
    scores = probes.light * probes.shadow
    relative = scores / scores.amax(dim=1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
    # The first column is for the voxels outside.
    columns = torch.cat([torch.zeros_like(relative[:, :1]), relative], dim=1)
    place = torch.zeros_like(atlas.labels)
    inside = atlas.labels != 0
    place[inside] = torch.searchsorted(atlas.segments, atlas.labels[inside]) + 1
    return VolumeExplanation(scores, probes.light, probes.shadow, columns[:, place].float(), before)


@dataclass(frozen=True)
class _Lifted:
    """A classifier of volumes from which the value of darkness was taken."""

    function: Callable[[Tensor], Any]
    dark: float

    @classmethod
    def of(cls, classifier: Classified, dark: float) -> Classified:
        if hasattr(classifier, "logits"):
            return _LiftedLogits(classifier.logits, dark)
        return cls(classifier, dark)

    def __call__(self, volumes: Tensor) -> Any:
        return self.function(volumes + self.dark)


class _LiftedLogits(_Lifted):
    """The same of one that gives logits."""

    def logits(self, volumes: Tensor) -> Tensor:
        return self(volumes)
