"""Two networks that look at known squares: what is evidence for one is none for the other."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from visual_summaries.pipeline.evaluate.transfer import transfer

SIDE = 48
# Rows and columns that each network looks at.
LEFT, RIGHT = (slice(16, 32), slice(2, 18)), (slice(16, 32), slice(30, 46))


class Looks:
    """The logit of class 1 is the contrast within a square; those of the other classes are 0."""

    def __init__(self, square: tuple[slice, slice], sign: float = 1.0) -> None:
        self.square, self.sign, self.sides = square, sign, set()

    def logits(self, images: Tensor) -> Tensor:
        self.sides.add(images.shape[-1])
        seen = functional.interpolate(images, (SIDE, SIDE), mode="nearest")[..., self.square[0], self.square[1]]
        contrast = seen.std(dim=(1, 2, 3))
        return torch.stack([contrast * 0, self.sign * (contrast * 40 - 3), contrast * 0], dim=1)


def images(count: int = 3) -> Tensor:
    return torch.rand(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def masks(square: tuple[slice, slice], count: int = 3) -> Tensor:
    found = torch.zeros(count, SIDE, SIDE, dtype=torch.bool)
    found[:, square[0], square[1]] = True
    return found


def test_evidence_of_one_network_is_none_for_another() -> None:
    targets = torch.ones(3, dtype=torch.int64)
    for network, own, other in ((Looks(LEFT), "drop", "control"), (Looks(RIGHT), "control", "drop")):
        found = transfer(network, images(), masks(LEFT), masks(RIGHT), targets, batch_size=2)
        assert found.right.all() and (found.before > 0.9).all()
        # What it looks at is untouched, to the last bit; what it looks at is gone.
        assert torch.equal(getattr(found, other), torch.zeros(3).double())
        assert (getattr(found, own) > 0.6).all()


def test_the_drop_is_that_of_the_blurred_image() -> None:
    salient = torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(1)) > 0.5
    found = transfer(Looks(LEFT), images(), salient, masks(RIGHT), torch.ones(3, dtype=torch.int64))
    for number, image in enumerate(images().double().numpy()):
        # The authors' kernel, 11 pixels wide with σ = 10 in an image of 224, is 5 wide at least.
        blurred = np.stack([ndimage.gaussian_filter(c, 50 / 11, mode="mirror", radius=2) for c in image])
        removed = np.where(salient[number].numpy(), blurred, image)
        scores = []
        for shown in (image, removed):
            e = np.exp(40 * np.std(shown[:, LEFT[0], LEFT[1]], ddof=1) - 3)
            scores.append(e / (e + 2))
        assert float(found.before[number]) == pytest.approx(scores[0], rel=1e-4)
        assert float(found.drop[number]) == pytest.approx(1 - scores[1] / scores[0], abs=1e-4)


def test_only_images_of_the_class_count_and_sides_fit() -> None:
    targets = torch.tensor([1, 0, 1])
    network = Looks(LEFT)
    found = transfer(network, images(), masks(LEFT), masks(RIGHT), targets, side=2 * SIDE)
    assert network.sides == {2 * SIDE}
    assert found.right.tolist() == [True, False, True]
    assert found.drop.isnan().tolist() == found.control.isnan().tolist() == [False, True, False]
    assert not transfer(Looks(LEFT, -1.0), images(), masks(LEFT), masks(RIGHT), targets).right[[0, 2]].any()
    assert transfer(network, images(0), masks(LEFT, 0), masks(RIGHT, 0), targets[:0]).drop.shape == (0,)


def test_what_does_not_fit_is_refused() -> None:
    targets = torch.ones(3, dtype=torch.int64)
    with pytest.raises(ValueError, match="masks must be bool"):
        transfer(Looks(LEFT), images(), masks(LEFT).float(), masks(RIGHT), targets)
    with pytest.raises(ValueError, match="masks must be bool"):
        transfer(Looks(LEFT), images(), masks(LEFT), masks(RIGHT)[:1], targets)
    with pytest.raises(ValueError, match="class 3 is none of the network's 3"):
        transfer(Looks(LEFT), images(), masks(LEFT), masks(RIGHT), targets + 2)
