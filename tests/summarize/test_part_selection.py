"""Summaries of drawn classes whose parts are known."""

import numpy as np
import pytest
from drawn_parts import DEPTH, GRID, Drawn, draw, pattern, unit

from visual_summaries.pipeline.summarize.candidates import Candidate, candidate_of_cells
from visual_summaries.pipeline.summarize.consensus import agreed
from visual_summaries.pipeline.summarize.duplicates import photograph_groups, photograph_weights
from visual_summaries.pipeline.summarize.factors import factor_cells
from visual_summaries.pipeline.summarize.part_selection import (
    BACKGROUND,
    BY_CHANCE,
    NEAR_DUPLICATE,
    RARE,
    SUB_PART,
    WHOLE,
    Selection,
    SelectionSettings,
    select_parts,
)
from visual_summaries.pipeline.summarize.region_groups import PooledRegions, region_cells

THREE = {"head": pattern(0, 4, 4), "wing": pattern(1, 5, 4), "tail": pattern(2, 4, 5)}


def summaries(drawn: Drawn, seed: int = 0) -> Selection:
    weights = photograph_weights(photograph_groups(drawn.features))
    regions = PooledRegions.of(drawn.features, drawn.masks)
    cells = []
    for run in range(3 * seed, 3 * seed + 3):
        cells += factor_cells(drawn.features, drawn.shares, (2, 3, 4), run, weights)
        cells += region_cells(regions, len(drawn.masks), (1, 2, 3), run, weights)
    modes, _ = agreed(cells, drawn.shares, weights)
    candidates = [candidate_of_cells("", one, drawn.masks, minimum=1) for one in modes]
    return select_parts(candidates, drawn.features, drawn.shares, seed=seed)


def best(drawn: Drawn, selection: Selection) -> list[tuple[str, float]]:
    """For each summary the true part that it overlaps most."""
    found = []
    for one in selection.summaries:
        overlaps = {part: drawn.found(one.candidate, part) for part in drawn.truth}
        part = max(overlaps, key=overlaps.get)
        found.append((part, overlaps[part]))
    return found


@pytest.mark.parametrize("seed", range(3))
def test_articulated_and_mirrored_parts_are_found_each_once(seed: int) -> None:
    drawn = draw(THREE, 12, moving=4, seed=seed)
    selection = summaries(drawn, seed)
    found = best(drawn, selection)
    assert sorted(part for part, _ in found) == ["head", "tail", "wing"]
    assert min(overlap for _, overlap in found) > 0.8
    assert all(one.support == 1 for one in selection.summaries)
    assert selection.accounted > 0.9


def test_parts_that_move_go_before_the_whole_and_the_whole_where_nothing_moves() -> None:
    for moving, chosen, under in ((4, {"head", "wing", "tail"}, WHOLE), (0, {"head+wing+tail"}, SUB_PART)):
        drawn = draw(THREE, 12, moving=moving)
        candidates = [drawn.candidate(*parts) for parts in (("head",), ("wing",), ("tail",), ("head", "wing", "tail"))]
        selection = select_parts(candidates, drawn.features, drawn.shares)
        assert {one.candidate.source for one in selection.summaries} == chosen
        assert {one.relation for one in selection.others} == {under}
        assert selection.accounted == pytest.approx(1)


def test_a_thing_without_parts_is_one_summary() -> None:
    rows, columns = np.mgrid[:7, :7] - 3
    ball = {"ball": pattern(5, 7, 7, spread=0.0)}
    drawn = draw(ball, 16, moving=3)
    for n, cells in enumerate(drawn.truth["ball"]):
        corners = np.argwhere(cells)[0]
        outside = np.argwhere(rows**2 + columns**2 > 10) + corners
        background = np.random.default_rng(n).normal(size=(len(outside), DEPTH))
        drawn.features[n, outside[:, 0], outside[:, 1]] = unit(background)
        cells[outside[:, 0], outside[:, 1]] = False
        drawn.masks[n] = cells.repeat(4, axis=0).repeat(4, axis=1)
    selection = summaries(drawn)
    assert [part for part, overlap in best(drawn, selection) if overlap > 0.9] == ["ball"]
    assert len(selection.summaries) == 1


def without_common_part(count: int, seed: int) -> Drawn:
    """Every image shows things of its own."""
    images = [draw({"own": pattern(100 + 50 * seed + n, 6, 6)}, 1, moving=4, seed=100 * seed + n) for n in range(count)]
    joined = {"own": np.concatenate([one.truth["own"] for one in images])}
    features, masks = (np.concatenate([getattr(one, name) for one in images]) for name in ("features", "masks"))
    return Drawn(features, masks, joined)


@pytest.mark.parametrize("seed", range(3))
def test_a_class_without_a_common_part_has_no_summary(seed: int) -> None:
    selection = summaries(without_common_part(14, seed), seed)
    assert selection.summaries == []
    assert selection.accounted == 0
    assert {one.reason for one in selection.others} <= {RARE, BY_CHANCE, BACKGROUND}


def test_copies_of_one_photograph_make_no_part() -> None:
    own = without_common_part(8, 7)
    noise = 0.03 * np.random.default_rng(0).normal(size=(8, GRID, GRID, DEPTH))
    copies = unit(own.features[:1] + noise).astype(np.float32)
    copies[::2] = copies[::2, :, ::-1]
    masks = own.masks[:1].repeat(8, axis=0)
    masks[::2] = masks[::2, :, ::-1]
    planted = Drawn(
        np.concatenate([own.features, copies]), np.concatenate([own.masks, masks]), {"own": np.zeros((16, GRID, GRID))}
    )
    groups = photograph_groups(planted.features)
    assert groups.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, *[0] * 8]
    assert photograph_weights(groups).tolist() == pytest.approx([1 / 9, *[1] * 7, *[1 / 9] * 8])
    assert summaries(planted).summaries == []
    # Taken for photographs of their own, the copies are a part.
    candidate = candidate_of_cells("copies", planted.shares > 0.5, planted.masks).rows(np.array([0, *range(8, 16)]))
    unaware = select_parts([candidate], planted.features, planted.shares, groups=np.arange(16))
    assert len(unaware.summaries) == 1
    aware = select_parts([candidate], planted.features, planted.shares)
    assert aware.summaries == []
    assert aware.others[0].photographs == 1


def test_sub_parts_and_near_duplicates_go_under_their_part() -> None:
    drawn = draw({"head": pattern(0, 4, 4), "wing": pattern(1, 5, 4)}, 16, moving=4)
    head, wing = drawn.candidate("head"), drawn.candidate("wing")
    upper = head.segments.copy()
    upper[:, :, :][np.cumsum(head.segments, axis=1) > 1] = False
    sub = Candidate("sub", head.images, head.boxes, upper)
    almost = Candidate("almost", *(values[:10] for values in (head.images, head.boxes, head.segments)))
    selection = select_parts([sub, wing, almost, head], drawn.features, drawn.shares)
    rank = {one.candidate.source: one.rank for one in selection.summaries}
    assert set(rank) == {"head", "wing"}
    assert {one.candidate.source: (one.belongs_to, one.relation) for one in selection.others} == {
        "sub": (rank["head"], SUB_PART),
        "almost": (rank["head"], NEAR_DUPLICATE),
    }


def test_what_is_unaccounted_for_can_be_looked_at() -> None:
    drawn = draw(THREE, 12, moving=4)
    selection = select_parts([drawn.candidate("head")], drawn.features, drawn.shares)
    rest = drawn.truth["wing"] | drawn.truth["tail"]
    np.testing.assert_array_equal(selection.unaccounted > 0, rest)
    assert selection.accounted == pytest.approx(16 / (16 + 20 + 20))
    assert selection.summaries[0].coverage == pytest.approx(16 / 56)


def test_the_same_seed_gives_the_same_summaries() -> None:
    drawn = draw(THREE, 6, moving=4)
    first, second = summaries(drawn, 3), summaries(drawn, 3)
    for a, b in zip(first.summaries + first.others, second.summaries + second.others, strict=True):
        np.testing.assert_array_equal(a.candidate.segments, b.candidate.segments)
        assert (a.coherence.value, a.coherence.chance, a.reason) == (b.coherence.value, b.coherence.chance, b.reason)


def test_pieces_of_some_photographs_give_way_to_what_all_have() -> None:
    drawn = draw({"head": pattern(0, 6, 6)}, 16, moving=4)
    head = drawn.candidate("head")
    upper = Candidate("upper", head.images, head.boxes, head.segments & (np.cumsum(head.segments, axis=1) <= 3))
    half = Candidate("half", head.images, head.boxes, head.segments & ~upper.segments)
    # In half of the photographs the one piece is known, in the others the other: a split by chance.
    pieces = [upper.rows(np.arange(0, 16, 2)), half.rows(np.arange(1, 16, 2))]
    selection = select_parts([*pieces, head], drawn.features, drawn.shares, SelectionSettings(least_excess=0.0))
    assert [one.candidate.source for one in selection.summaries] == ["head"]
    assert {one.reason for one in selection.others} == {"adds too little"}


def test_of_two_that_share_half_of_their_places_one_is_chosen() -> None:
    drawn = draw({"head": pattern(0, 6, 6)}, 16, moving=4)
    head = drawn.candidate("head")
    down, up = np.cumsum(head.segments, axis=1), np.cumsum(head.segments[:, ::-1], axis=1)[:, ::-1]
    halves = [
        Candidate(name, head.images, head.boxes, head.segments & (rows <= 4)) for name, rows in (("a", down), ("b", up))
    ]
    assert len(select_parts(halves, drawn.features, drawn.shares).summaries) == 1
    thirds = [
        Candidate(name, head.images, head.boxes, head.segments & (rows <= 3)) for name, rows in (("a", down), ("b", up))
    ]
    assert len(select_parts(thirds, drawn.features, drawn.shares).summaries) == 2


def test_members_that_show_different_things_are_alike_by_chance() -> None:
    drawn = without_common_part(14, 0)
    lenient = SelectionSettings(least_specificity=0.0, drop_odd=False)
    selection = select_parts([drawn.candidate("own")], drawn.features, drawn.shares, lenient)
    assert [one.reason for one in selection.others] == [BY_CHANCE]
