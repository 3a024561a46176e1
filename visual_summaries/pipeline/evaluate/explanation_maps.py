"""Is the most salient fifth of an image enough for the network? The explanation maps of Feature CAM (§4, §5.2,
Tables 2 and 3).

Shapes: B images, H by W pixels.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from visual_summaries.pipeline.explain.feature_cam import PERCENTILE, explanation_images
from visual_summaries.pipeline.explain.interface import (
    LogitsFunction,
    baseline_color,
    class_scores,
    predicts,
    scores_of,
    validate_batch,
)


@dataclass(frozen=True)
class ExplanationMapScores:
    """What the classifier says of each image's explanation map.

    Attributes:
        predicted: `[B]` int64, the class predicted for the image.
        before: `[B]` float64, score of that class on the image.
        right: `[B]` bool, the explanation map is predicted as that class too.
        confidence: `[B]` float64, score of that class on the explanation map.
    """

    predicted: Tensor
    before: Tensor
    right: Tensor
    confidence: Tensor


@torch.no_grad()
def explanation_map_scores(
    classifier: LogitsFunction, images: Tensor, maps: Tensor, percentile: float = PERCENTILE, batch_size: int = 16
) -> ExplanationMapScores:
    """Classify the images, and then what lies above the `percentile` of each image's own map, on the data mean.

    Args:
        classifier: with `baseline`, the color in [0,1] that it normalizes to zero.
        images: `[B,3,H,W]` float in [0,1].
        maps: `[B,H,W]`, `[B,1,H,W]` or `[B,3,H,W]`, larger = more salient; of three colors, the mean counts.
        percentile: of a map's values, in [0, 100]; pixels strictly above it stay, and where there are none, as in a
            binary mask of more than a fifth of the image, those of the largest value.
        batch_size: images in one forward pass.

    Raises:
        ValueError: no image; shapes, dtypes or ranges do not fit; a map is not finite; the classifier has no baseline.
    """
    validate_batch(images, torch.zeros(len(images), dtype=torch.int64))
    maps = maps[:, None] if maps.ndim == 3 else maps
    count, _, height, width = images.shape
    shapes = [(count, channels, height, width) for channels in (1, 3)]
    if not count or tuple(maps.shape) not in shapes or not maps.isfinite().all():
        raise ValueError(f"maps must be finite and one of {shapes}, got {tuple(maps.shape)}")
    if not 0 <= percentile <= 100 or batch_size < 1:
        raise ValueError(f"percentile must lie in 0…100 and batch_size be at least 1: {percentile}, {batch_size}")
    baseline = baseline_color(classifier, images)

    found = []
    for part, own in zip(images.split(batch_size), maps.split(batch_size), strict=True):
        before, predicted = class_scores(classifier, classifier.logits(part).double()).max(dim=1)
        after = classifier.logits(explanation_images(part, own, baseline, percentile)).double()
        confidence = scores_of(classifier, after, predicted)
        found.append((predicted, before, predicts(classifier, after, predicted), confidence))
    return ExplanationMapScores(*(torch.cat(values) for values in zip(*found, strict=True)))
