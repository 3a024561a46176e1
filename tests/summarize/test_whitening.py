from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from visual_summaries.pipeline.summarize.hog import hog_map
from visual_summaries.pipeline.summarize.whitening import (
    Background,
    background_statistics,
    natural_whitener,
    shipped_background,
    whitening,
    window_covariance,
)


def reference_background(arrays: np.lib.npyio.NpzFile, prefix: str, names: tuple[str, str, str]) -> Background:
    mean, covariance, offsets = (torch.from_numpy(arrays[prefix + name]) for name in names)
    return Background(mean, covariance.permute(2, 0, 1).contiguous(), offsets)


def random_maps(channels: int = 3) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    maps = []
    for height, width in ((9, 7), (5, 12), (2, 6)):
        noise = torch.rand(height + 2, width + 1, channels, generator=generator, dtype=torch.float64)
        # Neighbors share noise, so that covariances are far from zero.
        maps.append(noise[2:, 1:] + 0.7 * noise[:-2, 1:] - 0.4 * noise[1:-1, :-1].roll(1, dims=2))
    return maps


@pytest.mark.parametrize("name", ["p3_motorcycle_stereo", "p5_rocket_self"])
def test_appearance_equals_the_original_program(data_directory: Path, name: str) -> None:
    with np.load(data_directory / "reference" / "proposal_flow" / f"{name}.npz") as arrays:
        background = reference_background(arrays, "bg_", ("neg", "cov", "dxy"))
        expected = arrays["appearance"]
        regularization = float(arrays["bg_lambda"])
        # The original stores channel, column, row with the row running fastest.
        features = [
            torch.from_numpy(arrays[key]).view(-1, 31, 8, 8).permute(0, 3, 2, 1).flatten(1)
            for key in ("feat_a", "feat_b")
        ]
    whitener = whitening(background, regularization=regularization)
    assert whitener.regularization == regularization
    whitened_a, whitened_b = (whitener.whiten(one) for one in features)
    assert whitened_a.dtype == torch.float32
    appearance = (whitened_a @ whitened_b.T).clamp(min=0).numpy()
    assert np.abs(appearance - expected).max() <= 1e-5 * expected.max()


def test_statistics_equal_brute_force() -> None:
    maps = random_maps()
    cells = 4
    background = background_statistics(maps, cells)
    assert background.offsets.shape == (2 * cells * (cells - 1) + 1, 2)
    mean = torch.cat([one.flatten(0, 1) for one in maps]).mean(dim=0)
    torch.testing.assert_close(background.mean, mean)
    for (dx, dy), block in zip(background.offsets.tolist(), background.covariance, strict=True):
        products = []
        for one in maps:
            for y in range(one.shape[0]):
                for x in range(one.shape[1]):
                    if 0 <= y + dy < one.shape[0] and 0 <= x + dx < one.shape[1]:
                        products.append(torch.outer(one[y, x] - mean, one[y + dy, x + dx] - mean))
        torch.testing.assert_close(block, torch.stack(products).mean(dim=0))


def test_offsets_cover_each_direction_once() -> None:
    offsets = background_statistics([torch.rand(8, 8, 2)]).offsets.tolist()
    assert len(offsets) == 113
    both = {tuple(one) for one in offsets} | {(-dx, -dy) for dx, dy in offsets}
    assert both == {(dx, dy) for dx in range(-7, 8) for dy in range(-7, 8)}


def test_window_covariance_is_assembled_from_its_blocks() -> None:
    cells, channels = 3, 2
    background = background_statistics(random_maps(channels), cells)
    blocks = {tuple(o): b for o, b in zip(background.offsets.tolist(), background.covariance, strict=True)}
    blocks |= {(-dx, -dy): block.T for (dx, dy), block in list(blocks.items()) if (dx, dy) != (0, 0)}
    ours = window_covariance(background, cells)
    places = [(y, x, c) for y in range(cells) for x in range(cells) for c in range(channels)]
    for i, (y1, x1, c1) in enumerate(places):
        for j, (y2, x2, c2) in enumerate(places):
            assert float(ours[i, j]) == pytest.approx(float(blocks[x2 - x1, y2 - y1][c1, c2]), abs=1e-12)


def test_statistics_of_photographs_resemble_the_published_ones(data_directory: Path) -> None:
    path = data_directory / "reference" / "proposal_flow" / "hog_background_5_skimage.npz"
    with np.load(path) as arrays:
        published = reference_background(arrays, "", ("neg", "cov", "dxy"))
    maps = []
    for file in sorted((data_directory / "photos").glob("*/*"))[::100]:
        with Image.open(file) as photograph:
            maps.append(hog_map(np.array(photograph.convert("RGB").resize((320, 240)))))
    ours = background_statistics(maps)
    assert np.corrcoef(ours.mean, published.mean)[0, 1] > 0.9
    blocks = {tuple(o): b for o, b in zip(ours.offsets.tolist(), ours.covariance.numpy(), strict=True)}
    blocks |= {(-dx, -dy): block.T for (dx, dy), block in list(blocks.items())}
    near = [k for k, (dx, dy) in enumerate(published.offsets.tolist()) if 0 < max(abs(dx), abs(dy)) <= 3]
    offsets = published.offsets[near].tolist()
    theirs = published.covariance[near].numpy().ravel()

    def agreement(chosen: list[np.ndarray]) -> float:
        return float(np.corrcoef(np.stack(chosen).ravel(), theirs)[0, 1])

    same = agreement([blocks[dx, dy] for dx, dy in offsets])
    assert same > 0.75
    # Other conventions of direction or of the order of the channels fit worse.
    assert same > agreement([blocks[dx, -dy] for dx, dy in offsets]) + 0.01
    assert same > agreement([blocks[dy, dx] for dx, dy in offsets]) + 0.01
    assert same > agreement([blocks[dx, dy].T for dx, dy in offsets]) + 0.01


def test_whitening_decorrelates() -> None:
    background = background_statistics(random_maps(), cells=3)
    whitener = whitening(background, cells=3, regularization=0.02)
    covariance = window_covariance(background, 3) + whitener.regularization * torch.eye(27).double()
    transform = whitener.transform.double()
    torch.testing.assert_close(transform @ covariance @ transform.T, torch.eye(27).double(), atol=1e-5, rtol=0)
    generator = np.random.default_rng(0)
    a, b = generator.random((4, 27)), generator.random((5, 27))
    mean = np.tile(background.mean.numpy(), 9)
    expected = (a - mean) @ np.linalg.inv(covariance.numpy()) @ (b - mean).T
    whitened_a, whitened_b = whitener.whiten(torch.from_numpy(a)), whitener.whiten(torch.from_numpy(b))
    np.testing.assert_allclose((whitened_a @ whitened_b.T).numpy(), expected, rtol=1e-4, atol=1e-4)


def test_regularization_is_raised_until_the_factorization_succeeds() -> None:
    # Two cells side by side: the smallest eigenvalue of [[1, 1.02], [1.02, 1]] is -0.02.
    offsets = torch.tensor([[0, 0], [0, 1], [1, -1], [1, 0], [1, 1]])
    covariance = torch.tensor([1.0, 0.0, 0.0, 1.02, 0.0]).double().view(5, 1, 1)
    background = Background(torch.zeros(1).double(), covariance, offsets)
    assert float(torch.linalg.eigvalsh(window_covariance(background, 2)).min()) == pytest.approx(-0.02)
    assert whitening(background, cells=2, regularization=0.015).regularization == pytest.approx(0.03)
    assert whitening(background, cells=2, regularization=0.5).regularization == pytest.approx(0.5)


def test_components_are_the_whitening_of_the_nearest_statistics_of_that_rank() -> None:
    background = background_statistics(random_maps(), cells=3)
    covariance = window_covariance(background, 3).numpy()
    generator = np.random.default_rng(1)
    a, b = generator.random((4, 27)), generator.random((5, 27))
    deviations = [values - np.tile(background.mean.numpy(), 9) for values in (a, b)]
    regularization = whitening(background, cells=3).regularization
    variances, directions = np.linalg.eigh(covariance)
    for count in (1, 6, 27):
        expected = np.zeros((4, 5))
        for variance, direction in list(zip(variances, directions.T, strict=True))[-count:]:
            # Each pattern's share of the similarity, by itself.
            expected += np.outer(deviations[0] @ direction, deviations[1] @ direction) / (variance + regularization)
        whitener = whitening(background, cells=3, components=count)
        whitened = [whitener.whiten(torch.from_numpy(values)).numpy() for values in (a, b)]
        assert whitened[0].shape == (4, count)
        np.testing.assert_allclose(whitened[0] @ whitened[1].T, expected, rtol=1e-4, atol=1e-4)
    everything = [whitening(background, cells=3).whiten(torch.from_numpy(values)).numpy() for values in (a, b)]
    np.testing.assert_allclose(whitened[0] @ whitened[1].T, everything[0] @ everything[1].T, rtol=1e-4, atol=1e-4)


def test_components_beyond_the_descriptor_are_refused() -> None:
    background = background_statistics(random_maps(), cells=2)
    for count in (0, 13):
        with pytest.raises(ValueError, match="in 1..12"):
            whitening(background, cells=2, components=count)


def test_bad_statistics_are_named() -> None:
    with pytest.raises(ValueError, match="at least 8 x 8"):
        background_statistics([torch.rand(7, 20, 31)])
    with pytest.raises(ValueError, match="at least 8 x 8"):
        background_statistics([])
    small = background_statistics(random_maps(), cells=3)
    with pytest.raises(ValueError, match="lack offsets"):
        whitening(small, cells=4)
    with pytest.raises(ValueError, match="positive"):
        whitening(small, cells=3, regularization=0)
    with pytest.raises(ValueError, match="5 values"):
        whitening(small, cells=3).whiten(torch.zeros(2, 5))


def test_statistics_that_come_with_the_program_agree_with_those_of_another(data_directory: Path) -> None:
    """From other photographs by the original program: the same means and covariances, roughly, offset by offset."""
    path = data_directory / "reference" / "proposal_flow" / "hog_background_5_skimage.npz"
    with np.load(path) as arrays:
        other = reference_background(arrays, "", ("neg", "cov", "dxy"))
    own = shipped_background()
    assert np.corrcoef(own.mean, other.mean)[0, 1] > 0.95
    own_full, other_full = (window_covariance(one, 2).numpy() for one in (own, other))
    assert np.corrcoef(own_full.ravel(), other_full.ravel())[0, 1] > 0.9
    # Enough photographs: positive definite without raising the regularization.
    assert natural_whitener().regularization == 0.01
