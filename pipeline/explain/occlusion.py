"""Occlusion: what does the score lose when a window slides over the image (Zeiler and Fergus)? By Captum.

Shapes: B images, H by W pixels.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.explain.interface import Classified, Explanation, target_scores, validate_batch
from pipeline.explain.passes import PASS_MEMORY, normalized

# For an image of this side, px, the passes are counted before any is seen.
USUAL_SIDE = 224


class Occlusion:
    """The fall of the target's score for each position of a gray window, averaged over the windows that hide a pixel.

    Saliency `[B,1,H,W]` is moved and scaled to [0,1]. The window has the color that the classifier normalizes to zero,
    and the middle gray for a plain function. No image is perturbed by its map, so that there is no `score_after`.
    """

    def __init__(self, window: int = 32, stride: int = 16, memory: int = PASS_MEMORY) -> None:
        """Window and stride in pixels; `memory`, bytes of the perturbed images in one forward pass.

        Raises:
            ValueError: not 1 ≤ stride ≤ window.
        """
        if not 1 <= stride <= window:
            raise ValueError(f"the stride ({stride}) must be at least 1 and at most the window ({window})")
        self.window, self.stride, self.memory = window, stride, memory
        self.passes = self._windows((USUAL_SIDE, USUAL_SIDE)) + 1

    @torch.no_grad()
    def explain(
        self,
        classifier: Classified,
        images: Tensor,
        targets: Tensor,
        generators: Sequence[torch.Generator] | None = None,
    ) -> Explanation:
        """As `Explainer.explain`, of any classifier, also a plain function; no random numbers are drawn.

        Raises:
            ValueError: shapes, dtypes or ranges do not fit.
        """
        from captum.attr import Occlusion as SlidingWindow

        validate_batch(images, targets)
        before = target_scores(classifier, images, targets)
        sides = [min(self.window, side) for side in images.shape[-2:]]
        steps = [min(self.stride, side) for side in sides]
        windows = self._windows(images.shape[-2:])
        found = images
        if len(images):
            reference = getattr(classifier, "reference", images.new_full((3,), 0.5)).to(images).view(1, 3, 1, 1)
            # Captum hides a window in all images at once.
            at_once = max(1, self.memory // (4 * images[0].numel() * images.element_size() * len(images)))
            found = SlidingWindow(lambda batch, wanted: target_scores(classifier, batch, wanted)).attribute(
                images,
                (3, *sides),
                (3, *steps),
                reference.expand_as(images),
                additional_forward_args=(targets,),
                perturbations_per_eval=min(at_once, windows),
            )
        return Explanation(
            saliency=normalized(found[:, :1]).to(images),
            score_before=before,
            score_after=None,
            iterations=torch.full_like(targets, windows + 1),
        )

    def _windows(self, size: Sequence[int]) -> int:
        """Positions of the window in an image of this height and width."""
        positions = [math.ceil(max(0, side - self.window) / min(self.stride, side)) + 1 for side in size]
        return math.prod(positions)
