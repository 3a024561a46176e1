"""The search for FGVis's sparsity weight in a single run: λ follows the goal.

A game minimizes s · (φ(m) + λ · ‖m‖₁) over masks m in [0,1], with s = 1 to keep the evidence (eq. 2 of the paper) and
s = −1 to remove it (eq. 3). As m ≥ 0, the gradient in every element of m is s · (∂φ/∂m + λ).

A trial with one λ says only whether that λ was too large. Here λ acts as the Lagrange multiplier of "as sparse as the
goal allows"; in step t it is

    λ(t) = SEEKING_WEIGHT · mean |∂φ/∂m|   until the goal is reached: only elements with a gradient above the mean move;
    λ(t) = RISE_AT_GOAL · λ(t−1)           at the goal: the mask gives back what the goal does not need;
    λ(t) = FALL_OFF_GOAL · λ(t−1)          where the goal is lost again.

The masks are sparser than those of trials, and lie more on what they explain (docs/reference/measurements/fgvis.md).
"""

import torch
from torch import Tensor

from visual_summaries.pipeline.explain.engine import State
from visual_summaries.pipeline.explain.fgvis_games import per_pixel, replace
from visual_summaries.pipeline.explain.fgvis_single_run import SingleRun
from visual_summaries.pipeline.explain.interface import LogitsFunction

# λ until the goal is reached, in units of the mean magnitude of φ's gradient in that step.
SEEKING_WEIGHT = 1.0
# Learning rate once it is.
SHRINKING_RATE = 0.03
# Factors of λ from one step to the next.
RISE_AT_GOAL, FALL_OFF_GOAL = 1.1, 0.8
# After so many steps off the goal the search goes on from the best mask, with its λ and the learning rate times these.
LOST = 15
WEIGHT_AGAIN, RATE_AGAIN = 0.3, 0.5


class GoalFollowing(SingleRun):
    """A game that does not begin at its goal.

    When the search returns to the best mask, "caution" in the state multiplies that mask's λ, and "pace" the learning
    rate; both shrink with every return, and a better mask sets "caution" back to 1.
    """

    def search_state(self, mask: Tensor, weight: Tensor) -> State:
        return super().search_state(mask, weight) | {"caution": torch.ones_like(weight)}

    def objective(self, classifier: LogitsFunction, state: State, present: frozenset[int]) -> Tensor:
        # λ(t) depends on ∂φ/∂m of the same step, which only the backward pass knows: a hook adds s · λ there. A λ from
        # the step before would answer the large gradient of the first, unfiltered step too late.
        pixels = state["mask"].view_as(state["mask"])
        pixels.register_hook(lambda gradient: self._sparse(state, gradient))
        return self.game.sign * self.similarity(classifier, state | {"mask": pixels})

    def _sparse(self, state: State, gradient: Tensor) -> Tensor:
        """s · (∂φ/∂m + λ) `[B,3,H,W]` from s · ∂φ/∂m."""
        mean = gradient.abs().mean(dim=(1, 2, 3), dtype=torch.float64)
        weight = torch.where(state["reached"], state["weight"], SEEKING_WEIGHT * mean)
        state["weight"].copy_(weight)
        # Where the filter blocks the gradient everywhere, the mask can no longer change.
        state["ended"] |= ~state["reached"] & (mean == 0)
        return gradient + per_pixel(self.game.sign * weight).to(gradient.dtype)

    def followed(self, state: State, seen: State, at_goal: Tensor, better: Tensor) -> State:
        return {
            # Lost before any mask had held the goal: λ follows the gradient again.
            "reached": seen["reached"] & ((seen["missed"] < LOST) | state["best_area"].isfinite()),
            "caution": torch.where(better, 1.0, state["caution"]),
            # λ(t); until the goal is reached, `_sparse` replaces it.
            "weight": state["weight"] * torch.where(at_goal, RISE_AT_GOAL, FALL_OFF_GOAL),
            "ended": state["ended"] | (seen["waited"] >= self.settings.patience),
        }

    def rates(self, state: State, scheduled: Tensor) -> Tensor:
        return torch.where(state["reached"], SHRINKING_RATE * state["pace"], scheduled)

    def project(self, state: State, stage: int) -> None:
        super().project(state, stage)
        again = ~state["over"] & (state["missed"] >= LOST) & state["best_area"].isfinite()
        caution = WEIGHT_AGAIN * state["caution"]
        changes = {
            "caution": caution,
            "weight": caution * state["best_weight"],
            "pace": RATE_AGAIN * state["pace"],
            "missed": torch.zeros_like(state["missed"]),
            "mask": state["best"],
        }
        replace(state, again, changes)
