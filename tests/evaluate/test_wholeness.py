"""Wholeness of masks against SciPy's labels and by hand."""

import numpy as np
import pytest
from scipy import ndimage

from visual_summaries.pipeline.evaluate.wholeness import wholeness


@pytest.mark.parametrize("smoothing", [0.7, 2.0, 4.0])
def test_regions_are_those_that_scipy_labels(smoothing: float) -> None:
    noise = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(90, 120)), smoothing)
    salient = noise > np.quantile(noise, 0.8)
    labels, _ = ndimage.label(salient, structure=np.ones((3, 3)))
    sizes = np.bincount(labels.ravel())[1:]
    large = sizes[sizes >= 0.01 * salient.size]
    found = wholeness(salient)
    assert found.regions == len(large) and found.whole == pytest.approx(large.sum() / salient.sum())
    assert found.area == salient.mean()
    assert 0 <= found.whole < 1


def test_by_hand() -> None:
    salient = np.zeros((20, 20), bool)
    salient[2:4, 2:4] = True
    # Four pixels are one in a hundred; a corner that touches belongs to them, three pixels apart do not count.
    salient[4, 4] = True
    salient[10, 10:13] = True
    found = wholeness(salient)
    assert (found.area, found.whole, found.regions) == (8 / 400, 5 / 8, 1)
    assert wholeness(salient, least=3 / 400).regions == 2
    whole = wholeness(np.ones((5, 5), bool))
    assert (whole.area, whole.whole, whole.regions) == (1, 1, 1)
    empty = wholeness(np.zeros((5, 5), bool))
    assert (empty.area, empty.regions) == (0, 0) and np.isnan(empty.whole)
    for wrong in (salient.astype(float), salient[None]):
        with pytest.raises(ValueError, match="mask must be bool"):
            wholeness(wrong)
