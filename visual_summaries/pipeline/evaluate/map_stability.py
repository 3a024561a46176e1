"""Does a map stay when its image changes in ways that no viewer would notice? The image saved as a JPEG file, shifted
by a few pixels, mirrored, changed in the last bit of its numbers; and the same image with other random numbers.

Each change comes with its undoing, so that both maps are compared place by place, on the area that both show: the
salient pixels by their intersection over union (`overlaps`), the maps by Spearman's rank correlation
(`rank_correlations` of `sanity`).

Shapes: B maps, H by W pixels.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from visual_summaries.pipeline.evaluate.sanity import rank_correlations

JPEG_QUALITY = 90
# To the right and downwards, in pixels of an image of 224.
SHIFT = 3
SHIFT_OF_SIDE = 224


@dataclass(frozen=True)
class Change:
    """A change after which the map should be the same, in its place.

    Attributes:
        apply: (frame, margin) → the changed image `[3,H,W]`. The frame is the image `[3,H,W]` float32 in [0,1] with
            `margin` pixels more of its photograph on every side; by default it is the image itself.
        undo: maps or masks `[…,H,W]` of the changed image → the same, each pixel at its place in the image as it was.
        common: (H, W) → `[H,W]` bool, where undone maps show what the image as it was shows too.
        reseeded: whether the map is made with other random numbers than the image's own.
    """

    apply: Callable[..., Tensor]
    undo: Callable[[Tensor], Tensor]
    common: Callable[[int, int], Tensor]
    reseeded: bool = False


def unchanged(frame: Tensor, margin: int = 0) -> Tensor:
    """The image `[3,H,W]` within its frame `[3,H+2·margin,W+2·margin]`."""
    height, width = frame.shape[-2:]
    return frame[..., margin : height - margin, margin : width - margin]


def jpeg(frame: Tensor, margin: int = 0) -> Tensor:
    """The image in 8 bits, encoded as a JPEG file of quality 90 (Pillow's scale, colors at half resolution) and
    decoded again."""
    image = unchanged(frame, margin)
    pixels = image.mul(255).round().byte().permute(1, 2, 0).contiguous().cpu().numpy()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=JPEG_QUALITY)
    decoded = torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1).contiguous()
    return decoded.to(image.device, image.dtype).div_(255)


def shift_length(side: int) -> int:
    """Pixels by which an image of this side is shifted along both axes: 3 at 224, in proportion, at least 1."""
    return max(1, round(SHIFT * side / SHIFT_OF_SIDE))


def shifted(frame: Tensor, margin: int = 0) -> Tensor:
    """The picture moved to the right and downwards by `shift_length`; what enters at the border comes from the frame,
    mirrored where that does not reach so far."""
    height, width = (side - 2 * margin for side in frame.shape[-2:])
    length = shift_length(min(height, width))
    lacking = max(0, length - margin)
    if lacking:
        frame = functional.pad(frame[None], (lacking,) * 4, mode="reflect")[0]
    start = margin + lacking - length
    return frame[:, start : start + height, start : start + width].contiguous()


def shifted_back(maps: Tensor) -> Tensor:
    """The undoing of `shifted`; the last rows and columns, which the shifted image does not show, hold others."""
    length = shift_length(min(maps.shape[-2:]))
    return maps.roll((-length, -length), dims=(-2, -1))


def shown_after_shift(height: int, width: int) -> Tensor:
    """`[H,W]` bool: what an image and its shifted one both show."""
    length = shift_length(min(height, width))
    shown = torch.zeros(height, width, dtype=torch.bool)
    shown[: height - length, : width - length] = True
    return shown


def mirrored(frame: Tensor, margin: int = 0) -> Tensor:
    """The image with left and right exchanged."""
    return unchanged(frame, margin).flip(-1)


def last_bit_changed(frame: Tensor, margin: int = 0) -> Tensor:
    """Each value of the image replaced by the next floating-point number towards 0.5: at most 2⁻²⁴ away in float32,
    which no file of 8 bits holds and no eye sees. It shows what a method makes of rounding."""
    image = unchanged(frame, margin)
    return torch.nextafter(image, torch.full_like(image, 0.5))


def _same(maps: Tensor) -> Tensor:
    return maps


def _everywhere(height: int, width: int) -> Tensor:
    return torch.ones(height, width, dtype=torch.bool)


CHANGES: dict[str, Change] = {
    f"JPEG quality {JPEG_QUALITY}": Change(jpeg, _same, _everywhere),
    f"shift of {SHIFT} px": Change(shifted, shifted_back, shown_after_shift),
    "horizontal flip": Change(mirrored, lambda maps: maps.flip(-1), _everywhere),
    "last bit": Change(last_bit_changed, _same, _everywhere),
    "another seed": Change(unchanged, _same, _everywhere, reseeded=True),
}
"""The changes by name."""


def overlaps(salient: Tensor, others: Tensor) -> Tensor:
    """Intersection over union of each pair of masks, `[B]` float64 in [0,1]; NaN where both are empty.

    Args:
        salient, others: `[B,…]` bool of the same shape.

    Raises:
        ValueError: shapes differ, or values are not bool.
    """
    if salient.shape != others.shape or salient.ndim < 2 or not salient.dtype == others.dtype == torch.bool:
        raise ValueError(
            f"masks must be bool [B,…] and of one shape, got {salient.dtype} {tuple(salient.shape)} and "
            f"{others.dtype} {tuple(others.shape)}"
        )
    return (salient & others).flatten(1).sum(dim=1).double() / (salient | others).flatten(1).sum(dim=1)


def map_stability(
    change: Change, maps: Tensor, salient: Tensor, changed_maps: Tensor, changed_salient: Tensor
) -> tuple[Tensor, Tensor]:
    """How far maps stay under a change: overlap of the salient pixels and rank correlation of the maps.

    Args:
        maps: `[B,H,W]` float, of the images as they are.
        salient: `[B,H,W]` bool, their salient pixels.
        changed_maps, changed_salient: the same of the changed images, as they were made, not undone.

    Returns:
        (overlap, rank correlation), each `[B]` float64; the first NaN where neither has a salient pixel on the common
        area, the second where a map is constant there.

    Raises:
        ValueError: shapes differ, masks are not bool, or maps are not finite.
    """
    shown = change.common(*maps.shape[-2:]).to(maps.device)
    undone, undone_salient = change.undo(changed_maps), change.undo(changed_salient)
    return (
        overlaps(salient[..., shown], undone_salient[..., shown]),
        rank_correlations(maps[..., shown], undone[..., shown]),
    )
