from pathlib import Path

import numpy as np
import pytest
import torch

from visual_summaries.pipeline.summarize.similarity import (
    BestScores,
    Edges,
    ImageProposals,
    Survivors,
    class_edges,
    non_redundant,
    salient_shares,
    survivors,
)


@pytest.fixture(scope="module")
def published(data_directory: Path) -> dict[str, np.ndarray]:
    """Inputs and outputs of the published mask and redundancy pruning."""
    with np.load(data_directory / "reference" / "proposal_pruning.npz") as arrays:
        return {name: arrays[name] for name in arrays.files}


def half_open(published: dict[str, np.ndarray]) -> np.ndarray:
    return published["boxes_1based"] - [1, 1, 0, 0]


def published_strengths(published: dict[str, np.ndarray]) -> np.ndarray:
    return np.sort(published["sim_rows"], axis=1)[:, -100:].mean(axis=1)


def random_boxes(generator: np.random.Generator, count: int, side: int) -> np.ndarray:
    corners = np.sort(generator.integers(0, side + 1, (count, 2, 2)), axis=1)
    corners[:, 1] += corners[:, 0] == corners[:, 1]
    return corners.reshape(count, 4).astype(np.float32)


def competes(a: np.ndarray, b: np.ndarray, overlap: float, area_ratio: float) -> bool:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    smaller, larger = sorted([(a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1])])
    return width * height / smaller >= overlap and larger / smaller < area_ratio


def suppressed_one_by_one(
    boxes: np.ndarray, strengths: np.ndarray, overlap: float = 0.5, area_ratio: float = 2.0
) -> list[int]:
    """Numbers of the boxes that stay: repeatedly the strongest one left, which removes what competes with it."""
    left, stay = list(range(len(boxes))), []
    while left:
        best = max(left, key=lambda number: (strengths[number], -number))
        stay.append(best)
        left = [i for i in left if i != best and not competes(boxes[best], boxes[i], overlap, area_ratio)]
    return sorted(stay)


def test_mask_pruning_equals_the_published_one(published: dict[str, np.ndarray]) -> None:
    shares = salient_shares(half_open(published), published["mask"] > 127)
    assert np.array_equal(np.flatnonzero(shares > 0.75), published["kept_after_mask"])


def test_redundancy_rule_equals_the_published_one(published: dict[str, np.ndarray]) -> None:
    """The published program compares in another order than strength and takes corners for distances.

    It walks along its list with a cursor; the winner among a proposal and all its competitors moves to the
    front while the cursor goes on, so some are never visited. Done in that order, with every single
    comparison left to `non_redundant`, the result must be the published one, order included.
    """
    boxes, strengths = published["boxes_1based"], published_strengths(published)

    def compete(a: int, b: int) -> bool:
        return not non_redundant(boxes[[a, b]], strengths[[a, b]]).all()

    def stronger(a: int, b: int) -> int:
        return [a, b][int(non_redundant(boxes[[a, a]], strengths[[a, b]]).argmax())]

    queue, cursor = published["kept_after_mask"].tolist(), 0
    while cursor < len(queue):
        winner = visited = queue[cursor]
        others = []
        for other in queue:
            if other != visited and compete(visited, other):
                winner = stronger(winner, other)
            elif other != visited:
                others.append(other)
        queue = [winner, *others]
        cursor += 1
    assert queue == published["kept_after_redundancy"].tolist()


def test_suppression_on_published_boxes_equals_a_loop(published: dict[str, np.ndarray]) -> None:
    kept = published["kept_after_mask"]
    boxes, strengths = half_open(published)[kept], published_strengths(published)[kept]
    stay = np.flatnonzero(non_redundant(boxes, strengths)).tolist()
    assert stay == suppressed_one_by_one(boxes, strengths)
    assert 1 < len(stay) < len(kept)


def test_salient_shares_equal_a_loop() -> None:
    generator = np.random.default_rng(0)
    salient = generator.random((23, 31)) < 0.6
    boxes = random_boxes(generator, 40, 23) + generator.uniform(-0.4, 0.4, (40, 4))
    boxes = np.concatenate([boxes, [[0, 0, 31, 23], [30, 22, 31, 23], [28.4, 19.6, 31.3, 23.2], [-0.3, -0.2, 1, 2]]])
    for (x0, y0, x1, y1), share in zip(boxes, salient_shares(boxes, salient), strict=True):
        rows = [y for y in range(23) if round(y0) <= y < round(y1)]
        pixels = [salient[y, x] for y in rows for x in range(31) if round(x0) <= x < round(x1)]
        assert share == pytest.approx(np.mean(pixels), abs=1e-12)


def test_salient_share_of_an_empty_box_is_zero() -> None:
    boxes = np.array([[3, 3, 3, 8], [2, 4, 2, 4], [0, 0, 5, 5]], dtype=np.float32)
    assert salient_shares(boxes, np.ones((10, 10), bool)).tolist() == [0, 0, 1]
    assert salient_shares(np.zeros((0, 4)), np.ones((10, 10), bool)).shape == (0,)


def test_thresholds_of_competition() -> None:
    whole = [0, 0, 10, 10]
    half_shared, less_shared = [5, 0, 15, 10], [6, 0, 16, 10]
    assert non_redundant(np.array([whole, half_shared]), np.array([1.0, 2.0])).tolist() == [False, True]
    assert non_redundant(np.array([whole, less_shared]), np.array([1.0, 2.0])).tolist() == [True, True]
    half_area, more_area = [0, 0, 10, 5], [0, 0, 10, 6]
    assert non_redundant(np.array([whole, half_area]), np.array([2.0, 1.0])).tolist() == [True, True]
    assert non_redundant(np.array([whole, more_area]), np.array([2.0, 1.0])).tolist() == [True, False]
    assert non_redundant(np.array([whole, half_area]), np.array([2.0, 1.0]), area_ratio=2.1).tolist() == [True, False]
    assert non_redundant(np.array([whole, less_shared]), np.array([1.0, 2.0]), overlap=0.4).tolist() == [False, True]
    assert non_redundant(np.zeros((0, 4)), np.zeros(0)).shape == (0,)


def test_only_kept_boxes_suppress_and_ties_go_to_the_lower_number() -> None:
    chain = np.array([[0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10]])
    assert non_redundant(chain, np.array([3.0, 2.0, 1.0])).tolist() == [True, False, True]
    assert non_redundant(chain, np.array([1.0, 2.0, 1.0])).tolist() == [False, True, False]
    assert non_redundant(chain[:2], np.array([1.0, 1.0])).tolist() == [True, False]


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [4, 2, 0, 3, 1]])
def test_best_scores_equal_sorting_all_at_once(order: list[int]) -> None:
    scores = torch.rand(7, 60, generator=torch.Generator().manual_seed(0))
    pieces = scores.split([3, 0, 25, 31, 1], dim=1)
    for keep in (1, 10, 100):
        best = BestScores(7, keep)
        for number in order:
            best.add(pieces[number])
        expected = np.sort(scores.numpy(), axis=1)[:, ::-1][:, :keep].mean(axis=1)
        np.testing.assert_allclose(best.mean(), expected, rtol=1e-6)
    assert BestScores(3).mean().tolist() == [0, 0, 0]
    assert BestScores(0).mean().shape == (0,)


def made_up_match(a: ImageProposals, b: ImageProposals) -> torch.Tensor:
    """Scores that depend on the direction, so that a transposed or swapped block shows."""
    twist = torch.arange(25, dtype=torch.float32).view(5, 5).sin()
    return (a.features @ twist @ b.features.T).abs() + 0.1 * (a.boxes[:, :1] / (1 + b.boxes[:, 2]))


def random_image(generator: np.random.Generator, count: int, share: float) -> ImageProposals:
    return ImageProposals(
        boxes=torch.from_numpy(random_boxes(generator, count, 40)),
        features=torch.from_numpy(generator.normal(size=(count, 5)).astype(np.float32)),
        on_mask=generator.random(count) < share,
    )


def matched(proposals: list[ImageProposals]) -> tuple[list[Survivors], Edges, np.ndarray]:
    """All pairs by the made-up scores, in a shuffled order."""
    pairs = [(a, b) for a in range(len(proposals)) for b in range(a, len(proposals))]
    best = [BestScores(int(image.on_mask.sum())) for image in proposals]
    blocks = []
    for place in np.random.default_rng(0).permutation(len(pairs)):
        a, b = pairs[place]
        scores = made_up_match(proposals[a], proposals[b])
        on_a, on_b = proposals[a].on_mask, proposals[b].on_mask
        if a != b:
            best[a].add(scores[on_a])
            best[b].add(scores[:, on_b].T)
        blocks.append((a, b, scores.numpy()[on_a][:, on_b]))
    fates = [
        survivors(image.boxes.numpy(), image.on_mask, scores, 0.4, 2.5)
        for image, scores in zip(proposals, best, strict=True)
    ]
    return fates, *class_edges(blocks, fates)


@pytest.mark.parametrize(
    "images",
    [
        [(50, 0.6), (61, 0.4), (70, 0.5)],
        [(40, 0.7), (30, 0.0), (55, 0.5), (1, 1.0)],
        [(30, 0.0), (40, 0.5)],
        [(45, 0.6)],
        [(20, 0.0), (25, 0.0)],
        [],
    ],
)
def test_class_similarity_equals_a_loop(images: list[tuple[int, float]]) -> None:
    generator = np.random.default_rng(len(images))
    proposals = [random_image(generator, count, share) for count, share in images]
    fates, edges, starts = matched(proposals)

    def score(a: int, i: int, b: int, j: int) -> float:
        if a > b:
            return score(b, j, a, i)
        return float(tables[a, b][i, j])

    numbers = range(len(proposals))
    tables = {(a, b): made_up_match(proposals[a], proposals[b]).numpy() for a in numbers for b in numbers if a <= b}
    expected_parts = []
    for a in numbers:
        on_mask = [i for i in range(images[a][0]) if proposals[a].on_mask[i]]
        strengths = []
        for i in on_mask:
            scores = [score(a, i, b, j) for b in numbers if b != a for j in range(images[b][0])]
            strengths.append(np.mean(sorted(scores, reverse=True)[:100]) if scores else 0.0)
        stay = suppressed_one_by_one(proposals[a].boxes.numpy()[on_mask], fates[a].strengths, 0.4, 2.5)
        expected_parts += [(a, on_mask[position]) for position in stay]
        assert fates[a].on_mask.tolist() == on_mask
        np.testing.assert_allclose(fates[a].strengths, strengths, rtol=1e-5)
        assert np.flatnonzero(fates[a].kept).tolist() == stay
        assert starts[a + 1] - starts[a] == len(stay)
    count = int(starts[-1])
    assert count == len(expected_parts)
    expected = np.array([[score(a, i, b, j) for b, j in expected_parts] for a, i in expected_parts], dtype=np.float32)
    np.testing.assert_allclose(edges.dense(count), expected.reshape(count, count), rtol=1e-6)
    # Each pair once, positive ones only.
    assert len(edges.scores) == np.count_nonzero(expected > 0)


def test_pairs_that_were_not_matched_have_score_0() -> None:
    fate = Survivors(np.array([3, 5]), np.ones(2, np.float32), np.array([True, True]))
    block = np.arange(1.0, 5.0, dtype=np.float32).reshape(2, 2)
    edges, starts = class_edges([(0, 0, block), (0, 2, 10 * block), (1, 1, block), (2, 2, block)], [fate] * 3)
    assert starts.tolist() == [0, 2, 4, 6]
    across, nothing = 10 * block, np.zeros((2, 2))
    expected = np.block([[block, nothing, across], [nothing, block, nothing], [across.T, nothing, block]])
    np.testing.assert_array_equal(edges.dense(6), expected)


def test_pruning_leaves_out_some_but_not_all() -> None:
    """The loop's cases must hold redundant proposals and survivors, else they would say little."""
    generator = np.random.default_rng(3)
    fates, _, _ = matched([random_image(generator, count, 0.6) for count in (50, 61)])
    for fate in fates:
        assert 5 < fate.kept.sum() < len(fate.kept) - 5
