"""`benchmarks/lesion_network.py` and `lesion_tables.py`: folds, head and judging on tiny drawn data."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import lesion_network as network  # noqa: E402
import lesion_tables as tables  # noqa: E402


def test_the_eyes_of_a_patient_stay_together() -> None:
    names = ("00000052.jpg", "00000053.jpg", "00000054.jpg", "00000060.jpg", "23_2308.dcm.jpg", "23_9.dcm.jpg")
    assert network.groups_of(names) == ("00000052",) * 3 + ("00000060", "23", "23")


def test_every_photograph_has_one_fold_and_groups_are_not_torn() -> None:
    groups = [f"{number // 2:03d}" for number in range(120)]
    exudates = np.arange(120) % 6 == 0
    numbered = np.arange(120) < 60
    folds = network.drawn_folds(groups, exudates, numbered)
    assert set(folds) == set(range(network.FOLDS))
    assert (folds[::2] == folds[1::2]).all()
    # 10 groups with exudates and 20 without in each source: six folds get one or two, and three or four.
    for chosen, least, most in ((exudates, 3, 4), (~exudates & numbered, 8, 9)):
        counts = np.bincount(folds[chosen], minlength=network.FOLDS)
        assert least - 1 <= counts.min() and counts.max() <= most + 1
    assert (network.drawn_folds(groups, exudates, numbered) == folds).all()
    assert (network.drawn_folds(groups, exudates, numbered, seed=1) != folds).any()


@pytest.fixture(scope="module")
def drawn() -> tuple[torch.Tensor, torch.Tensor]:
    """Cells `[40,60,6]` of 40 photographs; half have three cells that lie off the others in one direction."""
    chance = torch.Generator().manual_seed(0)
    cells = torch.randn(40, 60, 6, generator=chance)
    labels = torch.arange(40) % 2 == 0
    cells[labels, :3, 1] += 6
    cells[labels, :3, 4] -= 6
    return cells, labels


def test_the_head_finds_the_cells_from_labels_of_whole_photographs(drawn) -> None:
    cells, labels = drawn
    weight, bias = network.fit_head(cells[:24], labels[:24], seed=0, most=3, steps=120)
    logits = network.highest(cells[24:] @ weight + bias, 3)
    assert ((logits > 0) == labels[24:]).all()
    # The score is linear: it points along the direction in which the cells were moved.
    assert weight[1] > 0 > weight[4] and weight.abs().topk(2).indices.sort().values.tolist() == [1, 4]
    again, _ = network.fit_head(cells[:24], labels[:24], seed=0, most=3, steps=120)
    assert torch.equal(weight, again)


def test_the_network_is_the_mean_of_its_highest_cells() -> None:
    module = network.LesionNetwork(torch.nn.Identity(), 3, cells=2)
    images = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    weight, bias = module.score.weight.flatten(), module.score.bias
    for image, logit in zip(images, module(images), strict=True):
        scores = sorted((weight @ image[:, y, x] + bias).item() for y in range(4) for x in range(5))
        assert logit.item() == pytest.approx(sum(scores[-2:]) / 2, rel=1e-5)


def test_another_zero_leaves_the_first_convolution_as_it_was() -> None:
    first, color = torch.nn.Conv2d(3, 5, 3, stride=2), torch.tensor([0.4, 0.2, 0.1])
    images = torch.rand(2, 3, 9, 11, generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (network.IMAGENET_MEAN, network.IMAGENET_STD))
    changed = network.rebased(first, color)((images - color.view(3, 1, 1)) / std)
    assert torch.allclose(first((images - mean) / std), changed, atol=1e-5)


def test_auc_counts_pairs_and_its_interval_draws_groups() -> None:
    logits, labels = np.array([3.0, 1.0, 2.0, 0.0, 2.5]), np.array([True, True, False, False, False])
    pairs = [(a > b) for a in logits[labels] for b in logits[~labels]]
    value, low, high = network.auc_interval(logits, labels, list("abcde"), samples=200)
    assert value == pytest.approx(np.mean(pairs)) and low < value <= high
    # Two groups that are alike: every draw gives the same.
    value, low, high = network.auc_interval(np.tile(logits, 2), np.tile(labels, 2), ["a"] * 5 + ["b"] * 5, samples=50)
    assert low == value == high


def test_judging_agrees_with_counting_pixels() -> None:
    chance = np.random.default_rng(0)
    image = np.ones((3, 40, 44), np.float32)
    for _ in range(5):
        exudates = ndimage.gaussian_filter(chance.random((40, 44)), 2) > 0.54
        proposed = ndimage.gaussian_filter(chance.random((40, 44)), 2) > 0.52
        found = tables.judged(proposed, tables.Truth.of(exudates, image))
        pieces, count = ndimage.label(exudates, np.ones((3, 3)))
        shares = []
        for piece in range(1, count + 1):
            places = [(y, x) for y in range(40) for x in range(44) if pieces[y, x] == piece]
            shares.append(sum(proposed[place] for place in places) / len(places))
        assert count > 1 and found.outline == pytest.approx(max(shares))
        both = (proposed & exudates).sum()
        assert found.whole == pytest.approx(both / exudates.sum()) and found.area == proposed.mean()
        assert found.precision == pytest.approx(both / proposed.sum())
    nothing = tables.judged(np.zeros_like(exudates), tables.Truth.of(exudates, image))
    assert nothing.outline == nothing.whole == nothing.area == 0 and np.isnan(nothing.precision)


def test_the_border_is_the_edge_of_what_is_not_black() -> None:
    y, x = np.mgrid[:80, :90]
    radius = np.hypot(y - 40, x - 45)
    truth = tables.Truth.of(radius < 3, np.repeat((radius < 34)[None], 3, axis=0).astype(np.float32))
    assert truth.border[np.abs(radius - 34) < 3].all() and not truth.border[np.abs(radius - 34) > 14].any()


def test_a_cut_is_the_best_of_the_other_half() -> None:
    values = np.zeros((4, len(tables.CUTS)))
    halves = np.array([False, True, True, False])
    values[~halves, 2], values[halves, 7] = 0.5, 0.9
    assert tables.chosen_cuts(values, halves) == [7, 2, 2, 7]


def test_dice_of_the_cuts() -> None:
    saliency = np.arange(2000, dtype=np.float32).reshape(40, 50) / 2000
    exudates = np.zeros((40, 50), bool)
    exudates[-1] = True
    found = dict(zip(tables.CUTS, tables.dices(saliency, exudates), strict=True))
    # The highest 1, 2 and 10 % are 20, 40 and 200 pixels, the last ones.
    for share, hits in ((0.01, 20), (0.02, 40), (0.1, 50)):
        assert found[0.0, share] == pytest.approx(2 * hits / (round(share * 2000) + 50))
