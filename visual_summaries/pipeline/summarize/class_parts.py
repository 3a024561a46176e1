"""The parts of one class, from what the classifier sees in its images and where they are salient.

Shapes: N images, H by W pixels, G by G cells, D components.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from visual_summaries.pipeline.summarize.candidates import Candidate, candidate_of_cells, cell_shares
from visual_summaries.pipeline.summarize.cell_features import with_context
from visual_summaries.pipeline.summarize.coherence import SmoothMaps
from visual_summaries.pipeline.summarize.consensus import agreed
from visual_summaries.pipeline.summarize.duplicates import photograph_groups, photograph_weights
from visual_summaries.pipeline.summarize.factors import LEAST_SALIENT, factor_cells
from visual_summaries.pipeline.summarize.part_selection import Selection, SelectionSettings, choose, judge_candidates
from visual_summaries.pipeline.summarize.region_groups import PooledRegions, region_cells
from visual_summaries.pipeline.summarize.resampling import Rerun, in_images
from visual_summaries.pipeline.summarize.specificity import salience_where_alike


@dataclass(frozen=True)
class PartSettings:
    """How a class's parts are found.

    Attributes:
        context: cells to a side around each cell whose mean describes it, odd; a single cell knows its texture, but
            not what it is part of.
        factors: numbers of factors, each a source of candidates; none for no factors.
        regions: numbers of groups of the salient regions; none for no regions.
        runs: from random starts; a candidate is what they agree on.
        minimum_area: of a salient region, as a share of the image's pixels.
        gap: cells that two pieces of a factor may lie apart in an image and still be one member, an even number.
        selection: when a candidate is a summary.
    """

    context: int = 3
    factors: tuple[int, ...] = (4, 6, 8)
    regions: tuple[int, ...] = (1, 2, 3)
    runs: int = 6
    minimum_area: float = 0.01
    gap: int = 2
    selection: SelectionSettings = field(default_factory=SelectionSettings)


def find_parts(
    features: np.ndarray,
    masks: np.ndarray,
    settings: PartSettings | None = None,
    seed: int = 0,
    more: Sequence[Candidate] = (),
) -> Selection:
    """The summaries of a class, and every candidate that is not one.

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
    return ClassImages.of(features, masks, settings, seed).parts(seed, more)


@dataclass(frozen=True)
class ClassImages:
    """A class's images with what is made of them once and is the same for any part of them.

    Attributes:
        settings: how parts are found.
        masks: `[N,H,W]` bool, salient pixels.
        shares: `[N,G,G]`, their share of each cell.
        seen: `[N,G,G,D]`, features with their context.
        maps: features averaged over several widths.
        groups: `[N]` number of the photograph that each image is.
        where_alike: `[N,G,G]`, `specificity.salience_where_alike`.
        regions: the salient regions.
    """

    settings: PartSettings
    masks: np.ndarray
    shares: np.ndarray
    seen: np.ndarray
    maps: SmoothMaps
    groups: np.ndarray
    where_alike: np.ndarray
    regions: PooledRegions

    @staticmethod
    def of(
        features: np.ndarray, masks: np.ndarray, settings: PartSettings | None = None, seed: int = 0
    ) -> "ClassImages":
        """Arguments as for `find_parts`."""
        settings = settings or PartSettings()
        if features.ndim != 4 or masks.ndim != 3 or len(features) != len(masks):
            raise ValueError(f"features must be [N,G,G,D] and masks [N,H,W], got {features.shape} and {masks.shape}")
        features = np.asarray(features, dtype=np.float32)
        shares = cell_shares(masks, features.shape[1])
        seen = with_context(features, settings.context)
        groups = photograph_groups(features, seed=seed)
        alike = salience_where_alike(seen, shares, shares > LEAST_SALIENT, photograph_weights(groups))
        regions = PooledRegions.of(seen, masks, settings.minimum_area)
        return ClassImages(settings, masks, shares, seen, SmoothMaps(features), groups, alike, regions)

    def some(self, images: np.ndarray) -> "ClassImages":
        """Some of the images, ascending numbers `[n]`."""
        masks, shares, seen = (values[images] for values in (self.masks, self.shares, self.seen))
        groups, alike = self.groups[images], self.where_alike[images]
        maps, regions = self.maps.of_images(images), self.regions.of_images(images)
        return ClassImages(self.settings, masks, shares, seen, maps, groups, alike, regions)

    def parts(self, seed: int = 0, more: Sequence[Candidate] = ()) -> Selection:
        """The summaries of these images, and every candidate that is not one; arguments as for `find_parts`."""
        own, weights = self.settings, photograph_weights(self.groups)
        candidates = [*more, *self._agreed(seed, weights)]
        # Judged without the context that made the factors: cells of one place resemble each other by it.
        judged = judge_candidates(
            candidates, self.maps, self.shares, self.groups, own.selection, seed, self.where_alike
        )
        return choose(judged, self.shares, self.groups, own.selection)

    def _agreed(self, seed: int, weights: np.ndarray) -> list[Candidate]:
        """What several runs of both groupings agree on, each with the source of most that are around it."""
        own, count = self.settings, len(self.masks)
        factors: list[np.ndarray] = []
        regions: list[np.ndarray] = []
        for start in np.random.default_rng(seed).integers(2**31, size=own.runs).tolist():
            if own.factors:
                factors += factor_cells(self.seen, self.shares, own.factors, start, weights, gap=own.gap)
            if own.regions:
                regions += region_cells(self.regions, count, own.regions, start, weights)
        modes, around = agreed([*factors, *regions], self.shares, weights, own.gap)
        of_factors = around[:, : len(factors)].sum(axis=1) >= around[:, len(factors) :].sum(axis=1)
        return [
            candidate_of_cells("factors" if factor else "regions", cells, self.masks, minimum=1)
            for cells, factor in zip(modes, of_factors, strict=True)
        ]

    def again(self, more: Sequence[Candidate] = ()) -> Rerun:
        """`parts` of some of the images, for `resampling.found_again`.

        What belongs to single images, their features and which are copies of each other, is not made anew; `more` are
        taken as they are, with the members in these images.
        """

        def rerun(images: np.ndarray, seed: int) -> list[Candidate]:
            found = self.some(images).parts(seed, [in_images(one, images) for one in more])
            return [one.candidate for one in found.summaries]

        return rerun


def remaking(
    features: np.ndarray,
    masks: np.ndarray,
    settings: PartSettings | None = None,
    more: Sequence[Candidate] = (),
    seed: int = 0,
) -> Rerun:
    """`find_parts` on some of a class's images; arguments as there. Of `more`, the members in these images are kept."""
    return ClassImages.of(features, masks, settings, seed).again(more)
