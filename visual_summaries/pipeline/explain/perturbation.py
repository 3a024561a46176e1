"""Φ of the mask methods: what an image becomes where its mask says "do not keep".

Each perturbation is prepared once per image and applied at every step. Shapes: B images, H by W pixels, L blur
levels.
"""

from typing import Protocol

from torch import Tensor

from visual_summaries.pipeline.explain.blur import blur_pyramid, gaussian_blur, varying_blur
from visual_summaries.pipeline.explain.lengths import pixels

# Images of less than 102 px would get a smaller kernel, which leaves more of their contrast than 11 px do at 224 px.
LEAST_KERNEL = 5
# σ of the heavy blur, px of a 224-px image.
HEAVY_BLUR = 12.0


class Perturbation(Protocol):
    """Blurs, or otherwise removes, the pixels that a mask does not keep."""

    def prepare(self, images: Tensor) -> dict[str, Tensor]:
        """What `apply` needs of `images` `[B,3,H,W]` in [0,1], tensors `[B,…]` by name."""
        ...

    def apply(self, prepared: dict[str, Tensor], keep: Tensor) -> Tensor:
        """The perturbed images `[B,3,H,W]` for keep masks `[B,1,H,W]`: 1 keeps a pixel, 0 removes it."""
        ...


class FixedBlur:
    """Φ(x; m) = m·x + (1 − m)·blur(x) with one Gaussian of 11×11 px, σ = 10 px (the authors' setting).

    Both are pixels of a 224-px image; the kernel gets the nearest odd side, 5 at least.
    """

    def prepare(self, images: Tensor) -> dict[str, Tensor]:
        side = pixels(11, *images.shape[-2:], least=LEAST_KERNEL)
        blurred = gaussian_blur(images, sigma=side * 10 / 11, radius=round((side - 1) / 2))
        return {"blurred": blurred, "difference": images - blurred}

    def apply(self, prepared: dict[str, Tensor], keep: Tensor) -> Tensor:
        return prepared["blurred"].addcmul(keep, prepared["difference"])


class VaryingBlur:
    """At each pixel a Gaussian of σ = 10 px · (1 − m) (visual summaries paper, below eq. 1), by a blur pyramid.

    The 10 px are those of a 224-px image; the widest blur has a σ of 1 px at least.
    """

    def prepare(self, images: Tensor) -> dict[str, Tensor]:
        return {"pyramid": blur_pyramid(images, pixels(10, *images.shape[-2:], least=1))}

    def apply(self, prepared: dict[str, Tensor], keep: Tensor) -> Tensor:
        return varying_blur(prepared["pyramid"], 1 - keep)


PERTURBATIONS: dict[str, Perturbation] = {"authors": FixedBlur(), "paper": VaryingBlur()}


def heavy_blur(images: Tensor) -> Tensor:
    """Images `[…,3,H,W]` blurred until no part of an object can be made out: what a part is shown on when it is shown
    alone. A Gaussian of σ = 12 px of a 224-px image, 1 px at least, cut off at 2σ."""
    sigma = pixels(HEAVY_BLUR, *images.shape[-2:], least=1)
    return gaussian_blur(images, sigma, radius=round(2 * sigma))
