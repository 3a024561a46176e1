"""Summaries that a made-up program finds whenever it is told to, and those of drawn classes."""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "summarize"))

from drawn_parts import draw, pattern  # noqa: E402

from visual_summaries.pipeline.evaluate.found_again import summaries_found_again  # noqa: E402
from visual_summaries.pipeline.summarize.candidates import Candidate  # noqa: E402
from visual_summaries.pipeline.summarize.class_parts import PartSettings, find_parts, remaking  # noqa: E402

COUNT = 10
PLACES = {"steady": 0, "by seed": 20, "of all": 40, "rare": 60}


def candidate(images: list[int] | np.ndarray, place: int) -> Candidate:
    boxes = np.tile(np.array([place, 0, place + 10, 10], np.float32), (len(images), 1))
    return Candidate("made up", np.asarray(images), boxes, np.zeros((len(images), 2, 2), bool))


def test_each_change_is_made_and_no_other() -> None:
    calls = []

    def rerun(images: np.ndarray, seed: int) -> list[Candidate]:
        calls.append((images.tolist(), seed))
        own = list(range(len(images)))
        found = [candidate(own, PLACES["steady"])]
        # Every second time, and only where no image is left out.
        if len(calls) % 2:
            found.append(candidate(own, PLACES["by seed"]))
        if len(images) == COUNT:
            found.append(candidate(own, PLACES["of all"]))
        return found

    def never(images: np.ndarray, seed: int) -> list[Candidate]:
        calls.append((images.tolist(), seed))
        return [candidate(list(range(len(images))), PLACES["rare"])]

    summaries = [candidate(range(COUNT), place) for place in PLACES.values()]
    found = summaries_found_again(summaries, rerun, COUNT, repetitions=6, seed=5, others=[rerun, never])
    everything = list(range(COUNT))
    # Other proposals: the run's own seed and all its images.
    assert calls[:2] == [(everything, 5)] * 2
    assert found.proposals.tolist() == [0.5, 0.5, 0.5, 0.5]
    others, parts = calls[2:8], calls[8:]
    assert [images for images, _ in others] == [everything] * 6
    assert len({seed for _, seed in others} | {5}) == 7
    assert found.seeds.tolist() == [1, 0.5, 1, 0]
    assert {len(images) for images, _ in parts} == {8} and len({tuple(images) for images, _ in parts}) > 1
    assert found.images.tolist() == [1, 0.5, 0, 0] and len(parts) == 6


def test_without_other_proposals_nothing_is_known_of_them() -> None:
    steady = [candidate(range(COUNT), 0)]
    found = summaries_found_again(steady, lambda images, seed: [candidate(range(len(images)), 0)], COUNT)
    assert (found.seeds, found.images) == (1, 1) and np.isnan(found.proposals)
    nothing = summaries_found_again([], lambda images, seed: [], COUNT)
    assert nothing.seeds.shape == nothing.images.shape == nothing.proposals.shape == (0,)


def test_drawn_parts_are_found_again_and_noise_is_not() -> None:
    drawn = draw({"head": pattern(0, 5, 5), "wing": pattern(1, 6, 5)}, 12, moving=4, noise=0.2)
    settings = PartSettings(context=3, factors=(2, 3), regions=(1, 2))
    summaries = [one.candidate for one in find_parts(drawn.features, drawn.masks, settings).summaries]
    somewhere = np.random.default_rng(0).integers(0, 60, (12, 2))
    odd = Candidate(
        "odd",
        np.arange(12),
        np.concatenate([somewhere, somewhere + 15], axis=1).astype(np.float32),
        np.zeros((12, 20, 20), bool),
    )
    # Once more from candidates that hold the wing alone.
    other = remaking(drawn.features, drawn.masks, PartSettings(factors=(), regions=()), [drawn.candidate("wing")])
    found = summaries_found_again(
        [*summaries, odd], remaking(drawn.features, drawn.masks, settings), 12, repetitions=2, others=[other]
    )
    assert len(summaries) == 2
    assert found.seeds.tolist() == found.images.tolist() == [1, 1, 0]
    assert sorted(found.proposals.tolist()) == [0, 0, 1] and found.proposals[2] == 0
