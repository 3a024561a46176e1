"""What two runs have and lack of each other in a class: summaries with and without a counterpart, photographs that only
one gets right."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

COUNTERPART, LOOKED_AT, ALONE, UNKNOWN = "counterpart", "looked at", "alone", "not seen"


@dataclass(frozen=True)
class ComparedSummary:
    """A kept summary of one of two runs.

    Attributes:
        number: as in the tables.
        words: what it is worth, in a line.
        evidence: share of its class's salient pixels that it adds to the summaries before it; where that is not known,
            of the photographs that show it.
        counterpart: number of the other run's summary that shows the same part.
        overlap: the largest share of images in which it shows the same part as one of the other run, 0..1.
        photographs, looked, chance: see `pipeline.evaluate.counterparts.Looked`.
        shown: image id of the photograph that it is shown in: of those that both runs explained the most typical one in
            which the other network looks somewhere else.
    """

    number: int
    words: str
    evidence: float
    counterpart: int | None
    overlap: float
    photographs: int
    looked: int
    chance: float
    shown: str | None = None

    @property
    def state(self) -> str:
        """`counterpart`: the other run has the same part; `looked at`: it has none, but looks there in at least half of
        the photographs; `alone`: neither; `not seen`: it explained none of the photographs."""
        if self.counterpart is not None:
            return COUNTERPART
        if not self.photographs:
            return UNKNOWN
        return ALONE if 2 * self.looked < self.photographs else LOOKED_AT


@dataclass(frozen=True)
class Disagreement:
    """A photograph that only one of two runs gets right.

    Attributes:
        image_id, uri: of the photograph.
        label: of its class.
        right: 0 or 1, which of the two gets it right.
        called: what the other calls it.
        called_score, own_score: the other's scores of that and of the photograph's own class, 0..1.
    """

    image_id: str
    uri: str
    label: str
    right: int
    called: str
    called_score: float | None
    own_score: float | None


@dataclass(frozen=True)
class ComparedPair:
    """A class in two runs.

    Attributes:
        first, second: kept summaries of each.
        both, neither: photographs that both, or neither, get right.
        disagreements: those that only one gets right.
        explained: photographs that both explained.
    """

    first: Sequence[ComparedSummary]
    second: Sequence[ComparedSummary]
    both: int = 0
    neither: int = 0
    disagreements: Sequence[Disagreement] = ()
    explained: int = 0

    def only(self, run: int) -> int:
        """Photographs that only this one of the two gets right."""
        return sum(one.right == run for one in self.disagreements)

    @property
    def apart(self) -> tuple[float, int]:
        """How much the two differ: evidence that only one of them uses, and photographs that only one gets right."""
        alone = sum(one.evidence for one in (*self.first, *self.second) if one.state == ALONE)
        return alone, len(self.disagreements)


@dataclass(frozen=True)
class States:
    """Summaries of a run by what the other has of them."""

    total: int
    counterpart: int
    looked_at: int
    alone: int


def states_counted(summaries: Iterable[ComparedSummary]) -> States:
    """How many summaries have a counterpart, and how many only one run looks at."""
    states = [one.state for one in summaries]
    return States(len(states), *(states.count(state) for state in (COUNTERPART, LOOKED_AT, ALONE)))


def alone(pairs: Sequence[tuple[str, ComparedPair]], run: int) -> list[tuple[str, ComparedSummary]]:
    """Class and summary of what only one of two runs (0 or 1) looks at, those with most evidence first."""
    found = [
        (label, one) for label, pair in pairs for one in (pair.first, pair.second)[run] if one.state == ALONE
    ]
    return sorted(found, key=lambda one: (-one[1].evidence, one[0], one[1].number))


def disagreements(pairs: Sequence[tuple[str, ComparedPair]], right: int) -> list[Disagreement]:
    """Photographs that only one of two runs (0 or 1) gets right, those of which the other is surest first."""
    found = [one for _, pair in pairs for one in pair.disagreements if one.right == right]
    return sorted(found, key=lambda one: (-(one.called_score or 0), one.label, one.image_id))


def parts_rows(names: Sequence[str], pairs: Sequence[tuple[str, ComparedPair]]) -> list[dict[str, Any]]:
    """Two runs' summaries as rows of a table."""
    return [
        {
            "class": label,
            "run": names[run],
            "summary": one.number,
            "other run": names[1 - run],
            "in the other run": one.state,
            "counterpart": one.counterpart,
            "largest overlap": one.overlap,
            "evidence": one.evidence,
            "photographs": one.photographs,
            "looked at in": one.looked,
            "by chance": one.chance,
        }
        for label, pair in pairs
        for run, side in enumerate((pair.first, pair.second))
        for one in side
    ]


def photograph_rows(names: Sequence[str], pairs: Sequence[tuple[str, ComparedPair]]) -> list[dict[str, Any]]:
    """The photographs that only one of two runs gets right as rows of a table."""
    return [
        {
            "class": label,
            "image_id": one.image_id,
            "uri": one.uri,
            "right": names[one.right],
            "wrong": names[1 - one.right],
            "called": one.called,
            "score of what it is called": one.called_score,
            "score of its own class": one.own_score,
        }
        for label, pair in pairs
        for one in pair.disagreements
    ]
