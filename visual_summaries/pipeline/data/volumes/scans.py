"""Scans in folders, and one of them read as the classifier gets it."""

import hashlib
import os
from pathlib import Path

import numpy as np

from visual_summaries.pipeline.data.class_map import CatalogError
from visual_summaries.pipeline.data.folders import files_below
from visual_summaries.pipeline.data.found import Found, PassedOver
from visual_summaries.pipeline.data.volumes.atlas import LabelVolume, check_place
from visual_summaries.pipeline.data.volumes.files import (
    NEEDS_NIBABEL,
    NIFTI,
    SUFFIXES,
    VolumeError,
    can_read_nifti,
    is_volume,
    open_volume,
)
from visual_summaries.pipeline.names import address_of, readable


def find_scans(root: Path) -> dict[str, list[Found]]:
    """Scans in `root/<class>/**`; hidden files and folders are left out.

    Returns:
        label → scans, in order; folders without any are there, empty.

    Raises:
        CatalogError: no such folder, no folders in it, no scans in them, or NIfTI files and nothing to read them with.
    """
    root = root.absolute()
    kinds = ", ".join(SUFFIXES)
    if not root.is_dir():
        problem = "is a file, not a folder" if root.exists() else "does not exist"
        raise CatalogError(f"{root} {problem}; give a folder with one folder of scans ({kinds}) for each class")
    listing: dict[str, list[Found]] = {}
    loose = ""
    for path in sorted(path for path in root.iterdir() if not path.name.startswith(".")):
        if path.is_dir():
            own = listing.setdefault(readable(path.name), [])
            for file in files_below(path, PassedOver()):
                if not is_volume(os.path.basename(file)):
                    continue
                name = file.removeprefix(str(root)).replace(os.sep, "/").lstrip("/")
                own.append(Found(address_of(file), readable(name)))
        elif is_volume(path.name):
            loose = loose or path.name
    if not any(listing.values()):
        if loose:
            raise CatalogError(
                f"{root} holds scans, but not in folders; put those of each class into a folder of its own"
            )
        raise CatalogError(
            f"{root}: no scans ({kinds}) in its {len(listing)} folders; DICOM series are made into NIfTI files by "
            "dcm2niix"
        )
    if not can_read_nifti():
        for found in (one for some in listing.values() for one in some):
            if found.name.lower().endswith(NIFTI):
                raise CatalogError(f"{found.uri}: {NEEDS_NIBABEL}")
    return listing


def scan_id(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal.

    Raises:
        VolumeError: it cannot be read.
    """
    try:
        if not path.is_file():
            raise VolumeError("there is no such file")
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise VolumeError(f"cannot be read: {error.strerror or error}") from None


def read_scan(
    path: Path, atlas: LabelVolume, below_dark: bool, image_id: str, channels: int | None = None
) -> np.ndarray:
    """The values of a scan that lies as the atlas does, float32 `[C,D,H,W]`, in the file's order and orientation.

    Args:
        below_dark: whether values below 0 are meant: the value of darkness was named. Else 0 is taken for it.
        image_id: the scan's, as `scan_id` gave it; it is checked to be the same file still.
        channels: how many the scan must have; default: as many as it says.

    Raises:
        VolumeError: unreadable, not where the atlas is, not finite, empty, or with values below 0.
    """
    if scan_id(path) != image_id:
        raise VolumeError("the file has changed since the run began; run again")
    try:
        return _values(path, atlas, below_dark, channels)
    except VolumeError as error:
        raise VolumeError(str(error), image_id) from None


def _values(path: Path, atlas: LabelVolume, below_dark: bool, channels: int | None) -> np.ndarray:
    file = open_volume(path)
    check_place(file, atlas)
    if channels not in (None, file.channels):
        raise VolumeError(f"has {file.channels} channels, the first scans have {channels}")
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(file.values(), dtype=np.float32)
    wrong = int((~np.isfinite(values)).sum())
    if wrong:
        raise VolumeError(
            f"{wrong} of {values.size} values are no finite numbers (NaN or infinity): set them to what the "
            "background has"
        )
    least, largest = float(values.min()), float(values.max())
    if least == largest:
        raise VolumeError(f"every value is {least:g}: the scan is empty")
    if least < 0 and not below_dark:
        raise VolumeError(
            f"values below 0 (the least is {least:g}), where 0 stands for darkness: say which value does, by "
            "--dark (for Hounsfield units --dark=-1000)"
        )
    return values
