"""Changes that a map should survive: what they do, that they are undone, and how far maps with known answers stay."""

import cv2
import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor

from visual_summaries.pipeline.evaluate.map_stability import CHANGES, map_stability, overlaps, shift_length

SIDE = 112
JPEG, SHIFT, FLIP, LAST_BIT, SEED = CHANGES


def frame(margin: int = 0, seed: int = 0) -> Tensor:
    """A photograph in 8 bits, smooth as such are."""
    generator = np.random.default_rng(seed)
    side = SIDE + 2 * margin
    pixels = cv2.resize(generator.uniform(0, 255, (14, 14, 3)), (side, side), interpolation=cv2.INTER_CUBIC)
    pixels += generator.normal(0, 6, pixels.shape)
    return torch.from_numpy(pixels.clip(0, 255).round() / 255).permute(2, 0, 1).float()


def test_the_changes_are_those_that_are_named() -> None:
    assert (JPEG, SHIFT, FLIP) == ("JPEG quality 90", "shift of 3 px", "horizontal flip")
    assert (LAST_BIT, SEED) == ("last bit", "another seed")
    assert [name for name, change in CHANGES.items() if change.reseeded] == [SEED]
    assert [shift_length(side) for side in (224, 384, 112, 32)] == [3, 5, 2, 1]


def test_jpeg_is_that_of_another_program() -> None:
    image = frame()
    found = CHANGES[JPEG].apply(image)
    pixels = image.mul(255).round().byte().permute(1, 2, 0).numpy()[..., ::-1]

    def distance(quality: int) -> float:
        _, content = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
        again = cv2.imdecode(content, cv2.IMREAD_COLOR)[..., ::-1].astype(float)
        return float(np.abs(found.permute(1, 2, 0).numpy() * 255 - again).mean())

    assert distance(90) < 0.2 and min(distance(80), distance(95)) > 0.6
    levels = found * 255
    assert torch.allclose(levels, levels.round(), atol=1e-4) and found.dtype == torch.float32
    assert 0 < float((found - image).abs().mean()) < 0.03


def test_a_shift_shows_what_lies_beside_the_square() -> None:
    change, length = CHANGES[SHIFT], shift_length(SIDE)
    wide = frame(margin=length + 3)
    inside = wide[:, length + 3 : -length - 3, length + 3 : -length - 3]
    found = change.apply(wide, length + 3)
    assert torch.equal(found, wide[:, 3 : 3 + SIDE, 3 : 3 + SIDE])
    # Without anything beside it, the border is a mirror; what both show is the same.
    mirrored = change.apply(inside)
    assert torch.equal(mirrored[:, length:, length:], found[:, length:, length:])
    assert torch.equal(mirrored[:, length:, :length], inside[:, : SIDE - length, 1 : length + 1].flip(-1))
    for other in (JPEG, FLIP, LAST_BIT, SEED):
        assert torch.equal(CHANGES[other].apply(wide, length + 3), CHANGES[other].apply(inside))
    assert torch.equal(CHANGES[FLIP].apply(inside)[:, :, 0], inside[:, :, -1])
    assert torch.equal(CHANGES[SEED].apply(inside), inside)


def test_the_last_bit_is_the_next_number() -> None:
    image = frame()
    image[0, 0, :3] = torch.tensor([0.0, 1.0, 0.5])
    found = CHANGES[LAST_BIT].apply(image)
    expected = np.nextafter(image.numpy(), np.float32(0.5))
    np.testing.assert_array_equal(found.numpy(), expected)
    assert 0 <= float(found.min()) and float(found.max()) < 1 and float((found - image).abs().max()) <= 2**-24
    assert int((found == image).sum()) == int((image == 0.5).sum())


def salient_of(maps: Tensor) -> Tensor:
    return maps > 0.5


@pytest.mark.parametrize("name", [SHIFT, FLIP, SEED])
@pytest.mark.parametrize("margin", [0, 5])
def test_a_map_that_follows_its_image_stays(name: str, margin: int) -> None:
    change = CHANGES[name]
    wide = frame(margin)
    image = wide[:, margin : margin + SIDE, margin : margin + SIDE]
    maps, moved = image.mean(dim=0)[None], change.apply(wide, margin).mean(dim=0)[None]
    overlap, correlation = map_stability(change, maps, salient_of(maps), moved, salient_of(moved))
    assert float(overlap) == 1 and float(correlation) == pytest.approx(1, abs=1e-12)
    if name != SEED:
        # Not undone, it would not.
        assert float(overlaps(salient_of(maps), salient_of(moved))) < 0.95


def test_a_map_that_stays_at_its_place_whatever_the_image_is_found_out() -> None:
    maps = torch.zeros(1, SIDE, SIDE)
    top, left, height, width = 20, 30, 24, 40
    maps[0, top : top + height, left : left + width] = 1
    length = shift_length(SIDE)
    overlap, correlation = map_stability(CHANGES[SHIFT], maps, salient_of(maps), maps, salient_of(maps))
    common = (height - length) * (width - length)
    assert float(overlap) == common / (2 * height * width - common)
    # Of two masks of the same share p with overlap c, both of the pixels that are compared.
    pixels = (SIDE - length) ** 2
    p, c = height * width / pixels, common / pixels
    assert float(correlation) == pytest.approx((c - p * p) / (p - p * p))
    # Mirrored, the columns 30 to 69 lie at 42 to 81.
    overlap, _ = map_stability(CHANGES[FLIP], maps, salient_of(maps), maps, salient_of(maps))
    assert float(overlap) == (70 - 42) / (82 - 30)
    for name in (JPEG, LAST_BIT, SEED):
        overlap, correlation = map_stability(CHANGES[name], maps, salient_of(maps), maps, salient_of(maps))
        assert float(overlap) == 1 and float(correlation) == pytest.approx(1, abs=1e-12)


def test_what_a_shift_brings_in_is_not_compared() -> None:
    change, length = CHANGES[SHIFT], shift_length(SIDE)
    maps = torch.rand(2, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    moved = torch.rand(2, SIDE, SIDE, generator=torch.Generator().manual_seed(2))
    moved[:, length:, length:] = maps[:, : SIDE - length, : SIDE - length]
    overlap, correlation = map_stability(change, maps, salient_of(maps), moved, salient_of(moved))
    assert overlap.tolist() == [1, 1] and correlation.tolist() == pytest.approx([1, 1], abs=1e-12)
    moved[:, length, length] = 1 - moved[:, length, length]
    overlap, correlation = map_stability(change, maps, salient_of(maps), moved, salient_of(moved))
    assert float(overlap.max()) < 1 and float(correlation.max()) < 1


def test_ranks_are_compared_as_scipy_does() -> None:
    one, other = (
        torch.rand(3, 20, 30, generator=torch.Generator().manual_seed(seed)).mul(9).round() / 9 for seed in (3, 4)
    )
    other = (other + one) / 2
    _, found = map_stability(CHANGES[FLIP], one, salient_of(one), other, salient_of(other))
    expected = [
        scipy.stats.spearmanr(a.ravel(), b[:, ::-1].ravel()).statistic
        for a, b in zip(one.numpy(), other.numpy(), strict=True)
    ]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_overlaps_are_counted_pixel_by_pixel() -> None:
    one, other = (torch.rand(4, 7, 9, generator=torch.Generator().manual_seed(seed)) > 0.6 for seed in (5, 6))
    one[1] = False
    one[2] = other[2] = False
    found = overlaps(one, other)
    for number in (0, 1, 3):
        pairs = list(zip(one[number].flatten().tolist(), other[number].flatten().tolist(), strict=True))
        assert float(found[number]) == sum(a and b for a, b in pairs) / sum(a or b for a, b in pairs)
    assert found[1] == 0 and found[2].isnan()
    for wrong in (one[:1], one.float()):
        with pytest.raises(ValueError, match="masks must be bool"):
            overlaps(wrong, other)
