import numpy as np
import pytest
from scipy.spatial import ConvexHull

from visual_summaries.pipeline.summarize.outline import convex_hull, touched_regions


def corners(salient: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    """All four corners of every salient pixel in the box, x and y."""
    x0, y0, x1, y1 = box
    return np.array(
        [
            (x + dx, y + dy)
            for y in range(y0, y1)
            for x in range(x0, x1)
            if salient[y, x]
            for dx in (0, 1)
            for dy in (0, 1)
        ]
    )


def area(polygon: np.ndarray) -> float:
    x, y = polygon.T.astype(float)
    return abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2


@pytest.mark.parametrize("share", [0.002, 0.02, 0.5, 1.0])
@pytest.mark.parametrize("box", [(5, 8, 33, 30), (0, 0, 50, 40), (37, 22, 50, 40)])
def test_hull_equals_scipy(share: float, box: tuple[int, int, int, int]) -> None:
    salient = np.random.default_rng(0).random((40, 50)) < share
    salient[box[1] + 2, box[0] + 3] = True
    hull = convex_hull(salient, np.array(box, dtype=np.float32))
    points = corners(salient, box)
    expected = ConvexHull(points)
    assert hull.dtype == np.float32
    assert len(hull) == len(expected.vertices)
    assert {tuple(point) for point in hull.tolist()} == {tuple(points[i]) for i in expected.vertices}
    # In order around the outline, not just the right set of corners.
    assert area(hull) == pytest.approx(expected.volume)


def test_hull_of_one_pixel_is_its_square() -> None:
    salient = np.zeros((10, 12), dtype=bool)
    salient[9, 11] = True
    hull = convex_hull(salient, np.array([3, 2, 12, 10]))
    assert sorted(hull.tolist()) == [[11, 9], [11, 10], [12, 9], [12, 10]]
    assert area(hull) == 1


def test_hull_knows_only_the_inside_of_its_box() -> None:
    salient = np.zeros((10, 12), dtype=bool)
    salient[1, 1] = salient[8, 9] = True
    assert convex_hull(salient, np.array([2, 2, 9, 8])).shape == (0, 2)
    assert convex_hull(salient, np.array([1.6, 1.7, 9.7, 8.8])).tolist() == convex_hull(
        salient, np.array([2, 2, 10, 9])
    ).tolist()
    assert len(convex_hull(salient, np.array([2, 2, 10, 9]))) == 4
    assert convex_hull(np.zeros((10, 12), bool), np.array([0, 0, 12, 10])).shape == (0, 2)


def test_touched_regions_have_a_pixel_inside() -> None:
    masks = np.zeros((4, 10, 12), dtype=bool)
    masks[0, 2:4, 2:4] = True
    masks[1, 7, 9] = True
    masks[2, 8, 5] = True
    masks[3, 5, 10] = True
    assert touched_regions(list(masks), np.array([3, 3, 10, 8])) == [0, 1]
    assert touched_regions(list(masks), np.array([4, 4, 11, 9])) == [1, 2, 3]
    assert touched_regions(list(masks), np.array([4, 0, 12, 2])) == []
    assert touched_regions([], np.array([0, 0, 12, 10])) == []
