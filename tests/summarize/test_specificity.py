"""A part is salient wherever it is seen; background that a mask happens to hold is not."""

import numpy as np
import pytest
from drawn_parts import Drawn, draw, pattern, unit

from visual_summaries.pipeline.summarize.candidates import candidate_of_cells
from visual_summaries.pipeline.summarize.part_selection import BACKGROUND, SelectionSettings, select_parts
from visual_summaries.pipeline.summarize.specificity import salience_where_alike, specificity


def with_grass(count: int = 12) -> tuple[Drawn, np.ndarray]:
    """A part before a background that is the same everywhere, of which each mask holds 4 by 4 cells."""
    drawn = draw({"head": pattern(0, 4, 4)}, count, moving=5)
    random = np.random.default_rng(9)
    grass = unit(random.normal(size=drawn.features.shape[-1]))
    patch = np.zeros_like(drawn.truth["head"])
    for n, head in enumerate(drawn.truth["head"]):
        drawn.features[n][~head] = unit(grass + 0.1 * random.normal(size=(int((~head).sum()), len(grass))))
        row, column = random.integers(0, 17, 2)
        patch[n, row : row + 4, column : column + 4] = True
        patch[n] &= ~head
        drawn.masks[n] |= patch[n].repeat(4, axis=0).repeat(4, axis=1)
    return drawn, patch


def test_background_is_no_summary_although_its_pieces_are_alike() -> None:
    drawn, patch = with_grass()
    candidates = [candidate_of_cells("grass", patch, drawn.masks), drawn.candidate("head")]
    alike = salience_where_alike(drawn.features, drawn.shares, drawn.shares > 0)
    assert specificity(candidates[0], alike, drawn.shares) < 0.1
    assert specificity(candidates[1], alike, drawn.shares) > 0.9
    selection = select_parts(candidates, drawn.features, drawn.shares)
    assert [one.candidate.source for one in selection.summaries] == ["head"]
    # Places that all look the same are not alike above chance either: without those demands one reason is left.
    lenient = SelectionSettings(least_excess=-1, least_score=-1e9)
    others = select_parts(candidates, drawn.features, drawn.shares, lenient).others
    assert [(one.candidate.source, one.reason) for one in others] == [("grass", BACKGROUND)]


def test_specificity_by_counting() -> None:
    random = np.random.default_rng(2)
    features = unit(random.normal(size=(3, 5, 5, 4))).astype(np.float32)
    shares = random.random((3, 5, 5)) ** 2
    shares[:, ::2] = 0.9 * (features[:, ::2, :, 0] > 0)
    cells = random.random((3, 5, 5)) < 0.3
    candidate = candidate_of_cells("x", cells, np.ones((3, 10, 10), bool), minimum=1)
    found = []
    for n, row, column in np.argwhere(cells):
        others = [(m, r, c) for m in range(3) for r in range(5) for c in range(5) if m != n]
        nearest = max(others, key=lambda place: features[place] @ features[n, row, column])
        found.append(shares[nearest])
    expected = (np.mean(found) - shares.mean()) / (1 - shares.mean())
    alike = salience_where_alike(features, shares, cells)
    assert specificity(candidate, alike, shares) == pytest.approx(max(0, expected), abs=1e-5)
    assert (np.isnan(alike) == ~cells).all()
    assert specificity(candidate, alike, np.ones_like(shares)) == 1
    assert specificity(candidate, np.full(shares.shape, np.nan), shares) == 1
