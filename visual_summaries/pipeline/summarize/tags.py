"""Automatic tags: a summary's members by the classifier's own top labels on their crops (visual summaries
§4.2).

Shapes: n crops, K classes, T tags.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from visual_summaries.pipeline.models.labels import Labels

TAGS_PER_CROP = 8
"""As many as the paper lets its tagger give."""


@dataclass(frozen=True)
class Tags:
    """Tag sets of n crops.

    Attributes:
        names: `[T]`, those that at least one crop has, in the order of the classes.
        sets: `[n,T]` bool, which crop has which tag.
    """

    names: tuple[str, ...]
    sets: np.ndarray

    def most_common(self, members: Sequence[int] | np.ndarray | None = None) -> list[tuple[str, float]]:
        """Tags of the crops `members` (default: all) with the share of them in 0..1, the most common first.

        Of equally common tags the one of the lower class comes first; tags that none of them has are left out.
        """
        chosen = self.sets if members is None else self.sets[np.asarray(members, dtype=np.int64)]
        if not len(chosen):
            return []
        shares = chosen.mean(axis=0)
        order = np.argsort(-shares, kind="stable")
        return [(self.names[tag], float(shares[tag])) for tag in order if shares[tag] > 0]


def label_tags(scores: np.ndarray, labels: Labels, count: int = TAGS_PER_CROP) -> Tags:
    """The `count` best tags of each crop, by class scores.

    Classes with one WordNet id are one tag, called as the first of them and scored as the best; without WordNet ids,
    classes with one name (whatever its case). Different ids with one name stay apart, with the id in their names. Of
    equal scores the lower class counts.

    Args:
        scores: `[n,K]` logits or probabilities, finite.
        labels: K names, with WordNet ids where known.
        count: tags of a crop, at least 1 and at most the number of different tags. With all of them every crop has
            the same set; with fewer than ten classes choose far fewer than the default.

    Raises:
        ValueError: shapes do not fit, scores are not finite, or `count` is out of range.
    """
    scores = np.asarray(scores)
    if scores.ndim != 2 or scores.shape[1] != len(labels.names) or not np.isfinite(scores).all():
        raise ValueError(f"scores must be finite and [n,{len(labels.names)}], got {scores.shape}")
    keys = labels.wordnet_ids or tuple(name.casefold() for name in labels.names)
    numbers: dict[str, int] = {}
    meaning = np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)
    if not 1 <= count <= len(numbers):
        raise ValueError(f"count must lie in 1…{len(numbers)}, the number of different tags, got {count}")
    order = np.argsort(meaning, kind="stable")
    _, starts = np.unique(meaning[order], return_index=True)
    merged = np.maximum.reduceat(scores[:, order], starts, axis=1)
    best = np.argsort(-merged.astype(np.float64), axis=1, kind="stable")[:, :count]
    sets = np.zeros(merged.shape, dtype=bool)
    np.put_along_axis(sets, best, True, axis=1)
    names = _tag_names(labels, order[starts])
    used = sets.any(axis=0)
    return Tags(tuple(name for name, kept in zip(names, used, strict=True) if kept), sets[:, used])


def _tag_names(labels: Labels, firsts: np.ndarray) -> list[str]:
    """Names of the tags whose first classes are given, told apart by WordNet id where they are the same."""
    names = [labels.names[index] for index in firsts]
    common = Counter(names)
    if labels.wordnet_ids is None:
        return names
    return [
        f"{name} ({labels.wordnet_ids[index]})" if common[name] > 1 else name
        for name, index in zip(names, firsts, strict=True)
    ]
