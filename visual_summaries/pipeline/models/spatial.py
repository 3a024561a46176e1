"""What a layer gives, read as a map of the image: channels first, channels last, or tokens in the order of the rows."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

MOST_EXTRA_TOKENS = 8
"""Tokens before those of the image: of the class, registers."""


@dataclass(frozen=True)
class Reading:
    """How values `[B,C,h,w]`, `[B,h,w,C]` or `[B,N,C]` are a map.

    Attributes:
        grid: rows h and columns w of the map.
        channels_last: whether the channels are the last dimension.
        tokens: whether the cells are one dimension, in the order of the rows.
        before: tokens before those of the cells.
    """

    grid: tuple[int, int]
    channels_last: bool = False
    tokens: bool = False
    before: int = 0

    def as_map(self, values: Tensor) -> Tensor:
        """The map `[B,C,h,w]`, without the tokens that are no cells."""
        if self.tokens:
            return values[:, self.before :].transpose(1, 2).unflatten(2, self.grid)
        return values.permute(0, 3, 1, 2) if self.channels_last else values


def read_as_map(output: Any, size: Sequence[int]) -> Reading | None:
    """How a layer's output on images of `size` (height, width) is a map of more than one cell; None where it is none.

    Of four dimensions, those are the cells' that have the proportions of the image.
    """
    if not isinstance(output, Tensor) or not output.is_floating_point():
        return None
    if output.ndim == 4:
        shapes = {False: tuple(output.shape[2:]), True: tuple(output.shape[1:3])}
        for fits in (_exactly, _nearly):
            for channels_last, grid in shapes.items():
                if math.prod(grid) > 1 and grid[0] <= size[0] and grid[1] <= size[1] and fits(grid, size):
                    return Reading(grid, channels_last)
    if output.ndim == 3:
        for before in range(MOST_EXTRA_TOKENS + 1):
            grid = _token_grid(output.shape[1] - before, size)
            if grid is not None:
                return Reading(grid, channels_last=True, tokens=True, before=before)
    return None


def _exactly(grid: Sequence[int], size: Sequence[int]) -> bool:
    return grid[0] * size[1] == grid[1] * size[0]


def _nearly(grid: Sequence[int], size: Sequence[int]) -> bool:
    """The same stride in both directions, to the next power of two."""
    down, across = (round(math.log2(size[at] / grid[at])) for at in (0, 1))
    return down == across


def _token_grid(tokens: int, size: Sequence[int]) -> tuple[int, int] | None:
    """Rows and columns of so many tokens, in the proportions of the image; None where they fit none."""
    rows = round(math.sqrt(max(0, tokens) * size[0] / size[1]))
    if rows < 2 or tokens % rows or size[0] < rows or round(tokens / rows * size[0] / size[1]) != rows:
        return None
    return rows, tokens // rows
