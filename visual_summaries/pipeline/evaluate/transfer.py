"""Is what a map shows evidence for the class, or for one network alone? The salient pixels are removed, and another
network is asked.

Shapes: B images, H by W pixels.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from visual_summaries.pipeline.explain.interface import LogitsFunction, predicts, scores_of, validate_batch
from visual_summaries.pipeline.explain.perturbation import PERTURBATIONS


@dataclass(frozen=True)
class Transfer:
    """What a network says of images without their salient pixels.

    Attributes:
        right: `[B]` bool, whether the network predicts the whole image as the target's class.
        before: `[B]` float64, score of the target on the whole image.
        drop: `[B]` float64, at most 1: relative drop (p0 − p1) / p0 of that score when the image's own salient pixels
            are removed; NaN where the network is not right, since it has no evidence to lose.
        control: `[B]` float64, the same when those of another image's map are removed.
    """

    right: Tensor
    before: Tensor
    drop: Tensor
    control: Tensor


@torch.no_grad()
def transfer(
    classifier: LogitsFunction,
    images: Tensor,
    salient: Tensor,
    controls: Tensor,
    targets: Tensor,
    side: int | None = None,
    batch_size: int = 16,
    perturbation: str = "authors",
) -> Transfer:
    """Remove the salient pixels of each image's map, and those of another image's, and ask a network.

    Pixels are removed at the resolution of the maps, whole or not at all; then the picture is brought to the side
    that the network takes, so that every network is shown the same.

    Args:
        classifier: any network that knows the targets' classes by the same numbers.
        images: `[B,3,H,W]` float in [0,1].
        salient: `[B,H,W]` bool, the salient pixels of each image's own map.
        controls: `[B,H,W]` bool, those of another image's map.
        targets: `[B]` int64.
        side: input side of the network, pixels; default: as the images are.
        batch_size: images in one forward pass.
        perturbation: what a removed pixel becomes, a name of `PERTURBATIONS`: by default the blurred image.

    Raises:
        ValueError: shapes, dtypes or ranges do not fit, or a target is no class of the network.
    """
    validate_batch(images, targets)
    expected = (len(images), *images.shape[-2:])
    for masks in (salient, controls):
        if masks.shape != expected or masks.dtype != torch.bool:
            raise ValueError(f"masks must be bool {list(expected)}, got {masks.dtype} {list(masks.shape)}")
    removal = PERTURBATIONS[perturbation]
    parts = []
    for start in range(0, len(images), batch_size):
        own, target = images[start : start + batch_size], targets[start : start + batch_size]
        prepared = removal.prepare(own)
        rows = []
        for pixels in (None, salient, controls):
            if pixels is None:
                shown = own
            else:
                keep = ~pixels[start : start + batch_size, None]
                shown = removal.apply(prepared, keep.to(own.dtype))
            logits = classifier.logits(_of_side(shown, side))
            if int(target.max()) >= logits.shape[1]:
                raise ValueError(f"class {int(target.max())} is none of the network's {logits.shape[1]}")
            rows.append(scores_of(classifier, logits.double(), target))
            if pixels is None:
                rows.append(predicts(classifier, logits, target).double())
        parts.append(torch.stack(rows))
    before, right, after, control = torch.cat(parts, dim=1) if parts else images.new_zeros(4, 0).double()
    known = torch.where(right.bool(), before, torch.nan)
    return Transfer(right.bool(), before, (known - after) / known, (known - control) / known)


def _of_side(images: Tensor, side: int | None) -> Tensor:
    if side is None or images.shape[-2:] == (side, side):
        return images
    resized = functional.interpolate(images, (side, side), mode="bilinear", antialias=True, align_corners=False)
    return resized.clamp(0, 1)
