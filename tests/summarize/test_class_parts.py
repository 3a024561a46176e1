"""The whole way from features and masks to summaries, on drawn classes whose parts are known."""

import numpy as np
import pytest
from drawn_parts import draw, pattern

from visual_summaries.pipeline.summarize.class_parts import PartSettings, find_parts, remaking
from visual_summaries.pipeline.summarize.part_selection import Selection
from visual_summaries.pipeline.summarize.resampling import Rerun, found_again

PARTS = {"head": pattern(0, 5, 5), "wing": pattern(1, 6, 5)}
SETTINGS = PartSettings(context=3, factors=(2, 3), regions=(1, 2))


def again(selection: Selection, rerun: Rerun) -> list[float]:
    """Share of three resamples in which each summary is found again."""
    return found_again([one.candidate for one in selection.summaries], rerun, 12, resamples=3).tolist()


def test_parts_of_a_class_and_how_surely_they_are_found_again() -> None:
    drawn = draw(PARTS, 12, moving=4, noise=0.2)
    selection = find_parts(drawn.features, drawn.masks, SETTINGS)
    found = {max(PARTS, key=lambda part: drawn.found(one.candidate, part)): one for one in selection.summaries}
    assert set(found) == set(PARTS)
    assert len(selection.summaries) == 2
    assert all(drawn.found(one.candidate, part) > 0.75 for part, one in found.items())
    assert again(selection, remaking(drawn.features, drawn.masks, SETTINGS)) == [1, 1]


def test_candidates_from_elsewhere_compete() -> None:
    drawn = draw(PARTS, 12, moving=4, noise=0.2)
    none = PartSettings(context=3, factors=(), regions=())
    assert find_parts(drawn.features, drawn.masks, none).summaries == []
    selection = find_parts(drawn.features, drawn.masks, none, more=[drawn.candidate("wing")])
    assert [one.candidate.source for one in selection.summaries] == ["wing"]


def test_shapes_must_fit() -> None:
    with pytest.raises(ValueError, match=r"\[N,G,G,D\]"):
        find_parts(np.zeros((3, 4, 4, 2)), np.zeros((2, 8, 8), bool))


def test_candidates_from_elsewhere_are_in_the_resamples_too() -> None:
    drawn = draw(PARTS, 12, moving=4, noise=0.2)
    none = PartSettings(context=3, factors=(), regions=())
    more = [drawn.candidate("wing")]
    selection = find_parts(drawn.features, drawn.masks, none, more=more)
    assert again(selection, remaking(drawn.features, drawn.masks, none, more)) == [1]
    assert again(selection, remaking(drawn.features, drawn.masks, none)) == [0]
