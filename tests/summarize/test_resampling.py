import numpy as np
import pytest

from visual_summaries.pipeline.summarize.candidates import Candidate
from visual_summaries.pipeline.summarize.resampling import found_again, same_part


def candidate(images: list[int], boxes: list[list[float]]) -> Candidate:
    return Candidate("x", np.array(images), np.array(boxes, np.float32), np.zeros((len(images), 2, 2), bool))


def test_same_part_by_boxes_of_common_images() -> None:
    first = candidate([0, 1, 2, 3], [[0, 0, 10, 10]] * 4)
    assert same_part(first, candidate([1, 3], [[0, 0, 10, 5], [50, 50, 60, 60]]))
    assert not same_part(first, candidate([1, 3], [[0, 0, 10, 4.9], [50, 50, 60, 60]]))
    assert not same_part(first, candidate([3, 7, 8], [[0, 0, 10, 10]] * 3))
    assert not same_part(first, candidate([8], [[0, 0, 10, 10]]))


def test_found_again_counts_the_resamples() -> None:
    steady = candidate(list(range(10)), [[0, 0, 10, 10]] * 10)
    fickle = candidate(list(range(10)), [[20, 20, 30, 30]] * 10)
    rare = candidate([0], [[40, 40, 50, 50]])
    seen = []

    def rerun(images: np.ndarray, seed: int) -> list[Candidate]:
        seen.append(images)
        found = [candidate(list(range(len(images))), [[0, 0, 10, 10]] * len(images))]
        if len(seen) % 2:
            found.append(candidate(list(range(len(images))), [[20, 20, 30, 31]] * len(images)))
        return found

    shares = found_again([steady, fickle, rare], rerun, 10, resamples=6, seed=1)
    assert shares[:2].tolist() == [1, 0.5]
    assert shares[2] == 0
    assert all(len(images) == 8 and (np.diff(images) > 0).all() for images in seen)
    assert len({tuple(images) for images in seen}) > 1
    bootstrap = found_again([steady], rerun, 10, resamples=3, share=None)
    assert bootstrap == pytest.approx([1])
    assert all(len(images) < 10 for images in seen[6:])
