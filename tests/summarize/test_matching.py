import math
from collections.abc import Iterator
from decimal import Decimal, localcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from visual_summaries.pipeline.summarize.hough import probabilistic_hough_matching
from visual_summaries.pipeline.summarize.local_offsets import local_offset_matching
from visual_summaries.pipeline.summarize.matching import (
    match,
    naive_appearance_matching,
)

PAIRS = [
    "p1_astronaut_warp",
    "p2_coffee_warp",
    "p3_motorcycle_stereo",
    "p5_rocket_self",
    "p7_synthetic_fractional",
]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """As the pipeline's workers run; on a busy machine several threads wait for each other at every step."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def reference(data_directory: Path, name: str) -> dict[str, torch.Tensor]:
    with np.load(data_directory / "reference" / "proposal_flow" / f"{name}.npz") as arrays:
        wanted = [key for key in arrays.files if arrays[key].dtype.kind != "U" and key != "phm_bin_1based"]
        result = {key: torch.from_numpy(arrays[key]) for key in wanted}
        result["phm_bins"] = torch.from_numpy(arrays["phm_bin_1based"].astype(np.int64))
    return result


def sizes(pair: dict[str, torch.Tensor]) -> tuple[tuple[int, int], tuple[int, int]]:
    return tuple(pair["size_a"].tolist()), tuple(pair["size_b"].tolist())


def assert_within(actual: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-5) -> None:
    assert torch.isfinite(actual).all()
    assert float((actual - expected).abs().max()) <= tolerance * float(expected.abs().max())


def random_boxes(generator: np.random.Generator, count: int, width: float, height: float) -> torch.Tensor:
    """Boxes with whole-number corners, so that votes meet the start of the median and the edges of bins."""
    x = np.sort(generator.integers(0, width // 4, (count, 2)) * 4, axis=1)
    y = np.sort(generator.integers(0, height // 4, (count, 2)) * 4, axis=1)
    return torch.from_numpy(np.stack([x[:, 0], y[:, 0], x[:, 1] + 4, y[:, 1] + 4], axis=1)).float()


def random_pair(seed: int, count_a: int = 14, count_b: int = 11) -> tuple[torch.Tensor, ...]:
    generator = np.random.default_rng(seed)
    boxes_a = random_boxes(generator, count_a, 96, 64)
    boxes_b = random_boxes(generator, count_b, 64, 80)
    appearance = torch.from_numpy(generator.random((count_a, count_b)))
    return appearance, boxes_a, boxes_b


@pytest.mark.parametrize("name", PAIRS)
def test_naive_matching_equals_the_original_program(data_directory: Path, name: str) -> None:
    pair = reference(data_directory, name)
    naive = naive_appearance_matching(pair["appearance"], pair["boxes_a"], pair["boxes_b"])
    assert naive.dtype == torch.float32
    assert_within(naive, pair["nam"])


@pytest.mark.parametrize("name", PAIRS)
def test_hough_matching_equals_the_original_program(data_directory: Path, name: str) -> None:
    pair = reference(data_directory, name)
    scores = probabilistic_hough_matching(
        pair["nam"], pair["boxes_a"], pair["boxes_b"], *sizes(pair), inclusive=True
    )
    assert scores.dtype == torch.float32
    assert_within(scores, pair["phm"])


@pytest.mark.parametrize("name", PAIRS)
def test_legacy_offset_matching_equals_the_original_program(data_directory: Path, name: str) -> None:
    pair = reference(data_directory, name)
    result = local_offset_matching(
        pair["nam"], pair["boxes_a"], pair["boxes_b"], mode="legacy", inclusive=True
    )
    assert_within(result.scores, pair["lom"])
    assert_within(result.offsets, pair["lom_median_offset"])
    assert_within(result.support, pair["lom_support_ratio"])


@pytest.mark.parametrize("name", PAIRS)
def test_frozen_offset_matching_equals_the_reference_where_definitions_agree(
    data_directory: Path, name: str
) -> None:
    pair = reference(data_directory, name)
    naive, neighbors = pair["nam"], pair["lom_neighbours"]
    result = local_offset_matching(naive, pair["boxes_a"], pair["boxes_b"], inclusive=True)
    assert_within(result.support, pair["lom_frozen_support_ratio"])
    # Rows with a silent neighbor differ by definition. Where a vote lies exactly at the median's start, the
    # reference is rounding noise (see the test with exact arithmetic below), at most 1 % of the scores.
    confidence, best = naive.max(dim=1)
    centers_a = (pair["boxes_a"][:, :2] + pair["boxes_a"][:, 2:]) / 2
    centers_b = (pair["boxes_b"][:, :2] + pair["boxes_b"][:, 2:]) / 2
    halves_a = pair["boxes_a"][:, 2:] - centers_a
    halves_b = pair["boxes_b"][:, 2:] - centers_b
    ratio = halves_a.prod(dim=1) / halves_b.prod(dim=1)[best]
    votes = torch.cat([centers_a - centers_b[best], ratio[:, None]], dim=1)
    silent = (neighbors & (confidence == 0)).any(dim=1)
    at_start = (neighbors[:, :, None] & (votes == 1)).any(dim=1)
    agree = ~silent[:, None] & ~at_start
    assert int(agree.sum()) >= 12
    offsets = pair["lom_frozen_median_offset"]
    torch.testing.assert_close(result.offsets[agree], offsets[agree], rtol=1e-6, atol=1e-6)
    largest = float(pair["lom_frozen_variant"].max())
    difference = (result.scores - pair["lom_frozen_variant"]).abs() / largest
    assert (difference[agree.all(dim=1)] <= 1e-5).all()
    assert (difference[~silent] <= 0.01).all()


def test_all_zero_scores(data_directory: Path) -> None:
    pair = reference(data_directory, "p8_all_zero")
    naive = naive_appearance_matching(pair["appearance"], pair["boxes_a"], pair["boxes_b"])
    for result in (
        naive,
        probabilistic_hough_matching(naive, pair["boxes_a"], pair["boxes_b"], *sizes(pair), inclusive=True),
        local_offset_matching(naive, pair["boxes_a"], pair["boxes_b"], inclusive=True).scores,
    ):
        assert result.shape == pair["lom"].shape
        assert (result == 0).all()
    legacy = local_offset_matching(naive, pair["boxes_a"], pair["boxes_b"], mode="legacy", inclusive=True)
    assert torch.equal(legacy.scores.isnan(), pair["lom"].isnan())


def brute_force_naive(appearance: torch.Tensor, boxes_a: torch.Tensor, boxes_b: torch.Tensor) -> np.ndarray:
    result = np.zeros(appearance.shape)
    for i, a in enumerate(boxes_a.tolist()):
        for j, b in enumerate(boxes_b.tolist()):
            change = ((b[2] - b[0]) / (b[3] - b[1])) / ((a[2] - a[0]) / (a[3] - a[1]))
            if 0.5 < change < 2:
                result[i, j] = appearance[i, j]
    return result


def brute_force_offsets(naive: np.ndarray, boxes_a: torch.Tensor, boxes_b: torch.Tensor) -> np.ndarray:
    """Local offset matching by its definition, in arithmetic of 60 digits."""
    with localcontext() as context:
        context.prec = 60
        a = [[Decimal(value) for value in box] for box in boxes_a.tolist()]
        b = [[Decimal(value) for value in box] for box in boxes_b.tolist()]

        def offset(i: int, j: int) -> list[Decimal]:
            areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a[i], b[j])]
            centers = [(p[k] + p[k + 2] - q[k] - q[k + 2]) / 2 for p, q in ((a[i], b[j]),) for k in (0, 1)]
            return [*centers, areas[0] / areas[1]]

        result = np.zeros(naive.shape)
        total = naive.max(axis=1).sum()
        for i in range(len(a)):
            near = [
                k
                for k in range(len(a))
                if min(a[i][2], a[k][2]) > max(a[i][0], a[k][0])
                and min(a[i][3], a[k][3]) > max(a[i][1], a[k][1])
            ]
            votes = [offset(k, int(naive[k].argmax())) for k in near if naive[k].max() > 0]
            if not votes:
                continue
            median = [Decimal(1)] * 3
            for _ in range(20):
                for axis in range(3):
                    weights = [
                        1 / (abs(vote[axis] - median[axis]) + Decimal(2) ** -52) for vote in votes
                    ]
                    weighted = sum(w * vote[axis] for w, vote in zip(weights, votes, strict=True))
                    median[axis] = weighted / sum(weights)
            support = naive[near].max(axis=1).sum() / total
            for j in range(len(b)):
                dx, dy, ratio = (float(o - m) for o, m in zip(offset(i, j), median, strict=True))
                affinity = math.exp(-0.05 * math.hypot(dx, dy) - 0.3 * abs(ratio))
                result[i, j] = naive[i, j] * affinity * support
        return result


@pytest.mark.parametrize("seed", range(4))
def test_offset_matching_equals_exact_arithmetic(seed: int) -> None:
    appearance, boxes_a, boxes_b = random_pair(seed)
    appearance[3] = 0
    # Box 0 of B one pixel from box 5 of A, and its best match: a vote exactly at the start of the median.
    boxes_b[0] = boxes_a[5] - 1
    appearance[5, 0] = 2
    naive = brute_force_naive(appearance, boxes_a, boxes_b)
    ours = naive_appearance_matching(appearance, boxes_a, boxes_b)
    np.testing.assert_array_equal(ours.numpy(), naive)
    expected = brute_force_offsets(naive, boxes_a, boxes_b)
    assert (expected > 0).sum() > 20
    scores = local_offset_matching(ours, boxes_a, boxes_b).scores
    np.testing.assert_allclose(scores.numpy(), expected, rtol=1e-7, atol=1e-12)
    single = local_offset_matching(ours.float(), boxes_a, boxes_b).scores
    assert single.dtype == torch.float32
    np.testing.assert_allclose(single.numpy(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_hough_matching_equals_brute_force(seed: int) -> None:
    appearance, boxes_a, boxes_b = random_pair(seed)
    # Equal scores in one bin must vote once.
    boxes_b[1], appearance[:, 1] = boxes_b[0], appearance[:, 0]
    size_a, size_b = (96, 64), (64, 80)
    naive = brute_force_naive(appearance, boxes_a, boxes_b)
    cell = max(math.sqrt(2 * 64 * 2 * 80 / 8000), 5)
    shape = (round(160 / cell), round(128 / cell), 20)
    votes = np.zeros(shape)
    bins = {}
    for i, a in enumerate(boxes_a.tolist()):
        best = {}
        for j, b in enumerate(boxes_b.tolist()):
            half_a, half_b = [(a[2 + k] - a[k]) / 2 for k in (0, 1)], [(b[2 + k] - b[k]) / 2 for k in (0, 1)]
            corner = [
                half_b[k] * (size_a[k] - (a[k] + a[2 + k]) / 2) / half_a[k] + (b[k] + b[2 + k]) / 2
                for k in (0, 1)
            ]
            growth = math.log2(half_b[0] * half_b[1] / (half_a[0] * half_a[1]))
            place = (
                math.floor(corner[1] / (160 / shape[0])),
                math.floor(corner[0] / (128 / shape[1])),
                math.floor((growth + 4) / 0.4 + 1e-12),
            )
            if naive[i, j] > 0 and all(0 <= p < n for p, n in zip(place, shape, strict=True)):
                bins[i, j] = place
                best[place] = max(best.get(place, 0), naive[i, j])
        for place, vote in best.items():
            votes[place] += vote
    grid = np.mgrid[-2:3, -2:3, -2:3]
    kernel = np.exp(-(grid**2).sum(axis=0) / (2 * (5 / 2 / 2.354) ** 2))
    smooth = ndimage.convolve(votes, kernel / kernel.sum(), mode="constant")
    expected = np.zeros(naive.shape)
    for pair, place in bins.items():
        expected[pair] = naive[pair] * smooth[place]
    assert (expected > 0).sum() > 20
    scores = probabilistic_hough_matching(torch.from_numpy(naive), boxes_a, boxes_b, size_a, size_b)
    np.testing.assert_allclose(scores.numpy(), expected, rtol=1e-10, atol=1e-12)


def test_several_images_at_once_equal_one_at_a_time() -> None:
    first, boxes_a, boxes_first = random_pair(0)
    second = random_pair(1, count_b=7)
    boxes_second, appearance_second = second[2], second[0]
    padded_boxes = torch.zeros(2, 11, 4)
    padded = torch.zeros(2, 14, 11, dtype=torch.float64)
    padded_boxes[0], padded_boxes[1, :7] = boxes_first, boxes_second
    padded[0], padded[1, :, :7] = first, appearance_second
    naive = naive_appearance_matching(padded, boxes_a, padded_boxes)
    together = local_offset_matching(naive, boxes_a, padded_boxes)
    for index, (count, boxes, appearance) in enumerate(
        ((11, boxes_first, first), (7, boxes_second, appearance_second))
    ):
        alone = local_offset_matching(naive_appearance_matching(appearance, boxes_a, boxes), boxes_a, boxes)
        torch.testing.assert_close(together.scores[index, :, :count], alone.scores)
        torch.testing.assert_close(together.offsets[index], alone.offsets)
        torch.testing.assert_close(together.support[index], alone.support)
    assert (together.scores[1, :, 7:] == 0).all()


def test_offset_constants_scale_with_the_image() -> None:
    appearance, boxes_a, boxes_b = random_pair(2)
    naive = naive_appearance_matching(appearance, boxes_a, boxes_b)
    full = local_offset_matching(naive, boxes_a, boxes_b)
    half = local_offset_matching(naive, boxes_a / 2, boxes_b / 2, scale=0.5)
    torch.testing.assert_close(half.scores, full.scores)
    torch.testing.assert_close(half.offsets, full.offsets * torch.tensor([0.5, 0.5, 1.0]).double())
    unscaled = local_offset_matching(naive, boxes_a / 2, boxes_b / 2)
    assert float((unscaled.scores - full.scores).abs().max()) > 0.01 * float(full.scores.max())


def test_shifted_copy_has_the_shift_as_offset() -> None:
    generator = np.random.default_rng(5)
    boxes_a = random_boxes(generator, 30, 160, 160)
    features = torch.nn.functional.normalize(torch.from_numpy(generator.random((30, 200)) - 0.5), dim=1)
    boxes_b = boxes_a + torch.tensor([12.0, 7.0, 12.0, 7.0])
    appearance = (features @ features.T).clamp(min=0)
    naive = naive_appearance_matching(appearance, boxes_a, boxes_b)
    result = local_offset_matching(naive, boxes_a, boxes_b)
    expected = torch.tensor([-12.0, -7.0, 1.0]).double().expand(30, 3)
    torch.testing.assert_close(result.offsets, expected, rtol=0, atol=1e-3)
    scores = match(features, boxes_a, features, boxes_b)
    torch.testing.assert_close(scores, result.scores)
    assert torch.equal(scores.argmax(dim=1), torch.arange(30))


def test_match_dispatches_on_the_score() -> None:
    generator = np.random.default_rng(6)
    boxes_a, boxes_b = random_boxes(generator, 9, 96, 64), random_boxes(generator, 8, 64, 80)
    features_a = torch.from_numpy(generator.normal(size=(9, 5)).astype(np.float32))
    features_b = torch.from_numpy(generator.normal(size=(8, 5)).astype(np.float32))
    appearance = torch.relu(features_a @ features_b.T)
    naive = naive_appearance_matching(appearance, boxes_a, boxes_b)
    assert torch.equal(match(features_a, boxes_a, features_b, boxes_b, score="nam"), naive)
    hough = match(features_a, boxes_a, features_b, boxes_b, score="phm", size_a=(96, 64), size_b=(64, 80))
    assert torch.equal(hough, probabilistic_hough_matching(naive, boxes_a, boxes_b, (96, 64), (64, 80)))
    legacy = match(features_a, boxes_a, features_b, boxes_b, mode="legacy")
    assert torch.equal(legacy, local_offset_matching(naive, boxes_a, boxes_b, mode="legacy").scores)


def test_images_without_proposals() -> None:
    boxes = torch.tensor([[0.0, 0.0, 30.0, 30.0]])
    none = torch.zeros(0, 4)
    features = torch.ones(1, 3)
    for score in ("nam", "lom", "phm"):
        keywords = {"score": score, "size_a": (64, 64), "size_b": (64, 64)}
        assert match(features, boxes, features[:0], none, **keywords).shape == (1, 0)
        assert match(features[:0], none, features, boxes, **keywords).shape == (0, 1)


def test_errors_name_the_choice() -> None:
    appearance, boxes_a, boxes_b = random_pair(0)
    with pytest.raises(ValueError, match="unknown mode 'thawed'"):
        local_offset_matching(appearance, boxes_a, boxes_b, mode="thawed")
    with pytest.raises(ValueError, match="one pair of images"):
        local_offset_matching(appearance[None], boxes_a, boxes_b[None], mode="legacy")
    features_a, features_b = torch.ones(14, 2), torch.ones(11, 2)
    with pytest.raises(ValueError, match="unknown score 'iou'"):
        match(features_a, boxes_a, features_b, boxes_b, score="iou")
    with pytest.raises(ValueError, match="size_a"):
        match(features_a, boxes_a, features_b, boxes_b, score="phm")
