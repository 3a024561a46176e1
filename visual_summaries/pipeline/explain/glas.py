"""GLAS: where does a Gaussian light show the class, and where does a Gaussian shadow hide it ("Salient Explanation for
Fine-Grained Classification", IEEE Access 2020, §III-A)?

Nothing here needs gradients, and nothing but the saliency map's class knows that images have two dimensions.

Shapes: B images of C channels, "…" their spatial dimensions (H by W pixels, or a volume's), P search points.
"""

import string
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from visual_summaries.pipeline.explain.interface import Classified, Explanation, target_scores, validate_batch
from visual_summaries.pipeline.explain.passes import PASS_MEMORY, in_passes, normalized

# γ of eq. 2, which keeps the shadow's score from being 0.
SHADOW_OFFSET = 1e-5
MODES = ("fusion", "light", "shadow")


@dataclass(frozen=True)
class GlasSettings:
    """Settings of GLAS; lengths in cells of the grid.

    Attributes:
        light: σ_l of the light (eq. 1).
        shadow: σ_s of the shadow (eq. 2).
        spatial: σ_spatial, how far a search point's score reaches (eq. 3).
        grid: k, search points along each axis: the centers of k × k cells.
        mode: `fusion` of light and shadow (eq. 3), or one of them alone (the paper's Table 3).
        least_light: an image whose light shows at most this score at every search point has no map, and its shadows
            are not cast.
        memory: bytes of the perturbed images in one forward pass.
    """

    light: float = 5.0
    shadow: float = 3.0
    spatial: float = 6.0
    grid: int = 15
    mode: str = "fusion"
    least_light: float = 1e-12
    memory: int = PASS_MEMORY

    def __post_init__(self) -> None:
        if min(self.light, self.shadow, self.spatial) <= 0:
            raise ValueError("light, shadow and spatial must be positive")
        if self.grid < 1:
            raise ValueError(f"grid must be at least 1, got {self.grid}")
        if self.mode not in MODES:
            raise ValueError(f"unknown mode {self.mode!r}; known: {', '.join(MODES)}")


PRESETS = {"localize": GlasSettings(), "fine-grained": GlasSettings(light=3.0, shadow=3.0, spatial=3.0)}


@dataclass(frozen=True)
class SearchPoints:
    """Where light and shadow fall.

    Attributes:
        positions: `[P,D]` float64, in pixels (voxels) of each axis; 0 is the center of the first one.
        unit: in how many pixels of each axis σ is counted, D numbers.
        shape: size of the images along each axis.
    """

    positions: Tensor
    unit: tuple[float, ...]
    shape: tuple[int, ...]

    @classmethod
    def grid(cls, count: int, shape: Sequence[int], device: torch.device | None = None) -> "SearchPoints":
        """The centers of `count` cells along each axis of images of `shape`, row by row; σ in cells."""
        axes = [(torch.arange(count, dtype=torch.float64, device=device) + 0.5) * size / count - 0.5 for size in shape]
        positions = torch.cartesian_prod(*axes).view(-1, len(shape))
        return cls(positions, tuple(size / count for size in shape), tuple(shape))

    def gaussians(self, sigma: float) -> list[Tensor]:
        """The factors, `[P,size]` float64 for each axis, whose outer product is exp(−d²/2σ²): at most 1."""
        factors = []
        for axis, (size, unit) in enumerate(zip(self.shape, self.unit, strict=True)):
            pixels = torch.arange(size, dtype=torch.float64, device=self.positions.device)
            distances = (pixels - self.positions[:, axis, None]) / (unit * sigma)
            factors.append(torch.exp(-0.5 * distances.square()))
        return factors


@dataclass(frozen=True)
class Probes:
    """What became of the target's score at each search point.

    Attributes:
        light: f_l (eq. 1) `[B,P]` float64, 1 in the mode `shadow`.
        shadow: f_s (eq. 2) `[B,P]` float64, 1 in the mode `light`, 0 where no shadows were cast.
        passes: `[B]` int64, perturbed images.
    """

    light: Tensor
    shadow: Tensor
    passes: Tensor


@torch.no_grad()
def probe(
    classifier: Classified,
    images: Tensor,
    targets: Tensor,
    scores: Tensor,
    points: SearchPoints,
    settings: GlasSettings,
    used: Tensor | None = None,
) -> Probes:
    """Light and shadow at every search point.

    Args:
        images: `[B,C,…]` float; light falls on a black world, so that 0 must be black.
        targets: `[B]` int64.
        scores: P(y | I) `[B]` of the images as they are.
        used: `[B,P]` bool, the search points of each image; default: all. The others get 0.
    """
    if used is None:
        used = torch.ones(len(images), len(points.positions), dtype=torch.bool, device=images.device)
    light = torch.zeros_like(used, dtype=torch.float64)
    shadow = torch.zeros_like(light)
    cast = used
    if settings.mode == "shadow":
        light = used.double()
    else:
        factors = points.gaussians(settings.light)
        light[used] = _scores(classifier, images, targets, factors, used, settings.memory, lit=True)
        # Without light there is nothing that a shadow could add.
        cast = used & (light.amax(dim=1, keepdim=True) > settings.least_light)
    if settings.mode == "light":
        shadow = cast.double()
        cast = torch.zeros_like(used)
    else:
        factors = points.gaussians(settings.shadow)
        hidden = _scores(classifier, images, targets, factors, cast, settings.memory, lit=False)
        shadow[cast] = (scores.double()[cast.nonzero()[:, 0]] - hidden).abs() + SHADOW_OFFSET
    passes = cast.sum(dim=1) + (used.sum(dim=1) if settings.mode != "shadow" else 0)
    return Probes(light, shadow, passes)


def _scores(
    classifier: Classified,
    images: Tensor,
    targets: Tensor,
    factors: list[Tensor],
    used: Tensor,
    memory: int,
    lit: bool,
) -> Tensor:
    """The target's score under the light, or the shadow, at each used point: one per true entry of `used`, float64."""
    rows, numbers = used.nonzero(as_tuple=True)
    factors = [factor.to(images) for factor in factors]
    found = torch.empty(len(rows), dtype=torch.float64, device=images.device)

    def run(first: int, end: int) -> None:
        row, number = rows[first:end], numbers[first:end]
        masks = factors[0][number]
        for factor in factors[1:]:
            masks = masks.unsqueeze(-1) * factor[number].view(len(number), *[1] * (masks.ndim - 1), -1)
        if not lit:
            masks = 1 - masks
        found[first:end] = target_scores(classifier, images[row] * masks[:, None], targets[row]).double()

    spatial = images[0, 0].numel() if len(images) else 0
    in_passes(len(rows), (images.shape[1] + 1) * spatial * images.element_size(), memory, run)
    return found


def spread(values: Tensor, points: SearchPoints, sigma: float, used: Tensor | None = None) -> Tensor:
    """S(x) = mean over search points μ of exp(−D(x, μ)/σ²)·value(μ), D the squared distance (eq. 3).

    Args:
        values: `[B,P]` float64.
        sigma: σ_spatial in units of the search points.
        used: `[B,P]` bool, over which points the mean goes; default: all.

    Returns:
        `[B,…]` float64, one value per pixel.
    """
    # exp(−D/σ²) is a Gaussian exp(−D/2s²) with s = σ/√2.
    factors = points.gaussians(sigma / 2**0.5)
    axes = string.ascii_lowercase[: len(factors)]
    equation = ",".join(["XP", *(f"P{axis}" for axis in axes)]) + "->X" + axes
    total = torch.einsum(equation, values, *factors)
    counts = values.shape[1] if used is None else used.sum(dim=1).clamp_min(1).view(-1, *[1] * len(factors))
    return total / counts


class Glas:
    """Light and shadow at every search point, multiplied, and spread over the image.

    Saliency `[B,1,H,W]` is S of eq. 3, moved and scaled to [0,1]; 0 everywhere for an image without light.
    `score_after` is the score of the image darkened by its map, I⊙(1 − S) (Fig. 5). `iterations` counts forward
    passes, at most 2k² + 1. Diagnostics: `light`, the largest f_l, and `shadow`, the largest f_s.
    """

    def __init__(
        self,
        preset: str | GlasSettings = "localize",
        grid: int | None = None,
        light: float | None = None,
        shadow: float | None = None,
        spatial: float | None = None,
        mode: str | None = None,
        memory: int | None = None,
    ) -> None:
        """A preset by name, or settings; what else is given overrides them.

        Raises:
            ValueError: unknown preset or mode, or a number out of range.
        """
        self.settings = glas_settings(
            preset, grid=grid, light=light, shadow=shadow, spatial=spatial, mode=mode, memory=memory
        )

    @property
    def passes(self) -> int:
        return 1 + self.settings.grid**2 * (2 if self.settings.mode == "fusion" else 1)

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
        validate_batch(images, targets)
        settings = self.settings
        points = SearchPoints.grid(settings.grid, images.shape[-2:], images.device)
        before = target_scores(classifier, images, targets)
        probes = probe(classifier, images, targets, before, points, settings)
        saliency = normalized(spread(probes.light * probes.shadow, points, settings.spatial))[:, None].to(images)
        return Explanation(
            saliency=saliency,
            score_before=before,
            score_after=target_scores(classifier, images * (1 - saliency), targets),
            iterations=probes.passes + 1,
            diagnostics={"light": probes.light.amax(dim=1).float(), "shadow": probes.shadow.amax(dim=1).float()},
        )


def glas_settings(preset: str | GlasSettings, **given: object) -> GlasSettings:
    """A preset's settings, with those that are given and not None in their place.

    Raises:
        ValueError: unknown preset, or settings out of range.
    """
    if isinstance(preset, str) and preset not in PRESETS:
        raise ValueError(f"unknown preset {preset!r}; known: {', '.join(PRESETS)}")
    settings = PRESETS[preset] if isinstance(preset, str) else preset
    return replace(settings, **{name: value for name, value in given.items() if value is not None})
