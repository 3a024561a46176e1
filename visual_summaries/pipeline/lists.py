"""Lists that somebody wrote, all read by one rule: text with delimiters, JSON, JSON lines, Parquet, Arrow.

What a file is follows from its first bytes. Text is UTF-8, or UTF-16 with its mark. Its first line names the columns,
in any order and in large or small letters; fields are apart by `,`, `;`, a tab or `|`, whichever makes the columns of
that line; blanks around a field are no part of it; a field in `"` may hold anything. A line without anything in it is
passed over; one with more or fewer fields than the first is an error.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from visual_summaries.pipeline.documents import DocumentError, parse_json
from visual_summaries.pipeline.objects import ObjectPath, read_named
from visual_summaries.pipeline.suggestions import few
from visual_summaries.pipeline.texts import EMPTY, ColumnsError, ListError, decoded, lines_of

DELIMITERS = ",;\t|"
PARQUET, ARROW = b"PAR1", b"ARROW1"
JSON_SUFFIXES, JSON_LINES_SUFFIXES = (".json",), (".jsonl", ".ndjson")
SEPARATOR_LINE = re.compile(r"sep=([,;\t|])\r?\n?")
BLANKS_BEHIND = re.compile(r'("[^"]*(?:""[^"]*)*") +(?=[,;\t|\r\n]|$)')
TRUTHS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}

TEXT, NUMBER, FLAG = "text", "a number", "true or false"


@dataclass(frozen=True)
class Listed:
    """A list with the columns that were asked for.

    Attributes:
        columns: those of them that are there.
        unit: what a row is called: "line" of text, "row" of a table, "entry" of JSON.
        rows: (number of the row, from 1; its fields in the order of `columns`, as text, "" where there is none).
        whole: columns whose kind is whole numbers, not text that may look like them.
        all_columns: as they are written, also those that were not asked for.
    """

    columns: tuple[str, ...]
    unit: str
    rows: Iterator[tuple[int, tuple[str, ...]]]
    whole: frozenset[str] = field(default=frozenset())
    all_columns: tuple[str, ...] = ()

    def by_name(self) -> Iterator[tuple[str, dict[str, str]]]:
        """("line 7", fields by column) of each row."""
        return ((f"{self.unit} {number}", dict(zip(self.columns, row, strict=True))) for number, row in self.rows)


def read_list(
    path: Path | ObjectPath,
    needed: Sequence[str],
    optional: Sequence[str] = (),
    kinds: Mapping[str, str] | None = None,
    several: Collection[str] = (),
) -> Listed:
    """`listed` of a file's bytes.

    Raises:
        ListError: as `listed`.
        OSError: it cannot be read.
    """
    return listed(read_named(path), path.suffix, needed, optional, kinds, several)


def listed(
    content: bytes,
    suffix: str,
    needed: Sequence[str],
    optional: Sequence[str] = (),
    kinds: Mapping[str, str] | None = None,
    several: Collection[str] = (),
) -> Listed:
    """Choose among the columns of a list; its rows are made one by one.

    Args:
        content, suffix: a file's bytes, and how its name ends.
        needed, optional: names of columns in small letters.
        kinds: column → `NUMBER` or `FLAG`; the others hold text, which whole numbers may stand for.
        several: columns of tables and JSON that may hold lists; the row is then there once for each value.

    Raises:
        ListError: not such a file, a needed column is missing or there twice; `rows` raises it for a line with other
            numbers of fields or a field of another kind.
    """
    suffix = suffix.lower()
    kinds = dict(kinds or {})
    wanted = [*needed, *optional]
    if content.startswith((PARQUET, ARROW)):
        return _of_table(content, needed, wanted, kinds, several)
    if suffix == ".parquet":
        raise ListError("this is no Parquet file" if content else EMPTY)
    text = decoded(content)
    if suffix in JSON_LINES_SUFFIXES:
        return _of_entries(list(_json_lines(text)), "line", needed, wanted, kinds, several)
    if suffix in JSON_SUFFIXES or text.lstrip()[:1] in ("[", "{"):
        try:
            found, unit = _json_entries(text)
        except ListError:
            if suffix in JSON_SUFFIXES:
                raise
        else:
            return _of_entries(found, unit, needed, wanted, kinds, several)
    return _of_text(text, needed, wanted)


def is_table(content: bytes, suffix: str) -> bool:
    """Whether a file can be nothing but a list: a table, or JSON lines by its name."""
    return content.startswith((PARQUET, ARROW)) or suffix.lower() in (".parquet", *JSON_LINES_SUFFIXES)


def number_of(text: str) -> float:
    """A finite number.

    Raises:
        ValueError: it is none; the message says what to write.
    """
    try:
        number = float(text)
    except ValueError:
        hint = f"; write {text.replace(',', '.')}" if re.fullmatch(r"-?[0-9]+,[0-9]+", text) else ""
        raise ValueError(f"{text!r} is not a number{hint}") from None
    if not abs(number) < float("inf"):
        raise ValueError(f"{text} is not finite")
    return number


def flag_of(text: str) -> bool:
    """Whether a field says yes: 1, true or yes against 0, false or no, whatever the case.

    Raises:
        ValueError: it says neither.
    """
    try:
        return TRUTHS[text.lower()]
    except KeyError:
        raise ValueError(f"{text!r} is neither 1 nor 0 (true or false, yes or no)") from None


def _chosen(columns: Sequence[str], needed: Sequence[str], wanted: Sequence[str]) -> dict[str, int]:
    """Wanted column → its place among `columns`."""
    names = [*map(_plain, columns)]
    if missing := [one for one in needed if one not in names]:
        message = f"lacks the columns {', '.join(missing)}; found {few(columns) or 'none'}"
        raise ColumnsError(message, missing, columns)
    _check_once(columns, wanted)
    return {one: names.index(one) for one in wanted if one in names}


def _plain(column: str) -> str:
    return column.strip().lower()


def _check_once(columns: Sequence[str], wanted: Sequence[str]) -> None:
    names = [*map(_plain, columns)]
    for one in wanted:
        if names.count(one) > 1:
            raise ListError(f"the column {one} is there twice; leave one")


def _of_text(text: str, needed: Sequence[str], wanted: Sequence[str]) -> Listed:
    # Python's reader takes blanks behind a quote for a fault.
    text = BLANKS_BEHIND.sub(r"\1", text) if '" ' in text else text
    separator = SEPARATOR_LINE.match(text)
    reader = _readers(text, {*wanted}, separator)
    _, header = next(_numbered(reader))
    places = _chosen(header, needed, wanted)
    rows = _text_rows(reader, len(header), list(places.values()))
    return Listed(tuple(places), "line", rows, all_columns=tuple(header))


def _reader(text: str, delimiter: str) -> Any:
    return csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)


def _readers(text: str, wanted: Collection[str], separator: re.Match[str] | None) -> Any:
    """The text by the delimiter that gives its first line most of the columns that are wanted, or else most columns."""
    if separator:
        reader = _reader(text, separator[1])
        next(reader)
        return reader
    best, most = ",", (-1, -1)
    for delimiter in DELIMITERS:
        try:
            _, header = next(_numbered(_reader(text, delimiter)), (0, []))
        except ListError:
            continue
        names = {one.lower() for one in header}
        if (len(names & {*wanted}), len(header)) > most:
            best, most = delimiter, (len(names & {*wanted}), len(header))
    return _reader(text, best)


def _numbered(reader: Any) -> Iterator[tuple[int, list[str]]]:
    """(line, fields without the blanks around them) of the rows in which anything is."""
    while True:
        before = reader.line_num
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if "unexpected end" in str(error):
                raise ListError(f'line {before + 1}: a quote (") begins here and is not closed') from None
            raise ListError(f"line {before + 1}: {error}") from None
        fields = [one.strip() for one in row]
        if any(fields):
            yield reader.line_num, fields


def _text_rows(reader: Any, columns: int, places: Sequence[int]) -> Iterator[tuple[int, tuple[str, ...]]]:
    for line, fields in _numbered(reader):
        if len(fields) != columns:
            count = f"{len(fields)} field{'s' if len(fields) > 1 else ''}"
            quotes = "; a field with the delimiter in it stands in quotes" if len(fields) > columns else ""
            raise ListError(f"line {line}: {count}, but {columns} fields must be there, as in the first line{quotes}")
        yield line, tuple(fields[place] for place in places)


def _json_entries(text: str) -> tuple[list[Any], str]:
    try:
        found = parse_json(text)
    except DocumentError as error:
        try:
            entries = list(_json_lines(text))
        except ListError:
            entries = []
        if len(entries) > 1:
            return entries, "line"
        raise ListError(str(error)) from None
    if isinstance(found, dict) and {"annotations", "images"} <= set(found):
        raise ListError("this is COCO's format, whose boxes are x, y, width, height: write a CSV of the columns needed")
    if isinstance(found, dict) and not any(isinstance(value, dict | list) for value in found.values()):
        found = [found]
    if not isinstance(found, list):
        raise ListError("JSON must be a list of objects, or an object in each line")
    return found, "entry"


def _json_lines(text: str) -> Iterator[Any]:
    for number, line in enumerate(lines_of(text), start=1):
        if line.strip():
            try:
                yield parse_json(line)
            except DocumentError as error:
                raise ListError(f"line {number}: {error}") from None


def _of_entries(
    entries: list[Any],
    unit: str,
    needed: Sequence[str],
    wanted: Sequence[str],
    kinds: Mapping[str, str],
    several: Collection[str],
) -> Listed:
    rows = []
    for number, entry in enumerate(entries, start=1):
        if not isinstance(entry, dict):
            raise ListError(f"{unit} {number} is no object with the fields {', '.join(needed)}")
        rows.append(_flat(entry))
    columns = list(dict.fromkeys(name for row in rows for name in row))
    places = _chosen(columns, needed, wanted)
    names = {one: columns[place] for one, place in places.items()}
    whole = {
        one for one, name in names.items() if rows and all(type(row.get(name)) in (int, type(None)) for row in rows)
    }

    def fields() -> Iterator[tuple[int, tuple[str, ...]]]:
        for number, row in enumerate(rows, start=1):
            if lacking := [one for one, name in names.items() if one in needed and name not in row]:
                raise ListError(f"{unit} {number} has no field {lacking[0]}")
            for given in _each([row.get(name) for name in names.values()], names, several):
                values = []
                for one, value in zip(names, given, strict=True):
                    try:
                        values.append(_as_text(value, kinds.get(one, TEXT)))
                    except ValueError as error:
                        raise ListError(f"{unit} {number}: {one} is {error}") from None
                yield number, tuple(values)

    return Listed(tuple(names), unit, fields(), frozenset(whole), tuple(columns))


def _flat(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of objects within the entry as its own, where their names are not there already."""
    flat = {name: value for name, value in entry.items() if not isinstance(value, dict)}
    inner = Counter(name for value in entry.values() if isinstance(value, dict) for name in value)
    for value in entry.values():
        if isinstance(value, dict):
            flat |= {name: one for name, one in value.items() if name not in entry and inner[name] == 1}
    return flat


def _as_text(value: Any, kind: str) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool):
        if kind == FLAG:
            return str(value).lower()
    elif isinstance(value, int) or (isinstance(value, float) and kind == NUMBER):
        return repr(value)
    raise ValueError(f"{str(value)[:60]}, not {kind}")


def _of_table(
    content: bytes,
    needed: Sequence[str],
    wanted: Sequence[str],
    kinds: Mapping[str, str],
    several: Collection[str],
) -> Listed:
    # Imported late: it takes a while that a command line need not spend.
    import pyarrow
    import pyarrow.ipc
    import pyarrow.parquet

    try:
        if content.startswith(ARROW):
            table = pyarrow.ipc.open_file(content).read_all()
            whole_schema = table.schema
        else:
            file = pyarrow.parquet.ParquetFile(io.BytesIO(content))
            whole_schema = file.schema_arrow
            _check_once(whole_schema.names, [*wanted, *map(_plain, _structs(whole_schema))])
            # Others may hold whole photographs.
            table = file.read(columns=_possible(whole_schema, wanted))
        for name in _structs(table.schema):
            table = _unfolded(table, name)
        columns = table.schema.names if {*map(_plain, table.schema.names)} >= {*needed} else whole_schema.names
        places = _chosen(columns, needed, wanted)
        types = {one: table.schema.field(place).type for one, place in places.items()}
        for one, found in types.items():
            _check_type(one, found, kinds.get(one, TEXT), one in several)
        values = [table.column(place).to_pylist() for place in places.values()]
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        if isinstance(error, ListError):
            raise
        raise ListError(" ".join(str(error).split())[:300]) from None
    whole = frozenset(one for one, found in types.items() if pyarrow.types.is_integer(found))
    rows = _table_rows(values, list(places), kinds, several)
    return Listed(tuple(places), "row", rows, whole, tuple(whole_schema.names))


def _table_rows(
    columns: Sequence[list[Any]], names: Sequence[str], kinds: Mapping[str, str], several: Collection[str]
) -> Iterator[tuple[int, tuple[str, ...]]]:
    for number, values in enumerate(zip(*columns, strict=True), start=1):
        for row in _each(values, names, several):
            fields = []
            for name, value in zip(names, row, strict=True):
                text = kinds.get(name, TEXT)
                try:
                    fields.append(_as_text(value.decode() if isinstance(value, bytes) else value, text))
                except UnicodeDecodeError:
                    raise ListError(f"row {number}: {name} holds bytes that are no UTF-8 text") from None
                except ValueError as error:
                    raise ListError(f"row {number}: {name} is {error}") from None
            yield number, tuple(fields)


def _each(values: Sequence[Any], names: Iterable[str], several: Collection[str]) -> Iterator[Sequence[Any]]:
    """A row, once for each of the values that columns `several` of it hold; of an empty list there is none."""
    lists = [
        (value or [None]) if name in several and isinstance(value, list) else [value]
        for name, value in zip(names, values, strict=True)
    ]
    return itertools.product(*lists)


def _structs(schema: Any) -> list[str]:
    from pyarrow import types

    return [one.name for one in schema if types.is_struct(one.type)]


def _possible(schema: Any, wanted: Sequence[str]) -> list[str]:
    """Columns that are wanted, or may hold some that are."""
    structs = {name for name in _structs(schema) if {_plain(one.name) for one in schema.field(name).type} & {*wanted}}
    return [name for name in schema.names if _plain(name) in wanted or name in structs]


def _unfolded(table: Any, name: str) -> Any:
    """A column of structs as columns of its fields, where their names are not there already."""
    import pyarrow.compute

    place = table.schema.names.index(name)
    column = table.column(place)
    table = table.remove_column(place)
    for inner in column.type:
        if inner.name not in table.schema.names:
            table = table.append_column(inner.name, pyarrow.compute.struct_field(column, inner.name))
    return table


def _check_type(name: str, found: Any, kind: str, several: bool) -> None:
    from pyarrow import types

    values = found.value_type if several and (types.is_list(found) or types.is_large_list(found)) else found
    values = values.value_type if types.is_dictionary(values) else values
    text = types.is_string(values) or types.is_large_string(values) or types.is_string_view(values)
    binary = types.is_binary(values) or types.is_large_binary(values) or types.is_binary_view(values)
    fits = text or binary or types.is_null(values) or types.is_integer(values)
    fits = fits or (kind == NUMBER and types.is_floating(values)) or (kind == FLAG and types.is_boolean(values))
    if not fits:
        raise ListError(f"the column {name} holds {found}; give {kind}")
