import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler, normalize

from visual_summaries.pipeline.summarize.cell_features import fit_basis, with_context


def test_descriptions_keep_the_scalar_products_of_standardized_layers() -> None:
    random = np.random.default_rng(0)
    cells = random.normal(size=(200, 11)) * random.uniform(0.1, 9, 11) + 3
    basis = fit_basis(cells, (7, 4), components=64)
    standardized = StandardScaler().fit_transform(cells)
    layers = [normalize(standardized[:, :7]), normalize(standardized[:, 7:])]
    expected = normalize(np.concatenate(layers, axis=1))
    found = basis.apply(cells)
    np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=1e-4)
    few = fit_basis(cells, (7, 4), components=3).apply(cells)
    assert few.shape == (200, 3)
    np.testing.assert_allclose(np.linalg.norm(few, axis=1), 1, atol=1e-5)


def test_maps_are_described_cell_by_cell() -> None:
    random = np.random.default_rng(1)
    maps = random.normal(size=(2, 5, 3, 4))
    basis = fit_basis(random.normal(size=(30, 5)), (5,), 2)
    found = basis.apply_maps(maps)
    assert found.shape == (2, 3, 4, 2)
    np.testing.assert_allclose(found[1, 2, 3], basis.apply(maps[1, :, 2, 3]), atol=1e-5)


def test_a_silent_channel_says_nothing() -> None:
    random = np.random.default_rng(2)
    cells = random.normal(size=(50, 4))
    cells[:, 2] = 7.0
    basis = fit_basis(cells, (4,))
    other = cells.copy()
    other[:, 2] = -1e6
    np.testing.assert_array_equal(basis.apply(cells), basis.apply(other))


def test_context_is_the_mean_over_the_neighborhood() -> None:
    features = np.random.default_rng(3).normal(size=(2, 6, 5, 3)).astype(np.float32)
    found = with_context(features, 3)
    for row, column in ((2, 2), (4, 3)):
        mean = features[1, row - 1 : row + 2, column - 1 : column + 2].mean(axis=(0, 1))
        np.testing.assert_allclose(found[1, row, column], mean / np.linalg.norm(mean), atol=1e-5)
    corner = [features[0, r, c] for r in (0, 0, 1) for c in (0, 0, 1)]
    mean = np.mean(corner, axis=0)
    np.testing.assert_allclose(found[0, 0, 0], mean / np.linalg.norm(mean), atol=1e-5)
    assert with_context(features, 1) is features


def test_cells_must_fit_the_layers() -> None:
    with pytest.raises(ValueError, match=r"\[n,5\]"):
        fit_basis(np.zeros((4, 6)), (2, 3))
    with pytest.raises(ValueError, match="at least 1"):
        fit_basis(np.zeros((0, 5)), (2, 3))
