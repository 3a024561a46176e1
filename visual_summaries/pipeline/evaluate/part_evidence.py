"""Does the network go by a part? It is removed, or it alone is shown, and so are random salient places of its shape.

Shapes: P parts of one image, H by W pixels, D random places for each part.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from visual_summaries.pipeline.explain.interface import LogitsFunction, class_scores, validate_batch
from visual_summaries.pipeline.explain.perturbation import PERTURBATIONS, heavy_blur

REMOVAL = PERTURBATIONS["authors"]
# Of a score below this, no relative change can be measured.
LEAST_SCORE = torch.finfo(torch.float64).tiny


@dataclass(frozen=True)
class PartEvidence:
    """What the target's score becomes without a part, and with nothing else: each `[P]` float64, on the CPU.

    All are NaN where the score before is none (below 2.3e-308).

    Attributes:
        necessity: relative drop (p0 − p1) / p0 of the score when the part alone is removed; at most 1, negative where
            the score rises.
        sufficiency: score when the part alone is shown as a share p1 / p0 of the score before; 0 or more, above 1 where
            the score rises.
        region_sufficiency: the same of the region that the part belongs to.
        random_necessity: mean necessity of random salient places of the part's shape in the same image; NaN where
            nothing is salient.
        random_sufficiency: mean sufficiency of the same places; NaN likewise.
    """

    necessity: Tensor
    sufficiency: Tensor
    region_sufficiency: Tensor
    random_necessity: Tensor
    random_sufficiency: Tensor


@torch.no_grad()
def part_evidence(
    classifier: LogitsFunction,
    image: Tensor,
    target: int,
    parts: Tensor,
    regions: Tensor,
    salient: Tensor,
    draws: int = 5,
    seed: int = 0,
    batch_size: int = 16,
) -> PartEvidence:
    """Necessity and sufficiency of an image's parts, and those of random salient places of the same shapes.

    Removed pixels are blurred as those of crisp masks are (visual summaries, §3.1, the authors' 11 × 11 px), so that
    the picture stays natural. Where a part alone is shown, everything else is blurred heavily, so that nothing else of
    the object is evidence. Takes 1 + P · (3 + 2D) passes through the network.

    Args:
        classifier: the network.
        image: `[3,H,W]` float in [0,1].
        target: number of the class.
        parts: `[P,H,W]` bool, each part's pixels. A part without any removes and shows nothing.
        regions: `[P,H,W]` bool, the whole salient region that each part belongs to.
        salient: `[H,W]` bool, the image's salient pixels.
        draws: random places for each part, D, at least 1.
        seed: of the places; give each image its own. The places of a part depend on no other part.
        batch_size: pictures in one forward pass.

    Raises:
        ValueError: shapes, dtypes or ranges do not fit, or the target is no class of the network.
    """
    validate_batch(image[None], torch.tensor([target]))
    count, side = len(parts), image.shape[-2:]
    for name, masks, shape in (
        ("parts", parts, [count, *side]),
        ("regions", regions, [count, *side]),
        ("salient", salient, [*side]),
    ):
        if list(masks.shape) != shape or masks.dtype != torch.bool:
            raise ValueError(f"{name} must be bool {shape}, got {masks.dtype} {list(masks.shape)}")
    if draws < 1 or batch_size < 1:
        raise ValueError(f"draws and batch_size must be at least 1, got {draws} and {batch_size}")
    places = random_places(parts, salient, draws, seed)
    removed, shown = torch.cat([parts[None], places]), torch.cat([parts[None], regions[None], places])
    masks = torch.cat([removed, shown]).flatten(0, 1)[:, None]
    before, *after = _scores(classifier, image[None], target)
    prepared, background = REMOVAL.prepare(image[None]), heavy_blur(image[None])
    for start in range(0, len(masks), batch_size):
        batch = masks[start : start + batch_size]
        copies = {name: value.expand(len(batch), *value.shape[1:]) for name, value in prepared.items()}
        without = REMOVAL.apply(copies, (~batch).to(image.dtype))
        removal = torch.arange(start, start + len(batch), device=image.device) < removed.shape[0] * count
        pictures = torch.where(removal[:, None, None, None], without, torch.where(batch, image, background))
        after += _scores(classifier, pictures, target)
    left = torch.stack(after).view(-1, count) if after else before.new_zeros(len(removed) + len(shown), 0)
    left = (left / torch.where(before >= LEAST_SCORE, before, torch.nan)).cpu()
    drops, shares = 1 - left[: len(removed)], left[len(removed) :]
    return PartEvidence(drops[0], shares[0], shares[1], drops[1:].mean(dim=0), shares[2:].mean(dim=0))


def random_places(parts: Tensor, salient: Tensor, draws: int, seed: int = 0) -> Tensor:
    """The shapes of parts `[P,H,W]` bool on random salient places of the image: `[D,P,H,W]` bool.

    Every salient pixel `[H,W]` bool is as likely to be the middle of the shape's box; a shape that would leave the
    image is shifted into it. `[0,P,H,W]` where nothing is salient.
    """
    middles = salient.nonzero().cpu().numpy()
    if not len(middles):
        return parts.new_zeros(0, *parts.shape)
    chosen = np.random.default_rng(seed).random((len(parts), draws)) * len(middles)
    found = torch.zeros_like(parts).expand(draws, *parts.shape).clone()
    for number, part in enumerate(parts):
        rows, columns = (part.any(dim=dim).nonzero().flatten() for dim in (1, 0))
        if not len(rows):
            continue
        shape = part[int(rows[0]) : int(rows[-1]) + 1, int(columns[0]) : int(columns[-1]) + 1]
        room = np.array(salient.shape) - shape.shape
        for draw, middle in enumerate(middles[chosen[number].astype(np.int64)]):
            top, left = np.clip(middle - np.array(shape.shape) // 2, 0, room)
            found[draw, number, top : top + shape.shape[0], left : left + shape.shape[1]] = shape
    return found


def _scores(classifier: LogitsFunction, pictures: Tensor, target: int) -> Tensor:
    logits = classifier.logits(pictures)
    if not 0 <= target < logits.shape[1]:
        raise ValueError(f"class {target} is none of the network's {logits.shape[1]}")
    return class_scores(classifier, logits.double())[:, target]
