"""From the bytes of an image file to RGB pixels, the same for every way of storing them.

Colors are taken as stored: embedded color profiles are not applied, as in torchvision.
"""

from __future__ import annotations

import hashlib
import io
import re
import stat
import warnings
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from PIL import Image, UnidentifiedImageError

from visual_summaries.pipeline.data.archives.address import is_member, member_of
from visual_summaries.pipeline.data.archives.reading import read_member
from visual_summaries.pipeline.data.formats import BEGINNING, FORMATS, JPEG2000, TIFF, other_format, read_format
from visual_summaries.pipeline.data.headers import PNG_DEPTH, PNG_KIND, bits_of, is_rare, jpeg_segments
from visual_summaries.pipeline.data.pixels import (
    DecodeError,
    Pixels,
    Remark,
    eight_bits,
    floats_to_eight_bits,
    gray_to_rgb,
    not_supported,
    reduced,
)
from visual_summaries.pipeline.data.tiff.colors import decode_rare_tiff
from visual_summaries.pipeline.data.tiff.layout import check, layout_of
from visual_summaries.pipeline.names import path_of
from visual_summaries.pipeline.objects import ObjectPath

# Pillow's own limit against decompression bombs: 0.5 GB of RGB.
MAXIMUM_PIXELS = 178_956_970
# More than so many pixels take in any of these formats at 8 bits with transparency, 0.7 GB.
MAXIMUM_BYTES = 2**30
# A progressive JPEG of a few kilobytes can go over its pixels a million times. Photographs do it about 10 times.
MAXIMUM_SCANNED_PIXELS = 12 * MAXIMUM_PIXELS
MAXIMUM_SEGMENTS = 100_000
LONGEST_REASON = 300

ORIENTATION_TAG = 0x0112
ORIENTATIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# What Pillow's readers say of files that are whole, but not of a form that they read.
NOT_READ = re.compile(
    "unsupported|not (yet )?supported|cannot handle"
    "|not implemented|unknown|invalid palette|too large|unable to determine",
    re.IGNORECASE,
)
PNG_GRAY, PNG_COLOR = 0, 2
TO_PLAIN = "convert the image to JPEG or PNG"


@dataclass(frozen=True)
class DecodedImage:
    """An image file, decoded.

    Attributes:
        image: uint8 [H, W, 3], RGB, upright.
        image_id: SHA-256 of the file's bytes, hexadecimal.
        width, height: of `image`, in pixels.
        mode: the file's color mode as Pillow names it ("RGB", "L", "CMYK", "I;16", …).
        remarks: what its brightness rests on that is not in the file.
    """

    image: np.ndarray
    image_id: str
    width: int
    height: int
    mode: str
    remarks: tuple[Remark, ...] = ()


def read_image(uri: str) -> DecodedImage:
    """Read and decode an image.

    Args:
        uri: a path, a `file://` URI, the URI of an object (`s3://`, `gs://`), or the address of a photograph in an
            archive (`tar://`, `parquet://`).

    Raises:
        DecodeError: the file cannot be read or decoded.
    """
    content = read_bytes(uri)
    image_id = hashlib.sha256(content).hexdigest()
    try:
        pixels = _decode(content)
    except DecodeError as error:
        raise DecodeError(str(error), image_id) from None
    height, width = pixels.image.shape[:2]
    return DecodedImage(pixels.image, image_id, width, height, pixels.mode, pixels.remarks)


def decode(content: bytes) -> np.ndarray:
    """Decode an image file.

    The orientation in its EXIF data is applied; transparency is composited on white; of an animation the first
    frame is taken. Values of 16 bits keep their upper 8; floating-point values may lie in [0, 1] or in [0, 255].

    Args:
        content: the bytes of a JPEG, PNG, GIF, WebP, BMP, TIFF, PPM, JPEG 2000 or AVIF file.

    Returns:
        uint8 [H, W, 3], RGB, writable.

    Raises:
        DecodeError: empty, not an image, truncated, damaged, of more than `MAXIMUM_PIXELS`, or of values without
            an agreed brightness scale.
    """
    return _decode(content).image


def read_bytes(uri: str) -> bytes:
    """The bytes at a path or URI (see `read_image`).

    Raises:
        DecodeError: they cannot be read.
    """
    try:
        if is_member(uri):
            member = member_of(uri)
            _check_bytes(member.size)
            content = read_member(member)
            _check_bytes(len(content))
            return content
        # A scheme of one letter is a Windows drive.
        if "://" not in uri or len(scheme := urlsplit(uri).scheme) < 2:
            return _local_bytes(Path(uri))
        if scheme == "file":
            return _local_bytes(local_path(uri))
        with ObjectPath.of(uri).open() as file:
            _check_bytes(file.size())
            return file.read()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or _one_line(error)
        raise DecodeError(f"the file cannot be read: {reason}") from None


def _local_bytes(path: Path) -> bytes:
    # Before it is opened: opening a pipe waits for a writer, opening a device may do anything.
    state = path.stat()
    if not stat.S_ISREG(state.st_mode):
        raise DecodeError(f"the file cannot be read: it is {_kind(state.st_mode)}")
    _check_bytes(state.st_size)
    with path.open("rb") as file:
        return file.read(state.st_size)


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def _check_bytes(size: int) -> None:
    if size > MAXIMUM_BYTES:
        raise DecodeError(f"the file has {size} bytes; at most {MAXIMUM_BYTES} are read, make it smaller")


def _one_line(error: BaseException) -> str:
    """What an exception says, fit for a table: one line, not endless, valid Unicode."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text[:LONGEST_REASON].encode("utf-8", "replace").decode()


def local_path(uri: str) -> Path:
    """The path that a `file://` URI stands for."""
    return Path(path_of(uri))


def _decode(content: bytes) -> Pixels:
    if not content:
        raise DecodeError("the file is empty")
    try:
        with warnings.catch_warnings():
            # Pillow warns of large images and broken EXIF data; the former have a limit here, the latter do not matter.
            warnings.simplefilter("ignore")
            if content.startswith(TIFF):
                layout = layout_of(content)
                _check_pixels(layout.width, layout.height)
                check(layout)
                if not layout.usual:
                    pixels = decode_rare_tiff(content, layout)
                    return _turned(pixels, layout.orientation)
            with _open(content) as image:
                mode = image.mode
                _check_pixels(image.width, image.height)
                if image.format in ("JPEG", "MPO"):
                    _check_scans(content, image.width * image.height)
                image.load()
                if image.format == "PNG" and content[PNG_KIND] in (PNG_GRAY, PNG_COLOR) and image.has_transparency_data:
                    rgb, remarks = _with_transparent_color(image, content[PNG_DEPTH])
                else:
                    rgb, remarks = _rgb(image)
                bits = bits_of(content, image.format)
                if image.format == "JPEG2000" and image.mode in ("L", "RGB") and bits < 8:
                    # Pillow shifts them up: white would be 240 of 4 bits.
                    rgb, _ = eight_bits(rgb >> (8 - bits), bits)
                if bits > 8 and image.mode in ("RGB", "RGBA", "LA"):
                    colors = 1 if image.mode == "LA" else 3
                    remarks += reduced(np.atleast_3d(np.asarray(image))[..., :colors], bits)
                # After loading: PNG may hold EXIF data at its end, and TIFF is turned by Pillow itself.
                return _turned(Pixels(rgb, mode, remarks), _orientation(image))
    except DecodeError:
        raise
    except Image.DecompressionBombError:
        raise DecodeError(_too_large("so many")) from None
    except UnidentifiedImageError:
        raise _unidentified(content) from None
    except MemoryError:
        raise DecodeError("the image does not fit into memory") from None
    except Exception as error:
        # Pillow's readers raise whatever the damaged bytes lead them to.
        raise _broken(content, error) from None


def _turned(pixels: Pixels, orientation: int) -> Pixels:
    rotation = ORIENTATIONS.get(orientation)
    image = Image.fromarray(pixels.image).transpose(rotation) if rotation is not None else pixels.image
    return Pixels(np.array(image), pixels.mode, pixels.remarks)


def _check_pixels(width: int, height: int) -> None:
    if width * height > MAXIMUM_PIXELS:
        raise DecodeError(_too_large(f"{width} × {height}"))


def _open(content: bytes) -> Image.Image:
    Image.init()
    return Image.open(io.BytesIO(content), formats=[name for name in FORMATS if name in Image.OPEN])


def _too_large(size: str) -> str:
    return f"the image has {size} pixels; at most {MAXIMUM_PIXELS} in all are decoded, make it smaller"


def _check_scans(content: bytes, pixels: int) -> None:
    """Refuse a JPEG file that takes forever: libjpeg reads every scan, however many there are."""
    scans = 0
    for number, kind in enumerate(jpeg_segments(content)):
        scans += kind == 0xDA
        if scans * pixels > MAXIMUM_SCANNED_PIXELS:
            raise DecodeError(f"the JPEG file goes over its {pixels} pixels more than {scans - 1} times; save it anew")
        if number == MAXIMUM_SEGMENTS:
            raise DecodeError(f"the JPEG file has more than {MAXIMUM_SEGMENTS} segments; save it anew")


def _broken(content: bytes, error: Exception) -> DecodeError:
    """What to say of a file that its reader gave up."""
    said = _one_line(error)
    if NOT_READ.search(said) or is_rare(content):
        form = f": {said}" if NOT_READ.search(said) else ""
        return not_supported(f"this form of {read_format(content[:BEGINNING]) or 'file'}{form}", TO_PLAIN)
    if content[:BEGINNING].startswith(JPEG2000):
        # The library does not say which it is.
        return DecodeError(f"the JPEG 2000 file is truncated, damaged, or of a form that is not supported: {said}")
    return DecodeError(f"the image is truncated or damaged: {said}")


def _unidentified(content: bytes) -> DecodeError:
    if name := other_format(content):
        return not_supported(f"the format {name}", TO_PLAIN)
    name = read_format(content[:BEGINNING])
    if name == "AVIF" and "AVIF" not in Image.OPEN:
        return not_supported("AVIF, by this version of Pillow", TO_PLAIN)
    if name is None and content[4:8] == b"ftyp":
        kind = content[8:12].decode("ascii", "replace")
        return not_supported(f"the format {kind!r} (HEIF or video)", TO_PLAIN)
    if name is None:
        return DecodeError(f"not an image (starts with {content[:16]!r})")
    said = _refusal(content)
    if said is not None and NOT_READ.search(said):
        return not_supported(f"this form of {name}: {said}", TO_PLAIN)
    return DecodeError(f"the {name} file is truncated or damaged")


def _refusal(content: bytes) -> str | None:
    """What the reader of a file's format says of it, which `Image.open` keeps to itself."""
    for name in FORMATS:
        if name in Image.OPEN:
            factory, accept = Image.OPEN[name]
            if accept is None or accept(content[:16]) is True:
                try:
                    factory(io.BytesIO(content), "").close()
                except Exception as error:
                    return _one_line(error)
    return None


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(ORIENTATION_TAG, 1)
    except Exception:
        # Broken EXIF data is no reason to lose a picture.
        return 1


def _with_transparent_color(image: Image.Image, bits: int) -> tuple[np.ndarray, tuple[Remark, ...]]:
    """As `_rgb`, of a PNG file one color of which is transparent; Pillow takes it for a color of 8 bits."""
    key = image.info["transparency"]
    if bits == 16 and isinstance(key, int):
        transparent = np.asarray(image) == key
        del image.info["transparency"]
        rgb, remarks = _rgb(image)
        return np.where(transparent[..., None], np.uint8(255), rgb), remarks
    if bits == 16:
        del image.info["transparency"]
        rgb, remarks = _rgb(image)
        if (rgb == np.array(key) >> 8).all(axis=2).any():
            # The lower bytes, which would tell, are gone.
            raise not_supported("a PNG file of 16-bit colors one of which is transparent", "give it an alpha channel")
        return rgb, remarks
    if isinstance(key, int) and 1 < bits < 8:
        image.info["transparency"] = key * 255 // (2**bits - 1)
    return _rgb(image)


def _rgb(image: Image.Image) -> tuple[np.ndarray, tuple[Remark, ...]]:
    """Pixels [H, W, 3] uint8, and what is to be said of them."""
    if image.mode.startswith("I;16") or image.mode == "I":
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise not_supported(
                f"32-bit integer pixels from {values.min()} to {values.max()}, which have no agreed brightness scale",
                "convert the image to 8 or 16 bits",
            )
        gray, remarks = eight_bits(values.astype(np.uint16), 16)
        return gray_to_rgb(gray), remarks
    if image.mode == "F":
        gray, remarks = floats_to_eight_bits(np.asarray(image))
        return gray_to_rgb(gray), remarks
    if image.has_transparency_data:
        colors = image.convert("RGBA")
        white = Image.new("RGBA", colors.size, (255, 255, 255, 255))
        return np.asarray(Image.alpha_composite(white, colors).convert("RGB")), ()
    try:
        return np.asarray(image.convert("RGB")), ()
    except ValueError:
        raise not_supported(f"the color mode {image.mode}") from None
