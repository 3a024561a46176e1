"""Proposal flow: how well the proposals of two images match, by appearance and geometry.

Ham, Cho, Schmid & Ponce, "Proposal flow", CVPR 2016, §3. Boxes are x0, y0, x1, y1 in pixels. All functions run on the
device of their inputs. Geometry is computed in float64, because votes fall on the edges of bins and tiny differences
decide the L1 median; scores keep their precision.
"""

import torch

from visual_summaries.pipeline.summarize.boxes import aspects_agree
from visual_summaries.pipeline.summarize.hough import probabilistic_hough_matching
from visual_summaries.pipeline.summarize.local_offsets import local_offset_matching


def match(
    features_a: torch.Tensor,
    boxes_a: torch.Tensor,
    features_b: torch.Tensor,
    boxes_b: torch.Tensor,
    score: str = "lom",
    mode: str = "frozen",
    scale: float = 1.0,
    size_a: tuple[float, float] | None = None,
    size_b: tuple[float, float] | None = None,
) -> torch.Tensor:
    """Matching scores of all pairs of proposals of two images.

    Args:
        features_a: [M1, D], such that appearance similarity is a dot product (`whitening.Whitener.whiten`).
        boxes_a: [M1, 4], half-open.
        features_b: [M2, D].
        boxes_b: [M2, 4].
        score: "lom" (local offset matching), "phm" (probabilistic Hough matching) or "nam" (appearance only).
        mode: "frozen" or "legacy", for "lom".
        scale: side of the analyzed image / 224, for "lom".
        size_a, size_b: (width, height) of the images in pixels, needed for "phm".

    Returns:
        [M1, M2] of the features' precision, not negative.

    Raises:
        ValueError: unknown `score` or `mode`, or sizes missing for "phm".
    """
    appearance = (features_a @ features_b.T).clamp_(min=0)
    naive = naive_appearance_matching(appearance, boxes_a, boxes_b)
    if score == "nam":
        return naive
    if score == "lom":
        return local_offset_matching(naive, boxes_a, boxes_b, mode=mode, scale=scale).scores
    if score == "phm":
        if size_a is None or size_b is None:
            raise ValueError("score 'phm' needs size_a and size_b, the images' (width, height) in pixels")
        return probabilistic_hough_matching(naive, boxes_a, boxes_b, size_a, size_b)
    raise ValueError(f"unknown score {score!r}: use 'lom', 'phm' or 'nam'")


def naive_appearance_matching(
    appearance: torch.Tensor, boxes_a: torch.Tensor, boxes_b: torch.Tensor
) -> torch.Tensor:
    """Appearance similarity where the aspect ratios agree within a factor of 2, else 0.

    Args:
        appearance: [..., M1, M2], not negative.
        boxes_a: [..., M1, 4].
        boxes_b: [..., M2, 4]; boxes of no extent (padding) match nothing.

    Returns:
        [..., M1, M2], the precision of `appearance`.
    """
    return torch.where(aspects_agree(boxes_a, boxes_b), appearance, 0)
