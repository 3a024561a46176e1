"""Other ways to see a shortcut, on the photographs of benchmarks/shortcuts.py: an explainer alone, CRAFT, one box.

An explainer alone gives maps and no summaries: of it, the share of the salient pixels that lie in the mark is measured
beside the share of the picture that the mark covers, and in how many photographs the largest salient region is on the
mark. The concepts of CRAFT and one Grad-CAM box a photograph (`concept_methods`) are judged as summaries are, by the
more generous `shortcut_judging.box_on_mark`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import concept_methods
import numpy as np
import torch
from shortcut_judging import box_on_mark, on_mark
from torch import Tensor

from visual_summaries.pipeline.explain.registry import EXPLAINERS, Entry, make_explainer
from visual_summaries.pipeline.models.classifier import Classifier
from visual_summaries.pipeline.models.preparation import PreparedClassifier
from visual_summaries.pipeline.summarize.regions import salient_pixels, salient_regions
from visual_summaries.pipeline.summarize.resampling import Rerun

ALONE = ("grad-cam", "grad-cam++", "smooth-grad-cam++", "feature-cam", "gradient", "guided-backpropagation")
CONCEPTS: dict[str, Callable[[Classifier, Tensor, int], Rerun]] = {
    "CRAFT, 10 concepts": concept_methods.craft,
    "Grad-CAM box": concept_methods.grad_cam_box,
}
BATCH = 8


@dataclass(frozen=True)
class Alone:
    """What the maps of one explainer say of the marks on a class's photographs.

    Attributes:
        inside: mean share of the salient pixels that lie in the mark.
        area: mean share of the picture that the mark covers.
        largest: share of the photographs whose largest salient region is on the mark.
    """

    inside: float
    area: float
    largest: float


def explainer_alone(name: str, classifier: Classifier, images: Tensor, target: int, marks: np.ndarray) -> Alone:
    """Maps of `EXPLAINERS[name]`, cut as a run cuts them; images `[N,3,S,S]` uint8, marks `[N,S,S]` bool."""
    entry, prepared = EXPLAINERS[name], PreparedClassifier(classifier)
    maker = make_explainer(name)
    maps = [
        maker.explain(prepared, part.float() / 255, torch.full((len(part),), target)).saliency.mean(dim=1)
        for part in images.split(BATCH)
    ]
    return salient_shares(entry, torch.cat(maps), marks)


def salient_shares(entry: Entry, maps: Tensor, marks: np.ndarray) -> Alone:
    """Of maps `[N,S,S]`, cut as those of an explainer are, and marks `[N,S,S]` bool."""
    inside, largest = [], []
    for saliency, mark in zip(maps.numpy(), marks, strict=True):
        salient = salient_pixels(saliency, entry.threshold, entry.smoothing, entry.share)
        if salient.any():
            inside.append((salient & mark).sum() / salient.sum())
            regions = salient_regions(salient.astype(np.float32), 0.5, 0)
            largest.append(on_mark(regions[0].mask, mark))
    mean = [float(np.mean(values)) if len(values) else float("nan") for values in (inside, largest)]
    return Alone(mean[0], float(marks.mean()), mean[1])


def concept_shares(name: str, classifier: Classifier, images: Tensor, target: int, marks: np.ndarray) -> list[float]:
    """Share of each concept's members that are on the mark, in the concepts' order; arguments as above."""
    found = CONCEPTS[name](classifier, images, target)(np.arange(len(images)), 0)
    return [
        float(np.mean([box_on_mark(box, marks[image]) for image, box in zip(one.images, one.boxes, strict=True)]))
        for one in found
    ]

