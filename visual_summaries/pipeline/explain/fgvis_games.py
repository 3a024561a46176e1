"""The games of FGVis for the engine: objective, filter, goal, and the search for the sparsity weight by trials.

Shapes: B images, n of them entering or leaving the batch, H by W pixels.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor
from torch.nn import functional

from visual_summaries.pipeline.explain.engine import Method, Stage, State
from visual_summaries.pipeline.explain.fgvis_settings import GAMES, FGVisSettings
from visual_summaries.pipeline.explain.interface import Explanation, LogitsFunction, baseline_color, odds_of, predicts
from visual_summaries.pipeline.explain.updates import NormalizedGradient
from visual_summaries.pipeline.models.nonlinearities import filtering, recording

# Less than this, of an area or of a score's odds, is no progress.
PROGRESS = 0.02
# Factor from one sparsity weight to the next while the search has not yet passed the best one.
STRIDE = 10.0


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
        rates = [min(settings.first_rate, settings.learning_rate)]
        while len(rates) < settings.iterations:
            rates.append(min(rates[-1] * settings.growth, settings.learning_rate))
        self.stages = (Stage("mask", tuple(rates)),) * self.trials

    @property
    def trials(self) -> int:
        return self.settings.trials if self.searches else 1

    def start(
        self,
        classifier: LogitsFunction,
        images: Tensor,
        targets: Tensor,
        generators: Sequence[torch.Generator] | None,
    ) -> State:
        baseline = baseline_color(classifier, images)
        bounds: Sequence[Tensor] = ()
        if self.settings.filtered:
            with recording(_network(classifier)) as bounds:
                logits = classifier.logits(images)
        else:
            logits = classifier.logits(images)
        odds = odds_of(classifier, logits, targets)
        weight = odds.new_full(odds.shape, self.settings.sparsity_weight or 0.0, dtype=torch.float64)
        if self.searches:
            weight.fill_(self.settings.first_weight)
        mask = torch.full_like(images, self.game.start)
        start = {
            "target": targets,
            "image": images,
            "baseline": baseline.expand(len(images), 3, 1, 1),
            "odds_before": odds,
            "mask": mask,
            "best": mask.clone(),
            "best_area": torch.full_like(weight, torch.inf),
            "best_weight": torch.full_like(weight, torch.nan),
            "weight": weight,
        }
        start |= {f"bound.{number:03d}": bound for number, bound in enumerate(bounds)}
        return start | self.search_state(mask, weight)

    def search_state(self, mask: Tensor, weight: Tensor) -> State:
        """What the search remembers, for the first `mask` `[n,3,H,W]` and `weight` `[n]`."""
        return {
            "smallest_failed": torch.full_like(weight, torch.inf),
            "largest_reached": torch.zeros_like(weight),
        } | self._fresh_trial(mask, weight)

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
        similarity = self.similarity(classifier, state)
        return self.game.sign * (similarity + state["weight"] * state["mask"].sum(dim=(1, 2, 3)))

    def similarity(self, classifier: LogitsFunction, state: State) -> Tensor:
        """φ of the masks' explanations `[B]`, whose gradient the filter has passed; the search observes them."""
        with self._filter(classifier, state):
            logits = classifier.logits(_explanations(state))
        odds = odds_of(classifier, logits, state["target"])
        with torch.no_grad():
            top = predicts(classifier, logits, state["target"])
            self.observe(state, top, odds.detach(), state["mask"].detach())
        similarity = functional.softplus(-odds)
        # Not the sigmoid, whose gradient is lost to rounding where the score is near 1.
        return -torch.exp(-similarity) if self.settings.similarity == "score" else similarity

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
        reached = state["best_area"].isfinite()
        # Nothing to remember on the way: the last mask and λ.
        last = state["best_weight"].isnan()
        mask = torch.where(per_pixel(last), state["mask"], state["best"])
        logits = classifier.logits(_explanations(state | {"mask": mask}))
        odds, top = (found(classifier, logits, state["target"]) for found in (odds_of, predicts))
        if not self.searches and self.game.begins_at_goal:
            reached = self.at_goal(state, top, odds)
        return Explanation(
            saliency=mask if self.game.keeps else 1 - mask,
            score_before=state["odds_before"].sigmoid(),
            score_after=torch.where(state["failed"], torch.nan, odds.sigmoid()),
            iterations=state["passes"],
            diagnostics={
                "reached": reached.float(),
                "sparsity_weight": torch.where(last, state["weight"], state["best_weight"]).float(),
                "filtered": torch.full_like(odds, self._filtered(state)).float(),
                "top": top.float(),
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

    def _filtered(self, state: State) -> int:
        """Calls of nonlinearities; their tolerances are one tensor more."""
        return max(0, sum(name.startswith("bound.") for name in state) - 1)

    def observe(self, state: State, top: Tensor, odds: Tensor, mask: Tensor) -> None:
        """Remember the mask if it is the best yet, and whether the trial is to end, for images that still move.

        `top` `[B]` bool: whether the target is predicted; `odds` `[B]` of its score.
        """
        moving = ~state["over"]
        at_goal = self.at_goal(state, top, odds)
        area = self.salient_area(mask)
        if self._tracks:
            self.remember(state, mask, area, moving & at_goal & (area < state["best_area"]))
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
        state["previous"].copy_(mask)
        changes = {"distance": torch.where(nearer, distance, state["distance"]), "waited": waited}
        replace(state, moving, changes | {"at_goal": at_goal, "ended": ended})

    def salient_area(self, mask: Tensor) -> Tensor:
        """Sum of the saliency `[B]` float64, in mask elements."""
        kept = mask.sum(dim=(1, 2, 3), dtype=torch.float64)
        return kept if self.game.keeps else mask[0].numel() - kept

    def remember(self, state: State, mask: Tensor, area: Tensor, better: Tensor) -> None:
        """Take the masks of the images `better` `[B]` bool for the best ones."""
        replace(state, better, {"best": mask, "best_area": area, "best_weight": state["weight"]})

    def at_goal(self, state: State, top: Tensor, odds: Tensor) -> Tensor:
        """Whether the evidence is kept, or removed, as the settings ask: `[B]` bool."""
        score, before = odds.double().sigmoid(), state["odds_before"].double().sigmoid()
        if not self.game.keeps:
            return (score <= self.settings.remaining * before) & ~top
        return top if self.settings.goal == "top" else score >= (1 - self.settings.tolerance) * before


def _explanations(state: State) -> Tensor:
    mask = state["mask"]
    return torch.lerp(state["baseline"].expand_as(mask), state["image"], mask)


def _network(classifier: LogitsFunction) -> torch.nn.Module:
    module = getattr(classifier, "module", None)
    if module is None:
        raise ValueError("the gradient filter needs a classifier with its network as `module`: a PreparedClassifier")
    return module


def replace(state: State, images: Tensor, values: State) -> None:
    """Set entries of the state to `values` for the `images` `[B]` bool, in place."""
    for name, value in values.items():
        chosen = per_pixel(images) if value.ndim == 4 else images
        state[name].copy_(torch.where(chosen, value, state[name]))


def per_pixel(values: Tensor) -> Tensor:
    """[B] → [B, 1, 1, 1]."""
    return values.view(-1, 1, 1, 1)
