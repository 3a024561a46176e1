"""Which of a classifier's classes a label (a folder's name) means."""

from __future__ import annotations

import csv
import difflib
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.documents import DocumentError, parse_json, parse_yaml
from pipeline.objects import ObjectPath

INDEX_COLUMNS = ("class_index", "index", "class")
LABEL_COLUMNS = ("label", "folder")
SHOWN = 10
# What Python makes an integer of without a limit.
SMALL_NUMBER = re.compile(r"-?[0-9]{1,1000}")


class CatalogError(ValueError):
    """Photographs or classes that cannot be found; the message says what to do."""


class ClassMap:
    """Finds the class index of a label.

    In this order: an entry of the class map given; the class's WordNet id; its exact name, then its name whatever the
    case, underscores as spaces; likewise one of its comma-separated synonyms; a whole number.

    Args:
        class_names: the classifier's K class names.
        wordnet_ids: its K WordNet ids, if it has any.
        class_map: label → class index or class name, for the labels that are not found by themselves.
        source: the file that `class_map` was read from, for messages.

    Raises:
        CatalogError: an entry of `class_map` means no class.
    """

    def __init__(
        self,
        class_names: Sequence[str],
        wordnet_ids: Sequence[str] | None = None,
        class_map: Mapping[str, int | str] | None = None,
        source: str = "class map",
    ) -> None:
        self.class_names = tuple(class_names)
        self.wordnet_ids = {wordnet_id: index for index, wordnet_id in enumerate(wordnet_ids or ())}
        self.names: dict[str, set[int]] = defaultdict(set)
        self.synonyms: dict[str, set[int]] = defaultdict(set)
        # ImageNet tells "Cardigan" (a dog) and "cardigan" (a garment) apart by the first letter alone.
        self.exact: dict[str, set[int]] = defaultdict(set)
        for index, name in enumerate(self.class_names):
            self.exact[name].add(index)
            self.names[normalized(name)].add(index)
            for synonym in name.split(","):
                self.synonyms[normalized(synonym)].add(index)
        self.given: dict[str, int] = {}
        for label, value in (class_map or {}).items():
            found = [value] if type(value) is int else sorted(self._known(str(value)))
            if len(found) != 1 or not 0 <= found[0] < len(self.class_names):
                raise CatalogError(
                    f"{source}: {label!r} is mapped to {value!r}, which is not one of the classes "
                    f"0 … {len(self.class_names) - 1}{self._near(str(value))}"
                )
            self.given[str(label)] = found[0]

    def candidates(self, label: str) -> set[int]:
        """Every class index that a label may mean: none, one, or several of the same name."""
        if label in self.given:
            return {self.given[label]}
        return self._known(label)

    def _known(self, label: str) -> set[int]:
        if label in self.wordnet_ids:
            return {self.wordnet_ids[label]}
        if label in self.exact:
            return self.exact[label]
        name = normalized(label)
        if name in self.names:
            return self.names[name]
        if name in self.synonyms:
            return self.synonyms[name]
        if SMALL_NUMBER.fullmatch(label) and 0 <= int(label) < len(self.class_names):
            return {int(label)}
        return set()

    def find(self, labels: Iterable[str]) -> dict[str, int]:
        """Label → class index of every label.

        Raises:
            CatalogError: lists the labels that mean no class, or more than one.
        """
        found = {label: self.candidates(label) for label in labels}
        unclear = sorted(label for label, indices in found.items() if len(indices) != 1)
        if unclear:
            raise CatalogError(self._explained(unclear, len(found)))
        return {label: next(iter(indices)) for label, indices in found.items()}

    def _explained(self, unclear: Sequence[str], labels: int) -> str:
        lines = [f"{len(unclear)} of {labels} labels do not say which class they are:"]
        for label in unclear[:SHOWN]:
            indices = sorted(self.candidates(label))
            if indices:
                lines.append(f"  {label!r} may be any of the classes {', '.join(map(str, indices))}")
            else:
                lines.append(f"  {label!r}{self._near(label)}")
        if len(unclear) > SHOWN:
            lines.append(f"  … and {len(unclear) - SHOWN} more")
        if not self.wordnet_ids and any(re.fullmatch(r"n\d{8}", label) for label in unclear):
            lines.append("Some are WordNet ids: give a labels file with a column wnid.")
        lines.append(
            "Give a class map (JSON, YAML or CSV: label, class_index), rename the folders, or select other classes."
        )
        return "\n".join(lines)

    def _near(self, label: str) -> str:
        near = difflib.get_close_matches(normalized(label), self.synonyms, n=3, cutoff=0.6)
        names = dict.fromkeys(
            f"{self.class_names[index]!r} ({index})" for name in near for index in sorted(self.synonyms[name])
        )
        return f": nearest {', '.join(names)}" if names else ""


def normalized(name: str) -> str:
    """A name as it is compared: lower case, underscores as spaces."""
    return re.sub(r"[\s_]+", " ", name).strip().casefold()


def read_class_map(path: Path | ObjectPath) -> dict[str, int | str]:
    """Read a class map: label → class index or class name.

    Args:
        path: `.json` or `.yaml` with an object {label: class index}, or `.csv` with columns label and class_index.

    Raises:
        CatalogError: not readable, or of another form.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CatalogError(f"{path}: cannot read the class map: {getattr(error, 'strerror', error)}") from None
    suffix = path.suffix.lower()
    try:
        if suffix == ".csv":
            return _from_csv(path, text)
        if suffix == ".json":
            content: Any = parse_json(text)
        elif suffix in (".yaml", ".yml"):
            content = parse_yaml(text)
        else:
            raise CatalogError(f"{path}: a class map must end in .json, .yaml or .csv")
    except (DocumentError, csv.Error) as error:
        raise CatalogError(f"{path}: cannot read the class map: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise CatalogError(f"{path}: expected label: class index pairs, not {type(content).__name__}")
    for label, value in content.items():
        if type(value) not in (int, str):
            raise CatalogError(f"{path}: {label!r} is mapped to {value!r}; give a class index or a class name")
    return {str(label): value for label, value in content.items()}


def _from_csv(path: Path | ObjectPath, text: str) -> dict[str, int | str]:
    rows = csv.DictReader(text.splitlines(), skipinitialspace=True)
    columns = rows.fieldnames or ()
    label_column = next((column for column in columns if column.lower() in LABEL_COLUMNS), None)
    index_column = next((column for column in columns if column.lower() in INDEX_COLUMNS), None)
    if label_column is None or index_column is None:
        raise CatalogError(
            f"{path}: needs a header row with columns label and class_index; found {', '.join(columns) or 'none'}"
        )
    class_map: dict[str, int | str] = {}
    for row in rows:
        label, value = row[label_column] or "", (row[index_column] or "").strip()
        if label in class_map and str(class_map[label]) != value:
            raise CatalogError(f"{path}: {label!r} is mapped to both {class_map[label]} and {value}")
        class_map[label] = int(value) if SMALL_NUMBER.fullmatch(value) else value
    return class_map
