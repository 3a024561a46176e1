"""From the candidates of a class to its summaries: those above chance, the fewest that account for the evidence, and
what every other candidate is to them.

Shapes: N images, G by G cells, D components, K candidates.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from visual_summaries.pipeline.summarize.candidates import Candidate
from visual_summaries.pipeline.summarize.coherence import Coherence, SmoothMaps, candidate_coherence
from visual_summaries.pipeline.summarize.cover import CONFLICT, Cover, CoverProblem, fewest
from visual_summaries.pipeline.summarize.duplicates import photograph_groups, photograph_weights, representatives
from visual_summaries.pipeline.summarize.specificity import salience_where_alike, specificity

CHOSEN, RARE, BY_CHANCE, LITTLE = "", "too few photographs", "no more alike than chance", "adds too little"
BACKGROUND = "as common where nothing is salient"
NEAR_DUPLICATE, SUB_PART, WHOLE = "near-duplicate", "sub-part", "whole of parts"


@dataclass(frozen=True)
class SelectionSettings:
    """When a candidate is a summary.

    Attributes:
        least_photographs: with a member; copies of a photograph count once.
        least_support: photographs with a member as a share of all.
        least_excess: coherence above chance, as a share of what is possible.
        least_score: the same in standard deviations of chance.
        least_specificity: of a candidate that is not mere background (`specificity.specificity`).
        price: what a summary must add, as a share of what the best candidate alone accounts for, both weighted by
            coherence.
        waste: what a pixel of a member that is not salient costs, against one that is.
        drop_odd: leave out members that are less like the others than random salient places are.
        support_power: what a pixel is worth is its candidate's coherence above chance times this power of its support;
            with 1, how much it is like a random photograph of the class, those without a member included.
    """

    least_photographs: int = 3
    least_support: float = 0.4
    least_excess: float = 0.05
    least_score: float = 3.0
    least_specificity: float = 0.1
    price: float = 0.1
    waste: float = 1.0
    drop_odd: bool = True
    support_power: float = 1.0


@dataclass(frozen=True)
class Judged:
    """A candidate and what became of it.

    Attributes:
        candidate: with the members that are left.
        coherence: of them.
        specificity: how much more often places that look like it are salient than places in general, 0..1.
        photographs: that have a member, copies counted once.
        support: their share of the class's.
        coverage: share of the class's salient pixels that the members hold.
        reason: empty for a summary, otherwise why it is none.
        rank: among the summaries, from 0; −1 for others.
        gain: what a summary adds to those before it: coverage weighted by coherence; 0 for others.
        added: share of the salient pixels that it adds to those before it; 0 for others.
        belongs_to: rank of the summary that a candidate lies under, −1 for none.
        relation: "near-duplicate", "sub-part", "whole of parts", or empty.
    """

    candidate: Candidate
    coherence: Coherence
    specificity: float
    photographs: int
    support: float
    coverage: float
    reason: str = ""
    rank: int = -1
    gain: float = 0.0
    added: float = 0.0
    belongs_to: int = -1
    relation: str = ""


@dataclass(frozen=True)
class Selection:
    """The summaries of a class and all other candidates.

    Attributes:
        summaries: the chosen candidates, the most valuable first.
        others: the rest, in the order in which they came.
        accounted: share of the class's salient pixels that the summaries hold.
        unaccounted: `[N,G,G]` float32, salient share of each cell that none of them holds.
        groups: `[N]` number of the photograph that each image is (copies have the same).
    """

    summaries: list[Judged]
    others: list[Judged]
    accounted: float
    unaccounted: np.ndarray
    groups: np.ndarray


def select_parts(
    candidates: Sequence[Candidate],
    features: np.ndarray,
    shares: np.ndarray,
    settings: SelectionSettings | None = None,
    seed: int = 0,
    groups: np.ndarray | None = None,
    seen: np.ndarray | None = None,
) -> Selection:
    """Choose a class's summaries.

    Args:
        candidates: K of them, from any sources.
        features: `[N,G,G,D]` of unit length.
        shares: `[N,G,G]` share of each cell's pixels that is salient.
        settings: when a candidate is a summary.
        seed: of the random places that chance is taken from.
        groups: `[N]` as `photograph_groups` gives them, which is the default.
        seen: `[N,G,G,D]` features with their context, to tell parts from background; default `features`.
    """
    settings = settings or SelectionSettings()
    groups = photograph_groups(features, seed=seed) if groups is None else groups
    alike = salience_where_alike(
        features if seen is None else seen, shares, _cells_of(candidates, shares), photograph_weights(groups)
    )
    judged = judge_candidates(candidates, features, shares, groups, settings, seed, alike)
    return choose(judged, shares, groups, settings)


def judge_candidates(
    candidates: Sequence[Candidate],
    features: np.ndarray | SmoothMaps,
    shares: np.ndarray,
    groups: np.ndarray,
    settings: SelectionSettings,
    seed: int = 0,
    where_alike: np.ndarray | None = None,
) -> list[Judged]:
    """What is known of every candidate, without its members that do not fit; arguments as above.

    `features` may be `SmoothMaps`; `where_alike` `[N,G,G]` is `specificity.salience_where_alike`, made of the features
    if it is not given.
    """
    maps = features if isinstance(features, SmoothMaps) else SmoothMaps(features)
    weights, first = photograph_weights(groups), representatives(groups)
    if where_alike is None:
        where_alike = salience_where_alike(maps.at_width(1), shares, shares > 0, weights)
    photographs = max(1, int(first.sum()))
    judged = []
    for candidate in candidates:
        candidate, coherence = candidate_coherence(
            candidate, maps, shares, seed, first, drop_odd=settings.drop_odd
        )
        number = len(np.unique(groups[candidate.images]))
        held = (candidate.segments * shares[candidate.images] * weights[candidate.images, None, None]).sum()
        coverage = float(held / max((shares * weights[:, None, None]).sum(), 1e-12))
        reason = CHOSEN
        if number < settings.least_photographs or number < settings.least_support * photographs:
            reason = RARE
        elif not (coherence.excess >= settings.least_excess and coherence.score >= settings.least_score):
            reason = BY_CHANCE
        specific = specificity(candidate, where_alike, shares)
        if reason == CHOSEN and specific < settings.least_specificity:
            reason = BACKGROUND
        judged.append(Judged(candidate, coherence, specific, number, number / photographs, coverage, reason))
    return judged


def _cells_of(candidates: Sequence[Candidate], shares: np.ndarray) -> np.ndarray:
    """The cells `[N,G,G]` bool of any candidate."""
    cells = np.zeros(shares.shape, dtype=bool)
    for candidate in candidates:
        cells[candidate.images] |= candidate.segments
    return cells


def choose(
    judged: Sequence[Judged], shares: np.ndarray, groups: np.ndarray, settings: SelectionSettings
) -> Selection:
    """The summaries among judged candidates; arguments as above."""
    weights = photograph_weights(groups)
    worth = [one.coherence.excess * one.support**settings.support_power for one in judged]
    best = max((one.coverage * value for one, value in zip(judged, worth, strict=True) if not one.reason), default=0.0)
    problem = CoverProblem(
        [one.candidate for one in judged],
        worth,
        shares,
        weights,
        settings.price * best,
        settings.waste,
    )
    cover = fewest(problem, [at for at, one in enumerate(judged) if one.reason == CHOSEN])
    return _selection(judged, problem, cover, groups)


def _selection(judged: Sequence[Judged], problem: CoverProblem, cover: Cover, groups: np.ndarray) -> Selection:
    summaries = [
        replace(judged[one], rank=rank, gain=cover.gains[rank], added=cover.added[rank])
        for rank, one in enumerate(cover.chosen)
    ]
    others = []
    for at, one in enumerate(judged):
        if at in cover.chosen:
            continue
        rank, relation = _place(problem, at, cover.chosen)
        reason = one.reason or LITTLE
        others.append(replace(one, reason=reason, belongs_to=rank, relation=relation))
    return Selection(summaries, others, cover.total, cover.unaccounted, groups)


def _place(problem: CoverProblem, at: int, chosen: list[int]) -> tuple[int, str]:
    """The summary that a candidate lies under, and as what; (−1, "") where it mostly lies under none."""
    overlaps = [problem.overlap(at, one) for one in chosen]
    if not overlaps or max(overlaps) < CONFLICT:
        return -1, ""
    rank = int(np.argmax(overlaps))
    own, other = problem.coverage(at), problem.coverage(chosen[rank])
    if own < CONFLICT * other:
        return rank, SUB_PART
    return rank, WHOLE if other < CONFLICT * own else NEAR_DUPLICATE

