"""RISE: a pixel is salient where random masks that show it leave the target's score high (Petsiuk et al., "RISE:
Randomized Input Sampling for Explanation of Black-box Models", 2018, §3).

Shapes: B images, H by W pixels, N masks per image, of s by s cells.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.explain.interface import Explanation, LogitsFunction, target_scores, validate_batch


@dataclass(frozen=True)
class RiseSettings:
    """Settings of RISE.

    Attributes:
        masks: N, forward passes per image.
        cells: s, side of the random grids.
        keep: p, probability that a cell is shown.
        batch_size: masked images in one forward pass, whatever B and N; it bounds the memory.
    """

    masks: int = 4000
    cells: int = 7
    keep: float = 0.5
    batch_size: int = 64

    def __post_init__(self) -> None:
        if min(self.masks, self.cells, self.batch_size) < 1:
            raise ValueError("masks, cells and batch_size must be at least 1")
        if not 0 < self.keep < 1:
            raise ValueError(f"keep must lie between 0 and 1, got {self.keep}")


class Rise:
    """Scores of randomly masked images, each added to what its mask showed; needs no gradients.

    Saliency `[B,1,H,W]` is Σ score·mask / (N·p), at most 1. There is no perturbed image, so that `score_after` is NaN.
    `iterations` counts masks. Hidden pixels are black, as published: the mask multiplies the image in [0,1].
    """

    def __init__(self, settings: RiseSettings | int | None = None) -> None:
        """`settings`: all of them, or the number of masks."""
        self.settings = RiseSettings(masks=settings) if isinstance(settings, int) else settings or RiseSettings()

    @torch.no_grad()
    def explain(
        self,
        classifier: LogitsFunction,
        images: Tensor,
        targets: Tensor,
        generators: Sequence[torch.Generator] | None = None,
    ) -> Explanation:
        """As `Explainer.explain`; without generators, every image gets the masks of seed 0.

        Raises:
            ValueError: shapes, dtypes or ranges do not fit.
        """
        validate_batch(images, targets)
        count, _, height, width = images.shape
        masks = self.settings.masks
        generators = generators or [torch.Generator(images.device).manual_seed(0) for _ in range(count)]
        drawn = [RandomMasks.draw(self.settings, height, width, generator) for generator in generators]
        sums = torch.zeros(count, height, width, dtype=torch.float64, device=images.device)
        for start in range(0, count * masks, self.settings.batch_size):
            end = min(start + self.settings.batch_size, count * masks)
            # Of images first to last, the masks in this pass.
            parts = [
                (row, max(start - row * masks, 0), min(end - row * masks, masks))
                for row in range(start // masks, (end - 1) // masks + 1)
            ]
            shown = [drawn[row].rendered(first, last) for row, first, last in parts]
            rows = torch.cat([targets.new_full((last - first,), row) for row, first, last in parts])
            masked = images[rows] * torch.cat(shown)[:, None].to(images)
            scores = target_scores(classifier, masked, targets[rows]).double()
            for (row, first, last), part in zip(parts, shown, strict=True):
                weights, scores = scores[: last - first], scores[last - first :]
                sums[row] += torch.einsum("n,nhw->hw", weights.to(part), part)
        saliency = (sums / (masks * self.settings.keep)).clamp_(0, 1)[:, None].to(images)
        return Explanation(
            saliency=saliency,
            score_before=target_scores(classifier, images, targets) if count else saliency.new_zeros(0),
            score_after=saliency.new_full((count,), torch.nan),
            iterations=torch.full((count,), masks, dtype=torch.int64, device=images.device),
        )


@dataclass(frozen=True)
class RandomMasks:
    """The random masks of one image as numbers, rendered when they are needed.

    Attributes:
        grids: `[N,s,s]` float32, 1 where a cell is shown.
        shifts: `[N,2]` int64, rows and columns by which the enlarged grid is moved.
        vertical: `[(s+1)·cell,s]` float32, enlarges a grid's rows bilinearly.
        horizontal: the same for its columns.
        size: (H, W).
    """

    grids: Tensor
    shifts: Tensor
    vertical: Tensor
    horizontal: Tensor
    size: tuple[int, int]

    @classmethod
    def draw(cls, settings: RiseSettings, height: int, width: int, generator: torch.Generator) -> "RandomMasks":
        """The masks of an image of `height` by `width` pixels, on the generator's device."""
        cells, device = settings.cells, generator.device
        sides = [math.ceil(size / cells) for size in (height, width)]
        shape = (settings.masks, cells, cells)
        grids = (torch.rand(shape, generator=generator, device=device) < settings.keep).float()
        shifts = [
            torch.randint(side, (settings.masks,), generator=generator, device=device) for side in sides
        ]
        enlarge = [_enlarging(cells, (cells + 1) * side).to(device) for side in sides]
        return cls(grids, torch.stack(shifts, dim=1), *enlarge, size=(height, width))

    def rendered(self, first: int, last: int) -> Tensor:
        """Masks `first` to `last` − 1 as `[last−first,H,W]` float32 in [0,1]."""
        rows, columns = (
            enlarge[self.shifts[first:last, axis, None] + torch.arange(size, device=self.shifts.device)]
            for axis, (enlarge, size) in enumerate(zip((self.vertical, self.horizontal), self.size, strict=True))
        )
        return rows @ self.grids[first:last] @ columns.mT


def _enlarging(cells: int, pixels: int) -> Tensor:
    """The matrix `[pixels,cells]` of bilinear interpolation in one direction."""
    return functional.interpolate(torch.eye(cells)[None], size=pixels, mode="linear", align_corners=False)[0].T
