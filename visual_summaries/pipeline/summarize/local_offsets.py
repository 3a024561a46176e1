"""Local offset matching: a pair of boxes counts by how well its offset agrees with those of the box's neighbors.

Ham, Cho, Schmid & Ponce, "Proposal flow", CVPR 2016, §3.3. Votes and their median are float64: the 20 reweighting
steps amplify rounding, by up to ten orders of magnitude where a median passes close to a vote. Scores keep the
precision of the naive scores.

Shapes: M1 boxes of image A, M2 of an image B, Q images B at a time.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from visual_summaries.pipeline.summarize.boxes import centers_and_halves, overlapping

_MEDIAN_STEPS = 20
_MEDIAN_EPSILON = 2.0**-52
_MEDIAN_START = 1.0
_DISTANCE_WEIGHT = 0.05
_RATIO_WEIGHT = 0.3
# Sums over rows of one length come out the same bit for bit, whatever other rows are computed beside them.
_WIDTH_STEP = 32
# On a processor the votes of a chunk stay in its second cache.
_ELEMENTS_AT_ONCE = {"cpu": 2**16, "cuda": 2**26}


class LocalOffsets(NamedTuple):
    """Scores of local offset matching and what they rest on.

    scores: [..., M1, M2], the precision of the naive scores.
    offsets: float64 [..., M1, 3], the median offset (dx, dy, area ratio) of the neighbors of each box of A:
        center of A minus center of its match in pixels, area in A / area in B.
    support: float64 [..., M1], share of all confidence that lies in the box's neighborhood, in 0..1.
    """

    scores: Tensor
    offsets: Tensor
    support: Tensor


@dataclass(frozen=True)
class Neighborhood:
    """Which boxes of an image overlap which.

    Attributes:
        overlaps: bool `[M1,M1]`, symmetric; every box overlaps itself.
    """

    overlaps: Tensor

    @cached_property
    def weights(self) -> Tensor:
        """The overlaps as 0 and 1, float64 `[M1,M1]`."""
        return self.overlaps.to(torch.float64)

    @cached_property
    def degrees(self) -> Tensor:
        """Neighbors of each box, itself included, int64 `[M1]`."""
        return self.overlaps.sum(dim=1)

    @cached_property
    def widths(self) -> Tensor:
        """The degrees, rounded up to a multiple of 32, int64 `[M1]`."""
        return (self.degrees + _WIDTH_STEP - 1) // _WIDTH_STEP * _WIDTH_STEP

    @cached_property
    def members(self) -> Tensor:
        """Each box's neighbors, then M1 in the places that it does not need, int64 `[M1, greatest width]`."""
        count = len(self.overlaps)
        box, neighbor = self.overlaps.nonzero(as_tuple=True)
        first = self.degrees.cumsum(dim=0) - self.degrees
        place = torch.arange(len(box), device=box.device) - first[box]
        members = neighbor.new_full((count, int(self.widths.max()) if count else 0), count)
        members[box, place] = neighbor
        return members


class Votes(NamedTuple):
    """What the boxes of A say of the offset to images B.

    values: float64 [Q, M1, 3], offset (dx, dy, area ratio) of each box to its best match, pixels of a 224-px image.
    speaks: bool [Q, M1], whether the box matches anything at all.
    support: float64 [Q, M1], share of all confidence that lies in the box's neighborhood.
    """

    values: Tensor
    speaks: Tensor
    support: Tensor


class Placement(NamedTuple):
    """Where boxes are: float64 centers and half extents [..., M, 2], pixels of a 224-px image, areas [..., M]."""

    centers: Tensor
    areas: Tensor


def placement(boxes: Tensor, scale: float = 1.0) -> Placement:
    """Place boxes [..., M, 4] given in pixels of an image whose side is `scale` · 224 px."""
    centers, halves = centers_and_halves(boxes)
    return Placement(centers / scale, (halves / scale).prod(dim=-1))


def votes_of(naive: Tensor, neighborhood: Neighborhood, a: Placement, b: Placement) -> Votes:
    """Each box's offset to its best match.

    Args:
        naive: [Q, M1, M2] naive scores, not negative.
        neighborhood: of the boxes of A.
        a: of the boxes of A.
        b: of the boxes of the images B, [Q, M2, 2] and [Q, M2].
    """
    confidence, best = naive.max(dim=-1)
    speaks = confidence > 0
    matched = torch.gather(b.centers, -2, best[..., None].expand(*best.shape, 2))
    ratio = a.areas / torch.gather(b.areas, -1, best)
    values = torch.cat([a.centers - matched, ratio[..., None]], dim=-1)
    confidence = confidence.to(torch.float64)
    total = confidence.sum(dim=-1, keepdim=True)
    local = confidence @ neighborhood.weights
    support = torch.where(total > 0, local / total.clamp(min=torch.finfo(torch.float64).tiny), 0)
    return Votes(values, speaks, support)


def reweighted_medians(votes: Votes, neighborhood: Neighborhood, wanted: Tensor) -> Tensor:
    """Coordinate-wise L1 median of the speaking neighbors' votes, by 20 reweighting steps from (1, 1, 1).

    Args:
        votes: of Q images.
        neighborhood: of the boxes of A.
        wanted: bool [Q, M1], for which boxes.

    Returns:
        float64 [Q, M1, 3]; 0 where nothing is wanted or no neighbor speaks.
    """
    count = votes.values.shape[1]
    medians = torch.zeros_like(votes.values)
    tasks = wanted.nonzero()
    widths = neighborhood.widths[tasks[:, 1]]
    widths, order = widths.sort(stable=True)
    tasks = tasks[order]
    # Measured from the start of the iteration, a vote that lies exactly there (common: one pixel) contributes
    # 0 to the sum, though its weight is 2^52. Else rounding in that sum decides where the iteration goes.
    values = functional.pad((votes.values - _MEDIAN_START).permute(2, 0, 1), (0, 1))
    # An infinitely distant vote has weight 0: no mask is needed in the loop.
    silent = functional.pad(~votes.speaks, (0, 1), value=True)
    distant = torch.where(silent, torch.inf, values).flatten(1)
    values = torch.where(silent, 0, values).flatten(1)
    elements = _ELEMENTS_AT_ONCE.get(values.device.type, 2**22)
    for width, several in zip(*(part.tolist() for part in widths.unique_consecutive(return_counts=True)), strict=True):
        mine, tasks = tasks[:several], tasks[several:]
        for image, box in (chunk.T for chunk in mine.split(max(1, elements // (3 * width)))):
            voters = (neighborhood.members[:, :width].index_select(0, box) + image[:, None] * (count + 1)).flatten()
            rows = (part.index_select(1, voters).view(-1, width) for part in (values, distant))
            medians[image, box] = _descend(*rows).view(3, -1).T
    anyone = (votes.speaks.to(torch.float64) @ neighborhood.weights > 0) & wanted
    return torch.where(anyone[..., None], medians + _MEDIAN_START, 0)


def _descend(values: Tensor, distant: Tensor) -> Tensor:
    """20 reweighting steps from 0 for each row of votes [T, K]; those infinite in `distant` have no weight."""
    median = values.new_zeros(len(values), 1)
    weights, products = torch.empty_like(values), torch.empty_like(values)
    for _ in range(_MEDIAN_STEPS):
        torch.sub(distant, median, out=weights)
        weights.abs_().add_(_MEDIAN_EPSILON).reciprocal_()
        torch.mul(weights, values, out=products)
        median = products.sum(dim=1, keepdim=True) / weights.sum(dim=1, keepdim=True)
    return median[:, 0]


def weighted(naive: Tensor, a: Placement, b: Placement, medians: Tensor, support: Tensor) -> Tensor:
    """Naive scores times how well the offset of a pair agrees with the local one, and the support.

    Args:
        naive: [..., M1, M2], all boxes or some of them.
        a: of these boxes of A, [..., M1, 2] and [..., M1].
        b: of these boxes of B.
        medians: float64 [..., M1, 3].
        support: float64 [..., M1].

    Returns:
        [..., M1, M2], the precision of `naive`.
    """
    dtype = naive.dtype
    expected = (a.centers - medians[..., :2]).to(dtype)
    placed = b.centers.to(dtype)
    across = expected[..., :, None, 0] - placed[..., None, :, 0]
    down = expected[..., :, None, 1] - placed[..., None, :, 1]
    ratio = a.areas.to(dtype)[..., :, None] / b.areas.to(dtype)[..., None, :]
    ratio = ratio.sub_(medians[..., 2, None].to(dtype)).abs_()
    exponent = across.square_().add_(down.square_()).sqrt_().mul_(-_DISTANCE_WEIGHT)
    exponent.sub_(ratio, alpha=_RATIO_WEIGHT)
    scores = exponent.exp_().mul_(naive).mul_(support.to(dtype)[..., None])
    # Padding has no area, and its ratio is not a number.
    return torch.where(naive > 0, scores, 0)


def local_offset_matching(
    naive: Tensor,
    boxes_a: Tensor,
    boxes_b: Tensor,
    mode: str = "frozen",
    scale: float = 1.0,
    inclusive: bool = False,
) -> LocalOffsets:
    """Naive scores weighted by how well a pair's offset agrees with the offsets of the box's neighbors.

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
    a, b = placement(boxes_a, scale), placement(boxes_b, scale)
    if naive.numel() == 0:
        empty = a.centers.new_zeros(*naive.shape[:-1], 3)
        return LocalOffsets(naive.clone(), empty, empty[..., 0].clone())
    neighborhood = Neighborhood(overlapping(boxes_a, 1.0 if inclusive else 0.0))
    if mode == "legacy":
        result = _legacy_offsets(naive, neighborhood.overlaps, a, b)
    else:
        leading, table = naive.shape[:-2], naive.reshape(-1, *naive.shape[-2:])
        several = Placement(*(part.expand(*leading, *part.shape[-tail:]).reshape(len(table), *part.shape[-tail:])
                              for part, tail in zip(b, (2, 1), strict=True)))
        votes = votes_of(table, neighborhood, a, several)
        medians = reweighted_medians(votes, neighborhood, torch.ones_like(votes.speaks))
        scores = weighted(table, a, several, medians, votes.support)
        result = LocalOffsets(*(part.reshape(*leading, *part.shape[1:]) for part in (scores, medians, votes.support)))
    result.offsets[..., :2] *= scale
    return result


def _legacy_offsets(naive: Tensor, neighbors: Tensor, a: Placement, b: Placement) -> LocalOffsets:
    table = naive.clone()
    offset_xy = a.centers[:, None] - b.centers
    offset_ratio = a.areas[:, None] / b.areas
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
