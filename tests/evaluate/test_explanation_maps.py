"""Explanation maps of a classifier whose answer is known by hand."""

import math

import pytest
import torch
from torch import Tensor

from visual_summaries.pipeline.evaluate.explanation_maps import explanation_map_scores


class Quadrants:
    """Logits: brightness of the top left, top right and bottom right quarter of a 10×10 image; notes its batches."""

    baseline = torch.zeros(3)

    def __init__(self) -> None:
        self.batches: list[int] = []

    def logits(self, images: Tensor) -> Tensor:
        self.batches.append(len(images))
        gray = images.mean(dim=1)
        return torch.stack([gray[:, :5, :5], gray[:, :5, 5:], gray[:, 5:, 5:]], dim=1).sum(dim=(2, 3))


def scene() -> tuple[Tensor, Tensor]:
    """Two equal images, brightest at the top left; one map shows that, the other the top right."""
    image = torch.zeros(3, 10, 10)
    image[:, :5, :5], image[:, :5, 5:] = 1.0, 0.5
    maps = torch.arange(100).reshape(10, 10).float().div(1e6).repeat(2, 1, 1)
    maps[0, :4, :5] += 1
    maps[1, :4, 5:] += 1
    return image.repeat(2, 1, 1, 1), maps


def probability(chosen: float, *others: float) -> float:
    return math.exp(chosen) / sum(map(math.exp, (chosen, *others)))


@pytest.mark.parametrize("channels", [None, 1, 3])
def test_scores_by_hand(channels: int | None) -> None:
    images, maps = scene()
    if channels:
        maps = maps[:, None].repeat(1, channels, 1, 1)
    classifier = Quadrants()
    found = explanation_map_scores(classifier, images, maps, batch_size=1)
    assert set(classifier.batches) == {1}
    assert found.predicted.tolist() == [0, 0] and found.right.tolist() == [True, False]
    assert found.before.tolist() == pytest.approx([probability(25, 12.5, 0)] * 2)
    # The 80th percentile of 100 values leaves the highest 20: 4×5 pixels of white, or of gray.
    expected = [probability(20, 0, 0), probability(0, 10, 0)]
    assert found.confidence.tolist() == pytest.approx(expected)


def test_percentile_counts() -> None:
    images, maps = scene()
    found = explanation_map_scores(Quadrants(), images[:1], maps[:1], percentile=90)
    assert found.confidence.tolist() == pytest.approx([probability(10, 0, 0)])


@pytest.mark.parametrize("kind", ["binary", "few levels", "distinct"])
@pytest.mark.parametrize("share", [0.05, 0.2, 0.21, 0.5, 0.9, 1.0])
def test_what_is_shown_of_maps_with_ties(share: float, kind: str) -> None:
    """By sorting: what is larger than the value with four fifths of the pixels at or below it, or, where that is the
    largest value itself, all that are as large."""
    generator = torch.Generator().manual_seed(8)
    images = torch.rand(3, 3, 10, 10, generator=generator) * 0.5 + 0.25
    maps = torch.rand(3, 100, generator=generator, dtype=torch.float64)
    if kind != "distinct":
        maps = (maps.argsort(dim=1) < 100 * share).double() * (0.7 if kind == "binary" else 0.4)
    if kind == "few levels":
        maps += 0.3 * (torch.rand(3, 100, generator=generator) < 0.15)
    seen: list[Tensor] = []

    class Watching(Quadrants):
        def logits(self, images: Tensor) -> Tensor:
            seen.append(images)
            return super().logits(images)

    explanation_map_scores(Watching(), images, maps.view(3, 10, 10))
    for row in range(3):
        values = maps[row].tolist()
        limit = sorted(values)[79:81]
        kept = [number for number in range(100) if values[number] > limit[0] + 0.2 * (limit[1] - limit[0])]
        if not kept:
            kept = [number for number in range(100) if values[number] == max(values)]
        assert 0 < len(kept) and (len(kept) <= 20 or len({values[number] for number in kept}) == 1)
        shown = (seen[1][row] != 0).all(dim=0).flatten()
        assert shown.nonzero().flatten().tolist() == kept
        assert torch.equal(seen[1][row].flatten(1)[:, kept], images[row].flatten(1)[:, kept])


def test_an_empty_map_shows_nothing() -> None:
    images, maps = scene()
    found = explanation_map_scores(Quadrants(), images, torch.zeros_like(maps))
    assert found.confidence.tolist() == pytest.approx([1 / 3, 1 / 3])


def test_wrong_input_is_refused() -> None:
    images, maps = scene()
    for wrong in (maps[:1], maps[:, :9], maps[:, None].repeat(1, 2, 1, 1), maps * math.nan):
        with pytest.raises(ValueError, match="maps"):
            explanation_map_scores(Quadrants(), images, wrong)
    with pytest.raises(ValueError, match="maps"):
        explanation_map_scores(Quadrants(), images[:0], maps[:0])
    with pytest.raises(ValueError, match="percentile"):
        explanation_map_scores(Quadrants(), images, maps, percentile=101)
