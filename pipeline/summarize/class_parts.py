"""The parts of one class, from what the classifier sees in its images and where they are salient.

Shapes: N images, H by W pixels, G by G cells, D components.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from pipeline.summarize.candidates import Candidate, cell_shares
from pipeline.summarize.cell_features import with_context
from pipeline.summarize.duplicates import photograph_groups, photograph_weights
from pipeline.summarize.factors import factors
from pipeline.summarize.part_selection import Selection, SelectionSettings, select_parts
from pipeline.summarize.region_groups import region_groups
from pipeline.summarize.resampling import Rerun, found_again


@dataclass(frozen=True)
class PartSettings:
    """How a class's parts are found.

    Attributes:
        context: cells to a side around each cell whose mean describes it, odd; a single cell knows its texture, but
            not what it is part of.
        factors: numbers of factors, each a source of candidates; none for no factors.
        regions: numbers of groups of the salient regions; none for no regions.
        minimum_area: of a salient region, as a share of the image's pixels.
        selection: when a candidate is a summary.
    """

    context: int = 5
    factors: tuple[int, ...] = (4, 6, 8)
    regions: tuple[int, ...] = (1, 2, 3)
    minimum_area: float = 0.01
    selection: SelectionSettings = field(default_factory=SelectionSettings)


def find_parts(
    features: np.ndarray,
    masks: np.ndarray,
    settings: PartSettings | None = None,
    seed: int = 0,
    more: Sequence[Candidate] = (),
) -> Selection:
    """The summaries of a class, and every candidate that is none.

    Depends on this class alone; time and memory are linear in its images.

    Args:
        features: `[N,G,G,D]` of unit length, as `cell_features.Basis.apply_maps` gives them.
        masks: `[N,H,W]` bool, salient pixels.
        settings: how parts are found.
        seed: of k-means and of the random places.
        more: candidates from elsewhere, such as clusters of proposals (`candidates.candidate_of_boxes`).

    Raises:
        ValueError: shapes do not fit.
    """
    settings = settings or PartSettings()
    if features.ndim != 4 or masks.ndim != 3 or len(features) != len(masks):
        raise ValueError(f"features must be [N,G,G,D] and masks [N,H,W], got {features.shape} and {masks.shape}")
    shares = cell_shares(masks, features.shape[1])
    seen = with_context(np.asarray(features, dtype=np.float32), settings.context)
    groups = photograph_groups(features, seed=seed)
    weights = photograph_weights(groups)
    candidates = [
        *more,
        *factors(seen, shares, masks, settings.factors, seed, weights),
        *region_groups(seen, masks, settings.regions, settings.minimum_area, seed, weights),
    ]
    # Judged without the context that made the factors: cells of one place resemble each other by it.
    return select_parts(candidates, features, shares, settings.selection, seed, groups, seen)


def stability(
    selection: Selection,
    features: np.ndarray,
    masks: np.ndarray,
    settings: PartSettings | None = None,
    resamples: int = 5,
    share: float | None = 0.8,
    seed: int = 0,
    more: Sequence[Candidate] = (),
) -> np.ndarray:
    """Share of resamples of the class's images in which each of its summaries is found again, by `find_parts`.

    Arguments as for `find_parts` and `resampling.found_again`.
    """
    summaries = [one.candidate for one in selection.summaries]
    return found_again(summaries, remaking(features, masks, settings, more), len(features), resamples, share, seed)


def remaking(
    features: np.ndarray, masks: np.ndarray, settings: PartSettings | None = None, more: Sequence[Candidate] = ()
) -> Rerun:
    """`find_parts` on some of a class's images; arguments as there. Of `more` the members in these images are left."""

    def rerun(images: np.ndarray, seed: int) -> list[Candidate]:
        again = find_parts(features[images], masks[images], settings, seed, [_among(one, images) for one in more])
        return [one.candidate for one in again.summaries]

    return rerun


def _among(candidate: Candidate, images: np.ndarray) -> Candidate:
    """A candidate in some of the images, numbered among these."""
    left = candidate.rows(np.isin(candidate.images, images))
    return Candidate(left.source, np.searchsorted(images, left.images), left.boxes, left.segments)
