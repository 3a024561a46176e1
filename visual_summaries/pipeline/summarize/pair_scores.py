"""Matching many image pairs at once, down to the scores that a class's similarity needs (Ham, Cho, Schmid &
Ponce, "Proposal flow", CVPR 2016, §3).

All proposals of two images take part in matching, as context. Kept are the scores among the proposals on the masks and,
for each of these, its 100 best scores against all proposals of other images. In local offset matching, the score of
proposal i of A and j of B is

    f(i,j) = c(i,j) · support(i) · g(i,j),   g(i,j) = exp(−0.05 · d(i,j) − 0.3 · e(i,j)) ≤ 1,

with c(i,j) the naive score, support(i) the share of all confidence that lies around i, and d and e how far the pair's
offset, in pixels, and its area ratio are from the medians around i (`pipeline.summarize.local_offsets`). Only g needs
these medians, by far the most expensive part. As f(i,j) ≤ c(i,j) · support(i), rounding included, most medians are
never computed, and nothing that is kept changes: i needs one only if this bound is above a hundredth best score so far,
or if f(i,j) itself is kept.

Shapes: M1 proposals of image A, M2 of an image B, Q images B at a time, K of an image's proposals on its mask.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from visual_summaries.pipeline.summarize.boxes import aspects_agree, overlapping
from visual_summaries.pipeline.summarize.local_offsets import (
    Neighborhood,
    Placement,
    placement,
    reweighted_medians,
    votes_of,
    weighted,
)
from visual_summaries.pipeline.summarize.matching import match
from visual_summaries.pipeline.summarize.similarity import BestScores, ImageProposals

# Pairs of proposals whose naive scores are held at once: 4 bytes each, and some four times as much beside them.
_ELEMENTS_AT_ONCE = {"cpu": 2**21, "cuda": 2**27}


@dataclass(frozen=True)
class Matching:
    """How pairs are matched.

    Attributes:
        score: "lom", "phm" or "nam", as in `matching.match`.
        mode: "frozen" or "legacy".
        side: side of the analyzed images in pixels.
    """

    score: str = "lom"
    mode: str = "frozen"
    side: float = 224.0

    @property
    def scale(self) -> float:
        """Side of the analyzed images in units of the 224 px that the method's constants mean."""
        return self.side / 224.0


@dataclass(frozen=True)
class PairScores:
    """What is left of some image pairs.

    Attributes:
        blocks: for each pair, the scores `[K_a,K_b]` float32 among the proposals on the masks.
        best: for each image that was matched with another, its best scores against proposals of other images.
    """

    blocks: list[np.ndarray]
    best: dict[int, BestScores]


def match_pairs(
    images: Sequence[ImageProposals],
    pairs: Sequence[tuple[int, int]],
    how: Matching = Matching(),
    progress: Callable[[int], None] = lambda pairs: None,
    device: torch.device | str = "cpu",
    strengths: bool = True,
) -> PairScores:
    """Match pairs of images.

    Args:
        images: those that the pairs name by their place here.
        pairs: (a, b), a ≤ b, self pairs among them; those of one a are best given one after the other.
        progress: called with the number of pairs that have just been done.
        device: where to compute.
        strengths: whether the best scores are wanted; without them fewer boxes need to be looked at.

    Returns:
        Scores on the processor, the same whatever the order and company of the pairs.
    """
    matcher = _Matcher(images, how, torch.device(device), strengths)
    blocks: list[np.ndarray] = []
    for a, group in groupby(pairs, key=lambda pair: pair[0]):
        others = [b for _, b in group]
        for several in matcher.batches(a, others):
            blocks.extend(matcher.match(a, several))
            progress(len(several))
    return PairScores(blocks, matcher.best)


class _First(NamedTuple):
    """Image A of a group of pairs."""

    number: int
    boxes: Tensor
    features: Tensor
    neighborhood: Neighborhood
    place: Placement


class _Matcher:
    """Images on the device, and the best scores so far."""

    def __init__(
        self, images: Sequence[ImageProposals], how: Matching, device: torch.device, strengths: bool
    ) -> None:
        self.images, self.how, self.device, self.strengths = images, how, device, strengths
        self.on_mask = [torch.from_numpy(np.flatnonzero(image.on_mask)).to(device) for image in images]
        self.best: dict[int, BestScores] = {}
        self._current: _First | None = None

    def batches(self, a: int, others: list[int]) -> list[list[int]]:
        """The images to match with `a` in pieces that fit into memory."""
        widest = max(len(self.images[b].boxes) for b in others)
        limit = _ELEMENTS_AT_ONCE.get(self.device.type, 2**22)
        size = max(1, limit // max(1, len(self.images[a].boxes) * widest))
        return [others[start : start + size] for start in range(0, len(others), size)]

    def match(self, a: int, others: list[int]) -> list[np.ndarray]:
        """Blocks of a pair each; the best scores are kept up to date."""
        for number in (a, *others):
            if self.strengths and others != [a] and number not in self.best:
                self.best[number] = BestScores(len(self.on_mask[number]))
        if any(len(self.on_mask[a]) or len(self.on_mask[b]) for b in others):
            if self.how.score == "lom" and self.how.mode == "frozen":
                return self._selected(a, others)
            return [self._whole(a, b) for b in others]
        return [np.zeros((0, 0), dtype=np.float32) for _ in others]

    def _features(self, number: int) -> Tensor:
        features = self.images[number].features.to(self.device)
        return features.float() if features.dtype in (torch.float16, torch.bfloat16) else features

    def _whole(self, a: int, b: int) -> np.ndarray:
        """The whole table of a pair, then what is needed of it."""
        size, on_a, on_b = (self.how.side, self.how.side), self.on_mask[a], self.on_mask[b]
        boxes = [self.images[number].boxes.to(self.device) for number in (a, b)]
        scores = match(
            self._features(a), boxes[0], self._features(b), boxes[1], self.how.score, self.how.mode, self.how.scale,
            size, size,
        )
        if a != b and self.strengths:
            self.best[a].add(scores[on_a])
            self.best[b].add(scores[:, on_b].T)
        return scores[on_a][:, on_b].cpu().numpy().astype(np.float32)

    def _first(self, a: int) -> _First:
        """What is made of image A once for all that are matched with it."""
        if self._current is None or self._current.number != a:
            boxes = self.images[a].boxes.to(self.device)
            neighborhood = Neighborhood(overlapping(boxes))
            self._current = _First(a, boxes, self._features(a), neighborhood, placement(boxes, self.how.scale))
        return self._current

    def _selected(self, a: int, others: list[int]) -> list[np.ndarray]:
        """Local offset matching of the boxes whose scores can count: f(i,j) for i wanted, 0 for the others."""
        on_a = self.on_mask[a]
        first = self._first(a)
        neighborhood, place_a = first.neighborhood, first.place
        boxes_b = pad_sequence([self.images[b].boxes.to(self.device) for b in others], batch_first=True)
        naive = self._naive(first, others, boxes_b)
        place_b = placement(boxes_b, self.how.scale)
        votes = votes_of(naive, neighborhood, place_a, place_b)
        support = votes.support.to(naive.dtype)

        # c(i,j) for all i and the j on the masks of the images B, padded with what matches nothing.
        on_b = pad_sequence([self.on_mask[b] for b in others], batch_first=True)
        real = torch.arange(on_b.shape[1], device=self.device) < torch.tensor(
            [[len(self.on_mask[b])] for b in others], device=self.device
        )
        columns = naive.gather(2, on_b[:, None].expand(-1, len(first.boxes), -1)).masked_fill_(~real[:, None], 0)
        wanted = self._wanted(a, others, naive, columns, support)
        medians = reweighted_medians(votes, neighborhood, wanted)

        # f(i,j) for the i on A's mask and all j: what A's best scores need.
        rows = weighted(
            naive[:, on_a],
            Placement(place_a.centers[on_a], place_a.areas[on_a]),
            place_b,
            medians[:, on_a],
            votes.support[:, on_a],
        ).masked_fill_(~wanted[:, on_a, None], 0)
        # f(i,j) for all i and the j on B's mask: what B's best scores need, and the blocks.
        place_columns = Placement(
            place_b.centers.gather(1, on_b[..., None].expand(-1, -1, 2)), place_b.areas.gather(1, on_b)
        )
        columns = weighted(columns, place_a, place_columns, medians, votes.support).masked_fill_(~wanted[..., None], 0)
        blocks = []
        for place, b in enumerate(others):
            count = len(self.on_mask[b])
            if b != a and self.strengths:
                self.best[a].add(rows[place, :, : len(self.images[b].boxes)])
                self.best[b].add(columns[place, :, :count].T)
            blocks.append(columns[place, on_a, :count].cpu().numpy().astype(np.float32))
        return blocks

    def _naive(self, first: _First, others: list[int], boxes_b: Tensor) -> Tensor:
        """Naive scores `[Q,M1,M2]`."""
        naive = first.features.new_zeros(len(others), len(first.boxes), boxes_b.shape[1])
        for table, b in zip(naive, others, strict=True):
            # Each product by itself: in one with its neighbors its rounding would depend on their number.
            features_b = self._features(b)
            torch.mm(first.features, features_b.T, out=table[:, : len(features_b)])
        naive.clamp_(min=0)
        return naive.masked_fill_(aspects_agree(first.boxes, boxes_b).logical_not_(), 0)

    def _wanted(self, a: int, others: list[int], naive: Tensor, columns: Tensor, support: Tensor) -> Tensor:
        """Boxes i of A whose median can matter, bool `[Q,M1]`; t(j) is the hundredth best score so far of a proposal.

        i is wanted if support(i) > 0 and
        - c(i,j) · support(i) > t(j) for some j on B's mask, or
        - i is on A's mask, and c(i,j) > 0 for some j on B's mask (f(i,j) is in the block)
          or c(i,j) · support(i) > t(i) for some j of B.
        In a self pair, and where no best scores are kept, every t is infinite.
        """
        thresholds = pad_sequence([self._threshold(b, b == a) for b in others], batch_first=True)
        wanted = (columns * support[..., None] > thresholds[:, None]).any(dim=2)
        on_a = self.on_mask[a]
        own = torch.stack([self._threshold(a, b == a) for b in others])
        among = (columns[:, on_a] > 0).any(dim=2)
        wanted[:, on_a] |= among | (naive[:, on_a].amax(dim=2) * support[:, on_a] > own)
        return wanted & (support > 0)

    def _threshold(self, number: int, itself: bool) -> Tensor:
        if itself or not self.strengths:
            return torch.full((len(self.on_mask[number]),), torch.inf, device=self.device)
        return self.best[number].threshold.to(self.device)
