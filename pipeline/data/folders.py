"""Photographs in folders, on a disk or in a bucket: what is there, and which label each has."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.data.archives.address import is_archive
from pipeline.data.class_map import CatalogError
from pipeline.data.found import EXTENSIONS, Found, Listing, is_image
from pipeline.names import address_of, readable
from pipeline.objects import ObjectError, ObjectPath


@dataclass
class Contents:
    """What lies below a folder; hidden files and folders are left out.

    Attributes:
        listing: label → photographs; folders without any are there, empty.
        loose: an image in no folder, if there is one.
        archives: tar and Parquet files, in order of their names.
    """

    listing: dict[str, list[Found]] = field(default_factory=dict)
    loose: str | None = None
    archives: list[Path | ObjectPath] = field(default_factory=list)

    @property
    def example(self) -> str | None:
        """Where an image is that is no member of an archive, if there is one."""
        return next((some[0].name for some in self.listing.values() if some), self.loose)


def image_folder(root: Path | ObjectPath) -> Listing:
    """Photographs in `root/<label>/**`, as torchvision's ImageFolder finds them; hidden files and folders are left out.

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
        raise CatalogError(f"{root}: no images ({', '.join(EXTENSIONS)}) in its {len(found.listing)} folders")
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
    for path in sorted(path for path in root.iterdir() if not path.name.startswith(".")):
        if path.is_dir():
            # A name may be what another one is shown as: both are of the class that they say.
            own = found.listing.setdefault(readable(path.name), [])
            for file in files_below(path, _is_ours):
                if is_archive(file):
                    found.archives.append(Path(file))
                else:
                    own.append(_found(file, file.removeprefix(str(root)).replace(os.sep, "/").lstrip("/")))
        elif is_archive(path.name):
            found.archives.append(path)
        elif is_image(path.name):
            found.loose = found.loose or readable(path.name)
    return found


def _bucket_contents(root: ObjectPath) -> Contents:
    """By one listing of all objects below `root`."""
    try:
        root.check_bucket()
        names = sorted(root.states())
    except ObjectError as error:
        raise CatalogError(f"cannot list the images in {error}") from None
    found, folders = Contents(), {}
    for name in names:
        label, separator, rest = name.partition("/")
        file = name.rpartition("/")[2]
        if any(part.startswith(".") for part in name.split("/")[:-1]):
            continue
        own = folders.setdefault(label, []) if separator else None
        if is_archive(file) and not file.startswith("."):
            # Not joined by `/`, which would take an odd key for a path.
            found.archives.append(ObjectPath(root.scheme, root.bucket, f"{root.key}/{name}".lstrip("/")))
        elif is_image(file) and own is not None:
            own.append(Found(f"{root}/{name}", name))
        elif is_image(file):
            found.loose = found.loose or name
    found.listing = dict(sorted(folders.items()))
    return found


def files_below(folder: Path, wanted: Callable[[str], bool]) -> Iterator[str]:
    """Paths below a folder whose bare names are `wanted`, folder by folder in order; hidden folders are left out."""
    visited = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        # Links are followed, as torchvision does, but never in a circle.
        if (real := os.path.realpath(parent)) in visited:
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (os.path.join(parent, name) for name in sorted(files) if wanted(name))


def _is_ours(name: str) -> bool:
    return is_image(name) or (is_archive(name) and not name.startswith("."))


def _found(path: str, name: str) -> Found:
    return Found(address_of(path), readable(name))
