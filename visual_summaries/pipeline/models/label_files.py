"""What files of class names look like, told by their shape: rows of index, name and WordNet id.

A document (JSON, YAML, a Python dictionary) is a list of names, {index: name}, {index: [WordNet id, name]} or
{name: index}, by itself or under one of `KEYS`. A list with a first line that names columns has `name`, and `index` and
`wnid` if they are there. Other text has a class in each line: its name, its WordNet id and name, or its index and name,
where every line is so.
"""

from __future__ import annotations

import csv
import re
import reprlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from visual_summaries.pipeline.documents import DocumentError, parse_json, read_yaml
from visual_summaries.pipeline.lists import Listed, is_table, listed
from visual_summaries.pipeline.objects import ObjectPath, read_named
from visual_summaries.pipeline.suggestions import few
from visual_summaries.pipeline.texts import ListError, decoded, lines_of

INDEX_COLUMNS = ("index", "class_index", "id")
NAME_COLUMNS = ("name", "names", "label", "class", "class_name")
WORDNET_COLUMNS = ("wnid", "wordnet_id", "synset")
COLUMNS = (*INDEX_COLUMNS, *NAME_COLUMNS, *WORDNET_COLUMNS)
# As Hugging Face, timm, ultralytics and torchvision's ImageFolder call them; whether names lead to indices, if known.
KEYS = {
    "id2label": False,
    "label2id": True,
    "class_to_idx": True,
    "names": False,
    **dict.fromkeys(("label_names", "class_names", "classes", "labels")),
}
WORDNET_ID = re.compile(r"n[0-9]{8}")
INDEX = re.compile(r"[0-9]{1,9}")
NEEDED = "it needs the columns index and name (and, if wanted, wnid)"
TABLES = (".csv", ".tsv", ".parquet", ".jsonl", ".ndjson")

Row = tuple[int, str, str]
"""Class index, name, WordNet id or ""."""


def label_rows(path: Path | ObjectPath) -> list[Row]:
    """The rows of a file, in any order, unchecked but for their form.

    Raises:
        ListError: not readable, of no form that is known, or of two that differ; names the line.
        OSError: it cannot be read.
    """
    suffix, content = path.suffix.lower(), read_named(path)
    if is_table(content, suffix):
        return _of_columns(content, suffix, listed(content, suffix, (), COLUMNS))
    text = decoded(content)
    try:
        if suffix in (".yaml", ".yml"):
            return _of_document(read_yaml(text))
        if suffix == ".json":
            return _of_document(parse_json(text))
    except DocumentError as error:
        raise ListError(str(error)) from None
    if text.lstrip()[:1] in ("[", "{"):
        for parse in (parse_json, read_yaml):
            try:
                document = parse(text)
            except DocumentError:
                continue
            if isinstance(document, dict) or (isinstance(document, list) and len(document) > 1):
                return _of_document(document)
    found = _with_names(content, suffix)
    return _of_columns(content, suffix, found) if found else _of_lines(text, suffix in TABLES)


def _with_names(content: bytes, suffix: str) -> Listed | None:
    """The file as a list, if its first line names columns: two at least; of a file that ends as lists do, one."""
    try:
        found = listed(content, suffix, (), COLUMNS)
    except ListError:
        if suffix in TABLES:
            raise
        return None
    has_index = any(name in found.columns for name in INDEX_COLUMNS)
    several = len(found.columns) > 1 or (has_index and len(found.all_columns) > 1)
    return found if several or (suffix in TABLES and found.columns) else None


def _of_columns(content: bytes, suffix: str, found: Listed) -> list[Row]:
    def first(names: Sequence[str]) -> str | None:
        return next((name for name in names if name in found.columns), None)

    index, name, wordnet = first(INDEX_COLUMNS), first(NAME_COLUMNS), first(WORDNET_COLUMNS)
    others = [column for column in map(str.lower, found.all_columns) if column not in COLUMNS]
    if index and not name and len(others) == 1:
        name = others[0]
        found = listed(content, suffix, (), (*COLUMNS, name))
    rows = list(found.by_name())
    if not index:
        # As "label,class" where one of them is the number.
        named = [one for one in NAME_COLUMNS if one in found.columns]
        numbers = [one for one in named if all(INDEX.fullmatch(row[one]) for _, row in rows)]
        names = [one for one in named if one not in numbers]
        if len(numbers) == 1 and names:
            index, name = numbers[0], names[0]
    name = name or (None if index else wordnet)
    if name is None:
        raise ListError(f"{NEEDED}; found {few(found.all_columns) or 'nothing'}")
    return [
        (_index(row[index], f"{place}: ") if index else number, row[name], row[wordnet] if wordnet else "")
        for number, (place, row) in enumerate(rows)
    ]


def _of_document(content: Any) -> list[Row]:
    named = [key for key in KEYS if isinstance(content, dict) and isinstance(content.get(key), dict | list)]
    if not named:
        return _of_plain(content, "", None)
    found = {key: sorted(_of_plain(content[key], f"{key}: ", KEYS[key])) for key in named}
    for key in named[1:]:
        if found[key] != found[named[0]]:
            raise ListError(f"{named[0]} and {key} name the classes differently: leave one of them")
    return found[named[0]]


def _of_plain(content: Any, where: str, inverse: bool | None) -> list[Row]:
    if isinstance(content, list):
        objects = [one for one in content if isinstance(one, dict)]
        same = bool(objects) and len(objects) == len(content)
        indexed = [key for key in INDEX_COLUMNS if same and all(key in one for one in objects)]
        numbers = [_index(one[indexed[0]], where) for one in content] if indexed else range(len(content))
        return [(number, *_name(value, number, where)) for number, value in zip(numbers, content, strict=True)]
    if not isinstance(content, dict):
        raise ListError(f"{where}expected a list of names or an object {{index: name}}, not {reprlib.repr(content)}")
    if inverse is None:
        inverse = _is_inverse(content, where)
    if inverse:
        return [(_index(value, where), key.strip(), "") for key, value in content.items()]
    if wrong := [key for key in content if not INDEX.fullmatch(key)]:
        raise ListError(f"{where}class index {wrong[0]!r} is not a whole number; found {few(content)}")
    return [(int(key), *_name(value, key, where)) for key, value in content.items()]


def _is_inverse(content: dict[str, Any], where: str) -> bool:
    """Whether an object is {name: index}."""
    values = list(content.values())
    if values and all(type(value) is int for value in values):
        return True
    turned = {value: key for key, value in content.items() if isinstance(value, str) and INDEX.fullmatch(value)}
    if len(turned) < len(content) or not _counted(turned):
        return False
    if _counted(content) and turned != content:
        key = next(key for key in content if turned[key] != content[key])
        raise ListError(
            f"{where}{key}: {content[key]} may say that class {key} is called {content[key]}, or that class "
            f"{content[key]} is called {key}: give a list of names in the order of the network's outputs"
        )
    return not _counted(content)


def _counted(indices: Iterable[str]) -> bool:
    """Whether texts are 0, 1, … in some order."""
    return {*indices} == {*map(str, range(len({*indices})))}


def _name(value: Any, index: Any, where: str) -> tuple[str, str]:
    if isinstance(value, list) and value and all(isinstance(one, str) for one in value):
        ids = [one for one in value if WORDNET_ID.fullmatch(one)]
        names = [one.strip() for one in value if one not in ids]
        if len(ids) <= 1 and names:
            return ", ".join(names), "".join(ids)
    wordnet = ""
    if isinstance(value, dict):
        wordnet = next((value[key] for key in WORDNET_COLUMNS if isinstance(value.get(key), str)), "")
        value = next((value[key] for key in NAME_COLUMNS if key in value), value)
    if not isinstance(value, str):
        raise ListError(f"{where}the name of class {index} is {reprlib.repr(value)}, not a string")
    return str(value).strip(), wordnet


def _index(value: Any, where: str) -> int:
    if type(value) not in (int, str) or not INDEX.fullmatch(str(value)):
        raise ListError(f"{where}class index {reprlib.repr(value)} is not a whole number")
    return int(value)


# A line with an index: what separates it, and where the index is.
INDEXED = (
    (re.compile(r"([0-9]{1,9})\s*[\t,;:]\s*(.+)"), (1, 2)),
    (re.compile(r"(.+?)\s*[\t,;:]\s*([0-9]{1,9})"), (2, 1)),
    (re.compile(r"([0-9]{1,9}) +(.+)"), (1, 2)),
    (re.compile(r"(.+?) +([0-9]{1,9})"), (2, 1)),
)
SIGNED = 2


def _of_lines(text: str, is_table: bool = False) -> list[Row]:
    lines = [line.strip() for line in lines_of(text.rstrip())]
    ids = [found[0] for line in lines if (found := WORDNET_ID.match(line))]
    if len(ids) == len(lines):
        rests = [line[9:].strip(" \t,;:") for line in lines]
        if not any(rests):
            return [(at, one, one) for at, one in enumerate(ids)]
        named = _of_lines("\n".join(rests))
        return [(index, name, one) for (index, name, _), one in zip(named, ids, strict=True)]
    readings = [rows for number, form in enumerate(INDEXED) if (rows := _indexed(lines, *form, number < SIGNED))]
    for other in readings[1:]:
        if sorted(other) != sorted(readings[0]):
            raise ListError(_two_readings(lines[0], readings[0][0], other[0]))
    if not readings and is_table and any(len(fields) > 1 for fields in csv.reader(lines)):
        first = next(csv.reader(lines))
        raise ListError(f"{NEEDED} in its first line; found {few(first)}")
    return readings[0] if readings else [(at, _unquoted(line), "") for at, line in enumerate(lines)]


def _indexed(
    lines: Sequence[str], pattern: re.Pattern[str], places: tuple[int, int], signed: bool
) -> list[Row] | None:
    """The lines as index and name, if all are so, no name is there twice, and the indices are 0, 1, … in some order or
    1, 2, … line by line. If only a blank is between them, they must say no other class than the line does."""
    found = [pattern.fullmatch(line) for line in lines]
    if len(lines) < 2 or not all(found):
        return None
    indices = [int(one[places[0]]) for one in found]
    names = [_unquoted(one[places[1]].strip()) for one in found]
    counted = list(range(len(lines)))
    if indices == [one + 1 for one in counted]:
        indices = counted
    if len(set(names)) < len(names):
        return None
    if sorted(indices) != counted:
        if signed and places == (1, 2):
            counted_to = f"0 … {len(lines) - 1}, each once"
            raise ListError(f"the numbers before the names, such as in {lines[0]!r}, are not {counted_to}")
        return None
    if not signed and indices != counted:
        raise ListError(_two_readings(lines[0], (indices[0], names[0], ""), (0, lines[0], "")))
    return [(index, name, "") for index, name in zip(indices, names, strict=True)]


def _two_readings(line: str, one: Row, other: Row) -> str:
    return (
        f"line 1: {line} may be class {one[0]} called {one[1]}, or class {other[0]} called {other[1]}: write a list "
        "with the columns index and name"
    )


def _unquoted(text: str) -> str:
    if len(text) < 2 or not (text[0] == text[-1] == '"'):
        return text
    fields = next(csv.reader([text]), [])
    return fields[0].strip() if len(fields) == 1 else text
