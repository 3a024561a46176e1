"""Necessity and sufficiency against a loop with SciPy's blur, and networks that look at known squares."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from visual_summaries.pipeline.evaluate.part_evidence import part_evidence, random_places

SIDE = 48
LEFT, RIGHT = (slice(16, 32), slice(2, 18)), (slice(16, 32), slice(30, 46))


class Looks:
    """The logit of class 1 is the contrast within squares; those of the two other classes are 0."""

    def __init__(self, *squares: tuple[slice, slice], offset: float = 3.0, scale: float = 40.0) -> None:
        self.squares, self.offset, self.scale, self.batches = squares, offset, scale, []

    def logits(self, images: Tensor) -> Tensor:
        self.batches.append(len(images))
        contrast = sum(images[..., rows, columns].std(dim=(1, 2, 3)) for rows, columns in self.squares)
        return torch.stack([contrast * 0, contrast * self.scale - self.offset, contrast * 0], dim=1)


def image() -> Tensor:
    return torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def mask(*squares: tuple[slice, slice]) -> Tensor:
    found = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    for rows, columns in squares:
        found[rows, columns] = True
    return found


def score(network: Looks, picture: np.ndarray) -> float:
    contrast = sum(np.std(picture[:, rows, columns], ddof=1) for rows, columns in network.squares)
    return 1 / (1 + 2 * np.exp(network.offset - network.scale * contrast))


def blurred(picture: np.ndarray, sigma: float, radius: int) -> np.ndarray:
    return np.stack([ndimage.gaussian_filter(channel, sigma, mode="mirror", radius=radius) for channel in picture])


def test_figures_equal_a_loop() -> None:
    network = Looks(LEFT, RIGHT, offset=15.0)
    disc = torch.from_numpy(np.hypot(*np.mgrid[-20:28, -9:39]) < 7)
    parts, regions = torch.stack([mask(LEFT), disc]), torch.stack([mask(LEFT, RIGHT), mask(RIGHT)])
    salient = torch.rand(SIDE, SIDE, generator=torch.Generator().manual_seed(1)) > 0.7
    found = part_evidence(network, image(), 1, parts, regions, salient, draws=3, seed=5, batch_size=4)
    assert sum(network.batches) == 1 + 2 * (3 + 2 * 3) and max(network.batches) == 4
    # Kernels for 224 px: the authors' of 11 px with σ = 10, here 5 px at least; and σ = 12, cut off at 2σ.
    picture = image().numpy()
    removed, heavy = blurred(picture, 50 / 11, 2), blurred(picture, 12 * SIDE / 224, 5)
    before = score(network, picture)

    def drop(pixels: Tensor) -> float:
        return (before - score(network, np.where(pixels, removed, picture))) / before

    def share(pixels: Tensor) -> float:
        return score(network, np.where(pixels, picture, heavy)) / before

    places = random_places(parts, salient, draws=3, seed=5)
    for number, (part, region) in enumerate(zip(parts, regions, strict=True)):
        expected = {
            "necessity": drop(part),
            "sufficiency": share(part),
            "region_sufficiency": share(region),
            "random_necessity": np.mean([drop(place) for place in places[:, number]]),
            "random_sufficiency": np.mean([share(place) for place in places[:, number]]),
        }
        assert {name: float(getattr(found, name)[number]) for name in expected} == pytest.approx(expected, abs=1e-9)
    assert len({round(float(value), 6) for values in vars(found).values() for value in values}) == 10


def test_a_part_that_the_network_goes_by_alone() -> None:
    parts, regions = torch.stack([mask(LEFT), mask(RIGHT)]), torch.stack([mask(RIGHT), mask(LEFT)])
    corner = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    corner[24, 38] = True
    found = part_evidence(Looks(LEFT), image(), 1, parts, regions, corner)
    # What it looks at is whole, or is gone; the only salient place is where it does not look.
    for figures in ((found.necessity, found.sufficiency), (found.random_necessity, found.random_sufficiency)):
        assert figures[0][1] == 0 and figures[1][1] < 0.3
    assert found.necessity[0] > 0.6 and found.sufficiency[0] == 1
    assert found.random_necessity[0] == 0 and found.random_sufficiency[0] < 0.3
    assert found.region_sufficiency[1] == 1 and found.region_sufficiency[0] < 0.3


def test_where_one_of_two_places_is_enough() -> None:
    """Alone it is enough, and without it the other is: sufficient, not necessary."""
    part = mask(LEFT)[None]
    found = part_evidence(Looks(LEFT, RIGHT, offset=5.0), image(), 1, part, part, mask(LEFT, RIGHT))
    assert found.sufficiency > 0.95 and found.necessity < 0.05


def test_random_places_are_salient_and_keep_the_shape() -> None:
    shape = np.array([[0, 1, 1], [1, 1, 0], [0, 1, 0], [0, 1, 0]], dtype=bool)
    parts = torch.zeros(2, 12, 16, dtype=torch.bool)
    parts[0, 3:7, 2:5] = torch.from_numpy(shape)
    parts[1, 0, 0] = True
    salient = torch.zeros(12, 16, dtype=torch.bool)
    for row, column in ((5, 8), (0, 0), (11, 15)):
        salient[row, column] = True
    found = random_places(parts, salient, draws=300)
    assert found.shape == (300, 2, 12, 16)
    # Around (5, 8); in the corners it is shifted into the image.
    corners = {(3, 7): 0, (0, 0): 0, (8, 13): 0}
    for place in found[:, 0].numpy():
        rows, columns = np.nonzero(place)
        top, left = rows.min(), columns.min()
        corners[top, left] += 1
        assert np.array_equal(place[top : top + 4, left : left + 3], shape) and place.sum() == shape.sum()
    assert sorted(corners) == [(0, 0), (3, 7), (8, 13)] and min(corners.values()) > 70
    dots = found[:, 1].flatten(1).int().argmax(dim=1).unique().tolist()
    assert dots == [0, 5 * 16 + 8, 11 * 16 + 15] and (found[:, 1].flatten(1).sum(dim=1) == 1).all()
    assert torch.equal(found[:, 0], random_places(parts[:1], salient, draws=300)[:, 0])
    assert not torch.equal(found, random_places(parts, salient, draws=300, seed=1))
    assert not random_places(parts * False, salient, draws=2).any()
    assert random_places(parts, salient & False, draws=2).shape == (0, 2, 12, 16)


def test_what_cannot_be_told_is_nan() -> None:
    part = mask(LEFT)[None]
    # Where contrast is evidence against the class, the image has no score, and without its contrast it has one.
    hopeless = part_evidence(Looks(LEFT, scale=-4000.0), image(), 1, part, mask(RIGHT)[None], mask(LEFT))
    assert all(values.isnan().all() and values.shape == (1,) for values in vars(hopeless).values())
    nowhere = part_evidence(Looks(LEFT), image(), 1, part, part, mask())
    assert nowhere.random_necessity.isnan() and nowhere.random_sufficiency.isnan()
    assert nowhere.necessity > 0.6 and nowhere.sufficiency == 1
    nothing = part_evidence(Looks(LEFT), image(), 1, part[:0], part[:0], mask(LEFT))
    assert all(values.shape == (0,) for values in vars(nothing).values())
    empty = part_evidence(Looks(LEFT), image(), 1, mask()[None], part, mask(LEFT))
    assert empty.necessity == empty.random_necessity == 0 and empty.sufficiency == empty.random_sufficiency < 0.3


def test_what_does_not_fit_is_refused() -> None:
    part, salient = mask(LEFT)[None], mask(LEFT)
    with pytest.raises(ValueError, match="parts must be bool"):
        part_evidence(Looks(LEFT), image(), 1, part.float(), part, salient)
    with pytest.raises(ValueError, match="regions must be bool"):
        part_evidence(Looks(LEFT), image(), 1, part, part[:0], salient)
    with pytest.raises(ValueError, match="salient must be bool"):
        part_evidence(Looks(LEFT), image(), 1, part, part, part)
    with pytest.raises(ValueError, match="draws"):
        part_evidence(Looks(LEFT), image(), 1, part, part, salient, draws=0)
    for target in (3, -1):
        with pytest.raises(ValueError, match=f"class {target} is none of the network's 3"):
            part_evidence(Looks(LEFT), image(), target, part, part, salient)
