"""Feature CAM: a class activation map, which says where, combined with the image's edges, which say what ("Feature CAM:
Interpretability in Image Classification with Improved Visual Attention", §4, eqs. 7 to 9).

Shapes: B images, H by W pixels.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from visual_summaries.pipeline.explain.cams import ActivationMaps, Cam, GradCam, GradCamPlusPlus, SmoothGradCamPlusPlus
from visual_summaries.pipeline.explain.edges import EdgeDetector, edge_detector
from visual_summaries.pipeline.explain.interface import Explanation, LogitsFunction
from visual_summaries.pipeline.explain.passes import PASS_MEMORY

# k of eq. 7.
FEATURE_WEIGHT = 0.25
LOCALIZERS: dict[str, Callable[..., ActivationMaps]] = {
    "cam": Cam,
    "grad-cam": GradCam,
    "grad-cam++": GradCamPlusPlus,
    "smooth-grad-cam++": SmoothGradCamPlusPlus,
}
# Names: feature image, then + for k·F + M (experiment 1), * for F∘M (experiment 2), ' for (1 − F)∘M (experiment 3).
VERSIONS = tuple(f"{feature}{experiment}" for experiment in "+*'" for feature in ("F1", "F2", "F3"))
# The five that the paper keeps, in its order.
CHOSEN = ("F2+", "F3+", "F1+", "F3'", "F1'")
# Share of the pixels that an explanation map leaves out (§4).
PERCENTILE = 80.0


def feature_images(images: Tensor, edges: Tensor) -> dict[str, Tensor]:
    """F1, the edges `[B,1,H,W]`; F2 and F3 `[B,3,H,W]`, image and edges blended 2:1 and 1:1 (Fig. 2)."""
    return {"F1": edges, "F2": (2 * images + edges) / 3, "F3": (images + edges) / 2}


def combinations(images: Tensor, edges: Tensor, maps: Tensor) -> dict[str, Tensor]:
    """The nine saliency maps of the three experiments, by the names of `VERSIONS`.

    Args:
        images: `[B,3,H,W]` float in [0,1].
        edges: `[B,1,H,W]` in [0,1].
        maps: class activation maps M `[B,1,H,W]` in [0,1].

    Returns:
        `[B,1,H,W]` or `[B,3,H,W]` in [0,1]; k·F + M is divided by 1 + k.
    """
    found = {}
    for name, feature in feature_images(images, edges).items():
        found[f"{name}+"] = (FEATURE_WEIGHT * feature + maps) / (1 + FEATURE_WEIGHT)
        found[f"{name}*"] = feature * maps
        found[f"{name}'"] = (1 - feature) * maps
    return {name: found[name] for name in VERSIONS}


def explanation_images(images: Tensor, maps: Tensor, baseline: Tensor, percentile: float = PERCENTILE) -> Tensor:
    """The image where its map is above its own percentile, the data mean elsewhere (§4, Fig. 3) `[B,3,H,W]`.

    Where so many pixels share the largest value that none exceeds the percentile, as in a binary mask that covers more
    of the image than the percentile leaves, all of these are shown; of a map without a positive value, nothing is.

    Args:
        images: `[B,3,H,W]` float in [0,1].
        maps: `[B,1,H,W]` or `[B,3,H,W]`; of three colors, the mean counts.
        baseline: `[3,1,1]`, the color in [0,1] that the classifier normalizes to zero.
        percentile: of the map's values, in [0, 100].
    """
    values = maps.mean(dim=1, keepdim=True).float()
    limits = torch.quantile(values.flatten(1), percentile / 100, dim=1).view(-1, 1, 1, 1)
    largest = values.amax(dim=(2, 3), keepdim=True)
    tied = (limits >= largest) & (largest > 0) & (values == largest)
    return torch.where((values > limits) | tied, images, baseline)


class FeatureCam:
    """A version of Feature CAM on any class activation map.

    Saliency is `[B,1,H,W]` for F1, `[B,3,H,W]` for F2 and F3, as `combinations` makes it. There is no `score_after`:
    `explanation_images` keeps what is salient, where other explainers remove it. `iterations` counts forward passes.
    """

    def __init__(
        self,
        version: str = "F2+",
        localizer: str | ActivationMaps = "grad-cam++",
        edges: Path | EdgeDetector | None = None,
        layer: str | None = None,
        memory: int = PASS_MEMORY,
    ) -> None:
        """`edges`: weights file of PiDiNet or HED, a function, or None for Sobel's operator; `layer`: the localizer's.

        Raises:
            ValueError: unknown version or localizer.
            ClassifierError: the weights file cannot be read or does not fit.
        """
        if version not in VERSIONS:
            raise ValueError(f"unknown version {version!r}; known: {', '.join(VERSIONS)}")
        if isinstance(localizer, str):
            if localizer not in LOCALIZERS:
                raise ValueError(f"unknown localizer {localizer!r}; known: {', '.join(LOCALIZERS)}")
            localizer = LOCALIZERS[localizer](layer=layer, memory=memory)
        self.version, self.localizer = version, localizer
        self.edges = edges if callable(edges) else edge_detector(edges)

    @property
    def passes(self) -> int:
        return self.localizer.passes

    def explain(
        self,
        classifier: LogitsFunction,
        images: Tensor,
        targets: Tensor,
        generators: Sequence[torch.Generator] | None = None,
    ) -> Explanation:
        """As `Explainer.explain`.

        Raises:
            ValueError: shapes, dtypes or ranges do not fit, or the classifier has no `module`.
            ClassifierError: the network has no spatial map.
        """
        located = self.localizer.explain(classifier, images, targets, generators)
        if not len(images):
            return located
        if isinstance(self.edges, torch.nn.Module):
            self.edges.to(images.device)
        with torch.no_grad():
            return replace(located, saliency=combinations(images, self.edges(images), located.saliency)[self.version])
