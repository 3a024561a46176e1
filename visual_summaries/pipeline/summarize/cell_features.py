"""The features of a class's cells made comparable: standardized over its salient cells, unit length, fewer numbers.

Shapes: n cells, C channels of all layers together, D components, B images, G by G cells.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

TINY = 1e-6


@dataclass(frozen=True)
class Basis:
    """How activations become descriptions of a cell; made once for a class, then for each of its images.

    Attributes:
        layers: channels of each layer, in order; they sum to C.
        mean, std: `[C]` float32, of the class's salient cells.
        components: `[C,D]` float32, orthonormal columns.
    """

    layers: tuple[int, ...]
    mean: np.ndarray
    std: np.ndarray
    components: np.ndarray

    def apply(self, cells: np.ndarray) -> np.ndarray:
        """Activations `[…,C]` → descriptions `[…,D]` float32 of unit length."""
        return _unit(_described(cells, self.layers, self.mean, self.std) @ self.components)

    def apply_maps(self, maps: np.ndarray) -> np.ndarray:
        """Activations `[B,C,G,G]` → descriptions `[B,G,G,D]` float32 of unit length."""
        return self.apply(np.moveaxis(maps, 1, -1))


def fit_basis(cells: np.ndarray, layers: Sequence[int], components: int = 64) -> Basis:
    """The basis of a class from (a sample of) its salient cells.

    Every channel is standardized, every layer then scaled to unit length in each cell, so that a layer of many
    channels weighs no more than one of few; the principal components keep the scalar products between cells as well
    as so few numbers can.

    Args:
        cells: `[n,C]` activations.
        layers: channels of each layer; they sum to C.
        components: D, at most; fewer where there are fewer channels or cells.

    Raises:
        ValueError: no cells, or shapes do not fit.
    """
    cells = np.asarray(cells, dtype=np.float32)
    if cells.ndim != 2 or not len(cells) or cells.shape[1] != sum(layers):
        raise ValueError(f"cells must be [n,{sum(layers)}], n at least 1, got {cells.shape}")
    mean, std = cells.mean(axis=0), cells.std(axis=0)
    # A channel that is silent on the class says nothing; it must not be blown up elsewhere.
    std = np.where(std > TINY * max(1.0, float(std.max())), std, np.inf).astype(np.float32)
    described = _described(cells, tuple(layers), mean, std)
    _, _, directions = np.linalg.svd(described.T @ described, hermitian=True)
    return Basis(tuple(layers), mean, std, np.ascontiguousarray(directions[:components].T))


def with_context(features: np.ndarray, width: int = 5) -> np.ndarray:
    """What is around each cell: the mean of the features of `width` by `width` cells, scaled to unit length.

    `[N,G,G,D]` → the same. Cells beyond the border repeat those on it. A width of 1 changes nothing.
    """
    if width == 1:
        return features
    return _unit(ndimage.uniform_filter(features, (0, width, width, 0), mode="nearest"))


def _described(cells: np.ndarray, layers: tuple[int, ...], mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    standardized = (np.asarray(cells, dtype=np.float32) - mean) / std
    ends = np.cumsum(layers)
    blocks = [_unit(standardized[..., end - size : end]) for end, size in zip(ends, layers, strict=True)]
    return np.concatenate(blocks, axis=-1) / np.sqrt(len(layers), dtype=np.float32)


def _unit(values: np.ndarray) -> np.ndarray:
    return values / np.maximum(np.linalg.norm(values, axis=-1, keepdims=True), TINY)
