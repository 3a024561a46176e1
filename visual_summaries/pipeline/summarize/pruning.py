"""Members of a cluster and what prunes them: structural similarity (visual summaries paper §3.2).

Shapes: m members of a cluster, h by w pixels of the exemplar's box.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from visual_summaries.pipeline.summarize.ssim import SMALLEST_SIDE, mean_ssim


@dataclass(frozen=True)
class PrunedCluster:
    """What structural similarity says of a cluster.

    Attributes:
        member_median: `[m]` median similarity to the other members; NaN for a single member.
        share_below: `[m]` share of its similarities below the class's median; NaN for a single member or
            without a class median.
        cluster_median: median over pairs; NaN without pairs.
        class_median: median of the class's clusters' medians; NaN if no cluster counts.
        member_reason: per member, why it is left out, or None.
        reason: why the cluster is no summary, or None.
    """

    member_median: np.ndarray
    share_below: np.ndarray
    cluster_median: float
    class_median: float
    member_reason: list[str | None]
    reason: str | None


def choose_members(
    images: np.ndarray, similarities: np.ndarray, exemplar: int, maximum: int = 50
) -> np.ndarray:
    """Members of one cluster, best first: the exemplar, then at most one proposal per other image.

    Args:
        images: `[n]`, number of the image of each proposal of the cluster.
        similarities: `[n]`, score of each with the exemplar.
        exemplar: position of the exemplar among them.

    Returns:
        positions, int64, at most `maximum`.
    """
    chosen, used = [exemplar], {images[exemplar]}
    for position in np.argsort(-similarities, kind="stable"):
        if images[position] not in used:
            used.add(images[position])
            chosen.append(int(position))
    return np.array(chosen[:maximum], dtype=np.int64)


def gray_crops(images: Sequence[np.ndarray], boxes: np.ndarray, size: tuple[int, int]) -> Tensor:
    """Crops of uint8 RGB images `[H,W,3]`, gray, resized bilinearly to `size` (height, width): `[m,h,w]`.

    Values are whole numbers in 0..255 (float32), as an 8-bit gray image has them; sides are at least 11 px. Of a
    box that leaves its image the part inside counts, at least the pixel nearest to it.
    """
    height, width = (max(side, SMALLEST_SIDE) for side in size)
    crops = []
    for image, box in zip(images, boxes, strict=True):
        x0, y0, x1, y1 = np.rint(box).astype(int)
        x0, y0 = np.clip((x0, y0), 0, (image.shape[1] - 1, image.shape[0] - 1))
        x1, y1 = max(x1, x0 + 1), max(y1, y0 + 1)
        gray = torch.from_numpy(image[y0:y1, x0:x1].astype(np.float32)) @ torch.tensor([0.299, 0.587, 0.114])
        resized = functional.interpolate(
            gray[None, None], size=(height, width), mode="bilinear", antialias=True, align_corners=False
        )
        crops.append(resized[0, 0].round().clamp(0, 255))
    return torch.stack(crops)


def structural_similarities(crops: Tensor) -> np.ndarray:
    """Mean SSIM of every pair of `[m,h,w]` gray images in 0..255: `[m,m]` float64, symmetric (see `mean_ssim`)."""
    images = crops.double().numpy()
    result = np.ones((len(images), len(images)))
    for first, image in enumerate(images):
        # One row of pairs at a time bounds memory by m images.
        others = images[first + 1 :]
        similarities = mean_ssim(np.broadcast_to(image, others.shape), others, data_range=255)
        result[first, first + 1 :] = result[first + 1 :, first] = similarities
    return result


def prune_clusters(
    similarities: Sequence[np.ndarray],
    minimum_members: int = 3,
    cluster_threshold: float | None = 0.9,
    member_share: float = 0.6,
) -> list[PrunedCluster]:
    """Judge all clusters of a class by the `[m,m]` structural similarities of their members.

    The class's figure is the median of the medians of the clusters that have `minimum_members`. A cluster
    stays if its median is at least `cluster_threshold` times that (whatever it is, if None); a member is left out
    when `member_share` or more of its similarities lie below it; a cluster left with too few members is no summary.
    """
    pairs = [matrix[np.triu_indices(len(matrix), 1)] for matrix in similarities]
    medians = [float(np.median(values)) if len(values) else float("nan") for values in pairs]
    eligible = [
        median
        for median, matrix in zip(medians, similarities, strict=True)
        if len(matrix) >= max(minimum_members, 2)
    ]
    class_median = float(np.median(eligible)) if eligible else float("nan")
    return [
        _judge(matrix, median, class_median, minimum_members, cluster_threshold, member_share)
        for matrix, median in zip(similarities, medians, strict=True)
    ]


def _judge(
    matrix: np.ndarray,
    median: float,
    class_median: float,
    minimum_members: int,
    cluster_threshold: float | None,
    member_share: float,
) -> PrunedCluster:
    count = len(matrix)
    others = matrix[~np.eye(count, dtype=bool)].reshape(count, max(count - 1, 0))
    member_median = np.median(others, axis=1) if count > 1 else np.full(count, np.nan)
    known = count > 1 and not np.isnan(class_median)
    share_below = (others < class_median).mean(axis=1) if known else np.full(count, np.nan)
    member_reason: list[str | None] = [None] * count
    reason = None
    if count < minimum_members:
        reason = f"{count} image{'s' if count != 1 else ''}, fewer than {minimum_members}"
    elif cluster_threshold is not None and median < cluster_threshold * class_median:
        reason = f"median SSIM {median:.3f} below {cluster_threshold:g} × the class's {class_median:.3f}"
    else:
        member_reason = [
            f"{share:.0%} of its SSIMs below the class's {class_median:.3f}" if share >= member_share else None
            for share in share_below
        ]
        left = member_reason.count(None)
        if left < minimum_members:
            reason = f"{left} of {count} members left by SSIM, fewer than {minimum_members}"
    return PrunedCluster(member_median, share_below, median, class_median, member_reason, reason)
