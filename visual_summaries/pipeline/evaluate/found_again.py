"""Are a class's summaries found again with another seed, in a part of its images, from other proposals?

Each summary is sought among those that are made anew (`resampling.same_part`: boxes that overlap by half, in half of
the common images), so that a figure of 1 means that this summary, and not only as many, is there again.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from visual_summaries.pipeline.summarize.candidates import Candidate
from visual_summaries.pipeline.summarize.resampling import Rerun, found_again

KEPT_SHARE = 0.8


@dataclass(frozen=True)
class FoundAgain:
    """Share of the repetitions in which each summary is found again: each `[S]` float64 in 0..1.

    Attributes:
        seeds: with other seeds, on the same images.
        images: in random 80 % of the images, each with a seed of its own; NaN for a summary without a member in any.
        proposals: from other proposals, with the same images and seed; NaN without any.
    """

    seeds: np.ndarray
    images: np.ndarray
    proposals: np.ndarray


def summaries_found_again(
    summaries: Sequence[Candidate],
    rerun: Rerun,
    count: int,
    repetitions: int = 4,
    seed: int = 0,
    others: Sequence[Rerun] = (),
) -> FoundAgain:
    """Make a class's summaries anew under three changes that should not matter.

    Args:
        summaries: S of them, found in all images with `seed`.
        rerun: makes the summaries of some of the images with some seed, as `class_parts.remaking` gives it.
        count: images of the class.
        repetitions: seeds, and subsamples of the images; at least 1.
        seed: of the run; those of the repetitions follow from it.
        others: the same as `rerun` from other proposals; each is one repetition.
    """

    def with_own_seed(other: Rerun) -> Rerun:
        return lambda images, _: other(images, seed)

    from_others = [found_again(summaries, with_own_seed(other), count, 1, share=1.0) for other in others]
    return FoundAgain(
        seeds=found_again(summaries, rerun, count, repetitions, share=1.0, seed=seed),
        images=found_again(summaries, rerun, count, repetitions, KEPT_SHARE, seed),
        proposals=np.mean(from_others, axis=0) if others else np.full(len(summaries), np.nan),
    )
