import numpy as np
import pytest
from drawn_parts import draw, pattern

from visual_summaries.pipeline.summarize import coherence
from visual_summaries.pipeline.summarize.candidates import candidate_of_cells
from visual_summaries.pipeline.summarize.coherence import Coherence, SmoothMaps, candidate_coherence, likeness_of


@pytest.mark.parametrize("mirror", [False, True])
def test_likeness_equals_the_mean_over_pairs(mirror: bool) -> None:
    random = np.random.default_rng(0)
    laid = random.normal(size=(6, 3, 4, 5)) + random.normal(size=(3, 4, 5))
    laid[::2] = laid[::2, :, ::-1]
    value, members, flips = likeness_of(laid, mirror)
    assert flips.any() == mirror
    placed = [one[:, ::-1] if flip else one for one, flip in zip(laid, flips, strict=True)]
    products = np.array([[(a * b).sum() for b in placed] for a in placed])
    squares = np.diag(products)
    pairs = [(i, j) for i in range(6) for j in range(6) if i != j]
    assert value == pytest.approx(sum(products[i, j] for i, j in pairs) / 30 / squares.mean())
    for i in range(6):
        others = sum(products[i, j] for j in range(6) if j != i) / 5
        assert members[i] == pytest.approx(others / ((squares[i] + squares.mean()) / 2))


def test_mirrored_members_are_laid_on_each_other() -> None:
    random = np.random.default_rng(1)
    laid = np.repeat(random.normal(size=(1, 3, 3, 8)), 8, axis=0)
    laid[[1, 4, 6]] = laid[[1, 4, 6], :, ::-1]
    value, _, flips = likeness_of(laid, True)
    assert value == pytest.approx(1)
    assert set(np.flatnonzero(flips)) in ({1, 4, 6}, {0, 2, 3, 5, 7})
    assert likeness_of(laid, False)[0] < 0.8


def test_a_part_is_above_chance_and_random_places_are_not() -> None:
    drawn = draw({"head": pattern(0, 4, 4, spread=1.0), "wing": pattern(1, 5, 4, spread=1.0)}, 12, moving=4)
    head = drawn.candidate("head")
    candidate, found = candidate_coherence(head, drawn.features, drawn.shares)
    assert found.excess > 0.5
    assert found.score > 5
    assert candidate is head
    plain = candidate_coherence(head, drawn.features, drawn.shares, mirror=False)[1]
    assert plain.value < found.value - 0.1
    random = np.random.default_rng(0)
    anywhere = np.array([cells[random.permutation(20)][:, random.permutation(20)] for cells in head.segments])
    _, nothing = candidate_coherence(type(head)("x", head.images, head.boxes, anywhere), drawn.features, drawn.shares)
    assert nothing.excess < 0.1


def test_odd_members_are_dropped() -> None:
    drawn = draw({"head": pattern(0, 4, 4)}, 10, moving=4, mirrored=False)
    drawn.features[3] = -drawn.features[3]
    candidate, found = candidate_coherence(drawn.candidate("head"), drawn.features, drawn.shares, drop_odd=True)
    assert candidate.images.tolist() == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert len(found.members) == len(found.mirrored) == 9


def test_one_member_has_no_coherence() -> None:
    drawn = draw({"head": pattern(0, 4, 4)}, 5, moving=2)
    one = drawn.candidate("head").rows(np.array([2]))
    _, found = candidate_coherence(one, drawn.features, drawn.shares)
    assert np.isnan(found.value)
    assert found.excess == 0
    counting = np.arange(5) == 0
    _, found = candidate_coherence(drawn.candidate("head"), drawn.features, drawn.shares, representative=counting)
    assert np.isnan(found.value)


def test_a_class_that_looks_alike_everywhere_gives_no_credit() -> None:
    drawn = draw({"ball": pattern(0, 9, 9, spread=0.0)}, 10, moving=3, noise=0.1)
    inner = np.zeros_like(drawn.truth["ball"])
    for n, cells in enumerate(drawn.truth["ball"]):
        row, column = np.argwhere(cells)[0]
        inner[n, row + 3 : row + 6, column + 3 : column + 6] = True
        # All of the image looks like the ball.
        drawn.features[n] = drawn.features[n, row + 4, column + 4]
    piece = candidate_of_cells("piece", inner, drawn.masks)
    _, found = candidate_coherence(piece, drawn.features, drawn.shares)
    assert found.value > 0.9
    assert found.excess < 0.05
    known = Coherence(0.5, 0.2, 0.1, np.array([]), np.array([]))
    assert known.excess == pytest.approx(0.3 / 0.8)
    assert known.score == pytest.approx(3)


@pytest.mark.parametrize("seed", range(5))
def test_turning_members_reaches_nearly_the_best_of_all_orientations(seed: int) -> None:
    random = np.random.default_rng(seed)
    laid = random.normal(size=(7, 3, 4, 5)) + 0.7 * random.normal(size=(3, 4, 5))
    turned = random.random(7) < 0.5
    laid[turned] = laid[turned][:, :, ::-1]
    found = likeness_of(laid, True)[0]
    values = []
    for code in range(2**6):
        placed = [one[:, ::-1] if code >> at & 1 else one for at, one in enumerate(laid)]
        values.append(likeness_of(np.array(placed), False)[0])
    assert found <= max(values) + 1e-9
    assert found > likeness_of(laid, False)[0] - 1e-9
    assert found > np.quantile(values, 0.9)


def test_maps_of_some_images_are_those_of_all_and_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    monkeypatch.setattr(coherence, "with_context", lambda features, width: made.append(width) or features * width)
    random = np.random.default_rng(0)
    features = random.normal(size=(7, 6, 6, 4)).astype(np.float32)
    whole = SmoothMaps(features)
    some = whole.of_images(np.array([0, 2, 3, 5, 6])).of_images(np.array([1, 2, 4]))
    rows, columns = random.integers(6, size=(2, 2, 3))
    found = some.cells(3, np.array([0, 2]), rows, columns)
    expected = 3 * features[[2, 3, 6]]
    np.testing.assert_array_equal(some.at_width(3), expected)
    for laid, image, own_rows, own_columns in zip(found, expected[[0, 2]], rows, columns, strict=True):
        np.testing.assert_array_equal(laid, image[np.ix_(own_rows, own_columns)])
    # A resample of a class must not hold its maps again.
    np.testing.assert_array_equal(whole.at_width(3), 3 * features)
    assert made == [3]
