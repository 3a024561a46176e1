"""The methods that the localization benchmarks compare: each gives the maps of a batch, by name."""

from collections.abc import Callable
from dataclasses import replace

import torch
from captum.attr import LayerGradCam
from torch import Tensor
from torch.nn import functional

from visual_summaries.pipeline.explain.glas import PRESETS, Glas, SearchPoints, probe, spread
from visual_summaries.pipeline.explain.gradients import Gradient, GuidedBackpropagation, IntegratedGradients, SmoothGrad
from visual_summaries.pipeline.explain.interface import Explainer, target_scores
from visual_summaries.pipeline.explain.lime import Lime
from visual_summaries.pipeline.explain.meaningful import MeaningfulPerturbation
from visual_summaries.pipeline.explain.occlusion import Occlusion
from visual_summaries.pipeline.explain.passes import normalized
from visual_summaries.pipeline.explain.rglas import RecursiveGlas
from visual_summaries.pipeline.explain.rise import Rise
from visual_summaries.pipeline.models.classifier import Classifier
from visual_summaries.pipeline.models.preparation import PreparedClassifier

Maps = Callable[[Classifier, PreparedClassifier, Tensor, Tensor], dict[str, Tensor]]
GRIDS = (12, 22, 25)


def _only(name: str, make: Callable[[], Explainer]) -> Maps:
    def maps(_plain: Classifier, classifier: PreparedClassifier, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        return {name: make().explain(classifier, images, targets).saliency}

    return maps


def _glas(_plain: Classifier, classifier: PreparedClassifier, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """GLAS and its two halves, from the same passes."""
    settings = PRESETS["localize"]
    points = SearchPoints.grid(settings.grid, images.shape[-2:])
    before = target_scores(classifier, images, targets)
    probes = probe(classifier, images, targets, before, points, settings)
    values = {"glas": probes.light * probes.shadow, "glas light": probes.light, "glas shadow": probes.shadow}
    return {
        name: normalized(spread(value, points, settings.spatial))[:, None].float() for name, value in values.items()
    }


def _scales(_plain: Classifier, classifier: PreparedClassifier, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """GLAS with every σ 5 or 3 cells, and with the paper's for localization, from the passes that they share."""
    points = SearchPoints.grid(15, images.shape[-2:])
    before = target_scores(classifier, images, targets)

    def probed(sigma: float, mode: str) -> Tensor:
        settings = replace(PRESETS["localize"], light=sigma, shadow=sigma, mode=mode)
        return getattr(probe(classifier, images, targets, before, points, settings), mode)

    light = {sigma: probed(sigma, "light") for sigma in (3.0, 5.0)}
    shadow = {sigma: probed(sigma, "shadow") for sigma in (3.0, 5.0)}
    values = {
        "glas 3": (light[3.0] * shadow[3.0], 3.0),
        "glas": (light[5.0] * shadow[3.0], 6.0),
        "glas 5": (light[5.0] * shadow[5.0], 5.0),
    }
    return {
        name: normalized(spread(value, points, sigma))[:, None].float() for name, (value, sigma) in values.items()
    }


def _recursions(
    _plain: Classifier, classifier: PreparedClassifier, images: Tensor, targets: Tensor
) -> dict[str, Tensor]:
    rounds = [recursion.fused for recursion in RecursiveGlas().recursions(classifier, images, targets)]
    return {f"rglas {number}": rounds[min(number, len(rounds)) - 1] for number in (1, 2, 3)} | {"rglas": rounds[-1]}


def _grad_cam(plain: Classifier, _classifier: PreparedClassifier, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
    # The network as loaded: once prepared, its layers are no longer called as parts of `features`.
    coarse = LayerGradCam(plain.logits, plain.module.features).attribute(images, targets, relu_attributions=True)
    maps = functional.interpolate(coarse, images.shape[-2:], mode="bilinear").detach()
    return {"grad-cam": maps / maps.amax(dim=(1, 2, 3), keepdim=True).clamp_min(torch.finfo(maps.dtype).tiny)}


METHODS: dict[str, Maps] = {
    "glas": _glas,
    "glas 5": _scales,
    "rglas": _recursions,
    "rise-4000": _only("rise-4000", lambda: Rise(4000)),
    "rise-451": _only("rise-451", lambda: Rise(451)),
    "grad-cam": _grad_cam,
    "occlusion": _only("occlusion", Occlusion),
    "gradient": _only("gradient", Gradient),
    "guided": _only("guided", GuidedBackpropagation),
    "integrated": _only("integrated", IntegratedGradients),
    "smoothgrad": _only("smoothgrad", SmoothGrad),
    "lime": _only("lime", Lime),
    "meaningful": _only("meaningful", MeaningfulPerturbation),
} | {f"glas k={grid}": _only(f"glas k={grid}", lambda grid=grid: Glas(grid=grid)) for grid in GRIDS}
