"""Meaningful perturbation, plain and thresholded: what the crisp masks are compared with ("Understanding Deep
Architectures by Visual Summaries", §3.1 and Table 2).

Shapes: n images entering or leaving the batch, H by W pixels.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from visual_summaries.pipeline.explain.crisp import CrispMasks, CrispMethod, CrispSettings
from visual_summaries.pipeline.explain.engine import State
from visual_summaries.pipeline.explain.interface import Explanation, LogitsFunction, target_scores


class MeaningfulPerturbation(CrispMasks):
    """The first stage of the crisp masks alone: a smooth mask of 28 by 28 cells (Fong and Vedaldi)."""

    def __init__(self, preset: str | CrispSettings = "authors", blur: str | None = None) -> None:
        """As `CrispMasks`."""
        super().__init__(preset, blur)
        self.settings = self.settings.rough_only()


class ThresholdedPerturbation(CrispMasks):
    """That smooth mask, binarized so that as many pixels are salient as the crisp mask of the image has.

    Saliency is 0 or 1. It takes both stages, the second for its area. Diagnostics: none.
    """

    def __init__(self, preset: str | CrispSettings = "authors", blur: str | None = None) -> None:
        """As `CrispMasks`."""
        super().__init__(preset, blur)

    def method(self) -> "ThresholdedMethod":
        return ThresholdedMethod(self.settings)


class ThresholdedMethod(CrispMethod):
    """The two stages of the crisp masks, which remembers the mask between them as "smooth"."""

    def start(
        self,
        classifier: LogitsFunction,
        images: Tensor,
        targets: Tensor,
        generators: Sequence[torch.Generator] | None,
    ) -> State:
        state = super().start(classifier, images, targets, generators)
        return state | {"smooth": state["mask"].clone()}

    def enter(self, state: State, stage: int) -> State:
        return super().enter(state, stage) | {"smooth": self._smoothed(state["coarse"]).clamp_(0, 1)}

    def finish(self, classifier: LogitsFunction, state: State) -> Explanation:
        saliency = most_salient(1 - state["smooth"], (1 - state["mask"]).mean(dim=(1, 2, 3)))
        after = target_scores(classifier, self.perturbation.apply(state, 1 - saliency), state["target"])
        return Explanation(
            saliency=saliency,
            score_before=state["score_before"],
            score_after=torch.where(state["failed"], torch.nan, after),
            iterations=state["passes"],
        )


def most_salient(maps: Tensor, areas: Tensor) -> Tensor:
    """The most salient pixels of each map `[n,1,H,W]` as 1, the others as 0, for areas `[n]`, shares of the pixels.

    Of equally salient pixels, those that come first.
    """
    flat = maps.flatten(1)
    order = flat.argsort(dim=1, descending=True, stable=True)
    counts = (areas * flat.shape[1]).round().long()
    chosen = torch.arange(flat.shape[1], device=maps.device) < counts[:, None]
    return torch.zeros_like(flat).scatter_(1, order, chosen.to(maps)).view(maps.shape)
