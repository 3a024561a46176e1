"""Class names: the built-in ones against the data folder's list, files good and bad."""

import csv
import json
from pathlib import Path

import pytest

from visual_summaries.pipeline.models.classifier import ClassifierError
from visual_summaries.pipeline.models.labels import Labels, imagenet_labels, read_labels


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


THREE = ("tench, Tinca tinca", "no", "great white shark")
IDS = ("n01440764", "n01443537", "n01484850")
# Files as others write them, of these three classes; with WordNet ids where the name of the case says so.
COMMON = {
    "keras.json, ids": json.dumps({str(n): [IDS[n], name] for n, name in enumerate(THREE)}),
    "pairs.json, ids": json.dumps([list(pair) for pair in zip(IDS, THREE, strict=True)]),
    "config.json": json.dumps(
        {
            "architectures": ["ResNet"],
            "id2label": {str(n): name for n, name in enumerate(THREE)},
            "label2id": {name: n for n, name in enumerate(THREE)},
        }
    ),
    "timm.json": json.dumps({"label_names": THREE}),
    "class_to_idx.json": json.dumps({THREE[2]: 2, THREE[0]: 0, THREE[1]: 1}),
    "objects.json": json.dumps([{"id": n, "name": THREE[n]} for n in (2, 0, 1)]),
    "synset_words.txt, ids": "".join(f"{one} {name}\n" for one, name in zip(IDS, THREE, strict=True)),
    "LOC_synset_mapping.txt, ids": "\r\n".join(f"{one} {name}" for one, name in zip(IDS, THREE, strict=True)),
    "map_clsloc.txt, ids": "".join(f"{IDS[n]} {n + 1} {name}\n" for n, name in enumerate(THREE)),
    "python.txt": "{" + ",\n ".join(f"{n}: {name!r}" for n, name in enumerate(THREE)) + "}",
    "data.yaml": "nc: 3\nnames:\n" + "".join(f"  {n}: {name}\n" for n, name in enumerate(THREE)),
    "names.yaml": "".join(f"- {name}\n" for name in THREE),
    "inverse.yaml": "".join(f"{name}: {n}\n" for n, name in enumerate(THREE)),
    "tabs.csv": "".join(f"{n}\t{THREE[n]}\n" for n in (1, 2, 0)),
    "colons.txt": "".join(f"{n}: {THREE[n]}\n" for n in (1, 2, 0)),
    "behind.txt": "".join(f"{THREE[n]}\t{n}\n" for n in (1, 2, 0)),
    "places365.txt": "".join(f"{name} {n}\n" for n, name in enumerate(THREE)),
    "from one.txt": "".join(f"{n} {name}\n" for n, name in enumerate(THREE, 1)),
    "quoted.csv": "".join(f'{n},"{name}"\n' for n, name in enumerate(THREE)),
    "header.csv": "name\n" + "".join(f'"{name}"\n' for name in THREE),
    "turned.csv": "label;class\n" + "".join(f"{THREE[n]};{n}\n" for n in (2, 0, 1)),
    "ids.csv, ids": "synset,name\n" + "".join(f'{one},"{name}"\n' for one, name in zip(IDS, THREE, strict=True)),
    "lines.jsonl": "".join(json.dumps({"index": n, "name": THREE[n]}) + "\n" for n in (2, 1, 0)),
}


@pytest.mark.parametrize("case", COMMON)
def test_files_of_class_names_as_others_write_them(case: str, tmp_path: Path) -> None:
    name, _, ids = case.partition(", ")
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        (tmp_path / name).write_bytes(COMMON[case].encode(encoding))
        labels = read_labels(tmp_path / name, 3)
        assert labels.names == THREE, encoding
        assert labels.wordnet_ids == (IDS if ids else None)


def test_wordnet_ids_alone_are_names_as_well(tmp_path: Path) -> None:
    (tmp_path / "synsets.txt").write_text("\n".join(IDS))
    assert read_labels(tmp_path / "synsets.txt", 3) == Labels(IDS, IDS)


@pytest.mark.parametrize(
    ("name", "text", "readings"),
    [
        ("a.json", '{"0": "1", "1": "2", "2": "0"}', ("class 0 is called 1", "class 1 is called 0")),
        ("a.yaml", "0: 1\n1: 2\n2: 0", ("class 0 is called 1", "class 1 is called 0")),
        ("a.txt", "2 cat\n0 dog\n1 fox", ("class 2 called cat", "class 0 called 2 cat")),
        ("a.txt", "1,0\n2,1\n0,2", ("class 1 called 0", "class 0 called 1")),
        ("a.json", '{"id2label": ["a", "b", "c"], "label2id": {"a": 1, "b": 0, "c": 2}}', ("id2label", "label2id")),
        ("a.txt", "1,cat\n1,dog\n2,fox", ("1,cat", "not 0 … 2, each once")),
    ],
)
def test_two_readings_are_refused_with_both(name: str, text: str, readings: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ClassifierError) as raised:
        read_labels(tmp_path / name, 3)
    assert all(one in str(raised.value) for one in readings), str(raised.value)


def test_a_message_about_a_thousand_names_is_short(tmp_path: Path) -> None:
    names = {str(index): f"a class with a name {index}" for index in range(1000)}
    for number, content in enumerate(({"labels of it": names}, [names], {**names, "x": "y"}, {"a": names, **names})):
        path = tmp_path / f"{number}.json"
        path.write_text(json.dumps(content))
        with pytest.raises(ClassifierError) as raised:
            read_labels(path, 1000)
        assert str(path) in str(raised.value) and len(str(raised.value)) < len(str(path)) + 300
    (tmp_path / "more.txt").write_text("background\n" + "\n".join(names.values()))
    with pytest.raises(ClassifierError, match="1001 class names, but the network has 1000 .* background that the"):
        read_labels(tmp_path / "more.txt", 1000)


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
