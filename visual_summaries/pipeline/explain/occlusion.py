"""Occlusion: what does the score lose when a window slides over the image (Zeiler and Fergus)? By Captum.

Shapes: B images, H by W pixels.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from visual_summaries.pipeline.explain.interface import (
    Classified,
    Explanation,
    hidden_color,
    target_scores,
    validate_batch,
)
from visual_summaries.pipeline.explain.lengths import PUBLISHED_SIDE, pixels
from visual_summaries.pipeline.explain.passes import PASS_MEMORY, normalized


class Occlusion:
    """The fall of the target's score for each position of a gray window, averaged over the windows that hide a pixel.

    Saliency `[B,1,H,W]` is moved and scaled to [0,1]. The window has the color that the classifier normalizes to zero,
    and the middle gray for a plain function. No image is perturbed by its map, so that there is no `score_after`.
    """

    def __init__(self, window: int = 32, stride: int = 16, memory: int = PASS_MEMORY) -> None:
        """Window and stride in pixels of a 224-px image; `memory`, bytes of the perturbed images in one forward pass.

        Raises:
            ValueError: not 1 ≤ stride ≤ window < 224.
        """
        if not 1 <= stride <= window:
            raise ValueError(f"the stride ({stride}) must be at least 1 and at most the window ({window})")
        if window >= PUBLISHED_SIDE:
            raise ValueError(
                f"a window of {window} px hides a whole image of {PUBLISHED_SIDE} px, in whose pixels it is given: "
                "nothing would be told from anything else"
            )
        self.window, self.stride, self.memory = window, stride, memory
        # What is to come is counted before an image is seen; another size has about as many windows.
        self.passes = self._windows((PUBLISHED_SIDE, PUBLISHED_SIDE)) + 1

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
        window, stride = self._lengths(images.shape[-2:])
        windows = self._windows(images.shape[-2:])
        found = images
        if len(images):
            baseline = hidden_color(classifier, images)[None]
            # Captum hides a window in all images at once.
            at_once = max(1, self.memory // (4 * images[0].numel() * images.element_size() * len(images)))
            found = SlidingWindow(lambda batch, wanted: target_scores(classifier, batch, wanted)).attribute(
                images,
                (3, window, window),
                (3, stride, stride),
                baseline.expand_as(images),
                additional_forward_args=(targets,),
                perturbations_per_eval=min(at_once, windows),
            )
        return Explanation(
            saliency=normalized(found[:, :1]).to(images),
            score_before=before,
            score_after=None,
            iterations=torch.full_like(targets, windows + 1),
        )

    def _lengths(self, size: Sequence[int]) -> tuple[int, int]:
        """Window and stride in whole pixels of an image of this height and width."""
        shorter = min(size)
        window = min(max(1, round(pixels(self.window, *size))), max(1, shorter - 1))
        # Rounded up, so that another size has hardly more windows; but none may be left out between two.
        return window, min(math.ceil(pixels(self.stride, *size)), window)

    def _windows(self, size: Sequence[int]) -> int:
        """Positions of the window in an image of this height and width."""
        window, stride = self._lengths(size)
        return math.prod(math.ceil((side - window) / stride) + 1 for side in size)
