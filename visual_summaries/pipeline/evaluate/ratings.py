"""What people say of summaries and maps: the agreement μ_U between names given to one summary (visual summaries §4.2,
Table 1), faith % and interpretability index (Feature CAM §5.1, Table 1).

Where the papers leave a choice:

- A rater gives a summary a *set of tags*; tags are separated by commas, and a tag of several words is one tag, as in
  the paper's Table 1 ("side window"). Tags are compared in lower case, and a plural in -s counts as its singular where
  both were given in the class: the least of what the paper's merging of synonyms does for its automatic tagger.
- "Cannot tell" is no set of tags. It is counted, and takes no part in distances.
- μ_U of a class is the mean over its summaries with two named sets or more; over classes it is the mean of the classes.
- The paper has no chance level for people. Ours is the mean distance between sets of different raters for *different*
  summaries of the class: what agreement would be if names did not depend on the summary.
- Feature CAM asks to find the image in "a small pool" of unstated size. Chance is 1 / size of the pool shown.
"""

import json
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from visual_summaries.pipeline.evaluate.coherence import jaccard_distances, mean_pair_distance
from visual_summaries.pipeline.evaluate.intervals import class_mean_interval, mean_interval, wilson_interval

PART_NAME, MAP_RATING, FIND_IMAGE = KINDS = ("part name", "map rating", "find the image")
HIGHEST_RATING = 6

Named = Mapping[int, Mapping[str, tuple[str, ...]]]
"""Of one class: summary → rater → tags; empty for "cannot tell"."""


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval and the number of items behind it; NaN without any."""

    value: float
    low: float
    high: float
    count: int


@dataclass(frozen=True)
class SummaryNames:
    """What one summary was called.

    Attributes:
        label, summary: class of the run and number within it, as in the table `summaries` (from 0).
        tags: each tag with the number of raters who gave it, the most used first; the paper calls a summary by the
            first. Of equally used ones that which was given first.
        named, unsure: raters who named it, and who could not tell.
        distance: mean pairwise Jaccard distance between the raters' sets, in [0,1]; NaN for fewer than two.
    """

    label: str
    summary: int
    tags: tuple[tuple[str, int], ...]
    named: int
    unsure: int
    distance: float

    @property
    def name(self) -> str | None:
        """The tag that most raters gave; None where nobody named it."""
        return self.tags[0][0] if self.tags else None


@dataclass(frozen=True)
class Agreement:
    """μ_U of one class, lower is more agreement, and what it would be by chance; NaN where there are no pairs.

    `summaries`: those with two named sets or more, over which `value` is the mean.
    """

    label: str
    value: float
    chance: float
    summaries: int


@dataclass(frozen=True)
class StudyResults:
    """All answers of a run, summed up.

    Attributes:
        raters: people who answered anything.
        names: one for each summary that anybody was asked about, by class and number.
        agreement: one for each class with names.
        mean_agreement: μ_U, mean over classes; its interval draws summaries within classes, `count` is of summaries.
        chance_agreement: the same by chance, over those of these classes that have pairs for it.
        faith: share in 0..1 of answers that found the image, with Wilson's interval.
        chance_faith: mean of 1 / photographs shown.
        faith_by_pool: the same for pools of photographs of one class and for others, by what the protocol says.
        index: interpretability index, mean rating in 0..6, with a bootstrap interval over answers.
    """

    raters: int
    names: tuple[SummaryNames, ...]
    agreement: tuple[Agreement, ...]
    mean_agreement: Estimate
    chance_agreement: float
    faith: Estimate
    chance_faith: float
    faith_by_pool: Mapping[str, Estimate]
    index: Estimate


def tags_of(text: str | None) -> tuple[str, ...]:
    """The different tags of an answer, in lower case and in the order given; none for None.

    They are separated by commas, semicolons or lines; blanks and full stops around them do not count.
    """
    parts = re.split(r"[,;\n]", unicodedata.normalize("NFKC", text or "").lower())
    cleaned = (" ".join(part.split()).strip(" .\"'") for part in parts)
    return tuple(dict.fromkeys(part for part in cleaned if part))


def class_names(label: str, named: Named) -> tuple[list[SummaryNames], Agreement]:
    """What the summaries of a class were called, and μ_U of the class against chance."""
    vocabulary = {tag for answers in named.values() for tags in answers.values() for tag in tags}

    def singular(tag: str) -> str:
        return tag[:-1] if tag.endswith("s") and tag[:-1] in vocabulary else tag

    sets = {
        number: {rater: tuple(dict.fromkeys(map(singular, tags))) for rater, tags in answers.items()}
        for number, answers in sorted(named.items())
    }
    items = [
        (number, rater, tags) for number, answers in sets.items() for rater, tags in answers.items() if tags
    ]
    distances = _set_distances([tags for _, _, tags in items])
    summaries = np.array([number for number, _, _ in items], dtype=np.int64)
    raters = np.array([rater for _, rater, _ in items], dtype=object)
    found = []
    for number, answers in sets.items():
        rows = np.flatnonzero(summaries == number)
        counts = Counter(tag for tags in answers.values() for tag in tags)
        distance = float(mean_pair_distance(distances, rows))
        found.append(
            SummaryNames(label, number, tuple(counts.most_common()), len(rows), len(answers) - len(rows), distance)
        )
    known = [own.distance for own in found if own.named > 1]
    apart = (summaries[:, None] != summaries) & (raters[:, None] != raters)
    return found, Agreement(label, _mean(known), _mean(distances[apart]), len(known))


def faith(found: Sequence[bool] | np.ndarray) -> Estimate:
    """Share in 0..1 of answers `[n]` that found the image, with Wilson's interval; faith % is 100 times that."""
    found = np.asarray(found, dtype=bool)
    return Estimate(_mean(found), *wilson_interval(int(found.sum()), len(found)), len(found))


def interpretability_index(ratings: Sequence[float] | np.ndarray, seed: int = 0) -> Estimate:
    """Mean rating `[n]` in 0..6 with a bootstrap interval over answers; of one answer there is no interval.

    Raises:
        ValueError: a rating is out of range.
    """
    ratings = np.asarray(ratings, dtype=np.float64)
    if not ((ratings >= 0) & (ratings <= HIGHEST_RATING)).all():
        raise ValueError(f"ratings must lie in 0…{HIGHEST_RATING}, got {ratings.min()} to {ratings.max()}")
    mean, *ends = mean_interval(ratings, seed)
    return Estimate(mean, *(ends if len(ratings) > 1 else [float("nan")] * 2), len(ratings))


def study_results(rows: Iterable[Mapping[str, Any]], seed: int = 0) -> StudyResults:
    """Sum up the rows of the table `ratings`; without rows every figure is NaN and every list empty."""
    rows = list(rows)
    named: dict[str, dict[int, dict[str, tuple[str, ...]]]] = defaultdict(lambda: defaultdict(dict))
    for row in rows:
        if row["kind"] == PART_NAME:
            named[row["label"]][row["summary"]][row["rater"]] = tags_of(row["text"])
    classes = [class_names(label, named[label]) for label in sorted(named)]
    groups = [np.array([own.distance for own in found if own.named > 1]) for found, _ in classes]
    searches = [(bool(row["value"]), json.loads(row["protocol"])) for row in rows if row["kind"] == FIND_IMAGE]
    by_pool = defaultdict(list)
    for right, protocol in searches:
        by_pool[protocol["distractors"]].append(right)
    return StudyResults(
        raters=len({row["rater"] for row in rows}),
        names=tuple(own for found, _ in classes for own in found),
        agreement=tuple(agreement for _, agreement in classes),
        mean_agreement=Estimate(*class_mean_interval(groups, seed), sum(map(len, groups))),
        chance_agreement=_mean([own.chance for _, own in classes if own.summaries and not np.isnan(own.chance)]),
        faith=faith([right for right, _ in searches]),
        chance_faith=_mean([1 / len(protocol["pool"]) for _, protocol in searches]),
        faith_by_pool={name: faith(by_pool[name]) for name in sorted(by_pool)},
        index=interpretability_index([row["value"] for row in rows if row["kind"] == MAP_RATING], seed),
    )


def _set_distances(sets: Sequence[tuple[str, ...]]) -> np.ndarray:
    """Jaccard distances `[n,n]` between n sets of tags."""
    places: dict[str, int] = {}
    for tags in sets:
        for tag in tags:
            places.setdefault(tag, len(places))
    table = np.zeros((len(sets), len(places)), dtype=bool)
    for row, tags in enumerate(sets):
        table[row, [places[tag] for tag in tags]] = True
    return jaccard_distances(table)


def _mean(values: Sequence[float] | np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
