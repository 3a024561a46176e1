"""The explainers by name. A new one is one file in this folder and one line here."""

from collections.abc import Callable
from dataclasses import dataclass

from visual_summaries.pipeline.explain.cams import Cam, GradCam, GradCamPlusPlus, SmoothGradCamPlusPlus
from visual_summaries.pipeline.explain.feature_cam import FeatureCam
from visual_summaries.pipeline.explain.fgvis import FGVis
from visual_summaries.pipeline.explain.glas import Glas
from visual_summaries.pipeline.explain.gradients import Gradient, GuidedBackpropagation, IntegratedGradients, SmoothGrad
from visual_summaries.pipeline.explain.interface import Explainer
from visual_summaries.pipeline.explain.lime import Lime
from visual_summaries.pipeline.explain.meaningful import MeaningfulPerturbation, ThresholdedPerturbation
from visual_summaries.pipeline.explain.occlusion import Occlusion
from visual_summaries.pipeline.explain.rglas import RecursiveGlas
from visual_summaries.pipeline.explain.rise import Rise
from visual_summaries.pipeline.explain.robust import crisp_masks

# As many pixels as a crisp mask has, for maps that have no level of their own.
CRISP_SHARE = 0.1
GLAS = ("glas.preset", "glas.grid", "glas.light", "glas.shadow", "glas.spatial", "glas.mode")
RECURSION = ("glas.saliency_threshold", "glas.stop_threshold", "glas.rounds")


@dataclass(frozen=True)
class Entry:
    """An explainer and how its maps are cut into salient regions unless the user says otherwise.

    Attributes:
        make: what makes it.
        settings: names of the settings (of the section `explain`) that it is made with, in order; the first names the
            variant.
        smoothing: blur of its maps before the cut, σ in pixels of a 224-px image.
        share: the most salient share of pixels that counts; None: whatever exceeds `threshold`.
        threshold: saliency above it is salient.
        version: of what it computes, beside its settings and constants; raised with every change that gives other maps,
            which `tests/explain/test_golden_maps.py` then asks for.
        preset: its preset of `explain.preset`, unless the user names another; None: it has none.
        packs: whether its forward passes are packed, so that it is made with `memory`, bytes for one, too.
    """

    make: Callable[..., Explainer]
    settings: tuple[str, ...] = ()
    smoothing: float = 0.0
    share: float | None = None
    threshold: float = 0.5
    version: int = 1
    preset: str | None = None
    packs: bool = False


# Fine lines and single pixels, which are no regions: smoothed.
FINE = {"smoothing": 5.0, "share": CRISP_SHARE}
EXPLAINERS = {
    "crisp": Entry(crisp_masks, ("preset", "blur"), preset="robust"),
    "fgvis": Entry(FGVis, ("game", "similarity", "search"), version=3, **FINE),
    "glas": Entry(Glas, GLAS, share=CRISP_SHARE, packs=True),
    "rglas": Entry(RecursiveGlas, GLAS + RECURSION, share=CRISP_SHARE, packs=True),
    "rise": Entry(
        Rise,
        ("rise.masks", "rise.cells", "rise.keep", "rise.hidden", "rise.divisor"),
        share=CRISP_SHARE,
        version=3,
        packs=True,
    ),
    "occlusion": Entry(Occlusion, ("occlusion.window", "occlusion.stride"), share=CRISP_SHARE, packs=True),
    # Nothing makes a smooth mask 0 or 1: it is as pale as destroys the score. The paper cuts it by area, too (§4.1).
    "meaningful-perturbation": Entry(MeaningfulPerturbation, ("preset", "blur"), share=CRISP_SHARE, preset="fast"),
    "thresholded-perturbation": Entry(ThresholdedPerturbation, ("preset", "blur"), preset="fast"),
    "gradient": Entry(Gradient, **FINE),
    "guided-backpropagation": Entry(GuidedBackpropagation, **FINE),
    "integrated-gradients": Entry(IntegratedGradients, ("sampling.steps",), **FINE),
    "smoothgrad": Entry(SmoothGrad, ("sampling.noisy_copies", "sampling.noise"), **FINE),
    "lime": Entry(Lime, ("sampling.lime", "sampling.superpixel"), share=CRISP_SHARE),
    "cam": Entry(Cam, ("cam.layer",), share=CRISP_SHARE, version=2, packs=True),
    "grad-cam": Entry(GradCam, ("cam.layer",), share=CRISP_SHARE, version=2, packs=True),
    "grad-cam++": Entry(GradCamPlusPlus, ("cam.layer",), share=CRISP_SHARE, version=2, packs=True),
    "smooth-grad-cam++": Entry(
        SmoothGradCamPlusPlus, ("cam.copies", "cam.noise", "cam.layer"), share=CRISP_SHARE, version=2, packs=True
    ),
    "feature-cam": Entry(
        FeatureCam, ("cam.version", "cam.localizer", "cam.edges", "cam.layer"), version=2, packs=True, **FINE
    ),
}


def make_explainer(name: str, *settings: object, memory: int | None = None) -> Explainer:
    """The explainer `name` with its settings; `memory`, bytes of a forward pass's images, where it packs them.

    Raises:
        ValueError: no such explainer, or a setting that it cannot use.
    """
    if name not in EXPLAINERS:
        raise ValueError(f"unknown explainer {name!r}; known: {', '.join(EXPLAINERS)}")
    entry = EXPLAINERS[name]
    packing = {"memory": memory} if entry.packs and memory is not None else {}
    return entry.make(*settings, **packing)
