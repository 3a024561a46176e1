"""Volumes of NumPy's and NIfTI's files: what a file says that it holds, and its values, read when asked for.

Nothing is unpickled, and of a file that says that it holds more than is wanted nothing but that is read.
"""

import importlib.util
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.lib import format as numpy_format

from visual_summaries.pipeline.data.decode import DecodeError

NIFTI = (".nii", ".nii.gz")
SUFFIXES = (*NIFTI, ".npy", ".npz")
AFFINE = "affine"
NEEDS_NIBABEL = "NIfTI files are read by nibabel: pip install 'visual-summaries[volumes]'"


class VolumeError(DecodeError):
    """A file that holds no volume that can be used; the message is the reason, on one line, without the file's name."""


@dataclass(frozen=True)
class VolumeFile:
    """A file that holds a volume.

    Attributes:
        shape: of its values, as the file has them.
        affine: `[4,4]` float64 from voxels to millimeters, where the file says it.
        channels_last: whether a fourth axis, of channels, is the last one; else it is the first.
        read: reads the values; raises whatever damaged bytes lead to.
    """

    shape: tuple[int, ...]
    affine: np.ndarray | None
    channels_last: bool
    read: Callable[[], np.ndarray]

    @property
    def spatial(self) -> tuple[int, ...]:
        """Size along the three axes of space.

        Raises:
            VolumeError: neither three axes nor three and one of channels.
        """
        if len(self.shape) == 3:
            return self.shape
        if len(self.shape) == 4:
            return self.shape[:3] if self.channels_last else self.shape[1:]
        raise VolumeError(
            f"has the shape {said(self.shape)}: a volume has three axes, or one more for channels "
            f"({'the last' if self.channels_last else 'the first'})"
        )

    @property
    def channels(self) -> int:
        """How many volumes it holds."""
        return 1 if len(self.shape) == 3 else self.shape[-1 if self.channels_last else 0]

    def values(self) -> np.ndarray:
        """The values `[C,D,H,W]` of the file's own kind of number.

        Raises:
            VolumeError: they cannot be read.
        """
        spatial = self.spatial
        try:
            values = self.read()
        except Exception as error:  # Damaged bytes lead the readers to errors of any kind.
            raise VolumeError(f"truncated or damaged: {_reason(error)}; copy it again") from None
        if len(self.shape) == 4 and self.channels_last:
            values = np.moveaxis(values, -1, 0)
        return values.reshape(self.channels, *spatial)


def is_volume(name: str) -> bool:
    """Whether a file, by its bare name, is a volume that is not hidden."""
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def can_read_nifti() -> bool:
    """Whether the library that reads NIfTI's files is there."""
    return importlib.util.find_spec("nibabel") is not None


def open_volume(path: Path) -> VolumeFile:
    """What a file says of its volume; its values are not read yet.

    Raises:
        VolumeError: missing, damaged, of another kind, or not of plain numbers.
    """
    name = path.name.lower()
    readers = {".npy": _npy, ".npz": _npz, ".nii": _nifti, ".nii.gz": _nifti}
    read = next((reader for suffix, reader in readers.items() if name.endswith(suffix)), None)
    if read is None:
        raise VolumeError(f"is none of {', '.join(SUFFIXES)}")
    try:
        if not path.is_file():
            raise VolumeError("there is no such file")
        return read(path)
    except VolumeError:
        raise
    except Exception as error:
        raise VolumeError(f"damaged or of another kind: {_reason(error)}") from None


def said(shape: tuple[int, ...]) -> str:
    """A shape in words."""
    return " × ".join(map(str, shape)) or "of a single number"


def _npy(path: Path) -> VolumeFile:
    with path.open("rb") as file:
        shape = _shape_of(file)

    def read() -> np.ndarray:
        with path.open("rb") as file:
            return numpy_format.read_array(file, allow_pickle=False)

    return VolumeFile(shape, None, False, read)


def _npz(path: Path) -> VolumeFile:
    def member(name: str) -> np.ndarray:
        with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as file:
            return numpy_format.read_array(file, allow_pickle=False)

    with zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
        affine = None
        if AFFINE in names:
            with archive.open(f"{AFFINE}.npy") as file:
                if _shape_of(file) != (4, 4):
                    raise VolumeError(f"its array {AFFINE} is not 4 × 4")
            affine = _checked(member(AFFINE))
        arrays = [name for name in names if name != AFFINE]
        if len(arrays) != 1:
            found = f"the arrays {', '.join(arrays)}" if arrays else "no array"
            raise VolumeError(f"holds {found}: keep one, the volume, and if need be its {AFFINE}")
        with archive.open(f"{arrays[0]}.npy") as file:
            shape = _shape_of(file)
    return VolumeFile(shape, affine, False, lambda: member(arrays[0]))


def _shape_of(file: BinaryIO) -> tuple[int, ...]:
    """Shape by the header of an array, which must be of plain numbers."""
    version = numpy_format.read_magic(file)
    readers = {(1, 0): numpy_format.read_array_header_1_0, (2, 0): numpy_format.read_array_header_2_0}
    if version not in readers:
        raise VolumeError("damaged or of another kind: no version of the format that holds plain numbers")
    shape, _, kind = readers[version](file)
    _check_kind(kind)
    return shape


def _nifti(path: Path) -> VolumeFile:
    if not can_read_nifti():
        raise VolumeError(NEEDS_NIBABEL)
    import nibabel

    image = nibabel.load(path, mmap=False)
    if not isinstance(image, nibabel.Nifti1Pair):
        raise VolumeError(f"is no NIfTI file but {type(image).__name__}")
    _check_kind(image.get_data_dtype())
    # Without either code the affine is a guess of the reader's.
    known = int(image.header["qform_code"]) or int(image.header["sform_code"])
    affine = _checked(image.affine) if known else None
    return VolumeFile(tuple(map(int, image.shape)), affine, True, lambda: np.asanyarray(image.dataobj))


def _check_kind(kind: np.dtype) -> None:
    if kind.kind not in "biuf":
        what = "Python objects, which are never unpickled" if kind.hasobject else f"values of the type {kind}"
        raise VolumeError(f"holds {what}: save it as plain real numbers")


def _checked(affine: np.ndarray) -> np.ndarray:
    affine = np.asarray(affine, dtype=np.float64)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
        raise VolumeError("its affine leads nowhere: it is not finite, or flat")
    return affine


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
