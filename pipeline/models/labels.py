"""What the classes are called: ImageNet's names and WordNet ids, and files of one's own names."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from torchvision.models import ResNet50_Weights

from pipeline.documents import DocumentError, parse_json
from pipeline.models.classifier import ClassifierError
from pipeline.objects import ObjectPath

IMAGENET_CLASSES = 1000
INDEX_COLUMNS = ("index", "class_index")
NAME_COLUMNS = ("name", "names", "label", "class", "class_name")
WORDNET_COLUMNS = ("wnid", "wordnet_id")


@dataclass(frozen=True)
class Labels:
    """Names of K classes in the order of the logits, and their WordNet ids where known."""

    names: tuple[str, ...]
    wordnet_ids: tuple[str, ...] | None = None


TWO_CLASSES = Labels(("negative", "positive"))
"""Of a network with one output, unless they have other names."""


@cache
def imagenet_labels() -> Labels:
    """The 1,000 classes of ImageNet-1k: torchvision's names; WordNet ids, which ascend with the index."""
    wordnet_ids = Path(__file__).with_name("imagenet_wordnet_ids.txt").read_text(encoding="ascii").split()
    return Labels(tuple(ResNet50_Weights.IMAGENET1K_V1.meta["categories"]), tuple(wordnet_ids))


def numbered_labels(number_of_classes: int) -> Labels:
    """Names of classes that nobody has named: "class 0", "class 1", …"""
    return Labels(tuple(f"class {index}" for index in range(number_of_classes)))


def read_labels(path: Path | ObjectPath, number_of_classes: int) -> Labels:
    """Read the names of a classifier's classes.

    Args:
        path: `.txt` with one name per line; `.csv` with a header row and columns `index`, `name` and, if
            there, `wnid`; `.json` with a list of names or an object {index: name}. Or the word `imagenet`.
        number_of_classes: how many names there must be; indices run from 0.

    Raises:
        ClassifierError: not readable, or not exactly one name for each class.
    """
    if str(path) == "imagenet":
        labels = imagenet_labels()
        _check_indices("imagenet", range(IMAGENET_CLASSES), number_of_classes)
        return labels
    readers = {".txt": _read_text, ".csv": _read_csv, ".json": _read_json}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise ClassifierError(f"{path}: a labels file must end in {', '.join(readers)}")
    try:
        rows = reader(path, path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ClassifierError(f"{path}: cannot read the labels: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ClassifierError(f"{path}: the labels are not UTF-8 text; save them as UTF-8") from None
    except csv.Error as error:
        raise ClassifierError(f"{path}: cannot read the labels: {error}") from None
    _check_indices(path, [index for index, _, _ in rows], number_of_classes)
    rows.sort(key=lambda row: row[0])
    for index, name, _ in rows:
        if not name:
            raise ClassifierError(f"{path}: class {index} has an empty name")
    wordnet_ids = tuple(wordnet_id for _, _, wordnet_id in rows)
    return Labels(tuple(name for _, name, _ in rows), wordnet_ids if all(wordnet_ids) else None)


Row = tuple[int, str, str]


def _read_text(_path: Path, text: str) -> list[Row]:
    return [(index, line.strip(), "") for index, line in enumerate(text.rstrip().splitlines())]


def _read_json(path: Path, text: str) -> list[Row]:
    try:
        content: Any = parse_json(text)
    except DocumentError as error:
        raise ClassifierError(f"{path}: {error}") from None
    pairs: Iterable[tuple[Any, Any]]
    if isinstance(content, list):
        pairs = enumerate(content)
    elif isinstance(content, dict):
        pairs = content.items()
    else:
        raise ClassifierError(f"{path}: expected a list of names or an object {{index: name}}")
    rows = []
    for index, name in pairs:
        if not isinstance(name, str):
            raise ClassifierError(f"{path}: the name of class {index} is {name!r}, not a string")
        rows.append((_index(path, index), name.strip(), ""))
    return rows


def _read_csv(path: Path, text: str) -> list[Row]:
    reader = csv.DictReader(text.splitlines())
    columns = [column.strip() for column in reader.fieldnames or ()]
    reader.fieldnames = columns
    index_column = next((column for column in columns if column.lower() in INDEX_COLUMNS), None)
    wordnet_column = next((column for column in columns if column.lower() in WORDNET_COLUMNS), None)
    name_column = next((column for column in columns if column.lower() in NAME_COLUMNS), None)
    if name_column is None:
        others = [column for column in columns if column not in (index_column, wordnet_column)]
        name_column = others[0] if len(others) == 1 else None
    if index_column is None or name_column is None:
        raise ClassifierError(
            f"{path}: needs a header row with columns index and name (and, if wanted, wnid); "
            f"found {', '.join(columns) or 'nothing'}"
        )
    return [
        (
            _index(path, row[index_column]),
            (row[name_column] or "").strip(),
            ((row[wordnet_column] or "") if wordnet_column else "").strip(),
        )
        for row in reader
    ]


def _index(path: Path, value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        raise ClassifierError(f"{path}: class index {value!r} is not a whole number") from None


def _check_indices(path: str | Path, indices: Iterable[int], number_of_classes: int) -> None:
    indices = list(indices)
    if len(indices) != number_of_classes:
        raise ClassifierError(
            f"{path}: {len(indices)} class names, but the network has {number_of_classes} classes; "
            "give one name for each, in the order of its outputs"
        )
    repeated = [index for index, count in Counter(indices).items() if count > 1]
    if repeated:
        raise ClassifierError(f"{path}: class index {repeated[0]} is there more than once")
    outside = sorted(index for index in indices if not 0 <= index < number_of_classes)
    if outside:
        raise ClassifierError(
            f"{path}: class index {outside[0]} is outside 0 … {number_of_classes - 1}; indices begin at 0"
        )
