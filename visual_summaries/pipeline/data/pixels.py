"""From the samples that a file stores to pixels: uint8, RGB, whatever their depth, scale and transparency.

Where a file does not say what its values mean, a reading is chosen or the picture refused; what was chosen is a remark.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image

WHITE = 255
DEEPEST = 32
# What is below this share of the full scale throughout was most likely measured with fewer bits.
DIM = 4
BAND = 2**22
UNSAID = "the file does not say their scale"
CONVERT = "convert the image to 8-bit RGB"


class DecodeError(Exception):
    """An image that cannot be used; the message is the reason, on one line, without the file's name.

    Attributes:
        image_id: SHA-256 of the bytes, hexadecimal, where they could be read.
    """

    def __init__(self, reason: str, image_id: str | None = None) -> None:
        super().__init__(reason)
        self.image_id = image_id


def not_supported(what: str, convert: str = CONVERT) -> DecodeError:
    """The error of a file that is whole, and is not read."""
    return DecodeError(f"not supported: {what}; {convert}")


class Remark(NamedTuple):
    """What the brightness of a picture rests on that is not in its file; `kind` is the same for all alike."""

    kind: str
    said: str


@dataclass(frozen=True)
class Pixels:
    """A picture as it is used.

    Attributes:
        image: uint8 [H, W, 3], RGB.
        mode: its colors as Pillow names them.
        remarks: what its brightness rests on that is not in the file.
    """

    image: np.ndarray
    mode: str
    remarks: tuple[Remark, ...] = ()


def eight_bits(values: np.ndarray, bits: int, inverted: bool = False) -> tuple[np.ndarray, tuple[Remark, ...]]:
    """Unsigned integers of `bits` bits on the scale of 8.

    Of more bits the upper 8 are kept; fewer are spread over the whole scale. Of more than 16 bits the scale is the
    smallest of 8, 16 and `bits` that fits, unless that is not clear.

    Args:
        values: [H, ...] of an unsigned type.
        inverted: whether 0 is white.

    Returns:
        (uint8 of the same shape, remarks).

    Raises:
        DecodeError: more than 16 bits without an agreed scale.
    """
    remarks: list[Remark] = []
    most = int(values.max(initial=0))
    full = 2**bits - 1
    if bits > 16 and most < 2 ** (bits - 2):
        scale = 8 if most < 2**8 else 16
        if most >= 2**16:
            raise _no_scale(bits, int(values.min()), most)
        if most:
            said = f"the {bits}-bit values go up to {most:,} and were taken as {scale}-bit: {UNSAID}"
            remarks.append(Remark(f"{bits} as {scale}", said))
        bits = scale
    elif bits > 8 and 0 < most < (full + 1) // DIM:
        shade = most >> (bits - 8)
        limit = f"darker than {WHITE - shade}" if inverted else f"brighter than {shade}"
        remarks.append(_dim(bits, f"the {bits}-bit values go up to {most:,} of {full:,}, so nothing is {limit} of 255"))
    if bits < 8:
        table = np.round(np.arange(2**bits) * WHITE / (2**bits - 1)).astype(np.uint8)
        result = table[values]
    else:
        result = np.empty(values.shape, np.uint8)
        for rows in bands(values):
            result[rows] = (values[rows] >> (bits - 8)) if bits > 8 else values[rows]
    return (WHITE - result if inverted else result), tuple(remarks)


def reduced(values: np.ndarray, bits: int) -> tuple[Remark, ...]:
    """What is to be said of uint8 values that are the upper 8 of `bits` bits."""
    if bits <= 8 or (most := int(values.max(initial=0))) >= 256 // DIM:
        return ()
    return (_dim(bits, f"of the {bits}-bit values nothing is brighter than {most} of 255"),)


def _dim(bits: int, seen: str) -> Remark:
    scale = "if they were measured with fewer bits, convert the image to 8 bits on their scale"
    return Remark(f"dim {bits}", f"{seen}; {scale}")


def signed_eight_bits(values: np.ndarray, bits: int) -> tuple[np.ndarray, tuple[Remark, ...]]:
    """Signed integers [H, ...] on the scale of 8 bits, as `eight_bits`: 32-bit ones from 0 to 65,535.

    Raises:
        DecodeError: the others.
    """
    least, most = int(values.min(initial=0)), int(values.max(initial=0))
    if least < 0 or most >= 2**16 or bits <= 16:
        raise _no_scale(bits, least, most)
    return eight_bits(values.astype(np.uint32), DEEPEST)


def _no_scale(bits: int, least: int, most: int) -> DecodeError:
    return not_supported(
        f"{bits}-bit integer pixels from {least} to {most}, which have no agreed brightness scale",
        "convert the image to 8 or 16 bits",
    )


def floats_to_eight_bits(values: np.ndarray) -> tuple[np.ndarray, tuple[Remark, ...]]:
    """Floating-point values [H, ...] in [0, 1] or in [0, 255] on the scale of 8 bits, and a remark which it was.

    Raises:
        DecodeError: values that are in neither, or not finite.
    """
    least, most = float(values.min(initial=0)), float(values.max(initial=0))
    if not np.isfinite(least + most):
        raise not_supported("floating-point pixels that are not all finite numbers", "convert the image to 8 bits")
    # A picture in [0, 255] has brighter pixels than 2; one in [0, 1] that was sharpened has some above 1.
    if least < 0 or most > WHITE or 1 < most < 2:
        raise not_supported(
            f"floating-point pixels from {least:.4g} to {most:.4g}, which are neither in [0, 1] nor in [0, 255]",
            "convert the image to 8 bits",
        )
    top = 1 if most <= 1 else WHITE
    result = np.empty(values.shape, np.uint8)
    for rows in bands(values):
        result[rows] = np.round(values[rows].astype(np.float64) * (WHITE / top))
    said = f"the floating-point values, up to {most:.4g}, were taken as of [0, {top}]: {UNSAID}"
    return result, (Remark(f"floating {top}", said),)


def on_white(colors: np.ndarray, alpha: np.ndarray, associated: bool = False) -> np.ndarray:
    """Colors [H, W, 3] uint8 with an alpha [H, W] uint8, on white; `associated`: multiplied by it already."""
    result = np.empty(colors.shape, np.uint8)
    for rows in bands(colors):
        cover = alpha[rows][..., None].astype(np.uint16)
        light = colors[rows].astype(np.uint16)
        if not associated:
            # Rounded, as Pillow composites.
            light = (light.astype(np.uint32) * cover + WHITE // 2) // WHITE
        result[rows] = np.minimum(light + (WHITE - cover), WHITE)
    return result


def bands(values: np.ndarray) -> Iterator[slice]:
    """Some rows after the other, so that what is made of them on the way stays small."""
    rows = max(1, BAND // max(1, values[:1].nbytes))
    for start in range(0, len(values), rows):
        yield slice(start, start + rows)


def gray_to_rgb(gray: np.ndarray) -> np.ndarray:
    """[H, W] uint8 as [H, W, 3]."""
    return np.repeat(gray[..., None], 3, axis=2)


def cmyk_to_rgb(inks: np.ndarray) -> np.ndarray:
    """Inks [H, W, 4] uint8, 255 all of it, as RGB [H, W, 3]."""
    return np.asarray(Image.fromarray(np.ascontiguousarray(inks), "CMYK").convert("RGB"))
