"""Which photographs a run is about: found in folders or listed in a manifest, with class and split.

What is chosen, and which split it goes to, follows from the seed and each photograph's name relative to its root
alone: not from the machine, the order of files, or other classes.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.data.archives.address import is_member, member_of
from pipeline.data.class_map import SHOWN, CatalogError, ClassMap, normalized, read_class_map
from pipeline.data.decode import local_path
from pipeline.data.folders import image_folder
from pipeline.data.found import Found, Listing
from pipeline.names import address_of, readable
from pipeline.objects import ObjectError, ObjectPath, read_buffer
from pipeline.suggestions import did_you_mean

NUL = "\0"
COLUMNS = ("uri", "label")
# Of a manifest: its number, from 1, and what it says; one of a list for each label.
Row = tuple[int, str, str]


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """A photograph of a run.

    Attributes:
        uri: path, or URI of a file that is not on this machine.
        label: its folder's name, or its label in the manifest.
        class_index: the classifier's class that the label means.
        split: "fit" (explained and clustered), "held-out" or "test".
    """

    uri: str
    label: str
    class_index: int
    split: str


@dataclass(frozen=True)
class CatalogClass:
    """A label and its photographs in order of their URIs, possibly none."""

    label: str
    class_index: int
    entries: tuple[CatalogEntry, ...]


@dataclass(frozen=True)
class Catalog:
    """The photographs of a run: classes in order of their labels."""

    classes: tuple[CatalogClass, ...]

    @property
    def entries(self) -> Iterator[CatalogEntry]:
        """Every photograph, by label, then URI."""
        return (entry for group in self.classes for entry in group.entries)

    @property
    def empty_labels(self) -> tuple[str, ...]:
        """Labels without any photograph."""
        return tuple(group.label for group in self.classes if not group.entries)

    def __len__(self) -> int:
        return sum(len(group.entries) for group in self.classes)


def load_catalog(
    *,
    images: Path | ObjectPath | None = None,
    manifest: Path | ObjectPath | None = None,
    listing: Listing | None = None,
    indices: Mapping[str, int] | None = None,
    class_names: Sequence[str],
    wordnet_ids: Sequence[str] | None = None,
    class_map: Path | ObjectPath | Mapping[str, int | str] | None = None,
    classes: Sequence[str] | None = None,
    images_per_class: int | None = None,
    held_out: float = 0.0,
    test: float = 0.0,
    seed: int = 0,
) -> Catalog:
    """Find the photographs of a run.

    Args:
        images: a folder as for `image_folder`; or else
        manifest: a file as for `read_manifest`; or else
        listing: what one of these gave.
        indices: labels of the listing that are class indices themselves, whatever the classes are called.
        class_names, wordnet_ids: the classifier's.
        class_map: file as for `read_class_map`, or label → class index, for labels that `ClassMap` does not find.
        classes: labels, or class names, to keep; all when None.
        images_per_class, held_out, test, seed: see `make_catalog`.

    Raises:
        CatalogError: nothing there, a label without a class, a class without a label.
    """
    if sum(one is not None for one in (images, manifest, listing)) != 1:
        raise CatalogError("give either a folder of images or a manifest")
    if listing is None:
        listing = image_folder(images) if images is not None else read_manifest(manifest)
    source = "class map"
    if isinstance(class_map, Path | ObjectPath):
        source, class_map = str(class_map), read_class_map(class_map)
    own = {label: index for label, index in (indices or {}).items() if 0 <= index < len(class_names)}
    class_map = {**own, **(class_map or {})}
    names = ClassMap(class_names, wordnet_ids, class_map, source)
    if classes is not None:
        listing = select_classes(listing, classes, names)
    return make_catalog(
        listing, names.find(listing), images_per_class=images_per_class, held_out=held_out, test=test, seed=seed
    )


def read_manifest(path: Path | ObjectPath, several_labels: bool = False) -> Listing:
    """Photographs listed in a CSV or Parquet file with columns `uri` and `label`; others are ignored.

    A relative URI starts at the manifest's folder; an absolute path is one on the disk. The same line twice
    counts once. In Parquet the labels of a photograph may be a list.

    Args:
        several_labels: whether a photograph may have them, in a list or in several rows; it is then listed under each.

    Raises:
        CatalogError: not readable, columns missing, a field empty or with a NUL, or one URI with two labels that may
            not have them.
    """
    path = path.absolute()
    readers = {".csv": _csv_rows, ".parquet": _parquet_rows}
    if path.suffix.lower() not in readers:
        raise CatalogError(f"{path}: a manifest must end in .csv or .parquet")
    try:
        rows = readers[path.suffix.lower()](path)
    except (OSError, ValueError, csv.Error) as error:
        if isinstance(error, CatalogError):
            raise
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise CatalogError(f"{path}: cannot read the manifest: {reason}") from None
    labels: dict[str, dict[str, None]] = {}
    listing: dict[str, list[Found]] = {}
    for number, written, label in rows:
        if not written or not label:
            raise CatalogError(f"{path}: row {number} has no {'label' if written else 'uri'}")
        try:
            found = _resolved(path.parent, written)
        except (ObjectError, ValueError) as error:
            raise CatalogError(f"{path}: row {number}: {error}") from None
        if NUL in found.uri + label:
            # No file system has such names, and each image would be left out for a reason that names no line.
            raise CatalogError(f"{path}: row {number} has a NUL in its {'uri' if NUL in found.uri else 'label'}")
        own = labels.setdefault(found.uri, {})
        if own and label not in own and not several_labels:
            raise CatalogError(
                f"{path}: row {number} gives {written} the label {label!r}, an earlier one {next(iter(own))!r}; of a "
                "network for classes of which a photograph may have several say model.head=sigmoid"
            )
        if label not in own:
            own[label] = None
            listing.setdefault(label, []).append(found)
    if not listing:
        raise CatalogError(f"{path}: the manifest lists no images")
    return listing


def _resolved(folder: Path | ObjectPath, written: str) -> Found:
    if is_member(written):
        member_of(written)
        return Found(written, written)
    if "://" in written and not written.startswith("file://"):
        # Not for its result: what is no address of a store, or holds credentials or settings, is refused.
        ObjectPath.of(written)
        return Found(written, written)
    if isinstance(folder, ObjectPath) and not written.startswith(("file://", "/")):
        location = folder / written
        inside = str(location).startswith(f"{folder}/")
        return Found(str(location), str(location)[len(str(folder)) + 1 :] if inside else str(location))
    folder = Path("/") if isinstance(folder, ObjectPath) else folder
    location = Path(os.path.normpath(folder / (local_path(written) if "://" in written else written)))
    inside = location.is_relative_to(folder)
    name = location.relative_to(folder).as_posix() if inside else str(location)
    return Found(address_of(str(location)), readable(name))


def _csv_rows(path: Path | ObjectPath) -> list[Row]:
    text = path.read_bytes().decode("utf-8-sig")
    before, nul, _ = text.partition(NUL)
    if nul:
        line = before.count("\n") + 1
        raise CatalogError(f"{path}: line {line} holds a NUL byte: the file is damaged, or UTF-16; save it as UTF-8")
    with io.StringIO(text, newline="") as file:
        reader = csv.DictReader(file, skipinitialspace=True)
        _check_columns(path, reader.fieldnames or ())
        return [
            (number, (row["uri"] or "").strip(), (row["label"] or "").strip())
            for number, row in enumerate(reader, start=1)
        ]


def _parquet_rows(path: Path | ObjectPath) -> list[Row]:
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(read_buffer(path))
        schema = file.schema_arrow
        _check_columns(path, schema.names)
        _check_types(path, {name: schema.field(name).type for name in COLUMNS})
        table = file.read(columns=list(COLUMNS))
        pairs = zip(*(table[name].to_pylist() for name in COLUMNS), strict=True)
        return [
            (number, *("" if value is None else str(value) for value in (uri, label)))
            for number, (uri, labels) in enumerate(pairs, start=1)
            # Of an empty list there is no label, which is said of the row.
            for label in ((labels or [None]) if isinstance(labels, list) else [labels])
        ]
    except pyarrow.ArrowException as error:
        raise CatalogError(f"{path}: cannot read the manifest: {' '.join(str(error).split())}") from None


def _check_types(path: Path | ObjectPath, types: Mapping[str, Any]) -> None:
    from pyarrow import types as is_type

    for name, found in types.items():
        lists = name == "label" and (is_type.is_list(found) or is_type.is_large_list(found))
        values = found.value_type if lists else found
        values = values.value_type if is_type.is_dictionary(values) else values
        text = is_type.is_string(values) or is_type.is_large_string(values) or is_type.is_string_view(values)
        if not (text or is_type.is_null(values) or (name == "label" and is_type.is_integer(values))):
            raise CatalogError(f"{path}: the column {name} holds {found}; give text")


def _check_columns(path: Path | ObjectPath, columns: Sequence[str]) -> None:
    missing = [column for column in COLUMNS if column not in columns]
    if missing:
        raise CatalogError(
            f"{path}: a manifest needs the columns uri and label; {' and '.join(missing)} missing, "
            f"found {', '.join(columns) or 'none'}"
        )
    for column in COLUMNS:
        if list(columns).count(column) > 1:
            raise CatalogError(f"{path}: the column {column} is there twice; leave one")


def select_classes(listing: Listing, classes: Sequence[str], names: ClassMap) -> Listing:
    """The part of a listing that `classes` name, by label or by class name.

    Raises:
        CatalogError: a name that fits no label.
    """
    kept: set[str] = set()
    for wanted in classes:
        matching = {label for label in listing if normalized(label) == normalized(wanted)}
        if not matching:
            indices = names.candidates(wanted)
            matching = {label for label in listing if indices & names.candidates(label)}
        if not matching:
            shown = ", ".join(sorted(listing)[:SHOWN]) + (", …" if len(listing) > SHOWN else "")
            raise CatalogError(
                f"no images of the class {wanted!r}; the labels are {shown}{did_you_mean(wanted, listing)}"
            )
        kept |= matching
    return {label: listing[label] for label in listing if label in kept}


def make_catalog(
    listing: Listing,
    class_indices: Mapping[str, int],
    *,
    images_per_class: int | None = None,
    held_out: float = 0.0,
    test: float = 0.0,
    seed: int = 0,
) -> Catalog:
    """Choose among the photographs and split them.

    Photographs are ranked within their label by SHA-256 of (seed, purpose, name): the first `images_per_class` are
    taken, and by another ranking the first `test` of these are the test split, the next `held_out` held out.
    Numbers are rounded to the nearest; a label with photographs always keeps one to fit.

    Args:
        listing: photographs by label.
        class_indices: class index of every label.
        images_per_class: at most so many of each label, splits together; all when None.
        held_out, test: shares in [0, 1], below 1 together.
        seed: of both rankings.

    Raises:
        CatalogError: shares or numbers that leave nothing.
    """
    if held_out < 0 or test < 0 or held_out + test >= 1:
        raise CatalogError(f"held-out {held_out} and test {test} must not be negative, and leave a share to fit")
    if images_per_class is not None and images_per_class < 1:
        raise CatalogError(f"images per class is {images_per_class}; it must be at least 1")
    classes = []
    for label in sorted(listing):
        chosen = sorted(listing[label], key=lambda found: _rank(seed, "choice", found.name))[:images_per_class]
        chosen.sort(key=lambda found: _rank(seed, "split", found.name))
        tested = min(_rounded(len(chosen) * test), max(len(chosen) - 1, 0))
        not_fitted = min(_rounded(len(chosen) * (test + held_out)), max(len(chosen) - 1, 0))
        entries = [
            CatalogEntry(
                found.uri,
                label,
                class_indices[label],
                "test" if position < tested else "held-out" if position < not_fitted else "fit",
            )
            for position, found in enumerate(chosen)
        ]
        entries.sort(key=lambda entry: entry.uri)
        classes.append(CatalogClass(label, class_indices[label], tuple(entries)))
    catalog = Catalog(tuple(classes))
    if not len(catalog):
        raise CatalogError(f"no images of {', '.join(sorted(listing)[:SHOWN]) or 'any class'}")
    return catalog


def _rank(seed: int, purpose: str, name: str) -> bytes:
    return hashlib.sha256(f"{seed}|{purpose}|{name}".encode()).digest()


def _rounded(value: float) -> int:
    # The small term is for 0.15 + 0.15 and the like, which must not fall below their half.
    return math.floor(value + 0.5 + 1e-9)
