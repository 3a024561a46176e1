"""What the stages `propose` and `match` make of an image's proposals, by the configuration."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from visual_summaries.pipeline.config import load_config
from visual_summaries.pipeline.models.preprocessing import Preprocessing
from visual_summaries.pipeline.runtime.units import Unit
from visual_summaries.pipeline.settings import ProposalSettings
from visual_summaries.pipeline.stages.candidates import _clusters
from visual_summaries.pipeline.stages.context import WorkerContext, WorkerSetup
from visual_summaries.pipeline.stages.image_proposals import read_proposals, with_pooled_features
from visual_summaries.pipeline.stages.propose import searched_boxes, stored_descriptors
from visual_summaries.pipeline.store.tables import TableStore
from visual_summaries.pipeline.summarize.conv_descriptors import conv_descriptors
from visual_summaries.pipeline.summarize.hog import describe
from visual_summaries.pipeline.summarize.pair_scores import Matching, match_pairs
from visual_summaries.pipeline.summarize.proposals import FAST, selective_search
from visual_summaries.pipeline.summarize.similarity import ImageProposals
from visual_summaries.pipeline.summarize.whitening import natural_whitener
from visual_summaries.schemas import EDGES, TABLES, make_table

SIDE = 96


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    generator = np.random.default_rng(0)
    picture = np.kron(generator.integers(0, 256, (6, 6, 3)), np.ones((16, 16, 1))).astype(np.uint8)
    return picture ^ generator.integers(0, 16, picture.shape).astype(np.uint8)


def test_the_papers_preset_is_the_published_search_with_whole_whitened_hog(image: np.ndarray) -> None:
    settings = load_config(None, ["preset=paper"]).proposals
    boxes = searched_boxes(image, 5, settings)
    np.testing.assert_array_equal(boxes, selective_search(image, 5, 500, 20.0))
    expected = natural_whitener().whiten(describe(image, boxes)).numpy()
    assert expected.shape[1] == 1984
    np.testing.assert_array_equal(stored_descriptors(image, boxes, settings), expected)


def test_the_limit_cuts_the_published_search_at_once_and_the_fast_one_later(image: np.ndarray) -> None:
    published = searched_boxes(image, 5, ProposalSettings(search="published", limit=3))
    np.testing.assert_array_equal(published, selective_search(image, 5, 3))
    fast = searched_boxes(image, 5, ProposalSettings(search="fast", limit=3))
    np.testing.assert_array_equal(fast, selective_search(image, 5, None, search=FAST))
    assert len(fast) > 3


def test_what_is_stored_of_a_proposal(image: np.ndarray) -> None:
    boxes = np.array([[4.0, 4, 40, 50], [20, 10, 90, 90]], np.float32)
    assert stored_descriptors(image, boxes, ProposalSettings(descriptor="conv")).shape == (2, 0)
    assert stored_descriptors(image, boxes, ProposalSettings(descriptor="hog", components=7)).shape == (2, 7)


def pictures() -> dict[str, np.ndarray]:
    """Features of two images with one pattern at different places, cells of 8 px."""
    generator = np.random.default_rng(1)
    pattern = generator.normal(size=(4, 4, 5))
    found = {}
    for name, (row, column) in (("a", (1, 1)), ("b", (6, 7))):
        grid = generator.normal(size=(12, 12, 5)) * 0.1
        grid[row : row + 4, column : column + 4] = pattern
        found[name] = (grid / np.linalg.norm(grid, axis=-1, keepdims=True)).astype(np.float16)
    return found


def test_proposals_are_compared_by_the_features_of_their_images() -> None:
    boxes = {
        "a": torch.tensor([[8.0, 8, 40, 40], [40, 40, 80, 88]]),
        "b": torch.tensor([[0.0, 0, 32, 32], [56, 48, 88, 80], [8, 50, 48, 90]]),
    }
    proposals = {
        name: ImageProposals(own, torch.zeros(len(own), 0), np.ones(len(own), bool)) for name, own in boxes.items()
    }
    images = with_pooled_features(proposals, pictures(), SIDE)
    scores = match_pairs([images["a"], images["b"]], [(0, 1)], Matching("nam", "frozen", SIDE)).blocks[0]
    assert scores.shape == (2, 3)
    assert scores[0, 1] == pytest.approx(1, abs=1e-3)
    assert scores[0, [0, 2]].max() < 0.7 and scores[1].max() < 0.9


def test_an_image_without_features_matches_nothing() -> None:
    boxes = torch.tensor([[8.0, 8, 40, 40]])
    proposals = {name: ImageProposals(boxes, torch.zeros(1, 0), np.ones(1, bool)) for name in "ab"}
    for features in ({"a": pictures()["a"]}, {}):
        images = with_pooled_features(proposals, features, SIDE)
        blocks = match_pairs([images["a"], images["b"]], [(0, 0), (0, 1)], Matching("lom", "frozen", SIDE)).blocks
        assert (blocks[0][0, 0] > 0) == bool(features)
        assert blocks[1].tolist() == [[0]]


def stored_rows(table: str, values: dict[str, object]) -> dict[str, object]:
    """A row of `table`, with empty values for what is not given."""
    empty = {"string": "", "binary": b"", "bool": False}
    kinds = {field.name: field for field in TABLES[table].schema}
    return {
        name: values.get(name, None if field.nullable else empty.get(str(field.type), 0))
        for name, field in kinds.items()
    }


@pytest.mark.parametrize("descriptor", ["conv", "hog"])
def test_proposals_are_read_from_their_tables(tmp_path: Path, descriptor: str) -> None:
    store, seen = TableStore(tmp_path), pictures()
    boxes = {"a": [[8, 8, 40, 40], [40, 40, 80, 88]], "b": [[0, 0, 32, 32], [56, 48, 88, 80], [8, 50, 48, 90]]}
    stored = {name: np.arange(6 * len(own), dtype=np.float16).reshape(-1, 6) for name, own in boxes.items()}
    proposals, features = [], []
    for name, own in boxes.items():
        for number, box in enumerate(own):
            values = {"image_id": name, "proposal": number, "kept": number == 1, "features": b""}
            if descriptor == "hog":
                values["features"] = stored[name][number].tobytes()
            proposals.append(stored_rows("proposals", values | dict(zip(EDGES, box, strict=True))))
        shape = {"features": seen[name].tobytes(), "features_shape": list(seen[name].shape)}
        features.append(stored_rows("features", {"image_id": name} | shape))
    inputs = {}
    for table, rows in (("proposals", proposals), ("features", features)):
        path = store.shard_path(table, "f", "class", "one")
        store.write(table, path, make_table(table, rows), "class")
        inputs[table] = (path,)
    config = load_config(None, [f"proposals.descriptor={descriptor}"])
    setup = WorkerSetup(config, tmp_path, Preprocessing(resize_side=SIDE, crop_side=SIDE), "")
    found = read_proposals(WorkerContext(setup), Unit("class", (), inputs=inputs), ["b", "a"])
    for name, image in zip("ba", found, strict=True):
        assert image.boxes.tolist() == boxes[name]
        assert image.on_mask.tolist() == [number == 1 for number in range(len(boxes[name]))]
        expected = stored[name]
        if descriptor == "conv":
            expected = conv_descriptors(seen[name], np.array(boxes[name]), (SIDE, SIDE))
        np.testing.assert_array_equal(image.features.numpy(), expected)


def test_a_cluster_is_one_candidate_with_the_most_similar_box_of_each_image() -> None:
    rows = [
        ("c", [0, 0, 8, 8], 1, 0.5),
        ("a", [8, 8, 16, 16], 1, 0.9),
        ("c", [4, 4, 12, 12], 1, 0.7),
        ("b", [0, 8, 8, 16], 0, 0.8),
        ("a", [0, 0, 16, 16], None, 0.0),
        ("away", [0, 0, 16, 16], 0, 0.9),
    ]
    names = ("image_id", "box", "cluster", "similarity")
    table = [dict(zip(names, row, strict=True)) for row in rows]
    table = [row | dict(zip(EDGES, row["box"], strict=True)) for row in table]
    worker = SimpleNamespace(
        read=lambda unit, name, columns: [{column: row[column] for column in columns} for row in table],
        setup=SimpleNamespace(preprocessing=SimpleNamespace(crop_side=16)),
    )
    first, second = _clusters(worker, Unit("class", ()), ["a", "b", "c"], 4)
    assert (first.source, first.images.tolist(), first.boxes.tolist()) == ("proposals", [1], [[0, 8, 8, 16]])
    assert (second.images.tolist(), second.boxes.tolist()) == ([0, 2], [[8, 8, 16, 16], [4, 4, 12, 12]])
    assert second.segments.sum(axis=(1, 2)).tolist() == [4, 4]
