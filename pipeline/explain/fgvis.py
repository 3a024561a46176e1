"""FGVis: fine-grained maps, one value per pixel and color, of the evidence for a class ("Interpretable and Fine-Grained
Visual Explanations for Convolutional Neural Networks", CVPR 2019, §3).

The explanation e = m·x + (1 − m)·r of a mask m replaces what it does not keep by the reference r, the color that the
classifier normalizes to zero (the data mean), so that in the network's own units e = m·x.

Shapes: B images, n of them entering or leaving the batch, H by W pixels.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.explain.engine import Method, OptimizingExplainer, Stage, State
from pipeline.explain.interface import Explanation, LogitsFunction, log_odds, reference_color
from pipeline.explain.updates import NormalizedGradient
from pipeline.models.nonlinearities import filtering, recording

# Less than this, of an area or of a score's odds, is no progress.
PROGRESS = 0.02
# Factor from one sparsity weight to the next while the search has not yet passed the best one.
STRIDE = 10.0


@dataclass(frozen=True)
class Game:
    """One of the paper's four optimizations (§3.1).

    Attributes:
        start: value of every mask element at first.
        keeps: whether the target's evidence is kept (φ is minimized, eq. 2) or removed (maximized, eq. 3).
        first_rate, learning_rate, first_weight, trials, spare_trials, patience: its settings unless others are given.
    """

    start: float
    keeps: bool
    first_rate: float = 0.1
    learning_rate: float = 0.1
    first_weight: float = 1e-5
    trials: int = 6
    spare_trials: int = 0
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
    # step every activation still equals its bound. The maps are then half on other objects (docs/fgvis.md).
    "deletion": Game(1.0, keeps=False, first_rate=0.005, first_weight=1e-3, trials=3, spare_trials=3, patience=15),
    # From gray, few gradients pass the filter, and most are far smaller than the largest, which the rate is about: with
    # 0.1, 1,300 steps do not bring the class back (docs/fgvis.md).
    "generation": Game(start=0.0, keeps=True, first_rate=5.0, learning_rate=5.0),
    "repression": Game(start=0.0, keeps=False),
}
SIMILARITIES = ("cross-entropy", "score")
GOALS = ("score", "top")


@dataclass(frozen=True)
class FGVisSettings:
    """Settings of a game. The paper's constants are in an appendix that was not published with it; these are ours.

    Attributes:
        game: `preservation`, `deletion`, `generation` or `repression`.
        similarity: φ: `cross-entropy` with the target as hard label, or `score`, minus the target's softmax score.
        filtered: whether gradients of φ pass the filter against adversarial evidence (§3.2, eq. 6).
        sparsity_weight: λ; None searches for the one with the smallest salient area, image by image.
        first_weight: where the search begins, in units of what φ's gradient is proportional to at the first step: 1 − p
            in the deletion game (p the target's score), else 1. None, as for the rates, `trials` and `patience`: the
            game's own.
        trials: values of λ that the search tries.
        spare_trials: further, smaller values for an image that has not reached its goal with any of them.
        iterations: steps per trial, at most.
        learning_rate: of gradient descent; the largest change of a mask element in a step.
        first_rate: learning rate of the first step, from which it grows by the factor `growth` from step to step.
        growth: see `first_rate`.
        goal: what the games that keep evidence must reach: `score`, (1 − `tolerance`) times the target's score on the
            image, or `top`, the target as the most likely class.
        tolerance: see `goal`.
        remaining: the games that remove evidence must bring the target's score to this share of that on the image, and
            another class to the top.
        patience: a trial ends after this many steps without progress (2 % less salient area at the goal, or 2 % of the
            odds nearer to it).
    """

    game: str = "deletion"
    similarity: str = "cross-entropy"
    filtered: bool = True
    sparsity_weight: float | None = None
    first_weight: float | None = None
    trials: int | None = None
    spare_trials: int | None = None
    iterations: int = 500
    learning_rate: float | None = None
    first_rate: float | None = None
    growth: float = 1.04
    goal: str = "score"
    tolerance: float = 0.05
    remaining: float = 0.1
    patience: int | None = None

    def __post_init__(self) -> None:
        for name, known in (("game", GAMES), ("similarity", SIMILARITIES), ("goal", GOALS)):
            if getattr(self, name) not in known:
                raise ValueError(f"unknown {name} {getattr(self, name)!r}; known: {', '.join(known)}")
        for name in ("first_rate", "learning_rate", "first_weight", "trials", "spare_trials", "patience"):
            if getattr(self, name) is None:
                object.__setattr__(self, name, getattr(GAMES[self.game], name))
        if min(self.trials, self.iterations, self.patience) < 1:
            raise ValueError("trials, iterations and patience must be at least 1")
        if min(self.first_rate, self.learning_rate, self.growth) <= 0:
            raise ValueError("first_rate, learning_rate and growth must be positive")
        if self.first_weight <= 0 or (self.sparsity_weight or 0) < 0:
            raise ValueError("first_weight must be positive and sparsity_weight not negative")


class FGVis(OptimizingExplainer):
    """Optimizes, for each image, the sparsest mask of pixels and colors that keeps or removes a class's evidence.

    Saliency `[B,3,H,W]` is the mask m where evidence is kept (preservation, generation) and 1 − m where it is removed
    (deletion, repression): larger is more important in every game. `score_after` is the target's score on the
    explanation e. Diagnostics: `reached`, 1 where the goal was reached, else 0 and the map is that of the smallest λ
    tried; `sparsity_weight`, the λ of the map; `top`, 1 where the target is the most likely class of e. No random
    numbers are drawn.

    The classifier must have `reference`, the color that it normalizes to zero, and for the filter `module`, the
    network that its `logits` calls: a `PreparedClassifier`, in float32.
    """

    def __init__(self, settings: str | FGVisSettings = "deletion", similarity: str | None = None) -> None:
        """Choose a game by name, with a similarity metric or the usual cross-entropy, or give all settings.

        Raises:
            ValueError: unknown game or similarity metric.
        """
        if isinstance(settings, str):
            settings = FGVisSettings(game=settings, similarity=similarity or "cross-entropy")
        self.settings = settings

    @property
    def passes(self) -> int:
        tried = self.settings.trials + self.settings.spare_trials
        return self.settings.iterations * (tried if self.settings.sparsity_weight is None else 1)

    def method(self) -> "FGVisMethod":
        return FGVisMethod(self.settings)


class FGVisMethod(Method):
    """A game for the engine: one stage per λ, each with a fresh "mask".

    In a search the result is the mask of smallest salient area at the goal, of all masks on the way; with a given λ it
    is the first at the goal in the games that do not begin there, else the last.
    """

    update = NormalizedGradient()
    can_converge = True

    def __init__(self, settings: FGVisSettings) -> None:
        self.settings = settings
        self.game = GAMES[settings.game]
        self.searches = settings.sparsity_weight is None
        trials = settings.trials + settings.spare_trials if self.searches else 1
        rates = [min(settings.first_rate, settings.learning_rate)]
        while len(rates) < settings.iterations:
            rates.append(min(rates[-1] * settings.growth, settings.learning_rate))
        self.stages = (Stage("mask", tuple(rates)),) * trials

    def start(
        self,
        classifier: LogitsFunction,
        images: Tensor,
        targets: Tensor,
        generators: Sequence[torch.Generator] | None,
    ) -> State:
        reference = reference_color(classifier, images)
        bounds: Sequence[Tensor] = ()
        if self.settings.filtered:
            with recording(_network(classifier)) as bounds:
                logits = classifier.logits(images)
        else:
            logits = classifier.logits(images)
        odds = log_odds(logits, targets)
        weight = odds.new_full(odds.shape, self.settings.sparsity_weight or 0.0, dtype=torch.float64)
        if self.searches:
            # At m = 1 the gradient of either similarity metric holds a factor 1 − p.
            removing = self.settings.game == "deletion"
            weight.copy_(self.settings.first_weight * (functional.sigmoid(-odds.double()) if removing else 1.0))
        mask = torch.full_like(images, self.game.start)
        return {
            "target": targets,
            "image": images,
            "reference": reference.expand(len(images), 3, 1, 1),
            "odds_before": odds,
            "mask": mask,
            "found": mask.clone(),
            "found_area": torch.full_like(weight, torch.inf),
            "found_weight": torch.full_like(weight, torch.nan),
            "weight": weight,
            "smallest_failed": torch.full_like(weight, torch.inf),
            "largest_reached": torch.zeros_like(weight),
        } | self._fresh_trial(mask, weight) | {f"bound.{number:03d}": bound for number, bound in enumerate(bounds)}

    def _fresh_trial(self, mask: Tensor, weight: Tensor) -> State:
        """What a trial remembers, for its first `mask` `[n,3,H,W]` and `weight` `[n]`."""
        return {
            "previous": torch.full_like(mask, torch.nan),
            "distance": torch.full_like(weight, torch.inf),
            "waited": torch.zeros_like(weight, dtype=torch.int64),
            "at_goal": torch.zeros_like(weight, dtype=torch.bool),
            "ended": torch.zeros_like(weight, dtype=torch.bool),
        }

    def objective(self, classifier: LogitsFunction, state: State, present: frozenset[int]) -> Tensor:
        mask = state["mask"]
        with self._filter(classifier, state):
            logits = classifier.logits(_explanations(state))
        odds = log_odds(logits, state["target"])
        with torch.no_grad():
            self._observe(state, logits.detach(), odds.detach(), mask.detach())
        similarity = functional.softplus(-odds)
        if self.settings.similarity == "score":
            # Not the sigmoid, whose gradient is lost to rounding where the score is near 1.
            similarity = -torch.exp(-similarity)
        return self.game.sign * (similarity + state["weight"] * mask.sum(dim=(1, 2, 3)))

    def project(self, state: State, stage: int) -> None:
        state["mask"].clamp_(0, 1)

    def converged(self, state: State) -> Tensor:
        return state["ended"]

    def enter(self, state: State, stage: int) -> State:
        weight, reached = state["weight"], state["at_goal"]
        largest_reached = torch.where(reached, weight, state["largest_reached"])
        smallest_failed = torch.where(reached, state["smallest_failed"], weight)
        between = (largest_reached * smallest_failed).sqrt()
        beyond = torch.where(reached, weight * STRIDE, weight / STRIDE)
        bracketed = (largest_reached > 0) & smallest_failed.isfinite()
        return {
            "mask": torch.full_like(state["mask"], self.game.start),
            "weight": torch.where(bracketed, between, beyond),
            "largest_reached": largest_reached,
            "smallest_failed": smallest_failed,
        } | self._fresh_trial(state["mask"], weight)

    def finish(self, classifier: LogitsFunction, state: State) -> Explanation:
        reached = state["found_area"].isfinite()
        mask = torch.where(_per_pixel(reached), state["found"], state["mask"])
        logits = classifier.logits(_explanations(state | {"mask": mask}))
        score = log_odds(logits, state["target"]).sigmoid()
        if not self.searches and self.game.begins_at_goal:
            reached = self._at_goal(state, logits, log_odds(logits, state["target"]))
        return Explanation(
            saliency=mask if self.game.keeps else 1 - mask,
            score_before=state["odds_before"].sigmoid(),
            score_after=torch.where(state["failed"], torch.nan, score),
            iterations=state["passes"],
            diagnostics={
                "reached": reached.float(),
                "sparsity_weight": torch.where(reached & self._tracks, state["found_weight"], state["weight"]).float(),
                "top": (logits.argmax(dim=1) == state["target"]).float(),
            },
        )

    @property
    def _tracks(self) -> bool:
        """Whether the result is a mask on the way, not the last."""
        return self.searches or not self.game.begins_at_goal

    def _filter(self, classifier: LogitsFunction, state: State) -> AbstractContextManager[None]:
        if not self.settings.filtered:
            return nullcontext()
        names = sorted(name for name in state if name.startswith("bound."))
        return filtering(_network(classifier), [state[name] for name in names])

    def _observe(self, state: State, logits: Tensor, odds: Tensor, mask: Tensor) -> None:
        """Remember the mask if it is the best yet, and whether the trial is to end, for images that still move."""
        moving = ~state["over"]
        at_goal = self._at_goal(state, logits, odds)
        kept = mask.sum(dim=(1, 2, 3), dtype=torch.float64)
        area = kept if self.game.keeps else mask[0].numel() - kept
        if self._tracks:
            better = moving & at_goal & (area < state["found_area"])
            state["found"].copy_(torch.where(_per_pixel(better), mask, state["found"]))
            state["found_area"].copy_(torch.where(better, area, state["found_area"]))
            state["found_weight"].copy_(torch.where(better, state["weight"], state["found_weight"]))
        if self.game.begins_at_goal:
            distance = torch.where(at_goal, area.log(), torch.inf)
        else:
            distance = -self.game.sign * odds.double()
        nearer = distance < state["distance"] - PROGRESS
        waited = torch.where(nearer, 0, state["waited"] + 1)
        still = (mask == state["previous"]).flatten(1).all(dim=1)
        ended = still | (waited >= self.settings.patience)
        if not self.game.begins_at_goal:
            ended |= at_goal
        if self.searches:
            ended |= (state["stage"] >= self.settings.trials) & state["found_area"].isfinite()
        state["previous"].copy_(mask)
        changes = {"distance": torch.where(nearer, distance, state["distance"]), "waited": waited}
        for name, value in (changes | {"at_goal": at_goal, "ended": ended}).items():
            state[name].copy_(torch.where(moving, value, state[name]))

    def _at_goal(self, state: State, logits: Tensor, odds: Tensor) -> Tensor:
        """Whether the evidence is kept, or removed, as the settings ask: `[B]` bool."""
        top = logits.argmax(dim=1) == state["target"]
        score, before = odds.double().sigmoid(), state["odds_before"].double().sigmoid()
        if not self.game.keeps:
            return (score <= self.settings.remaining * before) & ~top
        return top if self.settings.goal == "top" else score >= (1 - self.settings.tolerance) * before


def explanation_images(images: Tensor, masks: Tensor, reference: Tensor) -> Tensor:
    """Explanations e = m·x + (1 − m)·r (eq. 1) `[B,3,H,W]` in [0,1], Fig. 2 c; of 1 − m, Fig. 2 e.

    Args:
        images: x `[B,3,H,W]` float in [0,1].
        masks: m `[B,3,H,W]` or `[B,1,H,W]` in [0,1].
        reference: r `[3]` or `[3,1,1]`, the color in [0,1] that the classifier normalizes to zero.
    """
    # Exact for m = 0 and m = 1.
    return torch.lerp(reference.to(images).view(3, 1, 1).expand_as(images), images, masks.expand_as(images))


@dataclass(frozen=True)
class Views:
    """The visualization types of Fig. 2, all float in [0,1].

    Attributes:
        mask: b, m `[B,3,H,W]`.
        explanation: c, e = m·x `[B,3,H,W]`.
        complementary_mask: d, 1 − m `[B,3,H,W]`.
        complementary_explanation: e, x·(1 − m) `[B,3,H,W]`.
        mean_mask: f, the saliency averaged over colors: of m, or of 1 − m in deletion and repression `[B,1,H,W]`.
        evidence: the important evidence: `explanation`, or `complementary_explanation` in deletion and repression.
    """

    mask: Tensor
    explanation: Tensor
    complementary_mask: Tensor
    complementary_explanation: Tensor
    mean_mask: Tensor
    evidence: Tensor


def views(game: str, images: Tensor, saliency: Tensor, reference: Tensor) -> Views:
    """What Fig. 2 shows of the maps `saliency` `[B,3,H,W]` of a game; other arguments as `explanation_images`.

    Raises:
        ValueError: unknown game.
    """
    if game not in GAMES:
        raise ValueError(f"unknown game {game!r}; known: {', '.join(GAMES)}")
    keeps = GAMES[game].keeps
    mask, complement = (saliency, 1 - saliency) if keeps else (1 - saliency, saliency)
    explanation = explanation_images(images, mask, reference)
    complementary = explanation_images(images, complement, reference)
    return Views(
        mask=mask,
        explanation=explanation,
        complementary_mask=complement,
        complementary_explanation=complementary,
        mean_mask=saliency.mean(dim=1, keepdim=True),
        evidence=explanation if keeps else complementary,
    )


def _explanations(state: State) -> Tensor:
    mask = state["mask"]
    return torch.lerp(state["reference"].expand_as(mask), state["image"], mask)


def _network(classifier: LogitsFunction) -> torch.nn.Module:
    module = getattr(classifier, "module", None)
    if module is None:
        raise ValueError("the gradient filter needs a classifier with its network as `module`: a PreparedClassifier")
    return module


def _per_pixel(values: Tensor) -> Tensor:
    """[B] → [B, 1, 1, 1]."""
    return values.view(-1, 1, 1, 1)
