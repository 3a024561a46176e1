"""Connected pieces against SciPy's labels."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from visual_summaries.pipeline.explain.pieces import large_pieces


@pytest.mark.parametrize("density", [0.0, 0.3, 0.42, 0.6, 1.0])
@pytest.mark.parametrize("least", [0.0, 0.01, 0.05])
def test_large_pieces_are_those_of_scipy(density: float, least: float) -> None:
    masks = torch.rand(3, 1, 30, 41, generator=torch.Generator().manual_seed(5)) < density
    found = large_pieces(masks, least)
    for mask, large in zip(masks[:, 0].numpy(), found[:, 0].numpy(), strict=True):
        labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
        expected = np.zeros_like(mask)
        for number in range(1, count + 1):
            piece = labels == number
            if piece.sum() >= least * mask.size:
                expected |= piece
        assert (large == expected).all()


def test_a_long_winding_piece_is_one() -> None:
    mask = torch.zeros(1, 1, 41, 41, dtype=torch.bool)
    mask[..., ::2, :] = True
    for number, row in enumerate(range(1, 40, 2)):
        mask[..., row, 40 if number % 2 else 0] = True
    alone = torch.zeros_like(mask)
    alone[..., 0, :5] = True
    share = float(mask.float().mean())
    assert torch.equal(large_pieces(mask, share * 0.999), mask)
    assert not large_pieces(mask, share * 1.01).any() and not large_pieces(alone, 0.01).any()
