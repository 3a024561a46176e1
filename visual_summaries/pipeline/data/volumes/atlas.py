"""The atlas: a volume of integer labels with the names of its segments, and whether a scan lies as it does."""

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from visual_summaries.pipeline.data.annotations import read_annotations
from visual_summaries.pipeline.data.class_map import CatalogError
from visual_summaries.pipeline.data.volumes.files import VolumeError, VolumeFile, open_volume, said
from visual_summaries.pipeline.names import readable

COLUMNS = ("label", "name")
# Of the smallest side of a voxel: headers round, and round differently.
LARGEST_OFFSET = 0.1
# A compressed file of a few bytes may say that it holds any number of them; scans must have as many as the atlas.
MOST_VOXELS = 2**30
DIRECTIONS = (("L", "R"), ("P", "A"), ("I", "S"))
WHOLE = re.compile(r"-?[0-9]{1,18}")


@dataclass(frozen=True)
class LabelVolume:
    """An atlas as its file has it.

    Attributes:
        labels: int64 `[D,H,W]`, 0 outside the segments.
        affine: `[4,4]` float64, where the file says it.
        names: label → name, perhaps of more or fewer segments than there are.
    """

    labels: np.ndarray
    affine: np.ndarray | None
    names: Mapping[int, str] = field(default_factory=dict)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of labels and affine, not of names; hexadecimal."""
        content = hashlib.sha256(f"{self.labels.shape}".encode() + np.ascontiguousarray(self.labels).tobytes())
        content.update(b"" if self.affine is None else np.round(self.affine, 6).tobytes())
        return content.hexdigest()


def read_atlas(path: Path, names: Path | None = None) -> LabelVolume:
    """Read an atlas and, if given, the names of its segments.

    Args:
        path: a volume file, of whole numbers, whatever their type.
        names: CSV with the columns `label` and `name`.

    Raises:
        CatalogError: it names the file.
    """
    try:
        file = open_volume(path)
        if file.channels != 1:
            raise VolumeError(f"has the shape {said(file.shape)}; an atlas is one volume of labels")
        if math.prod(file.spatial) > MOST_VOXELS:
            raise VolumeError(f"has {said(file.spatial)} voxels; take one of at most {MOST_VOXELS:,}")
        labels = _whole(file.values()[0])
    except VolumeError as error:
        raise CatalogError(f"{path}: cannot be used as the atlas: {error}") from None
    return LabelVolume(labels, file.affine, {} if names is None else read_names(names))


def _whole(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind == "f":
        if not np.isfinite(values).all() or (values != np.rint(values)).any() or (abs(values) > 2**53).any():
            raise VolumeError("it holds values that are no whole numbers; each voxel needs its segment's label")
    labels = values.astype(np.int64)
    if labels.min(initial=0) < 0:
        raise VolumeError(f"it holds the label {labels.min()}; segments have labels from 1, all else is 0")
    if not labels.any():
        raise VolumeError("every label is 0: it has no segment")
    return labels


def read_names(path: Path) -> dict[int, str]:
    """Names of segments by label, from a list (`pipeline.lists`) with the columns `label` and `name`.

    Raises:
        CatalogError: not readable, columns missing, a label that is no whole number or has two names, an empty name.
    """
    names: dict[int, str] = {}

    def named(place: str, row: dict[str, str]) -> None:
        label, name = row["label"], readable(row["name"])
        if not WHOLE.fullmatch(label):
            raise ValueError(f"the label {label[:60]!r} is no whole number")
        if not name:
            raise ValueError(f"the segment {label} has an empty name")
        if names.setdefault(int(label), name) != name:
            raise ValueError(f"the segment {label} has another name before")

    read_annotations(path, COLUMNS, (), {}, "names of segments", named)
    return names


def check_place(scan: VolumeFile, atlas: LabelVolume) -> None:
    """Refuse a scan whose voxels are not the atlas's.

    Where one of the two does not say how it lies in space, the shape is all that is compared.

    Raises:
        VolumeError: another shape, orientation or place.
    """
    if scan.spatial != atlas.labels.shape:
        raise VolumeError(
            f"has {said(scan.spatial)} voxels, the atlas {said(atlas.labels.shape)}: bring both to the same space"
        )
    if scan.affine is None or atlas.affine is None:
        return
    own, others = orientation(scan.affine), orientation(atlas.affine)
    if own != others:
        raise VolumeError(f"is oriented {own}, the atlas {others}: bring both to the same orientation")
    offset = _largest_offset(scan.affine, atlas.affine, scan.spatial)
    sides = np.linalg.norm(atlas.affine[:3, :3], axis=0)
    if offset > LARGEST_OFFSET * sides.min():
        raise VolumeError(
            f"lies elsewhere than the atlas: its affine leads a corner {offset:.3g} mm away; register the scan to the "
            "atlas, or resample the atlas to the scan"
        )


def orientation(affine: np.ndarray) -> str:
    """To where the three axes of voxels lead: a letter each of left or right, posterior or anterior, inferior or
    superior, by the nearest axis of the world. Two axes of one name: the volume lies askew."""
    letters = []
    for column in affine[:3, :3].T:
        axis = int(np.abs(column).argmax())
        letters.append(DIRECTIONS[axis][int(column[axis] > 0)])
    return "".join(letters)


def _largest_offset(first: np.ndarray, second: np.ndarray, shape: tuple[int, ...]) -> float:
    """How far apart two affines lead the same corner of a volume, in millimeters."""
    corners = np.stack(np.meshgrid(*[(0, size - 1) for size in shape], indexing="ij"), axis=-1).reshape(-1, 3)
    places = np.c_[corners, np.ones(len(corners))]
    return float(np.linalg.norm((places @ (first - second).T)[:, :3], axis=1).max())
