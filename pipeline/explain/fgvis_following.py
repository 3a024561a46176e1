"""The search for FGVis's sparsity weight in a single run: λ follows the goal.

Trials with one λ each say only whether it was too large. Here λ is a Lagrange multiplier of "as sparse as the goal
allows": as long as the goal has not been reached, λ is so large that only pixels of more than average gradient move; at
the goal it grows from step to step, so that the mask gives back what the goal does not need, and where the goal is lost
it shrinks. The masks are sparser than by trials, and lie more on what they explain (docs/fgvis.md).
"""

import torch
from torch import Tensor

from pipeline.explain.engine import State
from pipeline.explain.fgvis_games import PROGRESS, FGVisMethod, per_pixel, replace
from pipeline.explain.interface import LogitsFunction

# λ until the goal is reached, in units of the mean magnitude of φ's gradient in that step.
SEEKING_WEIGHT = 1.0
# Learning rate once it is.
SHRINKING_RATE = 0.03
# Of λ, from one step to the next.
RISE_AT_GOAL, FALL_OFF_GOAL = 1.1, 0.8
# Steps in a row at the goal before a mask counts: a step that is undone by the next one is no evidence.
HELD = 3
# Steps off the goal after which the best mask is taken up again, with a smaller λ and rate.
LOST = 15
WEIGHT_AGAIN, RATE_AGAIN = 0.3, 0.5


class GoalFollowing(FGVisMethod):
    """A game that does not begin at its goal, as one stage in which λ follows the goal.

    The result is the sparsest mask that has held the goal, else the one that came nearest to it. Where a lost goal is
    taken up again, "caution" in the state is what λ, "pace" what the rate is multiplied by; a better mask sets caution
    back.
    """

    trials = 1

    def search_state(self, mask: Tensor, weight: Tensor) -> State:
        steps = torch.zeros_like(weight, dtype=torch.int64)
        return {
            "reached": steps.bool(),
            "ended": steps.bool(),
            "held": steps.clone(),
            "missed": steps.clone(),
            "waited": steps.clone(),
            "caution": torch.ones_like(weight),
            "pace": torch.ones_like(weight),
            "distance": torch.full_like(weight, torch.inf),
            "area_to_beat": torch.full_like(weight, torch.inf),
        }

    def objective(self, classifier: LogitsFunction, state: State, present: frozenset[int]) -> Tensor:
        # λ may depend on φ's gradient of the same step, hence its part of the gradient is added on the way back. One
        # that depended on the step before would answer the large gradient of the first, unfiltered step too late.
        pixels = state["mask"].view_as(state["mask"])
        pixels.register_hook(lambda gradient: self._sparse(state, gradient))
        return self.game.sign * self.similarity(classifier, state | {"mask": pixels})

    def _sparse(self, state: State, gradient: Tensor) -> Tensor:
        """The gradient `[B,3,H,W]` of what is minimized, from that of its part φ."""
        mean = gradient.abs().mean(dim=(1, 2, 3), dtype=torch.float64)
        weight = torch.where(state["reached"], state["weight"], SEEKING_WEIGHT * mean)
        state["weight"].copy_(weight)
        # The mask of an image whose gradient is blocked everywhere stays as it is.
        state["ended"] |= ~state["reached"] & (mean == 0)
        return gradient + per_pixel(self.game.sign * weight).to(gradient.dtype)

    def observe(self, state: State, logits: Tensor, odds: Tensor, mask: Tensor) -> None:
        moving = ~state["over"]
        at_goal = self.at_goal(state, logits, odds)
        reached = state["reached"] | at_goal
        held = torch.where(at_goal, state["held"] + 1, 0)
        missed = torch.where(at_goal | ~reached, 0, state["missed"] + 1)
        area = self.salient_area(mask)
        distance = -self.game.sign * odds.double()
        nearer = moving & state["found_area"].isinf() & (distance < state["distance"])
        better = moving & (held >= HELD) & (area < state["found_area"])
        self.remember(state, mask, torch.where(better, area, state["found_area"]), nearer | better)
        found = state["found_area"]
        smaller = found < (1 - PROGRESS) * state["area_to_beat"]
        waited = torch.where(smaller | ~reached, 0, state["waited"] + 1)
        changes = {
            # Lost before it was held: λ depends on the gradient again.
            "reached": reached & ((missed < LOST) | found.isfinite()),
            "held": held,
            "missed": missed,
            "waited": waited,
            "distance": torch.where(nearer, distance, state["distance"]),
            "caution": torch.where(better, 1.0, state["caution"]),
            "area_to_beat": torch.where(smaller, found, state["area_to_beat"]),
            "weight": state["weight"] * torch.where(at_goal, RISE_AT_GOAL, FALL_OFF_GOAL),
            "ended": state["ended"] | (waited >= self.settings.patience),
        }
        replace(state, moving, changes)

    def rates(self, state: State, scheduled: Tensor) -> Tensor:
        return torch.where(state["reached"], SHRINKING_RATE * state["pace"], scheduled)

    def project(self, state: State, stage: int) -> None:
        super().project(state, stage)
        again = ~state["over"] & (state["missed"] >= LOST) & state["found_area"].isfinite()
        caution = WEIGHT_AGAIN * state["caution"]
        changes = {
            "caution": caution,
            "weight": caution * state["found_weight"],
            "pace": RATE_AGAIN * state["pace"],
            "missed": torch.zeros_like(state["missed"]),
            "mask": state["found"],
        }
        replace(state, again, changes)
