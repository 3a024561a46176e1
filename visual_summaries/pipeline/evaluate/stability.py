"""Do two runs find the same summaries? For two seeds, two subsamples of a class, or two ways to choose the image pairs.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score

from visual_summaries.pipeline.summarize.boxes import box_overlap
from visual_summaries.pipeline.summarize.candidates import Candidate
from visual_summaries.pipeline.summarize.resampling import same_part

Members = Mapping[str, np.ndarray]
"""A summary's members: image id → box `[4]` x0, y0, x1, y1 in pixels."""


def adjusted_rand_index(first: Mapping[object, int], second: Mapping[object, int]) -> float:
    """Agreement of two clusterings on the parts that both have: 1 for the same, 0 as by chance.

    Args:
        first, second: part → number of its cluster.

    Returns:
        NaN where they have fewer than 2 parts in common.
    """
    common = sorted(set(first) & set(second), key=str)
    if len(common) < 2:
        return float("nan")
    return float(adjusted_rand_score([first[part] for part in common], [second[part] for part in common]))


def member_overlap(first: Members, second: Members, least: float = 0.5) -> float:
    """Images in which both summaries show the same part, as a share of all their images, in 0..1.

    The same part: boxes whose intersection over union is at least `least`.
    """
    images = [image for image in first if image in second]
    if not images:
        return 0.0
    a, b = (np.stack([np.asarray(summary[image], dtype=np.float64) for image in images]) for summary in (first, second))
    return float((box_overlap(a, b) >= least).sum() / len(first.keys() | second.keys()))


def matched_summaries(first: Sequence[Members], second: Sequence[Members], least: float = 0.5) -> list[tuple[int, int]]:
    """Pairs (number in `first`, number in `second`) of summaries whose overlap is at least `least`.

    Each summary belongs to one pair at most; the pairs are chosen for the largest overlap in all.
    """
    overlaps = np.array([[member_overlap(a, b) for b in second] for a in first]).reshape(len(first), len(second))
    rows, columns = linear_sum_assignment(-overlaps)
    return [(int(a), int(b)) for a, b in zip(rows, columns, strict=True) if overlaps[a, b] >= least]


def matched_share(first: Sequence[Members], second: Sequence[Members], least: float = 0.5) -> float:
    """Share of the summaries of both that are matched: 2 · pairs / (both counts); NaN where there are none."""
    total = len(first) + len(second)
    return 2 * len(matched_summaries(first, second, least)) / total if total else float("nan")


def found_again_in(first: Sequence[Members], second: Sequence[Members]) -> list[bool]:
    """Whether each summary of `first` is found again in `second`, by `resampling.same_part`.

    Unlike `matched_summaries`, this asks nothing of further summaries in `second`, nor of images that only one of two
    summaries has.
    """
    images = {image: number for number, image in enumerate(sorted(set().union(*first, *second)))}
    before, after = ([_candidate(one, images) for one in members] for members in (first, second))
    return [any(same_part(one, other) for other in after) for one in before]


def again_share(first: Sequence[Members], second: Sequence[Members]) -> float:
    """Share of the summaries of `first` that are found again in `second` (`found_again_in`); NaN without any."""
    found = found_again_in(first, second)
    return float(np.mean(found)) if found else float("nan")


def _candidate(members: Members, images: Mapping[str, int]) -> Candidate:
    order = sorted(members, key=images.get)
    boxes = np.array([members[image] for image in order], dtype=np.float32).reshape(-1, 4)
    return Candidate("", np.array([images[image] for image in order]), boxes, np.ones((len(order), 1, 1), bool))
