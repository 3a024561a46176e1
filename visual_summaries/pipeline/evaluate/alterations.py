"""Pictures without what is no part of them: their frame replaced by what lies inside, their colors balanced.

What a mask hides is blurred, and a white frame behind a blur stays a frame; a color cast covers everything. Whether a
network goes by either is asked by taking it away from the whole picture. Each alteration brings something of its own
with it, a seam or another size of the things; therefore the frame is taken away in two ways, and what counts is what
both do (`FRAME`).

Shapes: pictures `[B,C,H,W]` float in [0,1].
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

RING = 1 / 16
"""Breadth of the frame, a share of the shorter side."""
CLIPPED = 0.005
"""Of a channel's pixels, the share that may become black, and white."""
LEAST_RANGE = 0.05
"""A channel whose values lie closer together is left as it is: there would be noise alone."""


def mirrored_frame(pictures: Tensor) -> Tensor:
    """The outer ring replaced by what lies inside it, mirrored outward."""
    ring = ring_width(pictures)
    return functional.pad(_inside(pictures, ring), (ring,) * 4, mode="reflect")


def cut_off_frame(pictures: Tensor) -> Tensor:
    """The outer ring cut off, and what lies inside enlarged to the whole (bicubic)."""
    inside, size = _inside(pictures, ring_width(pictures)), list(pictures.shape[-2:])
    return functional.interpolate(inside, size=size, mode="bicubic", antialias=True).clamp(0, 1)


def leveled_colors(pictures: Tensor) -> Tensor:
    """Each channel stretched so that its darkest `CLIPPED` are 0 and its lightest 1, as "auto levels" of cameras and
    programs do; it takes a cast and a low contrast away, and leaves the colors of things mostly as they are."""
    values = pictures.flatten(2)
    clipped = int(CLIPPED * values.shape[2])
    low, high = (values.kthvalue(place, dim=2).values for place in (1 + clipped, values.shape[2] - clipped))
    flat = high - low < LEAST_RANGE
    low, scale = low.masked_fill(flat, 0), (high - low).masked_fill(flat, 1)
    return ((pictures - low[..., None, None]) / scale[..., None, None]).clamp(0, 1)


def ring_width(pictures: Tensor) -> int:
    """Breadth of the outer ring in pixels, at least 1; 0 where nothing would be left inside to mirror."""
    side = min(pictures.shape[-2:])
    ring = max(1, round(RING * side))
    return ring if side > 3 * ring else 0


def _inside(pictures: Tensor, ring: int) -> Tensor:
    height, width = pictures.shape[-2:]
    return pictures[..., ring : height - ring, ring : width - ring]


FRAME, COLORS = "frame", "colors"
ALTERATIONS: dict[str, tuple[str, Callable[[Tensor], Tensor]]] = {
    "frame mirrored": (FRAME, mirrored_frame),
    "frame cut off": (FRAME, cut_off_frame),
    "colors leveled": (COLORS, leveled_colors),
}
"""By name: what it takes away, and how."""


@torch.no_grad()
def altered(pictures: Tensor, name: str) -> Tensor:
    """Pictures `[B,C,H,W]` float in [0,1] altered in one of the `ALTERATIONS`."""
    return ALTERATIONS[name][1](pictures)
