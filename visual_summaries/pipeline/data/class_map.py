"""Which of a classifier's classes a label (a folder's name) means."""

from __future__ import annotations

import difflib
import re
import reprlib
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from visual_summaries.pipeline.documents import DocumentError, Nothing, parse_json, read_whole_numbers
from visual_summaries.pipeline.lists import is_table, listed
from visual_summaries.pipeline.names import unnamed
from visual_summaries.pipeline.objects import ObjectPath, read_named
from visual_summaries.pipeline.suggestions import few
from visual_summaries.pipeline.texts import ListError, decoded

INDEX_COLUMNS = ("class_index", "index", "class", "class_name")
LABEL_COLUMNS = ("label", "folder")
SHOWN = 10
# What Python makes an integer of without a limit.
SMALL_NUMBER = re.compile(r"-?[0-9]{1,1000}")


GIVEN, WORDNET, NAME, SYNONYM, NUMBER = "class map", "WordNet id", "name", "synonym", "number"


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
        self.unnamed = self.class_names == tuple(map(unnamed, range(len(self.class_names))))
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
            found = [value] if type(value) is int else sorted(self._meant(label, str(value), source))
            if len(found) != 1 or not 0 <= found[0] < len(self.class_names):
                if len(found) > 1:
                    raise CatalogError(
                        f"{source}: {label!r} is mapped to {value!r}, which fits the classes {self.named(found)}: give "
                        "the index"
                    )
                turned = "; is the map the wrong way round? It says label: class" if _is_index(label) else ""
                raise CatalogError(
                    f"{source}: {label!r} is mapped to {value!r}, which is not one of the classes "
                    f"0 … {len(self.class_names) - 1}{self._near(str(value)) or turned}"
                )
            self.given[str(label)] = found[0]

    def _meant(self, label: str, value: str, source: str) -> set[int]:
        """The classes that the text in a class map may mean."""
        found, how = self._known(value)
        if how != NUMBER and (index := self.numbered(value)) is not None and found != {index}:
            raise CatalogError(
                f"{source}: {label!r} is mapped to {value!r}, which is the {how} of class {min(found)} and the index "
                f"of class {index} ({self.class_names[index]!r}): give the index in a column class_index, or as a "
                "number without quotes"
            )
        return found

    def candidates(self, label: str) -> set[int]:
        """Every class index that a label may mean: none, one, or several of the same name."""
        return self.read(label)[0]

    def read(self, label: str) -> tuple[set[int], str]:
        """Every class index that a label may mean, and by what it is known: `GIVEN`, `WORDNET`, `NAME`, `SYNONYM` or
        `NUMBER`; empty where there is none."""
        if label in self.given:
            return {self.given[label]}, GIVEN
        return self._known(label)

    def named(self, indices: Iterable[int]) -> str:
        """Some of these classes with their names, in a row, for a message."""
        return ", ".join(f"{index} ({self.class_names[index]!r})" for index in sorted(indices)[:SHOWN])

    def _known(self, label: str) -> tuple[set[int], str]:
        if label in self.wordnet_ids:
            return {self.wordnet_ids[label]}, WORDNET
        if label in self.exact:
            return self.exact[label], NAME
        name = normalized(label)
        if name in self.names:
            return self.names[name], NAME
        if name in self.synonyms:
            return self.synonyms[name], SYNONYM
        index = self.numbered(label)
        return ({index}, NUMBER) if index is not None else (set(), "")

    def numbered(self, label: str) -> int | None:
        """The class index that a label is, if it is written as one."""
        found = int(label) if SMALL_NUMBER.fullmatch(label) else -1
        return found if 0 <= found < len(self.class_names) else None

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
                lines.append(f"  {label!r} may be any of the classes {self.named(indices)}")
            else:
                lines.append(f"  {label!r}{self._near(label)}")
        if len(unclear) > SHOWN:
            lines.append(f"  … and {len(unclear) - SHOWN} more")
        if not self.wordnet_ids and any(re.fullmatch(r"n\d{8}", label) for label in unclear):
            lines.append("Some are WordNet ids: give a labels file with a column wnid.")
        if self.unnamed:
            lines.append("The network's classes have no names here: give them by model.labels.")
        elif len(self.class_names) <= 2 * SHOWN:
            lines.append(f"The network's classes: {few(map(repr, self.class_names), 2 * SHOWN)}.")
        if any(map(_is_index, unclear)):
            lines.append(f"Numbers are class indices, 0 … {len(self.class_names) - 1}; counted from 1 they need a map.")
        lines.append(
            "Give a class map (data.class_map, JSON, YAML or CSV: label, class_index), rename the folders, or select "
            "other classes (data.classes)."
        )
        return "\n".join(lines)

    def _near(self, label: str) -> str:
        if self.unnamed:
            return ""
        near = difflib.get_close_matches(normalized(label), self.synonyms, n=3, cutoff=0.6)
        names = dict.fromkeys(
            f"{self.class_names[index]!r} ({index})" for name in near for index in sorted(self.synonyms[name])
        )
        return f": nearest {', '.join(names)}" if names else ""


def _is_index(label: str) -> bool:
    return SMALL_NUMBER.fullmatch(label) is not None


def normalized(name: str) -> str:
    """A name as it is compared: lower case, underscores as spaces, accents composed."""
    return re.sub(r"[\s_]+", " ", unicodedata.normalize("NFC", name)).strip().casefold()


def read_class_map(path: Path | ObjectPath) -> dict[str, int | str]:
    """Read a class map: label → class index or class name. A label is the text that stands there, never what YAML or
    JSON would make of it.

    Args:
        path: JSON or `.yaml` with an object {label: class index}, or a list (`pipeline.lists`) with columns label (or
            folder) and class_index (or index, class, class_name). Numbers without quotes and those in columns of
            indices are class indices; a number as text may be a class's name as well.

    Raises:
        CatalogError: not readable, of another form, or a label is mapped to two classes.
    """
    try:
        suffix, content = path.suffix.lower(), read_named(path)
        if not is_table(content, suffix):
            text = decoded(content)
            if suffix in (".yaml", ".yml"):
                return _pairs(read_whole_numbers(text))
            if suffix == ".json" or text.lstrip().startswith("{"):
                document = parse_json(text)
                if not isinstance(document, list) or not all(isinstance(one, dict) for one in document):
                    return _pairs(document)
        return _from_list(content, suffix)
    except (DocumentError, ListError) as error:
        raise CatalogError(f"{path}: cannot read the class map: {' '.join(str(error).split())}") from None
    except OSError as error:
        raise CatalogError(f"{path}: cannot read the class map: {error.strerror or error}") from None


def _pairs(content: Any) -> dict[str, int | str]:
    if isinstance(content, Nothing):
        return {}
    if not isinstance(content, dict):
        raise ListError(f"expected label: class index pairs, not {type(content).__name__}")
    for label, value in content.items():
        # Of YAML's words for nothing only none at all is no text.
        if not isinstance(value, int | str) or isinstance(value, bool) or value == "":
            shown = reprlib.repr(value) if value != "" else "nothing"
            raise ListError(f"{label!r} is mapped to {shown}; give a class index or a class name")
    return {str(label): value if isinstance(value, int) else str(value) for label, value in content.items()}


def _from_list(content: bytes, suffix: str) -> dict[str, int | str]:
    found = listed(content, suffix, (), (*LABEL_COLUMNS, *INDEX_COLUMNS))
    labels = [column for column in found.columns if column in LABEL_COLUMNS]
    values = [column for column in found.columns if column in INDEX_COLUMNS]
    if not labels or not values:
        raise ListError(f"it needs the columns label and class_index; found {few(found.all_columns) or 'none'}")
    class_map: dict[str, int | str] = {}
    for place, row in found.by_name():
        label, value = row[labels[0]], row[values[0]]
        if not label or not value:
            raise ListError(f"{place}: it has no {'class' if label else 'label'}")
        if label in class_map and str(class_map[label]) != value:
            raise ListError(f"{place}: {label!r} is mapped to both {class_map[label]} and {value}")
        index = values[0] in found.whole or values[0] in ("class_index", "index")
        class_map[label] = int(value) if index and SMALL_NUMBER.fullmatch(value) else value
    return class_map
