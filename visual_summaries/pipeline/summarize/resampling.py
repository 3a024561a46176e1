"""Is a summary found again? The class's summaries are made anew from resamples of its images and compared.

Shapes: N images of the class, m members.
"""

from collections.abc import Callable, Sequence

import numpy as np

from visual_summaries.pipeline.summarize.boxes import box_overlap
from visual_summaries.pipeline.summarize.candidates import Candidate

Rerun = Callable[[np.ndarray, int], Sequence[Candidate]]
"""Numbers of images `[n]` int64, ascending, and a seed → the summaries of these images alone. Their members' images are
positions in those numbers."""


def same_part(first: Candidate, second: Candidate, least: float = 0.5) -> bool:
    """Whether two candidates show one part: in at least half of the images that both are in, their boxes' intersection
    over union is at least `least`. They must have at least half of the images of the smaller in common."""
    common, a, b = np.intersect1d(first.images, second.images, assume_unique=True, return_indices=True)
    if not len(common) or 2 * len(common) < min(len(first), len(second)):
        return False
    overlaps = box_overlap(first.boxes[a].astype(np.float64), second.boxes[b].astype(np.float64))
    return bool(2 * (overlaps >= least).sum() >= len(common))


def in_images(candidate: Candidate, images: np.ndarray) -> Candidate:
    """The members in some images, ascending numbers `[n]`; a member's image is then its position among these."""
    inside = np.isin(candidate.images, images)
    own = candidate.rows(inside)
    return Candidate(own.source, np.searchsorted(images, own.images), own.boxes, own.segments)


def found_again(
    summaries: Sequence[Candidate],
    rerun: Rerun,
    count: int,
    resamples: int = 10,
    share: float | None = 0.8,
    seed: int = 0,
) -> np.ndarray:
    """Share of resamples in which each summary is found again: `[len(summaries)]` float64 in 0..1.

    A resample in which a summary has no image at all does not count for it; NaN if that is so in each.

    Args:
        summaries: of all images of the class.
        rerun: makes the summaries of some of the images.
        count: images of the class, N.
        resamples: how often.
        share: of the images that are drawn without replacement; `None` draws N with replacement, of which each
            image counts once.
        seed: of the draws, and of the seeds that `rerun` gets.
    """
    generator = np.random.default_rng(seed)
    found = np.zeros((resamples, len(summaries)))
    for at in range(resamples):
        if share is None:
            images = np.unique(generator.integers(count, size=count))
        else:
            images = np.sort(generator.choice(count, max(1, round(share * count)), replace=False))
        again = [
            Candidate(one.source, images[one.images], one.boxes, one.segments)
            for one in rerun(images, int(generator.integers(2**31)))
        ]
        for number, summary in enumerate(summaries):
            own = summary.rows(np.isin(summary.images, images))
            found[at, number] = any(same_part(own, other) for other in again) if len(own) else np.nan
    known = (~np.isnan(found)).sum(axis=0)
    return np.divide(np.nansum(found, axis=0), known, out=np.full(len(summaries), np.nan), where=known > 0)
