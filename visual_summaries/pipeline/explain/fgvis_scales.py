"""FGVis's search from coarse to fine: the gradient is averaged over neighborhoods that shrink, and λ follows the goal.

A game minimizes s · (φ(m) + λ · ‖m‖₁), as in `pipeline.explain.fgvis_following`, over masks of single pixels and
colors. Step by step in the gradient of single pixels, a mask that keeps evidence ends in a pale image: a pattern too
fine to see takes the evidence of all other classes away, after which every pixel of the image is as good as another.
Averaged over a neighborhood, ∂φ/∂m says whether the place speaks for the class. In step t the mask moves against

    s · (G ∂φ/∂m + λ(t)),   λ(t) = c(t) · mean |G ∂φ/∂m|,

where G is a Gaussian of the scale that the search has come to, the same for all colors, and at the last scale the
identity: what is minimized stays the same, and the last steps are again of single pixels and colors. The factor c is

    c(t) = SEEKING · c(t−1) until the goal is reached, from START;
    c(t) = RISE_AT_GOAL · c(t−1) at the goal, FALL_OFF_GOAL · c(t−1) off it.

As λ begins at the mean gradient, a place is kept only if it has more evidence than others. Where the goal is lost for
LOST steps, or nothing is gained for `patience` steps, the search goes on from the best mask at the next finer scale.
"""

import functools

import torch
from torch import Tensor

from visual_summaries.pipeline.explain.blur import gaussian_matrix
from visual_summaries.pipeline.explain.engine import State
from visual_summaries.pipeline.explain.fgvis_games import per_pixel, replace
from visual_summaries.pipeline.explain.fgvis_single_run import SingleRun
from visual_summaries.pipeline.explain.interface import LogitsFunction

# σ of the Gaussian G in shares of the image's shorter side (16 pixels of 224 at first); 0: single pixels and colors.
SCALES = (1 / 14, 1 / 28, 1 / 112, 0.0)
# Number of the first scale at which the gradient is filtered (eq. 6): the average over the first one's neighborhoods
# makes no evidence that the image lacks, and the filter would leave little of its gradient
# (docs/reference/measurements/fgvis.md).
FILTERED = 1
# λ at the start of a scale, in units of the mean magnitude of the averaged gradient.
START = 1.0
# Factors of λ from one step to the next.
SEEKING = 0.9
RISE_AT_GOAL, FALL_OFF_GOAL = 1.05, 0.8
# Steps off the goal after which the best mask is taken up again.
LOST = 6
# At the last scale λ and the learning rate then shrink by these factors.
WEIGHT_AGAIN, RATE_AGAIN = 0.3, 0.6


class CoarseToFine(SingleRun):
    """A game in which the scale of the gradient shrinks while λ follows the goal."""

    def search_state(self, mask: Tensor, weight: Tensor) -> State:
        own = {"scale": torch.zeros_like(weight, dtype=torch.int64), "relative": torch.full_like(weight, START)}
        return super().search_state(mask, weight) | own

    def objective(self, classifier: LogitsFunction, state: State, present: frozenset[int]) -> Tensor:
        # G and λ depend on ∂φ/∂m of the same step, which only the backward pass knows.
        pixels = state["mask"].view_as(state["mask"])
        pixels.register_hook(lambda gradient: self._averaged(state, gradient))
        changed = {"mask": pixels}
        tolerances = max((name for name in state if name.startswith("bound.")), default=None)
        if tolerances is not None:
            coarse = (state["scale"] < FILTERED)[:, None]
            changed[tolerances] = torch.where(coarse, torch.inf, state[tolerances])
        return self.game.sign * self.similarity(classifier, state | changed)

    def _averaged(self, state: State, gradient: Tensor) -> Tensor:
        """s · (G ∂φ/∂m + λ) `[B,3,H,W]` from s · ∂φ/∂m."""
        averaged = neighborhood_means(gradient, state["scale"])
        mean = averaged.abs().mean(dim=(1, 2, 3), dtype=torch.float64)
        # Where the filter blocks the gradient everywhere, λ alone moves the mask.
        weight = torch.where(mean > 0, state["relative"] * mean, 1.0)
        state["weight"].copy_(weight)
        state["ended"] |= ~state["reached"] & (mean == 0)
        return averaged + per_pixel(self.game.sign * weight).to(gradient.dtype)

    def followed(self, state: State, seen: State, at_goal: Tensor, better: Tensor) -> State:
        factor = torch.where(at_goal, RISE_AT_GOAL, torch.where(seen["reached"], FALL_OFF_GOAL, SEEKING))
        last = state["scale"] == len(SCALES) - 1
        return {
            "relative": state["relative"] * factor,
            "ended": state["ended"] | (last & (seen["waited"] >= self.settings.patience)),
        }

    def rates(self, state: State, scheduled: Tensor) -> Tensor:
        return scheduled * state["pace"]

    def project(self, state: State, stage: int) -> None:
        super().project(state, stage)
        last = state["scale"] == len(SCALES) - 1
        lost = (state["missed"] >= LOST) & state["best_area"].isfinite()
        again = ~state["over"] & (lost | ((state["waited"] >= self.settings.patience) & ~last))
        changes = {
            "mask": state["best"],
            "scale": torch.where(last, state["scale"], state["scale"] + 1),
            "relative": torch.where(last, WEIGHT_AGAIN * state["relative"], START),
            "pace": torch.where(last, RATE_AGAIN * state["pace"], state["pace"]),
            "missed": torch.zeros_like(state["missed"]),
            "waited": torch.where(last, state["waited"], 0),
        }
        replace(state, again, changes)


def neighborhood_means(gradient: Tensor, scales: Tensor) -> Tensor:
    """G ∂φ/∂m `[B,3,H,W]`: averaged over colors and, by a Gaussian, over places; at the last scale as it is.

    Args:
        gradient: `[B,3,H,W]`.
        scales: `[B]` int64, numbers in `SCALES`.
    """
    height, width = gradient.shape[2:]
    options = (min(height, width), gradient.device, gradient.dtype)
    rows, columns = (_gaussians(size, *options)[scales] for size in (height, width))
    places = rows @ gradient.mean(dim=1) @ columns.mT
    return torch.where(per_pixel(scales == len(SCALES) - 1), gradient, places[:, None])


@functools.lru_cache(maxsize=8)
def _gaussians(size: int, shorter: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """A matrix `[size,size]` for each of `SCALES`; on the device once, since a copy at every step would wait for it."""
    return torch.stack([gaussian_matrix(size, share * shorter, dtype=dtype) for share in SCALES]).to(device)
