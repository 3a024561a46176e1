"""The four games of FGVis and their settings (§3.1 of its paper; see `pipeline.explain.fgvis`)."""

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True)
class Game:
    """One of the paper's four optimizations (§3.1).

    Attributes:
        start: value of every mask element at first.
        keeps: whether the target's evidence is kept (φ is minimized, eq. 2) or removed (maximized, eq. 3).
        search, first_rate, learning_rate, first_weight, trials, patience: its settings unless others are given; the
            rates and the patience are not those of the search by scales, which are `BY_SCALES`.
    """

    start: float
    keeps: bool
    search: str = "scales"
    first_rate: float = 0.1
    learning_rate: float = 0.1
    first_weight: float = 1e-5
    trials: int = 6
    patience: int = 50

    @property
    def sign(self) -> float:
        """Of φ + λ‖m‖₁ in what is minimized."""
        return 1.0 if self.keeps else -1.0

    @property
    def begins_at_goal(self) -> bool:
        """Whether the first mask already keeps, or has removed, the evidence, and only its area is to shrink."""
        return self.keeps == (self.start == 1)


GAMES = {
    "preservation": Game(start=1.0, keeps=True),
    # With a rate of 0.1 from the start two steps delete a class, before the filter has anything to filter: at the first
    # step every activation still equals its bound. The maps are then half on other objects
    # (docs/reference/measurements/fgvis.md).
    "deletion": Game(start=1.0, keeps=False, search="following", first_rate=0.0005, patience=80),
    # From gray, few gradients pass the filter, and most are far smaller than the largest, which the rate is about: with
    # 0.1, 1,300 steps do not bring the class back (docs/reference/measurements/fgvis.md).
    "generation": Game(start=0.0, keeps=True, first_rate=5.0, learning_rate=5.0),
    "repression": Game(start=0.0, keeps=False),
}
# Settings of the search by scales; from gray, with 0.1, half of the photographs are not brought back in 120 steps.
BY_SCALES = {game: {"first_rate": 0.03, "learning_rate": 0.1, "patience": 20} for game in GAMES}
BY_SCALES["generation"] |= {"first_rate": 0.2, "learning_rate": 0.5}
SIMILARITIES = ("cross-entropy", "score")
SEARCHES = ("trials", "following", "scales")
GOALS = ("score", "top")


@dataclass(frozen=True)
class FGVisSettings:
    """Settings of a game. The paper's constants are in an appendix that was not published with it; these are ours.

    Attributes:
        game: `preservation`, `deletion`, `generation` or `repression`.
        similarity: φ: `cross-entropy` with the target as hard label, or `score`, minus the target's score;
            where λ is relative to φ's gradient (in `scales`, and in `following` off the goal), both move a mask alike.
        filtered: whether gradients of φ pass the filter against adversarial evidence (§3.2, eq. 6).
        sparsity_weight: λ; None searches for the one with the smallest salient area, image by image.
        search: how: `trials`, one λ after the other, each from the first mask; `following`, in a single run in which
            λ follows the goal (`pipeline.explain.fgvis_following`), for games that do not begin at their goal; or
            `scales`, the same from coarse to fine (`pipeline.explain.fgvis_scales`). None, as for `first_weight`,
            `trials`, `patience` and the rates: the game's own. Where λ is given, it is tried once and not searched for.
        first_weight: λ of the first trial.
        trials: values of λ that are tried.
        iterations: steps per trial, or of the single run, at most.
        learning_rate: of gradient descent; the largest change of a mask element in a step. Following, until the goal is
            reached.
        first_rate: learning rate of the first step, from which it grows by the factor `growth` from step to step.
        growth: see `first_rate`.
        goal: what the games that keep evidence must reach: `score`, (1 − `tolerance`) times the target's score on the
            image, or `top`, the target as the class that is predicted: the most likely one, or, where classes do not
            exclude each other, one with a score of at least ½.
        tolerance: see `goal`.
        remaining: the games that remove evidence must bring the target's score to this share of that on the image, and
            so far that the target is no longer predicted.
        patience: a trial ends after this many steps without progress (2 % less salient area at the goal, or 2 % of the
            odds nearer to it); following, steps without progress once the goal is reached; from coarse to fine, such
            steps at a scale.
    """

    game: str = "deletion"
    similarity: str = "cross-entropy"
    filtered: bool = True
    sparsity_weight: float | None = None
    search: str | None = None
    first_weight: float | None = None
    trials: int | None = None
    iterations: int = 500
    learning_rate: float | None = None
    first_rate: float | None = None
    growth: float = 1.04
    goal: str = "score"
    tolerance: float = 0.05
    remaining: float = 0.1
    patience: int | None = None

    def __post_init__(self) -> None:
        self._check("game", GAMES)
        names = ("search", "first_rate", "learning_rate", "first_weight", "trials", "patience")
        own = {name: getattr(GAMES[self.game], name) for name in names}
        if (self.search or own["search"]) == "scales" and self.sparsity_weight is None:
            own |= BY_SCALES[self.game]
        for name, value in own.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        self._check("similarity", SIMILARITIES)
        self._check("goal", GOALS)
        self._check("search", SEARCHES)
        if self.search == "following" and GAMES[self.game].begins_at_goal:
            raise ValueError(f"the {self.game} game begins at its goal, which λ could not follow; search by trials")
        if min(self.trials, self.iterations, self.patience) < 1:
            raise ValueError("trials, iterations and patience must be at least 1")
        if min(self.first_rate, self.learning_rate, self.growth) <= 0:
            raise ValueError("first_rate, learning_rate and growth must be positive")
        if self.first_weight <= 0 or (self.sparsity_weight or 0) < 0:
            raise ValueError("first_weight must be positive and sparsity_weight not negative")

    def _check(self, name: str, known: Collection[str]) -> None:
        if getattr(self, name) not in known:
            raise ValueError(f"unknown {name} {getattr(self, name)!r}; known: {', '.join(known)}")
