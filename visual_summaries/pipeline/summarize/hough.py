"""Probabilistic Hough matching: pairs of boxes vote for the offset between two images that they imply.

Ham, Cho, Schmid & Ponce, "Proposal flow", CVPR 2016, §3.2. Geometry is float64: votes fall on the edges of bins. Scores
keep the precision of the naive scores.
"""

import math

import torch
from torch.nn import functional

from visual_summaries.pipeline.summarize.boxes import centers_and_halves

_CELLS = 8000
_SMALLEST_CELL = 5.0
_SCALES = 20
_SCALE_RANGE = 4.0
_SMOOTHING = 5 / 2 / 2.354
_ROWS_AT_ONCE = 16


def probabilistic_hough_matching(
    naive: torch.Tensor,
    boxes_a: torch.Tensor,
    boxes_b: torch.Tensor,
    size_a: tuple[float, float],
    size_b: tuple[float, float],
    inclusive: bool = False,
) -> torch.Tensor:
    """Naive scores times the votes for the offset that a pair implies.

    A pair of boxes predicts where A's far corner lies in B and log2 of the area ratio B / A. For each box of
    A and each bin of this space the best of its pairs votes; the smoothed votes weight the pairs.

    Args:
        naive: [M1, M2] of `naive_appearance_matching`.
        boxes_a: [M1, 4].
        boxes_b: [M2, 4].
        size_a, size_b: (width, height) of the images in pixels.
        inclusive: the boxes name their first and last pixel, counted from 1, as in the original program;
            only for comparison with it.

    Returns:
        [M1, M2], the precision of `naive`. Pairs that predict a corner outside twice B's size, or an area
        ratio outside 1/16..16, have score 0.
    """
    bins, shape = _hough_bins(boxes_a, boxes_b, size_a, size_b, inclusive)
    votes = _hough_votes(naive, bins, math.prod(shape)).view(shape)
    votes = _smooth(votes).flatten()
    return torch.where(bins >= 0, naive * votes[bins.clamp(min=0)], 0)


def _hough_bins(
    boxes_a: torch.Tensor,
    boxes_b: torch.Tensor,
    size_a: tuple[float, float],
    size_b: tuple[float, float],
    inclusive: bool,
) -> tuple[torch.Tensor, tuple[int, int, int]]:
    """Flat bin of each pair, int64 [M1, M2], -1 outside; and the number of bins (y, x, scale)."""
    center_a, half_a = centers_and_halves(boxes_a)
    center_b, half_b = centers_and_halves(boxes_b)
    width, height = 2.0 * size_b[0], 2.0 * size_b[1]
    cell = max(math.sqrt(width * height / _CELLS), _SMALLEST_CELL)
    shape = (max(1, int(height / cell + 0.5)), max(1, int(width / cell + 0.5)), _SCALES)
    corner = (center_a.new_tensor(size_a) - center_a) / half_a
    predicted = half_b[None] * corner[:, None] + center_b[None]
    growth = torch.log2((half_b.prod(dim=1)[None] / half_a.prod(dim=1)[:, None]).abs())
    origin = 1.0 if inclusive else 0.0
    flat = torch.zeros(growth.shape, dtype=torch.long, device=growth.device)
    valid = torch.ones(growth.shape, dtype=torch.bool, device=growth.device)
    for values, low, high, count in (
        (predicted[..., 1], origin, height, shape[0]),
        (predicted[..., 0], origin, width, shape[1]),
        (growth, -_SCALE_RANGE, _SCALE_RANGE, shape[2]),
    ):
        edges = torch.linspace(low, high, count + 1, dtype=torch.float64, device=values.device)
        place = torch.bucketize(values.contiguous(), edges, right=True) - 1
        valid &= (place >= 0) & (place < count)
        flat = flat * count + place
    return torch.where(valid, flat, -1), shape


def _hough_votes(naive: torch.Tensor, bins: torch.Tensor, bin_count: int) -> torch.Tensor:
    """float32 or float64 [bin_count]: over all rows, the sum of each row's best score in the bin."""
    votes = naive.new_zeros(bin_count)
    columns = torch.arange(naive.shape[1], device=naive.device)
    rows_at_once = _ROWS_AT_ONCE if not naive.is_cuda else 256
    best = naive.new_zeros(rows_at_once * bin_count)
    owner = torch.zeros(rows_at_once * bin_count, dtype=torch.int32, device=naive.device)
    for start in range(0, len(naive), rows_at_once):
        scores = naive[start : start + rows_at_once]
        chosen = (bins[start : start + rows_at_once] >= 0) & (scores > 0)
        row, column = chosen.nonzero(as_tuple=True)
        place = row * bin_count + bins[start : start + rows_at_once][row, column]
        values = scores[row, column]
        # Only the entries in use are ever written and cleared: the table is far larger than its content.
        best.scatter_reduce_(0, place, values, "amax")
        leads = values == best[place]
        # Among equal scores one must vote: the last to be named owner.
        candidates, names = place[leads], columns[column[leads]].int()
        owner.scatter_reduce_(0, candidates, names, "amax")
        voters = candidates[names == owner[candidates]]
        votes.index_add_(0, voters % bin_count, best[voters])
        best[place] = 0
        owner[candidates] = 0
    return votes


def _smooth(votes: torch.Tensor) -> torch.Tensor:
    """[y, x, scale] convolved with a 5 x 5 x 5 Gaussian of sum 1; zeros outside."""
    distance = torch.arange(-2, 3, dtype=torch.float64, device=votes.device)
    kernel = torch.exp(-0.5 * (distance / _SMOOTHING) ** 2)
    kernel = (kernel / kernel.sum()).to(votes.dtype)
    for axis in range(3):
        padding = [0] * 6
        padding[2 * (2 - axis)] = padding[2 * (2 - axis) + 1] = 2
        padded = functional.pad(votes, padding)
        length = votes.shape[axis]
        votes = sum(kernel[step] * padded.narrow(axis, step, length) for step in range(5))
    return votes
