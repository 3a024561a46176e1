"""The methods that the localization benchmarks compare: each gives the maps of a batch, by name."""

from collections.abc import Callable

import torch
from captum.attr import LayerGradCam
from torch import Tensor
from torch.nn import functional

from pipeline.explain.glas import PRESETS, Glas, SearchPoints, probe, spread
from pipeline.explain.gradients import Gradient, GuidedBackpropagation, IntegratedGradients, SmoothGrad
from pipeline.explain.interface import Explainer, target_scores
from pipeline.explain.lime import Lime
from pipeline.explain.meaningful import MeaningfulPerturbation
from pipeline.explain.occlusion import Occlusion
from pipeline.explain.passes import normalized
from pipeline.explain.rglas import RecursiveGlas
from pipeline.explain.rise import Rise
from pipeline.models.classifier import Classifier
from pipeline.models.preparation import PreparedClassifier

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
    "glas fine": _only("glas fine", lambda: Glas("fine-grained")),
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
