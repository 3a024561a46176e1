"""Tags from class scores, with synonyms and namesakes."""

import numpy as np
import pytest

from visual_summaries.pipeline.models.labels import Labels, imagenet_labels
from visual_summaries.pipeline.summarize.tags import Tags, label_tags

LABELS = Labels(("crane", "auto", "robin", "car", "crane"), ("n1", "n2", "n3", "n2", "n5"))


def tag_sets(tags: Tags) -> list[set[str]]:
    return [{tags.names[tag] for tag in np.nonzero(row)[0]} for row in tags.sets]


def test_synonyms_are_one_tag_and_namesakes_are_two() -> None:
    scores = np.array([[0.1, 0.5, 0.3, 0.4, 0.2], [0.0, 0.1, 0.2, 0.9, 0.3], [0.5, 0.1, 0.2, 0.15, 0.3]])
    found = label_tags(scores, LABELS, 2)
    # "car" does not take the second place of "auto"; it lifts the second crop's "auto" to the first.
    assert tag_sets(found) == [{"auto", "robin"}, {"auto", "crane (n5)"}, {"crane (n1)", "crane (n5)"}]
    assert found.names == ("crane (n1)", "auto", "robin", "crane (n5)")
    assert found.sets.dtype == bool and (found.sets.sum(axis=1) == 2).all()
    alone = label_tags(scores[:1], LABELS, 1)
    assert alone.names == ("auto",) and alone.sets.tolist() == [[True]]


def test_without_wordnet_ids_equal_names_are_one_tag() -> None:
    labels = Labels(("Jay", "wren", "jay"))
    found = label_tags(np.array([[1.0, 2.0, 3.0], [-5.0, -1.0, -9.0]]), labels, 1)
    assert tag_sets(found) == [{"Jay"}, {"wren"}]
    with pytest.raises(ValueError, match="1…2"):
        label_tags(np.zeros((1, 3)), labels, 3)


def test_imagenet_has_a_tag_for_each_class() -> None:
    labels = imagenet_labels()
    found = label_tags(np.eye(1000), labels, 1)
    assert len(found.names) == len(set(found.names)) == 1000
    np.testing.assert_array_equal(found.sets, np.eye(1000, dtype=bool))
    assert label_tags(np.random.default_rng(0).random((4, 1000)), labels).sets.sum(axis=1).tolist() == [8] * 4


def test_of_equal_scores_the_lower_class_counts() -> None:
    found = label_tags(np.zeros((1, 5)), LABELS, 2)
    assert found.names == ("crane (n1)", "auto")


def test_most_common_tags_of_a_summary() -> None:
    tags = Tags(("wing", "head", "tail"), np.array([[1, 1, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1]], bool))
    assert tags.most_common() == [("wing", 0.5), ("head", 0.5), ("tail", 0.25)]
    assert tags.most_common([0, 1]) == [("head", 1.0), ("wing", 0.5)]
    assert tags.most_common([]) == []


def test_wrong_input_is_refused() -> None:
    for scores in (np.zeros((2, 4)), np.zeros(5), np.full((1, 5), np.nan)):
        with pytest.raises(ValueError, match="scores"):
            label_tags(scores, LABELS, 1)
    with pytest.raises(ValueError, match="count"):
        label_tags(np.zeros((1, 5)), LABELS, 0)
