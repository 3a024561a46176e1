import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from visual_summaries.pipeline.summarize.proposals import (
    COLOR_SPACES,
    FAST,
    STRATEGIES,
    Search,
    distinct,
    keeps_border_rule,
    selective_search,
    with_surroundings,
)


def scene(seed: int, side: int = 128) -> np.ndarray:
    """Colored shapes on a textured ground."""
    generator = np.random.default_rng(seed)
    image = generator.integers(90, 140, (side, side, 3)).astype(np.uint8)
    for _ in range(14):
        corner = generator.integers(5, side - 45, 2)
        extent = generator.integers(12, 40, 2)
        color = generator.integers(0, 256, 3).tolist()
        center = (corner + extent // 2).tolist()
        cv2.ellipse(image, center, (extent // 2).tolist(), 0, 0, 360, color, -1)
    return image


def test_boxes_are_valid_distinct_and_large_enough() -> None:
    boxes = selective_search(scene(0), seed=1)
    assert boxes.dtype == np.float32
    assert len(boxes) > 20
    assert (boxes >= 0).all() and (boxes <= 128).all()
    assert (boxes[:, 2:] - boxes[:, :2] >= 20 * 128 / 224).all()
    assert len(np.unique(boxes, axis=0)) == len(boxes)
    sides = np.concatenate([boxes[:, :2] >= 1.28, boxes[:, 2:] <= 126.72], axis=1).sum(axis=1)
    assert set(sides.tolist()) <= {0, 4}


def test_large_shapes_are_found() -> None:
    image = np.full((128, 128, 3), (40, 120, 60), np.uint8)
    image[20:70, 10:60] = (220, 40, 30)
    image[60:120, 75:115] = (30, 30, 200)
    boxes = selective_search(image, seed=0)
    for truth in ((10, 20, 60, 70), (75, 60, 115, 120)):
        low, high = np.maximum(boxes[:, :2], truth[:2]), np.minimum(boxes[:, 2:], truth[2:])
        shared = (high - low).clip(0).prod(axis=1)
        union = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) + (truth[2] - truth[0]) * (truth[3] - truth[1])
        assert (shared / (union - shared)).max() > 0.8


def test_same_seed_same_boxes_in_the_same_order() -> None:
    image = scene(1)
    first, second = selective_search(image, seed=7), selective_search(image, seed=7)
    np.testing.assert_array_equal(first, second)
    program = (
        "import sys, numpy; from visual_summaries.pipeline.summarize.proposals import selective_search;"
        "image = numpy.frombuffer(sys.stdin.buffer.read(), numpy.uint8).reshape(128, 128, 3);"
        "sys.stdout.buffer.write(selective_search(image, seed=7).tobytes())"
    )
    root = Path(__file__).parents[2]
    other = subprocess.run(
        [sys.executable, "-c", program], input=image.tobytes(), capture_output=True, check=True, cwd=root
    )
    np.testing.assert_array_equal(np.frombuffer(other.stdout, np.float32).reshape(-1, 4), first)


def test_seed_permutes_and_the_limit_truncates() -> None:
    image = scene(2)
    everything, other = selective_search(image, seed=3, limit=10**6), selective_search(image, seed=4, limit=10**6)
    assert not np.array_equal(everything, other)
    np.testing.assert_array_equal(np.unique(everything, axis=0), np.unique(other, axis=0))
    np.testing.assert_array_equal(selective_search(image, seed=3, limit=10), everything[:10])


def test_an_image_does_not_inherit_boxes_of_the_one_before() -> None:
    alone = [selective_search(scene(3), seed=0), selective_search(scene(4), seed=0)]
    for index in (1, 0, 1):
        np.testing.assert_array_equal(selective_search(scene(3 + index), seed=0), alone[index])
    assert not np.array_equal(alone[0], alone[1])


def test_images_without_structure_have_one_box() -> None:
    for shape in ((224, 224, 3), (16, 16, 3), (1, 1, 3)):
        boxes = selective_search(np.full(shape, 90, np.uint8), seed=0)
        assert boxes.tolist() == [[0.0, 0.0, float(shape[1]), float(shape[0])]]


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((32, 32), np.uint8),
        np.zeros((32, 32, 3), np.float32),
        np.zeros((32, 32, 3), np.uint16),
        np.zeros((32, 32, 4), np.uint8),
        np.zeros((32, 0, 3), np.uint8),
    ],
)
def test_other_arrays_are_refused(image: np.ndarray) -> None:
    with pytest.raises(ValueError, match="selective search needs"):
        selective_search(image, seed=0)


def test_border_rule() -> None:
    boxes = np.array([[3, 3, 97, 197], [0, 0, 100, 200], [0, 3, 50, 100], [3, 3, 100, 197], [0, 0, 50, 200]])
    kept = keeps_border_rule(boxes, width=100, height=200)
    assert kept.tolist() == [True, True, False, False, False]


def test_a_search_is_the_union_of_its_hierarchies() -> None:
    image = scene(6, side=96)
    everything = set()
    for space in COLOR_SPACES[:2]:
        for strategy in STRATEGIES:
            alone = Search(spaces=(space,), scales=(50,), strategies=(strategy,))
            everything |= set(map(tuple, selective_search(image, 0, None, search=alone).tolist()))
    together = selective_search(image, 0, None, search=Search(spaces=COLOR_SPACES[:2], scales=(50,)))
    assert set(map(tuple, together.tolist())) == everything


def test_boxes_of_a_reduced_image_are_laid_on_the_whole_one() -> None:
    image = np.full((240, 320, 3), (40, 120, 60), np.uint8)
    image[40:140, 20:120] = (220, 40, 30)
    found = selective_search(image, 0, None, search=Search(side=160, overlap=0.9))
    assert found.max() > 160
    assert overlap_of(found, np.array([20.0, 40, 120, 140])).max() > 0.9
    # An image of that size already is not touched.
    small = scene(7, side=96)
    np.testing.assert_array_equal(
        selective_search(small, 0, search=Search(side=96)), selective_search(small, 0, search=Search())
    )


def test_the_fast_search_has_fewer_boxes_none_of_them_alike() -> None:
    image = scene(8, side=224)
    found = selective_search(image, 3, None, search=FAST)
    overlaps = np.array([overlap_of(found, box) for box in found])
    assert overlaps[~np.eye(len(found), dtype=bool)].max() <= FAST.overlap + 1e-6
    assert 10 < len(found) < len(selective_search(image, 3, None))
    assert (found >= 0).all() and (found <= 224).all()
    np.testing.assert_array_equal(found, selective_search(image, 3, None, search=FAST))


def overlap_of(boxes: np.ndarray, box: np.ndarray) -> np.ndarray:
    low, high = np.maximum(boxes[:, :2], box[:2]), np.minimum(boxes[:, 2:], box[2:])
    shared = (high - low).clip(0).prod(axis=1)
    return shared / ((boxes[:, 2:] - boxes[:, :2]).prod(axis=1) + (box[2:] - box[:2]).prod() - shared)


def test_of_boxes_that_overlap_the_first_stays() -> None:
    generator = np.random.default_rng(0)
    corners = generator.integers(0, 20, (60, 2))
    boxes = np.concatenate([corners, corners + generator.integers(5, 15, (60, 2))], axis=1)
    stays: list[int] = []
    for number, box in enumerate(boxes):
        if all(overlap_of(boxes[other : other + 1], box)[0] <= 0.5 for other in stays):
            stays.append(number)
    assert 5 < len(stays) < 55
    np.testing.assert_array_equal(np.flatnonzero(distinct(boxes, 0.5)), stays)
    # Just at the limit is not above it.
    assert distinct(np.array([[0, 0, 10, 10], [0, 0, 10, 20]]), 0.5).all()


@pytest.mark.parametrize(
    ("on_mask", "limit", "expected"),
    [
        ("1010", 9, [0, 1, 2, 3]),
        ("101010", 4, [0, 1, 2, 3]),
        ("000111", 4, [0, 1, 3, 4]),
        ("000001", 4, [0, 1, 2, 5]),
        ("111110", 4, [0, 1, 2, 5]),
        ("111111", 3, [0, 1, 2]),
        ("0000", 2, [0, 1]),
        ("", 2, []),
    ],
)
def test_half_of_the_places_are_for_proposals_on_the_mask(on_mask: str, limit: int, expected: list[int]) -> None:
    found = with_surroundings(np.array([sign == "1" for sign in on_mask], dtype=bool), limit)
    assert found.tolist() == expected


def test_threads_of_opencv_are_left_as_they_were() -> None:
    before = cv2.getNumThreads()
    cv2.setNumThreads(2)
    try:
        selective_search(scene(5, side=64), seed=0)
        assert cv2.getNumThreads() == 2
    finally:
        cv2.setNumThreads(before)


def test_photographs_have_hundreds_of_boxes(data_directory: Path) -> None:
    paths = sorted((data_directory / "photos").glob("*/*"))[::180]
    counts = []
    for path in paths:
        with Image.open(path) as photograph:
            image = np.asarray(photograph.convert("RGB").resize((224, 224), Image.Resampling.BILINEAR))
        counts.append(len(selective_search(image, seed=0)))
    assert max(counts) == 500
    assert np.median(counts) >= 400
