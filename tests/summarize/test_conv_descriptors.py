"""Pooled features of boxes, against loops over fine points, torchvision and closed forms."""

import numpy as np
import pytest
import torch
from torchvision.ops import roi_align

from visual_summaries.pipeline.summarize.conv_descriptors import conv_descriptors


def unit_features(seed: int, grid: int, components: int) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=(grid, grid, components))
    return (values / np.linalg.norm(values, axis=-1, keepdims=True)).astype(np.float32)


def pooled_by_points(features: np.ndarray, box: list[int], size: tuple[int, int], parts: int) -> np.ndarray:
    """Means over every point of a lattice so fine that the edges of boxes, parts and cells all lie on it."""
    fine = features.shape[0] * parts
    height, width = size
    x0, y0, x1, y1 = box
    means = []
    for row in range(parts):
        for column in range(parts):
            total, count = np.zeros(features.shape[2]), 0
            for i in range((y1 - y0) * fine):
                for j in range((x1 - x0) * fine):
                    # Points in units of pixels; each part has the same number of them along each side.
                    y, x = y0 + (i + 0.5) / fine, x0 + (j + 0.5) / fine
                    if i * parts // ((y1 - y0) * fine) != row or j * parts // ((x1 - x0) * fine) != column:
                        continue
                    total += features[int(y * features.shape[0] / height), int(x * features.shape[1] / width)]
                    count += 1
            means.append(total / count)
    joined = np.concatenate(means)
    return joined / np.linalg.norm(joined)


def test_parts_have_the_mean_of_their_area() -> None:
    features, size, parts = unit_features(0, 4, 3), (6, 8), 2
    boxes = [[0, 0, 8, 6], [1, 2, 4, 5], [5, 0, 6, 1], [2, 1, 7, 6]]
    found = conv_descriptors(features, np.array(boxes), size, parts)
    for descriptor, box in zip(found, boxes, strict=True):
        np.testing.assert_allclose(descriptor, pooled_by_points(features, box, size, parts), atol=1e-6)


def test_one_part_of_whole_cells_is_their_mean() -> None:
    features = unit_features(1, 7, 5)
    found = conv_descriptors(features, np.array([[16.0, 8, 40, 24]]), (56, 56), parts=1)[0]
    mean = features[1:3, 2:5].mean(axis=(0, 1))
    np.testing.assert_allclose(found, mean / np.linalg.norm(mean), atol=1e-6)


def test_agrees_with_roi_align_of_many_samples_where_cells_change_slowly() -> None:
    grid = 28
    y, x = np.mgrid[:grid, :grid] / grid
    features = np.stack([np.sin(2 * x), np.cos(2 * y), x * y + 0.3], axis=-1).astype(np.float32)
    boxes = np.array([[20.3, 31.1, 90.7, 160.2], [60.0, 60, 150, 110]])
    found = conv_descriptors(features, boxes, (224, 224))
    maps = torch.from_numpy(features).permute(2, 0, 1)[None]
    pooled = roi_align(maps, [torch.from_numpy(boxes).float()], (4, 4), grid / 224, 16, aligned=True)
    theirs = pooled.permute(0, 2, 3, 1).flatten(1).numpy()
    theirs /= np.linalg.norm(theirs, axis=1, keepdims=True)
    np.testing.assert_allclose(found, theirs, atol=1e-3)


def test_similarity_is_a_cosine_that_scale_and_place_do_not_change() -> None:
    pattern = unit_features(2, 4, 6)
    features = np.zeros((28, 28, 6), np.float32)
    features[2:6, 3:7] = pattern
    features[10:18, 12:20] = pattern.repeat(2, axis=0).repeat(2, axis=1)
    features[20:24, 20:24] = -pattern
    boxes = np.array([[3, 2, 7, 6], [12, 10, 20, 18], [20, 20, 24, 24]]) * 8.0
    found = conv_descriptors(features, boxes, (224, 224))
    np.testing.assert_allclose(found @ found.T, [[1, 1, -1], [1, 1, -1], [-1, -1, 1]], atol=1e-6)


def test_what_lies_outside_the_image_does_not_count() -> None:
    features = unit_features(3, 7, 4)
    beyond, inside = conv_descriptors(features, np.array([[-20, 10, 30, 99.0], [0, 10, 30, 56]]), (56, 56))
    np.testing.assert_array_equal(beyond, inside)


def test_half_precision_features_and_silent_cells() -> None:
    features = unit_features(4, 7, 4).astype(np.float16)
    features[:3] = 0
    found = conv_descriptors(features, np.array([[0, 0, 50, 20], [0, 30, 50, 56]]), (56, 56))
    assert found.dtype == np.float32 and found.shape == (2, 64)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), [0, 1], atol=1e-6)


def test_no_boxes_have_no_descriptors() -> None:
    assert conv_descriptors(unit_features(5, 7, 4), np.zeros((0, 4)), (56, 56)).shape == (0, 64)


@pytest.mark.parametrize(
    ("features", "boxes", "message"),
    [
        (np.zeros((7, 7)), np.zeros((1, 4)), "features must be"),
        (np.zeros((7, 7, 2)), np.zeros(4), "boxes"),
        (np.zeros((7, 7, 2)), np.array([[5, 5, 5, 9]]), "extent inside the image"),
        (np.zeros((7, 7, 2)), np.array([[60, 5, 70, 9]]), "extent inside the image"),
    ],
)
def test_what_does_not_fit_is_refused(features: np.ndarray, boxes: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        conv_descriptors(features, boxes, (56, 56))
