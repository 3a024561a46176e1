"""RISE: a pixel is salient where random masks that show it leave the target's score high (Petsiuk et al., "RISE:
Randomized Input Sampling for Explanation of Black-box Models", 2018, §3).

Shapes: B images, H by W pixels, N masks per image, of s by s cells.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from visual_summaries.pipeline.explain.interface import (
    Classified,
    Explanation,
    hidden_color,
    target_scores,
    validate_batch,
)
from visual_summaries.pipeline.explain.passes import PASS_MEMORY, in_passes, normalized

HIDDEN = ("mean", "black")
DIVISORS = ("drawn", "expected")
# Maps whose values differ by no more than this share of them differ by the rounding of the scores.
ROUNDING = 1e-6


@dataclass(frozen=True)
class RiseSettings:
    """Settings of RISE.

    Attributes:
        masks: N, forward passes per image.
        cells: s, side of the random grids.
        keep: p, probability that a cell is shown.
        hidden: what is where a mask hides: `mean`, the color that the classifier normalizes to zero, or `black`.
        divisor: what a pixel's sum of scores is divided by: how much the `drawn` masks show of it, or how much
            masks show on average, `expected`, N·p.
        memory: bytes of the masked images in one forward pass, whatever B and N.
    """

    masks: int = 4000
    cells: int = 7
    keep: float = 0.5
    hidden: str = "mean"
    divisor: str = "drawn"
    memory: int = PASS_MEMORY

    def __post_init__(self) -> None:
        if min(self.masks, self.cells) < 1:
            raise ValueError("masks and cells must be at least 1")
        if not 0 < self.keep < 1:
            raise ValueError(f"keep must lie between 0 and 1, got {self.keep}")
        if self.hidden not in HIDDEN:
            raise ValueError(f"hidden must be {' or '.join(HIDDEN)}, got {self.hidden!r}")
        if self.divisor not in DIVISORS:
            raise ValueError(f"divisor must be {' or '.join(DIVISORS)}, got {self.divisor!r}")


class Rise:
    """Scores of randomly masked images, each added to what its mask showed; needs no gradients.

    Saliency `[B,1,H,W]` is Σ score·mask / Σ mask, moved and scaled to [0,1]; diagnostics `least` and `most` are its
    extremes before. That is the mean score of the masks that show a pixel, which §3 defines saliency as. The published
    program divides by N·p instead, what Σ mask is on average, as `divisor="expected"` does: then a pixel that happens
    to be shown more often than others is salient for that alone, and where most masks leave the score high, the map
    shows little else. A score that no mask changes gives an empty map.

    As in the published program, the mask multiplies the normalized image, so that what it hides is the data mean; a
    plain function, whose mean nobody knows, is shown the middle gray. With `hidden="black"` the mask multiplies the
    image in [0,1]. `iterations` counts masks. No image is perturbed by the map itself, so that there is no
    `score_after`.
    """

    def __init__(
        self,
        settings: RiseSettings | int | None = None,
        cells: int | None = None,
        keep: float | None = None,
        hidden: str | None = None,
        divisor: str | None = None,
        memory: int | None = None,
    ) -> None:
        """`settings`: all of them, or the number of masks; what else is given overrides them.

        Raises:
            ValueError: a setting is out of range.
        """
        settings = RiseSettings(masks=settings) if isinstance(settings, int) else settings or RiseSettings()
        given = {"cells": cells, "keep": keep, "hidden": hidden, "divisor": divisor, "memory": memory}
        self.settings = replace(settings, **{name: value for name, value in given.items() if value is not None})

    @property
    def passes(self) -> int:
        return self.settings.masks

    @torch.no_grad()
    def explain(
        self,
        classifier: Classified,
        images: Tensor,
        targets: Tensor,
        generators: Sequence[torch.Generator] | None = None,
    ) -> Explanation:
        """As `Explainer.explain`, of any classifier, also a plain function; without generators, the masks of seed 0.

        Raises:
            ValueError: shapes, dtypes or ranges do not fit.
        """
        validate_batch(images, targets)
        count, _, height, width = images.shape
        masks = self.settings.masks
        generators = generators or [torch.Generator(images.device).manual_seed(0) for _ in range(count)]
        drawn = [RandomMasks.draw(self.settings, height, width, generator) for generator in generators]
        color = hidden_color(classifier, images) if self.settings.hidden == "mean" else images.new_zeros(3, 1, 1)
        scores = torch.empty(count * masks, dtype=torch.float64, device=images.device)

        def run(first: int, end: int) -> None:
            rows = torch.arange(first, end, device=images.device) // masks
            shown = [
                drawn[row].rendered(max(first - row * masks, 0), min(end - row * masks, masks))
                for row in range(first // masks, (end - 1) // masks + 1)
            ]
            masks_shown = torch.cat(shown)[:, None].to(images)
            masked = torch.lerp(color.expand(len(rows), 3, height, width), images[rows], masks_shown)
            scores[first:end] = target_scores(classifier, masked, targets[rows]).double()

        in_passes(count * masks, 4 * height * width * images.element_size(), self.settings.memory, run)
        maps = [self._map(mask, score) for mask, score in zip(drawn, scores.view(count, masks), strict=True)]
        saliency = torch.stack(maps) if maps else images.new_zeros(0, height, width)
        flat = saliency.flatten(1)
        return Explanation(
            saliency=normalized(saliency)[:, None].to(images),
            score_before=target_scores(classifier, images, targets),
            score_after=None,
            iterations=torch.full((count,), masks, dtype=torch.int64, device=images.device),
            diagnostics={"least": flat.amin(dim=1).float(), "most": flat.amax(dim=1).float()},
        )

    def _map(self, masks: "RandomMasks", scores: Tensor) -> Tensor:
        """`[H,W]` float64 of the scores `[N]` float64 of one image's masks."""
        if self.settings.divisor == "expected":
            return masks.weighted_mean(scores) / self.settings.keep
        shown = masks.weighted_mean(torch.ones_like(scores))
        # By differences, so that equal scores give an even map to the bit; a pixel that no mask shows gets the mean.
        mean = scores.mean()
        moved = masks.weighted_mean(scores - mean) / shown.where(shown > 0, 1)
        return mean + moved.where(moved.amax() - moved.amin() > ROUNDING * mean.abs(), 0)


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

    def weighted_mean(self, weights: Tensor) -> Tensor:
        """(1/N) Σ weight·mask as `[H,W]` float64, for `weights` `[N]` float64.

        The grids are added for each shift before they are enlarged, and enlarged for all shifts at once, which takes
        two products of matrices instead of N masks.
        """
        cells = self.grids.shape[1]
        sides = [matrix.shape[0] // (cells + 1) for matrix in (self.vertical, self.horizontal)]
        totals = weights.new_zeros(sides[0] * sides[1], cells * cells)
        places = self.shifts[:, 0] * sides[1] + self.shifts[:, 1]
        totals.index_add_(0, places, weights[:, None] * self.grids.flatten(1).double())
        totals = totals.view(*sides, cells, cells).permute(0, 2, 1, 3).reshape(sides[0] * cells, sides[1] * cells)
        rows, columns = (
            torch.stack([matrix[shift : shift + size] for shift in range(side)], dim=1).flatten(1).double()
            for matrix, side, size in zip((self.vertical, self.horizontal), sides, self.size, strict=True)
        )
        return rows @ totals @ columns.T / len(weights)


def _enlarging(cells: int, pixels: int) -> Tensor:
    """The matrix `[pixels,cells]` of bilinear interpolation in one direction."""
    return functional.interpolate(torch.eye(cells)[None], size=pixels, mode="linear", align_corners=False)[0].T
