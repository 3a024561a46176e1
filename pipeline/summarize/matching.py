"""Proposal flow: how well the proposals of two images match, by appearance and geometry.

Specification summaries.md §4; Ham, Cho, Schmid & Ponce, "Proposal flow", CVPR 2016, §3. Boxes are x0, y0, x1,
y1 in pixels. All functions run on the device of their inputs. Geometry is computed in float64, because votes
fall on the edges of bins and the L1 median is decided by tiny differences; scores keep their precision.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as functional

MAXIMUM_ASPECT_CHANGE = 2.0

_HOUGH_CELLS = 8000
_HOUGH_SMALLEST_CELL = 5.0
_HOUGH_SCALES = 20
_HOUGH_SCALE_RANGE = 4.0
_HOUGH_SMOOTHING = 5 / 2 / 2.354
_HOUGH_ROWS_AT_ONCE = 16

_MEDIAN_STEPS = 20
_MEDIAN_EPSILON = 2.0**-52
_DISTANCE_WEIGHT = 0.05
_RATIO_WEIGHT = 0.3
_MEDIAN_START = 1.0
_MEDIAN_ELEMENTS_AT_ONCE = {"cpu": 2**16, "cuda": 2**26}


class LocalOffsets(NamedTuple):
    """Scores of local offset matching and what they rest on.

    scores: [..., M1, M2], the precision of the naive scores.
    offsets: float64 [..., M1, 3], the median offset (dx, dy, area ratio) of the neighbors of each box of A:
        center of A minus center of its match in pixels, area in A / area in B.
    support: float64 [..., M1], share of all confidence that lies in the box's neighborhood, in 0..1.
    """

    scores: torch.Tensor
    offsets: torch.Tensor
    support: torch.Tensor


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
        features_a: [M1, D], such that appearance similarity is a dot product (`whitening.Whitener.fold`).
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
    _, half_a = _centers_and_halves(boxes_a)
    _, half_b = _centers_and_halves(boxes_b)
    aspect_a, aspect_b = half_a[..., 0] / half_a[..., 1], half_b[..., 0] / half_b[..., 1]
    change = aspect_b[..., None, :] / aspect_a[..., :, None]
    agrees = (change < MAXIMUM_ASPECT_CHANGE) & (change > 1 / MAXIMUM_ASPECT_CHANGE)
    return torch.where(agrees, appearance, 0)


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
    A and each bin of this space the best of its pairs votes; the smoothed votes weigh the pairs.

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
    center_a, half_a = _centers_and_halves(boxes_a)
    center_b, half_b = _centers_and_halves(boxes_b)
    width, height = 2.0 * size_b[0], 2.0 * size_b[1]
    cell = max(math.sqrt(width * height / _HOUGH_CELLS), _HOUGH_SMALLEST_CELL)
    shape = (max(1, int(height / cell + 0.5)), max(1, int(width / cell + 0.5)), _HOUGH_SCALES)
    corner = (center_a.new_tensor(size_a) - center_a) / half_a
    predicted = half_b[None] * corner[:, None] + center_b[None]
    growth = torch.log2((half_b.prod(dim=1)[None] / half_a.prod(dim=1)[:, None]).abs())
    origin = 1.0 if inclusive else 0.0
    flat = torch.zeros(growth.shape, dtype=torch.long, device=growth.device)
    valid = torch.ones(growth.shape, dtype=torch.bool, device=growth.device)
    for values, low, high, count in (
        (predicted[..., 1], origin, height, shape[0]),
        (predicted[..., 0], origin, width, shape[1]),
        (growth, -_HOUGH_SCALE_RANGE, _HOUGH_SCALE_RANGE, shape[2]),
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
    rows_at_once = _HOUGH_ROWS_AT_ONCE if not naive.is_cuda else 256
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
    kernel = torch.exp(-0.5 * (distance / _HOUGH_SMOOTHING) ** 2)
    kernel = (kernel / kernel.sum()).to(votes.dtype)
    for axis in range(3):
        padding = [0] * 6
        padding[2 * (2 - axis)] = padding[2 * (2 - axis) + 1] = 2
        padded = functional.pad(votes, padding)
        length = votes.shape[axis]
        votes = sum(kernel[step] * padded.narrow(axis, step, length) for step in range(5))
    return votes


def local_offset_matching(
    naive: torch.Tensor,
    boxes_a: torch.Tensor,
    boxes_b: torch.Tensor,
    mode: str = "frozen",
    scale: float = 1.0,
    inclusive: bool = False,
) -> LocalOffsets:
    """Naive scores weighed by how well a pair's offset agrees with the offsets of the box's neighbors.

    The neighbors of a box of A are the boxes that overlap it, and itself. Each votes with the offset of its
    best match; the votes' coordinate-wise L1 median, by 20 reweighting steps from (1, 1, 1), is the local
    offset.

    Args:
        naive: [..., M1, M2] of `naive_appearance_matching`; leading dimensions stand for several images B.
        boxes_a: [M1, 4].
        boxes_b: [..., M2, 4].
        mode: "frozen": every row reads the naive scores; boxes whose scores are all 0 do not vote, a box
            without a voting neighbor and an image without any score get 0. "legacy": equals the published
            code, in which each row overwrites its scores before the next one reads them, boxes without a
            score vote for box 0, and an image without any score gets NaN; [M1, M2] only, and slow.
        scale: side of the analyzed image / 224: the method's constants are in pixels of a 224-px image.
        inclusive: the boxes name their first and last pixel, as in the original program; only for comparison
            with it (boxes that share one row or column of pixels are neighbors).

    Returns:
        Scores, local offsets in pixels of the images given, and support. Where no neighbor votes, offset and
        support are 0.

    Raises:
        ValueError: unknown mode, or leading dimensions in legacy mode.
    """
    if mode not in ("frozen", "legacy"):
        raise ValueError(f"unknown mode {mode!r}: use 'frozen' or 'legacy'")
    if mode == "legacy" and naive.ndim != 2:
        raise ValueError("legacy mode matches one pair of images at a time: scores must be [M1, M2]")
    center_a, half_a = _centers_and_halves(boxes_a)
    center_b, half_b = _centers_and_halves(boxes_b)
    geometry = (center_a / scale, half_a / scale, center_b / scale, half_b / scale)
    neighbors = _overlaps(boxes_a, 1.0 if inclusive else 0.0)
    if naive.numel() == 0:
        empty = center_a.new_zeros(*naive.shape[:-1], 3)
        return LocalOffsets(naive.clone(), empty, empty[..., 0].clone())
    offsets = _frozen_offsets if mode == "frozen" else _legacy_offsets
    result = offsets(naive, neighbors, *geometry)
    result.offsets[..., :2] *= scale
    return result


def _frozen_offsets(
    naive: torch.Tensor,
    neighbors: torch.Tensor,
    center_a: torch.Tensor,
    half_a: torch.Tensor,
    center_b: torch.Tensor,
    half_b: torch.Tensor,
) -> LocalOffsets:
    confidence, best = naive.max(dim=-1)
    confidence = confidence.to(torch.float64)
    area_a, area_b = half_a.prod(dim=-1), half_b.prod(dim=-1)
    votes_xy = center_a - torch.gather(center_b.expand(*naive.shape[:-2], -1, 2), -2, _twice(best))
    votes_ratio = area_a / torch.gather(area_b.expand(*naive.shape[:-2], -1), -1, best)
    votes = torch.cat([votes_xy, votes_ratio[..., None]], dim=-1)
    speaks = confidence > 0
    votes = torch.where(speaks[..., None], votes, 0)
    median = _reweighted_median(votes, speaks, neighbors)
    total = confidence.sum(dim=-1, keepdim=True)
    local = confidence @ neighbors.to(torch.float64)
    support = torch.where(total > 0, local / total.clamp(min=torch.finfo(torch.float64).tiny), 0)
    dtype = naive.dtype
    expected = (center_a - median[..., :2]).to(dtype)
    placed = center_b.to(dtype)
    across = expected[..., :, None, 0] - placed[..., None, :, 0]
    down = expected[..., :, None, 1] - placed[..., None, :, 1]
    ratio = area_a.to(dtype)[:, None] / area_b.to(dtype)[..., None, :]
    ratio.sub_(median[..., 2, None].to(dtype)).abs_()
    exponent = across.square_().add_(down.square_()).sqrt_().mul_(-_DISTANCE_WEIGHT)
    exponent.sub_(ratio, alpha=_RATIO_WEIGHT)
    scores = exponent.exp_().mul_(naive).mul_(support.to(dtype)[..., None])
    return LocalOffsets(torch.where(naive > 0, scores, 0), median, support)


def _twice(index: torch.Tensor) -> torch.Tensor:
    return index[..., None].expand(*index.shape, 2)


def _reweighted_median(votes: torch.Tensor, speaks: torch.Tensor, neighbors: torch.Tensor) -> torch.Tensor:
    """Coordinate-wise L1 median of the speaking neighbors' votes, float64 [..., M1, 3]; 0 where none speaks.

    `votes` is float64 [..., M1, 3], `speaks` bool [..., M1], `neighbors` bool [M1, M1], symmetric.
    """
    leading, count = votes.shape[:-2], votes.shape[-2]
    # Measured from the start of the iteration, a vote that lies exactly there (common: one pixel) contributes
    # 0 to the sum, though its weight is 2^52. Else rounding in that sum decides where the iteration goes.
    values = (votes - _MEDIAN_START).movedim(-1, -2).reshape(-1, 1, count).contiguous()
    # Stored column by column, because the library's product with two columns is four times as fast that way.
    columns = torch.cat([values, torch.ones_like(values)], dim=1).transpose(1, 2)
    elements = _MEDIAN_ELEMENTS_AT_ONCE.get(values.device.type, 2**22)
    rows = max(1, elements // max(1, len(values) * count))
    parts = []
    for start in range(0, count, rows):
        voters = neighbors[start : start + rows] & speaks.reshape(-1, 1, 1, count)
        voters = voters.expand(-1, 3, -1, -1).reshape(len(values), -1, count)
        # An infinitely distant vote has weight 0: no mask is needed in the loop.
        distant = torch.where(voters, values, torch.inf)
        median = values.new_zeros(len(values), voters.shape[1], 1)
        weights = torch.empty_like(distant)
        for _ in range(_MEDIAN_STEPS):
            torch.sub(distant, median, out=weights)
            weights.abs_().add_(_MEDIAN_EPSILON).reciprocal_()
            sums = torch.bmm(weights, columns)
            median = sums[..., :1] / sums[..., 1:]
        parts.append(torch.where(voters.any(dim=-1), median[..., 0] + _MEDIAN_START, 0))
    return torch.cat(parts, dim=-1).reshape(*leading, 3, count).movedim(-2, -1).contiguous()


def _legacy_offsets(
    naive: torch.Tensor,
    neighbors: torch.Tensor,
    center_a: torch.Tensor,
    half_a: torch.Tensor,
    center_b: torch.Tensor,
    half_b: torch.Tensor,
) -> LocalOffsets:
    table = naive.clone()
    offset_xy = center_a[:, None] - center_b
    offset_ratio = half_a.prod(dim=1)[:, None] / half_b.prod(dim=1)
    offset = torch.cat([offset_xy, offset_ratio[..., None]], dim=2)
    confidence, best = table.max(dim=1)
    rows = torch.arange(len(table), device=table.device)
    votes = offset[rows, best]
    medians, supports = torch.zeros_like(votes), torch.zeros_like(votes[:, 0])
    for row in range(len(table)):
        near = neighbors[row]
        mine = votes[near]
        median = torch.full_like(mine[0], _MEDIAN_START)
        for _ in range(_MEDIAN_STEPS):
            # Quotients summed one after the other, as the published code does: where a vote equals the start,
            # the rounding of these sums shows in the result.
            distance = (mine - median).abs() + _MEDIAN_EPSILON
            median = (mine / distance).cumsum(dim=0)[-1] / distance.reciprocal().cumsum(dim=0)[-1]
        support = confidence[near].sum() / confidence.sum()
        distance = (offset[row, :, :2] - median[:2]).square().sum(dim=1).sqrt()
        ratio = (offset[row, :, 2] - median[2]).abs()
        affinity = torch.exp(-_DISTANCE_WEIGHT * distance - _RATIO_WEIGHT * ratio)
        table[row] = (table[row] * affinity * support).to(table.dtype)
        # Later rows read what this one has just written.
        confidence[row], best[row] = table[row].max(dim=0)
        votes[row] = offset[row, best[row]]
        medians[row], supports[row] = median, support
    return LocalOffsets(table, medians, supports)


def _centers_and_halves(boxes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Centers and half extents (x, y), float64 [..., M, 2]."""
    boxes = boxes.to(torch.float64)
    return (boxes[..., :2] + boxes[..., 2:]) / 2, (boxes[..., 2:] - boxes[..., :2]) / 2


def _overlaps(boxes: torch.Tensor, thickness: float) -> torch.Tensor:
    """Which boxes share area, bool [M, M], each extended by `thickness`; a box always overlaps itself."""
    boxes = boxes.to(torch.float64)
    reaches = boxes[:, None, :2].unbind(-1), (boxes[None, :, 2:] + thickness).unbind(-1)
    x, y = (low < high for low, high in zip(*reaches, strict=True))
    overlaps = x & x.T & y & y.T
    return overlaps.fill_diagonal_(True)
