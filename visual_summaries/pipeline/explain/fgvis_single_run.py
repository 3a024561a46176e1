"""What FGVis's searches have in common in which λ follows the goal in a single run: what they look at in a step."""

from abc import abstractmethod

import torch
from torch import Tensor

from visual_summaries.pipeline.explain.engine import State
from visual_summaries.pipeline.explain.fgvis_games import PROGRESS, FGVisMethod, replace

# Steps in a row at the goal before a mask counts, in games that do not begin there: a goal that the next step loses
# again was not reached.
HELD = 3


class SingleRun(FGVisMethod):
    """A game as one stage in which λ follows the goal.

    The result is the sparsest mask that has held the goal, else the one that came nearest to it.
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
            "pace": torch.ones_like(weight),
            "distance": torch.full_like(weight, torch.inf),
            "area_to_beat": torch.full_like(weight, torch.inf),
        }

    def observe(self, state: State, top: Tensor, odds: Tensor, mask: Tensor) -> None:
        moving = ~state["over"]
        at_goal = self.at_goal(state, top, odds)
        reached = state["reached"] | at_goal
        held = torch.where(at_goal, state["held"] + 1, 0)
        area = self.salient_area(mask)
        # The target's log-odds are to rise for s = 1 and to fall for s = −1.
        distance = -self.game.sign * odds.double()
        nearer = moving & state["best_area"].isinf() & (distance < state["distance"])
        needed = 1 if self.game.begins_at_goal else HELD
        better = moving & (held >= needed) & (area < state["best_area"])
        self.remember(state, mask, torch.where(better, area, state["best_area"]), nearer | better)
        smallest = state["best_area"]
        smaller = smallest < (1 - PROGRESS) * state["area_to_beat"]
        seen = {
            "reached": reached,
            "held": held,
            "missed": torch.where(at_goal | ~reached, 0, state["missed"] + 1),
            "waited": torch.where(smaller | ~reached, 0, state["waited"] + 1),
            "distance": torch.where(nearer, distance, state["distance"]),
            "area_to_beat": torch.where(smaller, smallest, state["area_to_beat"]),
        }
        replace(state, moving, seen | self.followed(state, seen, at_goal, better))

    @abstractmethod
    def followed(self, state: State, seen: State, at_goal: Tensor, better: Tensor) -> State:
        """What else the state becomes, λ before all, from the state before, what was seen in this step, and for each
        image `[B]` whether it is at its goal and whether its mask is the best so far."""
