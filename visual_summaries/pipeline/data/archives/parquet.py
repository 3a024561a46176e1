"""What is in a Parquet file with photographs, by its columns of labels and names: the bytes stay where they are.

The layout is that of Hugging Face's `datasets`: a column of structs with `bytes` and `path`, or of plain bytes, and one
of labels, text or integers, whose names the metadata of the schema may say.
"""

from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from visual_summaries.pipeline.data.archives.address import parquet_row
from visual_summaries.pipeline.data.archives.columns import Columns, columns_of
from visual_summaries.pipeline.data.archives.contents import Contents, Fault, Photograph, opened
from visual_summaries.pipeline.data.class_map import CatalogError
from visual_summaries.pipeline.names import readable
from visual_summaries.pipeline.objects import ObjectPath, told


def parquet_contents(location: Path | ObjectPath) -> Contents:
    """The photographs of a Parquet file with their labels, row by row.

    Raises:
        CatalogError: it cannot be read, is no Parquet file, its columns are not clear, or its key has `::` in it.
    """
    import pyarrow.parquet

    found, file = opened(location)
    try:
        parquet = pyarrow.parquet.ParquetFile(file.file)
        columns = columns_of(parquet.schema_arrow)
        _read(parquet, columns, found)
    except CatalogError as error:
        raise CatalogError(f"{location}: {error}") from None
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        if isinstance(location, ObjectPath) and isinstance(error, OSError):
            error = told(error, location)
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise CatalogError(f"{location} cannot be read as Parquet: {reason}") from None
    finally:
        file.close()
    return found


def _read(parquet: Any, columns: Columns, found: Contents) -> None:
    wanted = [columns.label, *([columns.image.names] if columns.image.names else [])]
    label_of = _labels(columns, found)
    row, whole, again = 0, 0, 0
    for group in range(parquet.metadata.num_row_groups):
        seen = set()
        table = parquet.read_row_group(group, columns=wanted)
        labels = table.column(columns.label).to_pylist()
        for value, name in zip(labels, _names(table, columns, len(labels)), strict=True):
            try:
                texts = found.labels(row, value, label_of)
            except ValueError as error:
                found.faults.append(Fault("", parquet_row(found.address, row, name or ""), str(error)))
            else:
                found.photographs += [Photograph(text, name, row, 0) for text in texts]
                seen.update(texts)
            row += 1
        size = parquet.metadata.row_group(group).total_byte_size
        whole, again = whole + size, again + size * len(seen)
    found.read_again = again / whole if whole else 1.0


def _names(table: Any, columns: Columns, rows: int) -> Iterator[str | None]:
    """The files' names that the photographs had, of each row."""
    if columns.image.names is None:
        yield from [None] * rows
        return
    for value in table.column(columns.image.name).to_pylist():
        path = value and value["path"]
        # Of a path elsewhere the name alone says something here.
        yield (readable(PurePosixPath(path.replace("\\", "/")).name) or None) if path else None


def _labels(columns: Columns, found: Contents) -> Callable[[Any], str]:
    """What turns a value of the column into a label, or raises a ValueError that says why not."""

    def label(value: Any) -> str:
        if value is None:
            raise ValueError(f"the row has no label in the column {columns.label!r}")
        if isinstance(value, bytes):
            try:
                value = value.decode()
            except UnicodeDecodeError:
                raise ValueError("its label is not UTF-8") from None
        if isinstance(value, str) or columns.classes is None or value < 0:
            return found.label(value)
        if value >= len(columns.classes):
            raise ValueError(f"the label {value}, but the file names {len(columns.classes)} classes")
        return found.label(columns.classes[value])

    return label
