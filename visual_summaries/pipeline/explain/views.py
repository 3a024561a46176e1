"""The views in which a network is shown a picture, step by step: shifted, mirrored, with noise.

Each step has one view, the same for every image, so that neither company nor order matters. Steps come in pairs: the
second shows the mirror image of what the first showed, so that an image and its mirror image are treated alike. The
shifts are a low-discrepancy sequence (M. Roberts' R2: multiples of the powers of the inverse plastic number), which
covers the square evenly however few steps there are.

Shapes: B images, C channels, H by W pixels.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

PLASTIC = 1.324717957244746


@dataclass(frozen=True)
class View:
    """Where each pixel of a view comes from in the picture.

    Attributes:
        rows: `[B,H]` int64, rows of the picture; beyond its border it is continued mirrored.
        columns: `[B,W]` int64, likewise.
        turn: `[B]` int64, number of the pair of steps.
    """

    rows: Tensor
    columns: Tensor
    turn: Tensor

    def of(self, pictures: Tensor) -> Tensor:
        """The view `[B,C,H,W]` of pictures of that shape; what has a single pixel, a color, stays as it is."""
        if pictures.shape[-2:] == (1, 1):
            return pictures
        batch = torch.arange(len(pictures), device=pictures.device)[:, None, None]
        return pictures[batch, :, self.rows[:, :, None], self.columns[:, None, :]].permute(0, 3, 1, 2)

    def noise(self, tile: Tensor) -> Tensor:
        """Noise `[B,3,H,W]`: `tile` `[3,H,W]` rolled to another place in each pair, the same in both its views."""
        height, width = tile.shape[-2:]
        moved = self.turn[:, None] + 1
        rows = (torch.arange(height, device=tile.device) + 89 * moved) % height
        columns = (torch.arange(width, device=tile.device) + 55 * moved) % width
        return tile[:, rows[:, :, None], columns[:, None, :]].transpose(0, 1)


def noise_tile(height: int, width: int) -> Tensor:
    """Standard normal noise `[3,H,W]` float32 on the processor, always the same."""
    return torch.randn(3, height, width, generator=torch.Generator().manual_seed(0))


def view_of_step(step: Tensor, height: int, width: int, reach: int) -> View:
    """The views of images that are at `step` `[B]` int64, shifted by up to `reach` pixels either way."""
    turn, second = step // 2, step % 2
    down, right = (
        ((((turn + 1).double() / PLASTIC**power + 0.5) % 1 * 2 - 1) * reach).round().long() for power in (2, 1)
    )
    across = torch.arange(width, device=step.device)
    # So mirrored, the second view is the mirror image's first, whatever the shift.
    across = torch.where(second[:, None] == 1, width - 1 - across - right[:, None], across + right[:, None])
    columns = _inside(across, width)
    rows = _inside(torch.arange(height, device=step.device) + down[:, None], height)
    return View(rows, columns, turn)


def _inside(places: Tensor, size: int) -> Tensor:
    """Places beyond 0 … size − 1 reflected back, without repeating the border."""
    if size == 1:
        return torch.zeros_like(places)
    period = 2 * (size - 1)
    places = places.remainder(period)
    return torch.minimum(places, period - places)
