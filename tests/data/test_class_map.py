"""From labels to class indices: what is recognized, what is not, and what the messages say."""

import re
from pathlib import Path

import pytest

from visual_summaries.pipeline.data.class_map import CatalogError, ClassMap, read_class_map
from visual_summaries.pipeline.models.labels import imagenet_labels

NAMES = ["tabby, tabby cat", "great white shark, white shark", "crane", "crane, machine", "7", "Blue_Jay"]


@pytest.mark.parametrize(
    "label, index",
    [
        ("tabby", 0),
        ("Tabby_Cat", 0),
        ("tabby, tabby cat", 0),
        ("GREAT WHITE_shark", 1),
        ("crane", 2),
        ("machine", 3),
        ("7", 4),
        ("Crane", 2),
        ("blue jay", 5),
        ("0", 0),
        ("005", 5),
    ],
)
def test_names_synonyms_and_numbers(label: str, index: int) -> None:
    """A whole name goes before a synonym ("crane"), a name before a number ("7")."""
    assert ClassMap(NAMES).find([label]) == {label: index}


@pytest.mark.parametrize("label", ["tab", "6", "-1", "n01440764", "", "1.0", "²"])
def test_unknown_labels_are_errors(label: str) -> None:
    with pytest.raises(CatalogError, match=f"1 of 2 labels .*\n  {re.escape(repr(label))}"):
        ClassMap(NAMES).find(["tabby", label])


def test_wordnet_ids_and_given_labels_go_first() -> None:
    class_map = ClassMap(["n02", "b"], ["n01", "n02"], {"b": 0, "thing": "n01", "other": "b"})
    assert class_map.find(["n01", "n02", "b", "thing", "other"]) == {"n01": 0, "n02": 1, "b": 0, "thing": 0, "other": 1}


def test_every_imagenet_wordnet_id_and_every_distinct_name() -> None:
    labels = imagenet_labels()
    class_map = ClassMap(labels.names, labels.wordnet_ids)
    assert list(class_map.find(labels.wordnet_ids).values()) == list(range(1000))
    assert list(class_map.find(labels.names).values()) == list(range(1000))


def test_message_lists_what_is_near_and_what_to_do() -> None:
    labels = imagenet_labels()
    with pytest.raises(CatalogError) as raised:
        ClassMap(labels.names).find(["golfish", "n01440764", *(f"zzz{number}" for number in range(20))])
    message = str(raised.value)
    assert message.startswith("22 of 22 labels")
    assert "'golfish': nearest 'goldfish' (1)" in message
    small, large = ClassMap(["cat", "dog"]), ClassMap([f"kind {number}" for number in range(21)])
    with pytest.raises(CatalogError, match="\n  'xyz'\nThe network's classes: 'cat', 'dog'.\n"):
        small.find(["xyz"])
    with pytest.raises(CatalogError, match="(?s)^(?!.*The network's classes:)"):
        large.find(["xyz"])
    assert "column wnid" in message and "Give a class map" in message and "… and 12 more" in message


def test_numbers_that_python_does_not_read_are_names(tmp_path: Path) -> None:
    digits = "9" * 5000
    assert ClassMap(NAMES).candidates(digits) == set()
    (tmp_path / "a.csv").write_text(f"label,class_index\ncat,{digits}\n")
    assert read_class_map(tmp_path / "a.csv") == {"cat": digits}


def test_two_classes_of_one_name() -> None:
    class_map = ClassMap(["bat", "cat", "Bat"])
    assert class_map.find(["bat", "Bat"]) == {"bat": 0, "Bat": 2}
    with pytest.raises(CatalogError, match=r"'BAT' may be any of the classes 0 \('bat'\), 2"):
        class_map.find(["BAT"])
    with pytest.raises(CatalogError, match=r"'bat' may be any of the classes 0 .*, 1"):
        ClassMap(["bat", "bat"]).find(["bat"])


@pytest.mark.parametrize("value", [6, -1, "nothing", True])
def test_map_to_no_class(value: object) -> None:
    with pytest.raises(CatalogError, match="'label' is mapped to"):
        ClassMap(NAMES, class_map={"label": value})


@pytest.mark.parametrize(
    "name, text",
    [
        ("a.json", '{"cat": 3, "7": "dog, hound"}'),
        ("a.yaml", 'cat: 3\n7: "dog, hound"\n'),
        ("a.csv", 'label,class_index\ncat,3\n7,"dog, hound"\n'),
        ("b.csv", 'index, folder, note\n3, cat, x\n"dog, hound", 7, y\n'),
    ],
)
def test_every_form_of_file(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert read_class_map(tmp_path / name) == {"cat": 3, "7": "dog, hound"}


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("a.json", "[1, 2]", "not list"),
        ("a.json", "{", "cannot read"),
        ("a.yaml", "cat: [1", "cannot read"),
        ("a.json", '{"cat": 1.5}', "mapped to 1.5"),
        ("a.json", '{"cat": true}', "mapped to True"),
        ("a.yaml", "cat:", "mapped to nothing"),
        ("a.yaml", "1: 2\n'1': 3", "1 is set twice"),
        ("a.csv", "cat,3\n", "found cat, 3"),
        ("a.csv", "label,index\ncat,3\ncat,4\n", "both 3 and 4"),
        pytest.param("a.csv", f"label,index\n{'c' * 200_000},3\n", "cannot read.*larger than field", id="endless"),
        ("a.txt", "", "the file is empty"),
        ("a.yaml", "cat: 1\ncat: 2", "cat is set twice"),
        ("a.json", '{"cat": 1, "cat": 1}', "cat is set twice"),
        ("a.json", '{"c\\ud800t": 1}', "half a character"),
        pytest.param("a.json", "[" * 100_000, "100 levels", id="deep"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(CatalogError, match=message) as raised:
        read_class_map(tmp_path / name)
    assert str(tmp_path / name) in str(raised.value)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="No such file"):
        read_class_map(tmp_path / "none.json")
