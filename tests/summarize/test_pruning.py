import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from visual_summaries.pipeline.summarize.pruning import (
    PrunedCluster,
    choose_members,
    gray_crops,
    prune_clusters,
    structural_similarities,
)


def textured(height: int, width: int, seed: int, channels: int | None = None) -> np.ndarray:
    """A uint8 picture with shapes at several scales, a gradient and some noise."""
    generator = np.random.default_rng(seed)
    shape = (height, width) if channels is None else (height, width, channels)
    blur = [(sigma, sigma) + (0,) * (len(shape) - 2) for sigma in (1, 4, 9)]
    layers = [ndimage.gaussian_filter(generator.normal(size=shape), sigma) * sigma[0] for sigma in blur]
    gradient = np.linspace(-0.5, 0.5, width).reshape((1, width) + (1,) * (len(shape) - 2))
    values = 120 + 90 * (sum(layers) + gradient) + generator.normal(size=shape) * 3
    return np.clip(values.round(), 0, 255).astype(np.uint8)


def related(height: int, width: int, count: int) -> list[np.ndarray]:
    """Pictures from nearly equal to unrelated, one of them constant, one inverted."""
    base = textured(height, width, 0)
    noisy = np.clip(base + np.random.default_rng(1).normal(size=base.shape) * 6, 0, 255).astype(np.uint8)
    shifted = np.roll(base, 1, axis=1)
    others = [textured(height, width, seed) for seed in range(1, count)]
    return [base, noisy, shifted, 255 - base, np.full_like(base, 90), np.full_like(base, 200), *others]


def ssim_by_loops(one: np.ndarray, other: np.ndarray, data_range: float = 255) -> float:
    """Wang et al., §III-B and III-C, pixel by pixel: weighted moments of an 11 × 11 window, equations 13 to 16."""
    offsets = np.arange(-5, 6)
    weights = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 1.5**2))
    weights /= weights.sum()
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    values = []
    for row in range(one.shape[0] - 10):
        for column in range(one.shape[1] - 10):
            x, y = (picture[row : row + 11, column : column + 11].astype(float) for picture in (one, other))
            mean_x, mean_y = (weights * x).sum(), (weights * y).sum()
            variances = (weights * (x - mean_x) ** 2).sum() + (weights * (y - mean_y) ** 2).sum()
            covariance = (weights * (x - mean_x) * (y - mean_y)).sum()
            above = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
            values.append(above / ((mean_x**2 + mean_y**2 + c1) * (variances + c2)))
    return float(np.mean(values))


@pytest.mark.parametrize("size", [(11, 11), (11, 26), (24, 13)])
def test_ssim_is_that_of_the_paper(size: tuple[int, int]) -> None:
    pictures = related(*size, 4)
    result = structural_similarities(torch.from_numpy(np.stack(pictures)).float())
    assert result.dtype == np.float64
    expected = [[ssim_by_loops(a, b) for b in pictures] for a in pictures]
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(result, result.T)
    assert result[0, 1] > 0.5 > result[0, 6] and result[0, 3] < 0


def test_ssim_of_constant_images_has_a_closed_form() -> None:
    crops = torch.stack([torch.full((14, 17), level) for level in (0.0, 90.0, 200.0)])
    levels, constant = np.array([0.0, 90.0, 200.0]), (0.01 * 255) ** 2
    expected = (2 * np.outer(levels, levels) + constant) / (levels[:, None] ** 2 + levels**2 + constant)
    np.testing.assert_allclose(structural_similarities(crops), expected, atol=1e-9)
    assert structural_similarities(crops[:1]).tolist() == [[1.0]]


@pytest.mark.parametrize("size", [(40, 64), (23, 31), (70, 95)])
def test_gray_crops_agree_with_pillow(size: tuple[int, int]) -> None:
    images = [textured(80, 100, seed, 3) for seed in range(3)]
    boxes = np.array([[10, 5, 74, 45], [0, 0, 100, 80], [61, 52, 100, 80]], dtype=np.float32)
    crops = gray_crops(images, boxes, size)
    assert crops.shape == (3, *size)
    assert torch.equal(crops, crops.round()) and crops.min() >= 0 and crops.max() <= 255
    for image, box, crop in zip(images, boxes.astype(int).tolist(), crops.numpy(), strict=True):
        gray = Image.fromarray(image).crop(box).convert("L")
        expected = np.asarray(gray.resize(size[::-1], Image.Resampling.BILINEAR), dtype=float)
        assert np.abs(crop - expected).max() <= 2
        assert np.abs(crop - expected).mean() < 0.5


def test_crop_of_its_own_size_is_only_made_gray() -> None:
    image = textured(30, 40, 0, 3)
    crop = gray_crops([image], np.array([[8.3, 3.6, 31.7, 24.2]]), (20, 24))[0].numpy()
    expected = (image[4:24, 8:32] * [0.299, 0.587, 0.114]).sum(axis=2)
    assert np.abs(crop - expected).max() <= 0.5 + 1e-4


def test_small_crops_are_resized_up_to_the_window() -> None:
    image = textured(30, 40, 0, 3)
    boxes = np.array([[3, 3, 9, 8], [36, 25, 40, 30], [39, 29, 40, 30]], dtype=np.float32)
    crops = gray_crops([image] * 3, boxes, (5, 6))
    assert crops.shape == (3, 11, 11)
    expected = Image.fromarray(image).crop((3, 3, 9, 8)).convert("L").resize((11, 11), Image.Resampling.BILINEAR)
    assert np.abs(crops[0].numpy() - np.asarray(expected, dtype=float)).max() <= 2
    assert len(crops[2].unique()) == 1
    assert structural_similarities(crops).shape == (3, 3)
    assert gray_crops([image], boxes[:1], (5, 30)).shape == (1, 11, 30)


def test_boxes_that_leave_the_image_are_cut() -> None:
    image = textured(30, 40, 0, 3)
    outside = np.array([[-3, -2, 12, 14], [28, 18, 45, 33], [40, 30, 44, 34], [-9, 4, -2, 20]], dtype=np.float32)
    inside = np.array([[0, 0, 12, 14], [28, 18, 40, 30], [39, 29, 40, 30], [0, 4, 1, 20]], dtype=np.float32)
    assert torch.equal(gray_crops([image] * 4, outside, (14, 12)), gray_crops([image] * 4, inside, (14, 12)))


def test_members_are_the_exemplar_and_the_best_of_each_other_image() -> None:
    images = np.array([2, 0, 2, 1, 0, 1, 3])
    similarities = np.array([0.5, 0.3, 0.9, 0.7, 0.8, 0.7, 0.1])
    # The exemplar leads although others score higher; its image's other proposal and lower rivals drop out.
    assert choose_members(images, similarities, 0).tolist() == [0, 4, 3, 6]
    assert choose_members(images, similarities, 6).tolist() == [6, 2, 4, 3]
    assert choose_members(images, similarities, 0, maximum=2).tolist() == [0, 4]
    assert choose_members(images, similarities, 0, maximum=1).tolist() == [0]
    assert choose_members(np.array([5]), np.array([0.0]), 0).tolist() == [0]
    assert choose_members(np.array(["a", "b", "a"]), np.array([0.1, 0.2, 0.3]), 1).tolist() == [1, 2]


def uniform(count: int, value: float, **exceptions: float) -> np.ndarray:
    """Similarities `value` of all pairs, save those given as p01=…"""
    matrix = np.full((count, count), value)
    np.fill_diagonal(matrix, 1.0)
    for pair, other in exceptions.items():
        first, second = int(pair[1]), int(pair[2])
        matrix[first, second] = matrix[second, first] = other
    return matrix


def kept(pruned: list[PrunedCluster]) -> list[bool]:
    return [cluster.reason is None for cluster in pruned]


def test_singletons_and_pairs_neither_rule_nor_stay() -> None:
    # Were the pair to rule with the three larger ones, the class's median would be 0.55.
    clusters = [uniform(1, 0), uniform(4, 0.6), uniform(2, 0.1), uniform(3, 0.6), uniform(3, 0.5), uniform(1, 0)]
    pruned = prune_clusters(clusters)
    assert kept(pruned) == [False, True, False, True, False, False]
    assert [cluster.class_median for cluster in pruned] == [0.6] * 6
    assert pruned[0].reason == "1 image, fewer than 3" and pruned[2].reason == "2 images, fewer than 3"
    assert np.isnan([pruned[0].cluster_median, *pruned[0].member_median, *pruned[0].share_below]).all()
    assert pruned[2].cluster_median == 0.1
    assert pruned[2].member_median.tolist() == [0.1, 0.1] and pruned[2].share_below.tolist() == [1, 1]


def test_singleton_does_not_rule_where_it_is_allowed() -> None:
    pruned = prune_clusters([uniform(1, 0), uniform(4, 0.5), uniform(4, 0.5), uniform(4, 0.2)], minimum_members=1)
    assert [cluster.class_median for cluster in pruned] == [0.5] * 4
    assert kept(pruned) == [True, True, True, False]


def test_cluster_below_the_share_of_the_class_median_goes() -> None:
    pruned = prune_clusters([uniform(3, 0.5), uniform(3, 0.5), uniform(3, 0.44), uniform(3, 0.46), uniform(3, 0.8)])
    assert kept(pruned) == [True, True, False, False, True]
    assert "0.440" in pruned[2].reason and "0.500" in pruned[2].reason
    assert pruned[2].member_reason == [None] * 3
    # The one at 0.46 stays as a cluster, but all of its members lie below the class's median.
    assert pruned[3].reason == "0 of 3 members left by SSIM, fewer than 3"
    at_threshold = [uniform(3, 0.5), uniform(3, 0.5), uniform(3, 0.25)]
    assert kept(prune_clusters(at_threshold, cluster_threshold=0.5, member_share=1.1)) == [True, True, True]


def test_member_goes_from_the_share_on() -> None:
    # Member 0: 3 of 5 below (60 %); member 4: 2 of 5; the median of the 15 pairs is 0.6.
    matrix = uniform(6, 0.6, p01=0.2, p02=0.2, p03=0.2, p45=0.3, p41=0.3)
    (pruned,) = prune_clusters([matrix])
    assert pruned.class_median == pruned.cluster_median == 0.6
    np.testing.assert_allclose(pruned.share_below, [0.6, 0.4, 0.2, 0.2, 0.4, 0.2])
    assert [reason is None for reason in pruned.member_reason] == [False, True, True, True, True, True]
    assert "60%" in pruned.member_reason[0] and "0.600" in pruned.member_reason[0]
    assert pruned.reason is None
    assert pruned.member_median.tolist() == [0.2, 0.6, 0.6, 0.6, 0.6, 0.6]


def test_cluster_left_with_too_few_members_goes() -> None:
    bad = uniform(4, 0.46, p13=0.6, p23=0.6)
    pruned = prune_clusters([uniform(3, 0.5), uniform(3, 0.5), bad])
    assert kept(pruned) == [True, True, False]
    assert [reason is None for reason in pruned[2].member_reason] == [False, False, False, True]
    assert pruned[2].reason == "1 of 4 members left by SSIM, fewer than 3"


def test_class_of_singletons() -> None:
    pruned = prune_clusters([uniform(1, 0), uniform(1, 0), uniform(2, 0.7)])
    assert kept(pruned) == [False] * 3
    assert np.isnan([cluster.class_median for cluster in pruned]).all()
    assert pruned[2].cluster_median == 0.7
    assert np.isnan(pruned[2].share_below).all()
    assert prune_clusters([]) == []


def test_pruning_equals_a_loop() -> None:
    generator = np.random.default_rng(0)
    matrices = []
    for number, count in enumerate([1, 2, 3, 4, 5, 6, 9, 12, 12, 2, 7]):
        level = generator.uniform(0.3, 0.5) if number % 3 else 0.45
        upper = np.triu(generator.normal(level, 0.05, (count, count)), 1)
        matrices.append(upper + upper.T + np.eye(count))
    medians = {}
    for number, matrix in enumerate(matrices):
        values = [matrix[i, j] for i in range(len(matrix)) for j in range(i)]
        if len(matrix) >= 3:
            medians[number] = np.median(values)
    rule = np.median(list(medians.values()))
    members_gone = 0
    for number, (matrix, cluster) in enumerate(zip(matrices, prune_clusters(matrices), strict=True)):
        assert cluster.class_median == rule
        if number not in medians:
            assert cluster.reason
            continue
        assert cluster.cluster_median == medians[number]
        stays = medians[number] >= 0.9 * rule
        left = []
        for i in range(len(matrix)):
            below = [matrix[i, j] < rule for j in range(len(matrix)) if j != i]
            left.append(not stays or sum(below) / len(below) < 0.6)
        assert [reason is None for reason in cluster.member_reason] == left
        assert (cluster.reason is None) == (stays and sum(left) >= 3)
        members_gone += left.count(False)
    assert members_gone > 3


def test_without_a_threshold_a_cluster_stays_whatever_its_similarity() -> None:
    good, bad = np.full((4, 4), 0.8), np.full((4, 4), 0.2)
    assert [cluster.reason is None for cluster in prune_clusters([good, bad, good])] == [True, False, True]
    kept = prune_clusters([good, bad, good], cluster_threshold=None)[1]
    # Its members all lie below the class's figure: they go one by one instead.
    assert kept.reason == "0 of 4 members left by SSIM, fewer than 3"
    assert prune_clusters([good, bad, good], cluster_threshold=None, member_share=1.0)[1].member_median[0] == 0.2
