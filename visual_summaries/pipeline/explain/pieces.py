"""Connected pieces of masks, on the device where the masks are.

Shapes: B masks, H by W pixels.
"""

import torch
from torch import Tensor
from torch.nn import functional

# Rounds between two looks at whether anything still changes.
ROUNDS = 16


def large_pieces(salient: Tensor, least: float) -> Tensor:
    """The salient pixels `[B,1,H,W]` bool that belong to connected pieces (8 neighbors) of at least `least`, a share.

    Each pixel takes the largest number among its salient neighbors, from its own place's number on, until no number
    changes: a piece then has one number. As many rounds as the longest way through a piece has pixels.
    """
    height, width = salient.shape[-2:]
    # Exact as floating-point numbers up to 2^24 pixels; 0 is the number of no piece.
    numbers = torch.arange(1, height * width + 1, device=salient.device, dtype=torch.float32).view(1, 1, height, width)
    inside = salient.float()
    numbers = numbers * inside
    while True:
        before = numbers
        for _ in range(ROUNDS):
            numbers = functional.max_pool2d(numbers, 3, stride=1, padding=1) * inside
        if torch.equal(before, numbers):
            break
    flat = numbers.flatten(1).long()
    sizes = torch.zeros(len(flat), height * width + 1, device=salient.device, dtype=torch.long)
    sizes.scatter_add_(1, flat, torch.ones_like(flat))
    sizes[:, 0] = 0
    return (sizes.gather(1, flat) >= least * height * width).view(salient.shape) & salient
