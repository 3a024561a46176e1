"""The views of a picture, step by step, against NumPy's padding, slices and flips in a plain loop."""

import numpy as np
import pytest
import torch
from torch import Tensor

from visual_summaries.pipeline.explain.views import View, noise_tile, view_of_step

# Larger shifts than the picture has pixels are reflected at both borders in turn.
SIZES = [(9, 9, 3), (7, 12, 5), (12, 7, 6), (5, 4, 0), (4, 6, 11), (1, 5, 2)]
# Of M. Roberts' R2: the real root of x³ = x + 1.
PLASTIC = float(np.real(np.roots([1, 0, -1, -1])[0]))


def pictures(count: int, height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(height + width)
    return torch.rand(count, 3, height, width, generator=generator, dtype=torch.float64)


def shift(turn: int, reach: int) -> tuple[int, int]:
    """Rows and columns of a pair's shift."""
    across, down = (((turn + 1) / PLASTIC**power + 0.5) % 1 for power in (1, 2))
    return round((2 * down - 1) * reach), round((2 * across - 1) * reach)


def plain_view(picture: Tensor, step: int, reach: int) -> np.ndarray:
    """The view of one picture `[3,H,W]`: in every second step of its mirror image."""
    turn, second = divmod(step, 2)
    shown = picture.flip(2) if second else picture
    padded = np.pad(shown.numpy(), ((0, 0), (reach, reach), (reach, reach)), mode="reflect")
    down, across = shift(turn, reach)
    height, width = picture.shape[1:]
    return padded[:, reach + down : reach + down + height, reach + across : reach + across + width]


@pytest.mark.parametrize(("height", "width", "reach"), SIZES)
def test_views_are_slices_of_the_reflected_picture(height: int, width: int, reach: int) -> None:
    steps = torch.arange(40)
    drawn = pictures(len(steps), height, width)
    found = view_of_step(steps, height, width, reach).of(drawn)
    for step in range(len(steps)):
        np.testing.assert_array_equal(found[step].numpy(), plain_view(drawn[step], step, reach))


def test_a_color_and_a_field_have_views_too() -> None:
    view = view_of_step(torch.tensor([4, 5]), 6, 8, 2)
    color = pictures(2, 1, 1)
    assert torch.equal(view.of(color), color)
    field = pictures(2, 6, 8)[:, :1]
    assert torch.equal(view.of(field), view.of(field.expand(-1, 3, -1, -1))[:, :1])


@pytest.mark.parametrize(("height", "width", "reach"), SIZES)
def test_every_image_has_the_view_of_its_own_step(height: int, width: int, reach: int) -> None:
    steps = torch.tensor([7, 0, 31, 6, 7])
    drawn, tile = pictures(len(steps), height, width), noise_tile(height, width)
    together = view_of_step(steps, height, width, reach)
    for number, step in enumerate(steps):
        alone = view_of_step(step[None], height, width, reach)
        assert torch.equal(together.of(drawn)[number], alone.of(drawn[number : number + 1])[0])
        assert torch.equal(together.noise(tile)[number], alone.noise(tile)[0])
        assert together.turn[number] == alone.turn[0] == int(step) // 2


@pytest.mark.parametrize(("height", "width", "reach"), SIZES)
def test_an_image_and_its_mirror_image_are_shown_alike(height: int, width: int, reach: int) -> None:
    """What the one shows in the first step of a pair the other shows in the second, to the last bit."""
    picture, tile = pictures(1, height, width), noise_tile(height, width)

    def shown(step: int, of: Tensor) -> Tensor:
        view = view_of_step(torch.tensor([step]), height, width, reach)
        return view.of(of) + 0.1 * view.noise(tile)

    for turn in range(20):
        first, second = 2 * turn, 2 * turn + 1
        assert torch.equal(shown(first, picture.flip(3)), shown(second, picture))
        assert torch.equal(shown(second, picture.flip(3)), shown(first, picture))


def shifts(view: View) -> tuple[Tensor, Tensor]:
    """Rows and columns by which the middle of the picture is shifted in the first step of each pair."""
    middle = view.rows.shape[1] // 2
    return view.rows[:, middle] - middle, view.columns[:, middle] - middle


@pytest.mark.parametrize("pairs", [16, 40, 64])
def test_shifts_cover_the_square_evenly(pairs: int) -> None:
    """However few pairs there are, each half and quarter of the square has its part of them."""
    reach = 100
    down, across = shifts(view_of_step(2 * torch.arange(pairs), 401, 401, reach))
    for values in (down, across):
        assert values.abs().max() <= reach and values.min() < -0.6 * reach and values.max() > 0.6 * reach
        assert abs(values.double().mean()) < 0.2 * reach
        counts = torch.histc(values.double(), 4, -reach, reach)
        assert (counts - pairs / 4).abs().max() <= 2
    for rows in (down < 0, down >= 0):
        for columns in (across < 0, across >= 0):
            assert abs(int((rows & columns).sum()) - pairs / 4) <= 3


def test_noise_is_standard_normal_and_moves_with_every_pair() -> None:
    tile = noise_tile(60, 70)
    torch.manual_seed(1)
    assert torch.equal(noise_tile(60, 70), tile)
    assert abs(tile.mean()) < 0.02 and abs(tile.std() - 1) < 0.02
    assert np.abs(np.corrcoef(tile.flatten(1).numpy())[np.triu_indices(3, 1)]).max() < 0.05
    noise = view_of_step(torch.arange(20), 60, 70, 4).noise(tile)
    for turn in range(10):
        expected = np.roll(tile.numpy(), (-89 * (turn + 1), -55 * (turn + 1)), (1, 2))
        for step in (2 * turn, 2 * turn + 1):
            np.testing.assert_array_equal(noise[step].numpy(), expected)
    # Noise of another pair has nothing to do with it.
    assert np.abs(np.corrcoef(noise[::2].flatten(1).numpy()) - np.eye(10)).max() < 0.05
