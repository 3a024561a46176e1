from itertools import combinations_with_replacement

import numpy as np
import pytest
import torch

from visual_summaries.pipeline.summarize import local_offsets, pair_scores
from visual_summaries.pipeline.summarize.matching import match
from visual_summaries.pipeline.summarize.pair_scores import Matching, PairScores, match_pairs
from visual_summaries.pipeline.summarize.similarity import BestScores, ImageProposals

SIDE = 112.0


def made_up_images(seed: int, sizes: list[tuple[int, float]]) -> list[ImageProposals]:
    """Images of (proposals, share on the mask); features of few dimensions, so that matches are plenty."""
    generator = np.random.default_rng(seed)
    images = []
    for count, share in sizes:
        corners = generator.integers(0, 12, (count, 2)) * 6
        sides = generator.integers(3, 12, (count, 2)) * 4
        boxes = np.concatenate([corners, np.minimum(corners + sides, SIDE)], axis=1)
        images.append(
            ImageProposals(
                torch.from_numpy(boxes).float(),
                torch.from_numpy(generator.normal(size=(count, 6))).half(),
                generator.random(count) < share,
            )
        )
    return images


SIZES = [(60, 0.3), (41, 0.5), (33, 0.0), (80, 0.2), (1, 1.0), (64, 0.1)]


def table(images: list[ImageProposals], a: int, b: int, score: str, mode: str) -> torch.Tensor:
    return match(
        images[a].features.float(),
        images[a].boxes,
        images[b].features.float(),
        images[b].boxes,
        score,
        mode,
        SIDE / 224,
        (SIDE, SIDE),
        (SIDE, SIDE),
    )


def assert_equals_whole_tables(images: list[ImageProposals], pairs: list, found: PairScores, how: Matching) -> None:
    best = [BestScores(int(image.on_mask.sum())) for image in images]
    for (a, b), block in zip(pairs, found.blocks, strict=True):
        scores = table(images, a, b, how.score, how.mode)
        on_a, on_b = (torch.from_numpy(images[number].on_mask) for number in (a, b))
        if block.size or (on_a.any() and on_b.any()):
            np.testing.assert_array_equal(block, scores[on_a][:, on_b].numpy())
        if a != b:
            best[a].add(scores[on_a])
            best[b].add(scores[:, on_b].T)
    for number, image in enumerate(images):
        if image.on_mask.any():
            np.testing.assert_array_equal(found.best[number].mean(), best[number].mean())


@pytest.mark.parametrize(
    ("score", "mode"), [("lom", "frozen"), ("lom", "legacy"), ("phm", "frozen"), ("nam", "frozen")]
)
def test_equals_whole_tables_pair_by_pair(score: str, mode: str) -> None:
    images = made_up_images(1, SIZES if mode == "frozen" else SIZES[:3])
    pairs = list(combinations_with_replacement(range(len(images)), 2))
    done = []
    how = Matching(score, mode, SIDE)
    found = match_pairs(images, pairs, how, progress=done.append)
    assert sum(done) == len(pairs) == len(found.blocks)
    assert_equals_whole_tables(images, pairs, found, how)


def test_many_medians_are_left_out_and_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a hundred good scores are known, boxes far from them are not looked at."""
    images = made_up_images(2, [(70, 0.06)] * 14)
    pairs = list(combinations_with_replacement(range(len(images)), 2))
    looked_at = []

    def counted(votes: local_offsets.Votes, neighborhood: object, wanted: torch.Tensor) -> torch.Tensor:
        looked_at.append(wanted.double().mean(dim=1))
        return local_offsets.reweighted_medians(votes, neighborhood, wanted)

    monkeypatch.setattr(pair_scores, "reweighted_medians", counted)
    found = match_pairs(images, pairs, Matching(side=SIDE))
    assert float(torch.cat(looked_at).mean()) < 0.7
    assert_equals_whole_tables(images, pairs, found, Matching(side=SIDE))


def test_order_and_company_of_the_pairs_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    images = made_up_images(3, SIZES)
    pairs = list(combinations_with_replacement(range(len(images)), 2))
    one = match_pairs(images, pairs, Matching(side=SIDE))
    monkeypatch.setitem(pair_scores._ELEMENTS_AT_ONCE, "cpu", 1)
    monkeypatch.setitem(local_offsets._ELEMENTS_AT_ONCE, "cpu", 1)
    shuffled = [pairs[place] for place in np.random.default_rng(0).permutation(len(pairs))]
    other = match_pairs(images, shuffled, Matching(side=SIDE))
    blocks = dict(zip(shuffled, other.blocks, strict=True))
    assert len(one.blocks) > 10
    for pair, block in zip(pairs, one.blocks, strict=True):
        if block.size:
            np.testing.assert_array_equal(block, blocks[pair])
    for number, image in enumerate(images):
        if image.on_mask.any():
            np.testing.assert_array_equal(one.best[number].mean(), other.best[number].mean())


def test_a_median_does_not_depend_on_which_others_are_wanted() -> None:
    generator = np.random.default_rng(5)
    overlaps = torch.from_numpy(generator.random((90, 90)) < 0.4)
    neighborhood = local_offsets.Neighborhood((overlaps | overlaps.T).fill_diagonal_(True))
    values = torch.from_numpy(generator.normal(scale=30, size=(3, 90, 3)))
    votes = local_offsets.Votes(values, torch.from_numpy(generator.random((3, 90)) < 0.9), torch.ones(3, 90))
    everything = local_offsets.reweighted_medians(votes, neighborhood, torch.ones(3, 90, dtype=torch.bool))
    for share in (0.02, 0.3):
        wanted = torch.from_numpy(generator.random((3, 90)) < share)
        some = local_offsets.reweighted_medians(votes, neighborhood, wanted)
        assert wanted.any()
        torch.testing.assert_close(some[wanted], everything[wanted], rtol=0, atol=0)
        assert not some[~wanted].any()


def test_images_without_anything_on_their_masks_are_not_matched() -> None:
    images = made_up_images(4, [(20, 0.0), (20, 0.0), (20, 1.0)])
    images[0] = ImageProposals(images[0].boxes, images[0].features * torch.nan, images[0].on_mask)
    found = match_pairs(images, [(0, 0), (0, 1), (1, 2)], Matching(side=SIDE))
    assert [block.shape for block in found.blocks] == [(0, 0), (0, 0), (0, 20)]
    assert found.best[2].mean().shape == (20,) and np.isfinite(found.best[2].mean()).all()
