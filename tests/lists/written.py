"""The six lists that people give, each as rows, written in every form that programs write such lists in."""

import codecs
import io
import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet

from visual_summaries.pipeline.data.annotations import read_boxes, read_landmarks
from visual_summaries.pipeline.data.catalog import read_manifest
from visual_summaries.pipeline.data.class_map import read_class_map
from visual_summaries.pipeline.data.parts import read_parts
from visual_summaries.pipeline.models.labels import read_labels

Row = dict[str, str | int | float | bool]


@dataclass(frozen=True)
class Kind:
    """A list: what reads it, its rows, and what is read of them."""

    read: Callable[[Path], Any]
    rows: tuple[Row, ...]
    value: Any


def manifest(path: Path) -> dict[str, list[str]]:
    return {label: [one.name for one in found] for label, found in read_manifest(path).items()}


def boxes(path: Path) -> dict[str, list[list[float]]]:
    return {key: np.asarray(found).tolist() for key, found in read_boxes(path).items()}


ODD = "jäy, the 1e3"
BOX: Row = {"x0": 1, "y0": 2, "x1": 3, "y1": 4.5}
KINDS = {
    "manifest": Kind(
        manifest,
        ({"uri": "a/1 ü.jpg", "label": ODD}, {"uri": "b/2.jpg", "label": "no"}),
        {ODD: ["a/1 ü.jpg"], "no": ["b/2.jpg"]},
    ),
    "boxes": Kind(
        boxes,
        (
            {"file": f"{ODD}/1.jpg", "x0": 1, "y0": 2.5, "x1": 30, "y1": 40},
            {"file": "b/2.jpg", "x0": 0, "y0": 0, "x1": 9, "y1": 9.25},
        ),
        {f"{ODD}/1.jpg": [[1, 2.5, 30, 40]], "b/2.jpg": [[0, 0, 9, 9.25]]},
    ),
    "landmarks": Kind(
        read_landmarks,
        (
            {"file": f"{ODD}/1.jpg", "part": "bill; tip", "x": 1.5, "y": 20, "visible": True},
            {"file": "b/2.jpg", "part": "tail", "x": 3, "y": 4.5, "visible": False},
        ),
        {f"{ODD}/1.jpg": {"bill; tip": (1.5, 20)}},
    ),
    "parts": Kind(
        read_parts,
        (
            {"file": "a/1.jpg", "class": ODD, "part": "he|ad", **BOX, "discriminative": True},
            {"file": "b/2.jpg", "class": "b", "part": "foot", **BOX, "discriminative": False},
        ),
        {"a/1.jpg": {(ODD, "he|ad"): ([1, 2, 3, 4.5], True)}, "b/2.jpg": {("b", "foot"): ([1, 2, 3, 4.5], False)}},
    ),
    "class map": Kind(
        read_class_map,
        ({"label": ODD, "class_index": 11}, {"label": "0123", "class_index": 2}),
        {ODD: 11, "0123": 2},
    ),
    "labels": Kind(
        lambda path: read_labels(path, 3).names,
        ({"index": 2, "name": ODD}, {"index": 0, "name": "012"}, {"index": 1, "name": "no"}),
        ("012", "no", ODD),
    ),
}


def texts(rows: tuple[Row, ...]) -> Iterator[tuple[str, str, bytes]]:
    """(what form, ending of the file, content): all that a text with delimiters may be."""
    ends = {"LF": "\n", "CRLF": "\r\n", "CR": "\r"}
    quotes = ("where needed", "all", "where needed, blanks around")
    encodings = ("utf-8", "utf-8-sig", "utf-16", "utf-32")
    for delimiter, (end, sign), quoted, encoding in itertools.product(",;\t|", ends.items(), quotes, encodings):
        blank = "  " if "blanks" in quoted else ""
        lines = [[*rows[0]], *([str(value) for value in row.values()] for row in rows)]
        text = sign.join(
            delimiter.join(f"{blank}{_field(one, delimiter, quoted == 'all')}{blank}" for one in line) for line in lines
        )
        yield f"{delimiter!r} {end} {quoted} {encoding}", ".csv", text.encode(encoding)
    lines = [_line(rows[0]), *(_line(row.values()) for row in rows)]
    nothing = "," * (len(rows[0]) - 1)
    spaced = ["", lines[0].upper(), *lines[1:], "", f" {nothing} ", ""]
    yield "capitals, empty lines", ".list", "\n".join(spaced).encode()
    semicolons = [line.replace('","', '";"') for line in lines]
    yield "Excel's first line", ".txt", codecs.BOM_UTF8 + "\r\n".join(["sep=;", *semicolons]).encode()
    tabs = [line.replace('","', '"\t"') for line in lines]
    yield "a further column", ".tsv", "\n".join(f"{number}\t{line}" for number, line in enumerate(tabs)).encode()


def _line(fields: Iterable[object]) -> str:
    return ",".join(f'"{one}"' for one in fields)


def _field(text: str, delimiter: str, quoted: bool) -> str:
    return '"' + text + '"' if quoted or delimiter in text or text != text.strip() else text


def documents(rows: tuple[Row, ...]) -> Iterator[tuple[str, str, bytes]]:
    listed = list(rows)
    nested = [{"name of it": {key: value for key, value in row.items()}} for row in rows]
    yield "a list", ".json", json.dumps(listed).encode()
    yield "a list in another file", ".txt", json.dumps(listed, ensure_ascii=False).encode("utf-8-sig")
    yield "lines", ".jsonl", "\r\n".join(map(json.dumps, listed)).encode()
    yield "lines of objects in objects", ".ndjson", "\n".join(map(json.dumps, nested)).encode()


TEXTS: dict[str, Callable[[list[str]], pa.Array]] = {
    "string": lambda values: pa.array(values, pa.string()),
    "large string": lambda values: pa.array(values, pa.large_string()),
    "string view": lambda values: pa.array(values, pa.string_view()),
    "binary without its text mark": lambda values: pa.array([value.encode() for value in values], pa.binary()),
    "large binary": lambda values: pa.array([value.encode() for value in values], pa.large_binary()),
    "dictionary": lambda values: pa.array(values).dictionary_encode(),
    "dictionary of bytes": lambda values: pa.array([value.encode() for value in values]).dictionary_encode(),
}


def tables(rows: tuple[Row, ...]) -> Iterator[tuple[str, str, bytes]]:
    for (kind, make), numbers in itertools.product(TEXTS.items(), (pa.float64(), pa.int32(), pa.string())):
        columns = {}
        for name in rows[0]:
            values = [row[name] for row in rows]
            if isinstance(values[0], str):
                columns[name] = make(values)
            elif isinstance(values[0], bool):
                columns[name] = pa.array(values)
            elif numbers == pa.string():
                columns[name] = make([str(value) for value in values])
            else:
                whole = all(isinstance(value, int) for value in values)
                columns[name] = pa.array(values, numbers if whole == pa.types.is_integer(numbers) else None)
        table = pa.table({"other": pa.array([1.5] * len(rows)), **columns})
        yield f"{kind}, {numbers}", ".parquet", _parquet(table)
    struct = pa.StructArray.from_arrays([*columns.values()], [*columns])
    yield "in a struct", ".parquet", _parquet(pa.table({"annotation": struct}))
    arrow = io.BytesIO()
    with pyarrow.ipc.new_file(arrow, table.schema) as writer:
        writer.write_table(table)
    yield "Arrow", ".arrow", arrow.getvalue()


def _parquet(table: pa.Table) -> bytes:
    written = io.BytesIO()
    pyarrow.parquet.write_table(table, written)
    return written.getvalue()


def damaged(rows: tuple[Row, ...]) -> Iterator[tuple[str, str, bytes, str]]:
    """(what is wrong, ending, content, what must be said of it)."""
    names, values = [*rows[0]], [[*row.values()] for row in rows]
    count = len(names)
    head, first, second = ",".join(names), _line(values[0]), _line(values[1])
    text = "\n".join([head, first, second])
    nul = "line 1 holds a NUL byte: the file is damaged, or UTF-16"
    yield "nothing", ".csv", b"", "the file is empty"
    yield "blanks", ".csv", b"\xef\xbb\xbf \r\n\t\n", "the file is empty"
    yield "Latin-1", ".csv", f"{text}é\n".encode("latin-1"), "line [23] is not UTF-8 .*(é|ä|ü) in Latin-1"
    yield "UTF-16 without a mark", ".csv", text.encode("utf-16-le"), nul
    yield "half of UTF-16", ".csv", text.encode("utf-16")[:-1], "damaged UTF-16"
    yield "a field too many", ".csv", f"{text},9".encode(), f"line 3: {count + 1} fields, but {count} fields"
    short = "\n".join([head, first, "", _line(values[1][:-1])])
    yield "a field too few", ".csv", short.encode(), f"line 4: {count - 1} field"
    yield "a quote that is not closed", ".csv", text[:-1].encode(), "line 3: a quote"
    yield "a quote within", ".csv", text.replace(second, f'"a"b{second[1:]}').encode(), "line 3: "
    yield "a column twice", ".csv", f"{head},{names[0]}\n{first},x\n".encode(), f"{names[0]} is there twice"
    yield "Excel", ".xlsx", b"PK\x03\x04" + bytes(40), "save it as CSV"
    yield "gzip", ".csv", b"\x1f\x8b\x08" + bytes(40), "decompress it"
    yield "no Parquet", ".parquet", text.encode(), "no Parquet file"
    yield "half of Parquet", ".parquet", _parquet(pa.table({names[0]: ["a"]}))[:-9], "Parquet|magic|footer"
    dates = pa.array([0], pa.date32())
    yield "dates", ".parquet", _parquet(pa.table(dict.fromkeys(names, dates))), "holds date32.*; give"
    yield "truths as text", ".parquet", _parquet(pa.table(dict.fromkeys(names, [True]))), "holds bool; give"
    yield "no objects", ".jsonl", b"[1]\n[2]\n", "1 is no object"
