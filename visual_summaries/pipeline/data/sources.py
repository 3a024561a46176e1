"""Where a run's photographs lie: class folders, a manifest, tar files or Parquet files, and what was found there."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from visual_summaries.pipeline.data.archives.address import (
    COMPRESSED,
    PARQUET,
    SUFFIXES,
    TAR,
    is_archive,
    parquet_row,
    tar_member,
)
from visual_summaries.pipeline.data.archives.contents import Contents, Fault
from visual_summaries.pipeline.data.archives.parquet import parquet_contents
from visual_summaries.pipeline.data.archives.tar import DECOMPRESS, tar_contents
from visual_summaries.pipeline.data.catalog import read_manifest
from visual_summaries.pipeline.data.class_map import CatalogError
from visual_summaries.pipeline.data.folders import contents, labeled
from visual_summaries.pipeline.data.found import Found, Listing, PassedOver
from visual_summaries.pipeline.objects import ObjectError, ObjectPath

# Looked into at the same time: each waits for its store.
TOGETHER = 8
NAMES = {TAR: ("tar file", "tar shards"), PARQUET: ("Parquet file", "Parquet shards")}
READ_AGAIN = 2.0


@dataclass(frozen=True)
class Source:
    """Photographs and where they lie.

    Attributes:
        listing: photographs by label.
        said: in words, such as "12 tar shards".
        indices: labels that are class indices themselves.
        faults: what was left out already.
        note: what makes reading it slow, if anything does.
        several_labels: whether some photograph has them by a manifest or an archive.
        passed_over: what lies there and is no photograph.
    """

    listing: Listing
    said: str
    indices: Mapping[str, int] = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()
    note: str = ""
    several_labels: bool = False
    passed_over: PassedOver = field(default_factory=PassedOver)


def find_photographs(
    images: Path | ObjectPath | None = None,
    manifest: Path | ObjectPath | None = None,
    several_labels: bool = False,
) -> Source:
    """Photographs in a folder or a file, or those that a manifest lists.

    Args:
        images: a folder of class folders; a .tar or .parquet file; or a folder, or the prefix of a bucket, with such
            files at any depth. Or else
        manifest: as for `read_manifest`.
        several_labels: whether a photograph may have them. Otherwise such a row of a manifest is an error, and such a
            photograph of an archive is left out, and told.

    Raises:
        CatalogError: nothing is there, it is of two kinds, or it cannot be read.
    """
    if images is None:
        listing = read_manifest(manifest, several_labels)
        rows = [found.uri for some in listing.values() for found in some]
        return Source(listing, "a manifest", several_labels=len(set(rows)) < len(rows))
    root = images.absolute()
    if _is_file(root):
        return _of_archives([root], several_labels)
    found = contents(root)
    if not found.archives:
        return Source(labeled(root, found), "class folders", passed_over=found.passed_over)
    if found.example is not None:
        raise CatalogError(
            f"{root} holds both images ({found.example}) and archives ({_relative(root, found.archives[0])}): give one "
            "or the other, in a folder of its own"
        )
    return _of_archives(sorted(found.archives, key=str), several_labels, root, found.passed_over)


def _is_file(root: Path | ObjectPath) -> bool:
    if not is_archive(root.name):
        return False
    try:
        return root.is_file()
    except ObjectError as error:
        raise CatalogError(f"cannot look for {error}") from None


def _relative(root: Path | ObjectPath, archive: Path | ObjectPath) -> str:
    return str(archive).removeprefix(str(root)).lstrip("/")


def _of_archives(
    archives: Sequence[Path | ObjectPath],
    several_labels: bool,
    root: Path | ObjectPath | None = None,
    beside: PassedOver | None = None,
) -> Source:
    kinds: dict[str, Path | ObjectPath] = {}
    for archive in archives:
        if archive.name.lower().endswith(COMPRESSED):
            raise CatalogError(f"{archive} is a compressed tar file: {DECOMPRESS}")
        kinds.setdefault(SUFFIXES[archive.suffix.lower()], archive)
    if len(kinds) > 1:
        both = " and ".join(f"{NAMES[kind][1]} ({_relative(root, first)})" for kind, first in kinds.items())
        raise CatalogError(f"{root} holds {both}: give one or the other, in a folder of its own")
    (kind,) = kinds
    look, address = (tar_contents, tar_member) if kind == TAR else (parquet_contents, _row_address)
    with ThreadPoolExecutor(TOGETHER) as threads:
        looked = list(threads.map(look, archives))
    of_several = any(one.several for one in looked)
    if not several_labels:
        looked = [_without_several(one, address) for one in looked]
    one, several = NAMES[kind]
    said = f"1 {one}" if len(archives) == 1 else f"{len(archives):,} {several}"
    faults = tuple(fault for one in looked for fault in one.faults)
    if not any(one.photographs for one in looked):
        reason = f"; {faults[0].uri}: {faults[0].reason}" if faults else ""
        raise CatalogError(f"{root or archives[0]}: no photographs with a label in {said}{reason}")
    indices = {label: index for one in looked for label, index in one.indices.items()}
    if both := sorted(indices.keys() & {label for one in looked for label in one.named}):
        raise CatalogError(
            f"{root or archives[0]}: the label {both[0]} is a class index in one place and text in another: write "
            "it one way"
        )
    note = ""
    if (again := max(one.read_again for one in looked)) >= READ_AGAIN:
        note = (
            f"Row groups hold photographs of several classes, and are read for each of them: up to {again:.0f} times. "
            "Sorted by label, in row groups of some 100 rows, they are read once or twice."
        )
    passed_over = PassedOver()
    for some in (beside, *(one.passed_over for one in looked)):
        if some is not None:
            passed_over.update(some)
    listing = _listing(looked, address)
    return Source(listing, said, indices, faults, note, several_labels=of_several, passed_over=passed_over)


def _without_several(archive: Contents, address: Callable[[str, int, int, str], str]) -> Contents:
    """An archive without its photographs of several labels, each of which is told."""
    several = archive.several
    faults = {
        one.at: Fault(
            "",
            address(archive.address, one.at, one.size, one.name or str(one.at)),
            f"it has the labels {', '.join(several[one.at])}; of a network for classes of which a photograph may have "
            "several say model.head=sigmoid",
        )
        for one in archive.photographs
        if one.at in several
    }
    kept = [one for one in archive.photographs if one.at not in several]
    return replace(archive, photographs=kept, faults=[*archive.faults, *faults.values()], several={})


def _row_address(archive: str, at: int, size: int, name: str) -> str:
    return parquet_row(archive, at, name)


def _listing(looked: Sequence[Contents], address: Callable[[str, int, int, str], str]) -> Listing:
    """Photographs by label, in the order of archives and places.

    Their names are those that they have, or would have, in class folders, so that their splits are the same.
    """
    counts = Counter((one.label, one.name) for each in looked for one in each.photographs)
    listing: dict[str, list[Found]] = {}
    for each in looked:
        archive = each.address.rpartition("/")[2]
        for one in each.photographs:
            if one.name is None:
                own = f"{archive}/{one.at}"
            else:
                own = one.name if counts[one.label, one.name] == 1 else f"{archive}/{one.name}"
            shown_name = one.name or str(one.at)
            # A photograph of several labels is one all the same.
            label = ", ".join(each.several.get(one.at, [one.label]))
            uri = address(each.address, one.at, one.size, f"{label}/{shown_name}")
            listing.setdefault(one.label, []).append(Found(uri, f"{one.label}/{own}"))
    return dict(sorted(listing.items()))
