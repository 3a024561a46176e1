"""Class names: the built-in ones against the data folder's list, files good and bad."""

import csv
from pathlib import Path

import pytest

from pipeline.models.classifier import ClassifierError
from pipeline.models.labels import imagenet_labels, read_labels


def test_wordnet_ids_are_those_of_the_list(data_directory: Path) -> None:
    with (data_directory / "imagenet" / "classes.csv").open(newline="", encoding="utf-8") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: int(row["index"]))
    assert [row["wnid"] for row in rows] == list(imagenet_labels().wordnet_ids)
    # torchvision tells homonyms apart ("crane bird"), hence words rather than whole names.
    for row, name in zip(rows, imagenet_labels().names, strict=True):
        assert name.lower().split()[0] in row["names"].lower(), row


def test_wordnet_ids_are_distinct_and_ascend() -> None:
    wordnet_ids = imagenet_labels().wordnet_ids
    assert len(set(wordnet_ids)) == 1000 and list(wordnet_ids) == sorted(wordnet_ids)


@pytest.mark.parametrize(
    "name, text",
    [
        ("a.txt", "cat\ndog, domestic dog\n fox \n\n"),
        ("a.csv", 'index,name\n2,fox\n0,cat\n1,"dog, domestic dog"\n'),
        ("b.csv", '\ufeffclass_index,species\n0,cat\n1,"dog, domestic dog"\n2,fox\n'),
        ("a.json", '["cat", "dog, domestic dog", "fox"]'),
        ("b.json", '{"2": "fox", "0": "cat", "1": "dog, domestic dog"}'),
    ],
)
def test_every_form_of_file(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    labels = read_labels(tmp_path / name, 3)
    assert labels.names == ("cat", "dog, domestic dog", "fox")
    assert labels.wordnet_ids is None


def test_wordnet_ids_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("index,wnid,names\n1,n02,dog\n0,n01,cat\n")
    labels = read_labels(tmp_path / "a.csv", 2)
    assert labels.names == ("cat", "dog") and labels.wordnet_ids == ("n01", "n02")


def test_imagenet_by_word() -> None:
    assert read_labels("imagenet", 1000).names[1] == "goldfish"
    with pytest.raises(ClassifierError, match="1000 class names.*2 classes"):
        read_labels("imagenet", 2)


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("a.txt", "cat\ndog\n", "2 class names, but the network has 3"),
        ("a.txt", "cat\n\nfox\n", "class 1 has an empty name"),
        ("a.csv", "index,name\n0,cat\n1,dog\n1,fox\n", "class index 1 is there more than once"),
        ("a.csv", "index,name\n1,cat\n2,dog\n3,fox\n", "class index 3 is outside 0 … 2"),
        ("a.csv", "index,name\n0,cat\none,dog\n2,fox\n", "'one' is not a whole number"),
        ("a.csv", "cat,felis\ndog,canis\nfox,vulpes\n", "columns index and name"),
        ("a.csv", "", "the file is empty"),
        pytest.param("a.csv", f"index,name\n0,{'c' * 200_000}\n", "cannot read.*larger than field", id="endless"),
        ("a.json", '["cat", 1, "fox"]', "class 1 is 1, not a string"),
        ("a.json", '["cat"', "not valid JSON"),
        ("a.json", '["cat", "dog", "f\\ud800x"]', "half a character"),
        ("a.json", '{"0": "cat", "1": "dog", "1": "fox"}', "1 is set twice"),
        pytest.param("a.json", "[" * 100_000, "100 levels", id="deep"),
        ("a.json", "3", "list of names"),
        ("a.yaml", "- cat", "1 class names, but the network has 3"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(ClassifierError, match=message) as raised:
        read_labels(tmp_path / name, 3)
    assert str(tmp_path / name) in str(raised.value) and "\n" not in str(raised.value)


def test_missing_and_binary_files(tmp_path: Path) -> None:
    with pytest.raises(ClassifierError, match="No such file"):
        read_labels(tmp_path / "none.txt", 3)
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00caf\xe9")
    with pytest.raises(ClassifierError, match="UTF-8"):
        read_labels(tmp_path / "a.txt", 3)
