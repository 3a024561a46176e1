"""Photographs in folders, on a disk or in a bucket: what is there, and which label each has."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from visual_summaries.pipeline.data.archives.address import is_archive
from visual_summaries.pipeline.data.class_map import CatalogError
from visual_summaries.pipeline.data.formats import BEGINNING, is_named_image, may_be_image, read_format
from visual_summaries.pipeline.data.found import Found, Listing, PassedOver, is_hidden, is_image, is_image_file
from visual_summaries.pipeline.names import address_of, readable
from visual_summaries.pipeline.objects import ObjectError, ObjectPath

# Folders, or objects whose names do not tell what they are, looked into at the same time.
TOGETHER = 16


@dataclass
class Contents:
    """What lies below a folder; hidden files and folders are left out.

    Attributes:
        listing: label → photographs; folders without any are there, empty.
        loose: an image in no folder, if there is one.
        archives: tar and Parquet files, in order of their names.
        passed_over: everything else.
    """

    listing: dict[str, list[Found]] = field(default_factory=dict)
    loose: str | None = None
    archives: list[Path | ObjectPath] = field(default_factory=list)
    passed_over: PassedOver = field(default_factory=PassedOver)

    @property
    def example(self) -> str | None:
        """Where an image is that is no member of an archive, if there is one."""
        return next((some[0].name for some in self.listing.values() if some), self.loose)


def image_folder(root: Path | ObjectPath) -> Listing:
    """Photographs in `root/<label>/**`, as torchvision's ImageFolder finds them, and those that no name tells.

    Hidden files and folders are left out.

    Returns:
        label → photographs; folders without any are there, empty.

    Raises:
        CatalogError: no such folder, no folders in it, or no photographs in them.
    """
    return labeled(root.absolute(), contents(root.absolute()))


def labeled(root: Path | ObjectPath, found: Contents) -> Listing:
    """The photographs of a folder's contents; errors as `image_folder`."""
    if not found.listing and found.loose:
        raise CatalogError(
            f"{root} holds images, but not in folders; put the images of each class into a folder of its own"
        )
    if not found.listing:
        raise CatalogError(f"{root} has no folders with files; put the images of each class into a folder of its own")
    if not any(found.listing.values()):
        passed = f"; there are {found.passed_over.said}" if found.passed_over.said else ""
        folders = f"{len(found.listing):,} folders" if len(found.listing) > 1 else "folder"
        raise CatalogError(f"{root}: no images in its {folders}{passed}")
    return found.listing


def contents(root: Path | ObjectPath) -> Contents:
    """What lies below `root`, an absolute path of a folder or the prefix of a bucket.

    Raises:
        CatalogError: no such folder or bucket, or it cannot be listed.
    """
    if isinstance(root, ObjectPath):
        return _bucket_contents(root)
    if not root.is_dir():
        problem = "is a file, not a folder" if root.exists() else "does not exist"
        raise CatalogError(
            f"{root} {problem}; give a folder with one folder of images for each class, or .tar or .parquet files"
        )
    found = Contents()
    paths = sorted(root.iterdir())
    found.passed_over.hidden += sum(is_hidden(path.name) for path in paths)
    paths = [path for path in paths if not is_hidden(path.name)]
    with ThreadPoolExecutor(TOGETHER) as threads:
        # Each look into a folder of a network's disk is a wait.
        below = list(threads.map(lambda path: _of_label(root, path) if path.is_dir() else None, paths))
    for path, own in zip(paths, below, strict=True):
        if own is not None:
            for label, some in own.listing.items():
                # A name may be what another one is shown as: both are of the class that they say.
                found.listing.setdefault(label, []).extend(some)
            found.archives += own.archives
            found.passed_over.update(own.passed_over)
        elif is_archive(path.name):
            found.archives.append(path)
        elif is_image_file(path):
            found.loose = found.loose or readable(path.name)
            found.passed_over.loose += 1
        else:
            found.passed_over.add(path.name)
    return found


def _of_label(root: Path, folder: Path) -> Contents:
    """What lies below the folder of one label."""
    found, label = Contents(), readable(folder.name)
    own = found.listing.setdefault(label, [])
    for file in files_below(folder, found.passed_over):
        if is_archive(file):
            found.archives.append(Path(file))
        elif is_image_file(file):
            own.append(_found(file, file.removeprefix(str(root)).replace(os.sep, "/").lstrip("/")))
        else:
            found.passed_over.add(os.path.basename(file), label)
    return found


def _bucket_contents(root: ObjectPath) -> Contents:
    """By one listing of all objects below `root`."""
    try:
        root.check_bucket()
        names = sorted(root.states())
    except ObjectError as error:
        raise CatalogError(f"cannot list the images in {error}") from None
    found, folders = Contents(), {}
    images = _images(root, names)
    for name in names:
        label, separator, rest = name.partition("/")
        file = name.rpartition("/")[2]
        own = None
        if any(map(is_hidden, name.split("/")[:-1])):
            found.passed_over.hidden += 1
            continue
        if separator:
            own = folders.setdefault(label, [])
        if is_archive(file) and not is_hidden(file):
            # Not joined by `/`, which would take an odd key for a path.
            found.archives.append(ObjectPath(root.scheme, root.bucket, f"{root.key}/{name}".lstrip("/")))
        elif name in images and own is not None:
            own.append(Found(f"{root}/{name}", name))
        elif name in images:
            found.loose = found.loose or name
            found.passed_over.loose += 1
        # A key that ends in `/` stands for a folder.
        elif file:
            found.passed_over.add(file, label if separator else None)
    found.listing = dict(sorted(folders.items()))
    return found


def _images(root: ObjectPath, names: Sequence[str]) -> set[str]:
    """The objects that are photographs, by name, or, where the name does not tell, by how they begin."""
    files = {name: name.rpartition("/")[2] for name in names}
    unknown = [
        name
        for name, file in files.items()
        if file and not is_named_image(file) and not any(map(is_hidden, name.split("/"))) and may_be_image(file)
    ]

    def is_one(name: str) -> bool:
        try:
            with ObjectPath(root.scheme, root.bucket, f"{root.key}/{name}".lstrip("/")).open() as file:
                return read_format(file.read(BEGINNING)) is not None
        except (OSError, ValueError):
            return False

    with ThreadPoolExecutor(TOGETHER) as threads:
        told = [name for name, is_image in zip(unknown, threads.map(is_one, unknown), strict=True) if is_image]
    return {*told, *(name for name, file in files.items() if is_image(file))}


def files_below(folder: Path, passed_over: PassedOver) -> Iterator[str]:
    """Files below a folder that are not hidden, folder by folder in order; what is hidden is counted."""
    visited = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        # Links are followed, as torchvision does, but never in a circle.
        if (real := os.path.realpath(parent)) in visited:
            folders.clear()
            continue
        visited.add(real)
        plain = [name for name in (*folders, *files) if not is_hidden(name)]
        passed_over.hidden += len(folders) + len(files) - len(plain)
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        yield from (os.path.join(parent, name) for name in sorted(files) if not is_hidden(name))


def _found(path: str, name: str) -> Found:
    return Found(address_of(path), readable(name))
