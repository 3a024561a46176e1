"""Which photographs a run is about: found in folders or listed in a manifest, with class and split.

What is chosen, and which split it goes to, follows from the seed and each photograph's name relative to its root
alone: not from the machine, the order of files, or other classes.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from visual_summaries.pipeline.data.archives.address import is_member, member_of
from visual_summaries.pipeline.data.class_map import SHOWN, CatalogError, ClassMap, normalized, read_class_map
from visual_summaries.pipeline.data.decode import local_path
from visual_summaries.pipeline.data.folders import image_folder
from visual_summaries.pipeline.data.found import Found, Listing
from visual_summaries.pipeline.data.readings import readings, unused_entries
from visual_summaries.pipeline.lists import read_list
from visual_summaries.pipeline.names import address_of, readable
from visual_summaries.pipeline.objects import ObjectError, ObjectPath
from visual_summaries.pipeline.suggestions import did_you_mean, few
from visual_summaries.pipeline.texts import ColumnsError, ListError

NUL = "\0"
COLUMNS = ("uri", "label")
T = TypeVar("T")


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


def evenly(items: Sequence[T], most: int) -> list[T]:
    """At most so many of the items, spread over all of them, in order."""
    count = min(most, len(items))
    return [items[at * len(items) // count] for at in range(count)]


@dataclass(frozen=True)
class Catalog:
    """The photographs of a run: classes in order of their labels.

    notes: what a person should know of how labels became classes.
    """

    classes: tuple[CatalogClass, ...]
    notes: tuple[str, ...] = ()

    @property
    def entries(self) -> Iterator[CatalogEntry]:
        """Every photograph, by label, then URI."""
        return (entry for group in self.classes for entry in group.entries)

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
    unused = unused_entries(class_map or {}, listing)
    if class_map and not {*class_map} & {*listing}:
        raise CatalogError(f"{source}: {unused}. A label is the whole name of a folder, as it is written")
    names = ClassMap(class_names, wordnet_ids, {**own, **(class_map or {})}, source)
    if classes is not None:
        listing = select_classes(listing, classes, names)
    try:
        found = names.find(listing)
    except CatalogError as error:
        raise CatalogError(f"{error}\n{source}: {unused}." if unused else str(error)) from None
    catalog = make_catalog(
        listing, found, images_per_class=images_per_class, held_out=held_out, test=test, seed=seed
    )
    notes = readings(names, [label for label, some in listing.items() if some], indices or {})
    return replace(catalog, notes=(*notes, f"{source}: {unused}.") if unused else tuple(notes))


def read_manifest(path: Path | ObjectPath, several_labels: bool = False) -> Listing:
    """Photographs of a list (`pipeline.lists`) with columns `uri` and `label`; others are ignored.

    A relative URI starts at the manifest's folder; an absolute path is one on the disk. Backslashes are those of
    folders where nothing on the disk is called so. The same line twice counts once. A label is the text that is there;
    in tables and JSON the labels of a photograph may be a list.

    Args:
        several_labels: whether a photograph may have them, in a list or in several rows; it is then listed under each.

    Raises:
        CatalogError: not readable, columns missing, a field empty or with a NUL, or one URI with two labels that may
            not have them.
    """
    path = path.absolute()
    labels: dict[str, dict[str, None]] = {}
    listing: dict[str, list[Found]] = {}
    try:
        for number, (written, label), unit in _rows(path):
            try:
                found = _found(path, written, label)
                own = labels.setdefault(found.uri, {})
                if own and label not in own and not several_labels:
                    raise ValueError(
                        f"gives {written} the label {label!r}, an earlier one {next(iter(own))!r}; of a network for "
                        "classes of which a photograph may have several say model.head=sigmoid"
                    )
            except (ObjectError, ValueError) as error:
                raise CatalogError(f"{path}: {unit} {number}: {error}") from None
            if label not in own:
                own[label] = None
                listing.setdefault(label, []).append(found)
    except ListError as error:
        raise CatalogError(f"{path}: cannot read the manifest: {error}{_hint(path, error)}") from None
    except OSError as error:
        raise CatalogError(f"{path}: cannot read the manifest: {error.strerror or error}") from None
    if not listing:
        raise CatalogError(f"{path}: the manifest lists no images")
    return listing


def _rows(path: Path | ObjectPath) -> Iterator[tuple[int, tuple[str, ...], str]]:
    listed = read_list(path, COLUMNS, several=COLUMNS[1:])
    return ((number, row, listed.unit) for number, row in listed.rows)


def _hint(path: Path | ObjectPath, error: ListError) -> str:
    lacks = isinstance(error, ColumnsError) and "uri" in error.missing
    photographs = lacks and path.suffix.lower() == ".parquet" and any("image" in column for column in error.found)
    return "; a file with the photographs in it is given as data.images" if photographs else ""


def _found(path: Path | ObjectPath, written: str, label: str) -> Found:
    """The photograph of a row; raises ValueError or ObjectError where it names none."""
    if not written or not label:
        raise ValueError(f"it has no {'label' if written else 'uri'}")
    found = _resolved(path.parent, written)
    if NUL in found.uri + label:
        # No file system has such names, and each image would be left out for a reason that names no line.
        raise ValueError(f"it has a NUL in its {'uri' if NUL in found.uri else 'label'}")
    return found


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
    if "\\" in written:
        if re.match(r"[A-Za-z]:\\|\\\\", written) and os.name != "nt":
            raise ValueError(f"{written} is a path of Windows: write paths from the list's folder on")
        written = written if os.path.lexists(folder / written) else written.replace("\\", "/")
    location = Path(os.path.normpath(folder / (local_path(written) if "://" in written else written)))
    inside = location.is_relative_to(folder)
    name = location.relative_to(folder).as_posix() if inside else str(location)
    return Found(address_of(str(location)), readable(name))


def select_classes(listing: Listing, classes: Sequence[str], names: ClassMap) -> Listing:
    """The part of a listing that `classes` name, by label or by class name.

    Raises:
        CatalogError: a name that fits no label.
    """
    kept: set[str] = set()
    for wanted in classes:
        matching = {label for label in listing if label == wanted}
        name = normalized(wanted)
        matching = matching or {label for label in listing if normalized(label) == name}
        if len(matching) > 1:
            fitting = few(sorted(matching))
            raise CatalogError(f"the class {wanted!r} may be any of the labels {fitting}: name one of them")
        if not matching:
            indices = names.candidates(wanted)
            if len(indices) > 1:
                fitting = names.named(indices)
                raise CatalogError(f"the class {wanted!r} may be any of the network's {fitting}: name a label")
            matching = {label for label in listing if indices & names.candidates(label)}
        if not matching:
            near = did_you_mean(wanted, listing)
            raise CatalogError(f"no images of the class {wanted!r}; the labels are {few(sorted(listing))}{near}")
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
