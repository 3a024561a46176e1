"""Public files of pictures, in the source archives of packages, and what a second decoder makes of each.

The archives lie in a folder, as `pip download --no-binary :all: --no-deps pillow glymur pypng` leaves them, or
`python benchmarks/image_suites.py` does. They are read where they are; nothing of them is unpacked or run.
"""

import binascii
import io
import re
import struct
import tarfile
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import tifffile

from visual_summaries.pipeline.data.decode import DecodeError, decode
from visual_summaries.pipeline.data.formats import BEGINNING, read_format

PACKAGES = ("pillow", "glymur", "pypng")
LARGEST = 5_000_000
# Between two decoders of the same file: the rounding of a transform, or of a transparency.
ROUNDING = 3
PNG_SUITE = re.compile(rb"'(\w+)': _dehex\(b\"\"\"\n([0-9a-f\n]+)\"\"\"\)")
SAME, REFUSED, DIFFERS, ALONE = "same", "refused", "differs", "no second decoder"


class Verdict(NamedTuple):
    """What became of a file: one of the words above, and the reason or the largest difference with its decoder."""

    word: str
    said: str


def pictures_in(archive: Path) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the files of formats that are read, in a source archive or below a folder."""
    if archive.is_dir():
        for path in sorted(one for one in archive.rglob("*") if one.is_file()):
            if path.stat().st_size <= LARGEST and read_format((content := path.read_bytes())[:BEGINNING]):
                yield path.name, content
        return
    with tarfile.open(archive) as members:
        for member in members:
            if not member.isfile() or not 0 < member.size <= LARGEST:
                continue
            content = members.extractfile(member).read()
            name = Path(member.name).name
            if name == "pngsuite.py":
                yield from ((f"{one[1].decode()}.png", binascii.unhexlify(one[2].replace(b"\n", b"")))
                            for one in PNG_SUITE.finditer(content))  # fmt: skip
            elif read_format(content[:BEGINNING]):
                yield name, content


def verdict(content: bytes) -> Verdict:
    """Compare the decoder's pixels with those of whichever second decoder comes closest."""
    try:
        ours = decode(content).astype(int)
    except DecodeError as error:
        return Verdict(REFUSED, str(error))
    others = {name: pixels for name, pixels in second(content) if pixels.shape == ours.shape}
    if not others:
        return Verdict(ALONE, "")
    differences = {name: int(np.abs(pixels.astype(int) - ours).max()) for name, pixels in others.items()}
    name = min(differences, key=differences.get)
    return Verdict(SAME if differences[name] <= ROUNDING else DIFFERS, f"by {differences[name]} from {name}")


def second(content: bytes) -> Iterator[tuple[str, np.ndarray]]:
    """What other decoders make of a file, RGB on white: none, one, or two readings of one decoder."""
    if read_format(content[:BEGINNING]) == "TIFF":
        try:
            yield "tifffile", _by_tifffile(content)
        except Exception:
            # It raises whatever a damaged file, or a codec that is not installed, leads it to.
            pass
    if content.startswith(b"\x89PNG"):
        content = _still(content)
    stored = np.frombuffer(content, np.uint8)
    for name, flags in (("OpenCV", cv2.IMREAD_UNCHANGED), ("OpenCV, in color", cv2.IMREAD_COLOR)):
        try:
            pixels = cv2.imdecode(stored, flags)
        except cv2.error:
            continue
        if pixels is not None:
            yield name, _on_white(_eight(pixels), reverse=True)


def _still(content: bytes) -> bytes:
    """A PNG file without its animation, frames of which OpenCV takes for the picture."""
    kept, at = content[:8], 8
    while at + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, at)
        if content[at + 4 : at + 8] not in (b"acTL", b"fcTL", b"fdAT"):
            kept += content[at : at + 12 + length]
        at += 12 + length
    return kept


def _eight(values: np.ndarray) -> np.ndarray:
    if values.dtype == np.uint8:
        return values
    if values.dtype.kind == "f":
        return np.clip(np.nan_to_num(values) * (255 if values.max() <= 1 else 1), 0, 255).round().astype(np.uint8)
    return (values >> 8 * (values.dtype.itemsize - 1)).astype(np.uint8)


def _on_white(values: np.ndarray, reverse: bool = False, associated: bool = False) -> np.ndarray:
    values = np.atleast_3d(values)
    colors = values[..., : 1 if values.shape[2] < 3 else 3]
    colors = colors[..., ::-1] if reverse else colors
    colors = np.repeat(colors, 3, axis=2) if colors.shape[2] == 1 else colors
    if values.shape[2] not in (2, 4):
        return colors
    alpha = values[..., -1:] / 255
    return (colors * (1 if associated else alpha) + 255 * (1 - alpha)).round().clip(0, 255).astype(np.uint8)


def _by_tifffile(content: bytes) -> np.ndarray:
    page = tifffile.TiffFile(io.BytesIO(content)).pages[0]
    values = page.asarray()
    if page.planarconfig == 2 and page.samplesperpixel > 1:
        values = np.moveaxis(values, 0, -1)
    values = np.atleast_3d(values)
    kind = page.photometric.name
    if kind == "PALETTE":
        pixels = (page.colormap >> 8).T[values[..., 0]].astype(np.uint8)
    elif page.bitspersample < 8 or page.bitspersample not in (8, 16, 32, 64):
        share = values.astype(float) / (2**page.bitspersample - 1)
        few = page.bitspersample < 8
        pixels = ((share * 255).round() if few else share * 255.999).astype(np.uint8)
    else:
        pixels = _eight(values)
    if kind == "MINISWHITE":
        pixels = 255 - pixels
    if kind == "SEPARATED":
        pixels = ((255 - pixels[..., :3].astype(int)) * (255 - pixels[..., 3:4].astype(int)) / 255).round()
    extras = tuple(map(int, page.extrasamples))
    count = {"RGB": 3, "MINISWHITE": 1, "MINISBLACK": 1}.get(kind, 3) + bool(extras and extras[0] in (1, 2))
    pixels = _on_white(pixels[..., :count].astype(np.uint8), associated=extras[:1] == (1,))
    turns = {2: "h", 3: "hv", 4: "v", 5: "t", 6: "vt", 7: "hvt", 8: "ht"}
    orientation = page.tags[274].value if 274 in page.tags else 1
    for turn in turns.get(int(orientation), ""):
        pixels = {"h": pixels[:, ::-1], "v": pixels[::-1], "t": pixels.swapaxes(0, 1)}[turn]
    return pixels


def explained(name: str, found: Verdict) -> str | None:
    """Why a file is refused, differs, or has no second decoder; None if nobody knows."""
    return next((why for pattern, word, why in EXPLAINED if word == found.word and fnmatchcase(name, pattern)), None)


NO_CODEC = "tifffile needs the package imagecodecs for it; with that, both are the same"
NOT_TURNED = "OpenCV does not turn these files by what they say of their orientation"
NO_SCALE = "no scale of brightness in the file"
BROKEN = "made to be damaged, or to say what no reader should believe"
RARE = "a rare form that Pillow's reader does not read; refused, and not called damaged"
EXPLAINED = (
    ("p0_02.j2k", REFUSED, "a single component with every second sample: " + RARE),
    ("p1_07.j2k", REFUSED, "components with every fourth sample: " + RARE),
    ("p0_03.j2k", ALONE, "OpenCV refuses signed components; with imagecodecs the values are -8 to 5 of 4 bits"),
    ("p0_06.j2k", ALONE, "OpenCV refuses subsampled components of 12 bits"),
    ("issue142.j2k", ALONE, "OpenCV refuses 10-bit colors of this profile"),
    ("issue982.j2k", ALONE, "OpenCV refuses components of different depths"),
    ("issue392.jp2", REFUSED, BROKEN),
    ("issue396.jp2", REFUSED, BROKEN),
    ("issue438.jp2", REFUSED, BROKEN),
    ("issue626.j2k", REFUSED, BROKEN),
    ("edf_c2_1178956.jp2", REFUSED, BROKEN),
    ("text_GBR.jp2", REFUSED, "OpenCV reads it, Pillow's reader does not; the message names both possibilities"),
    ("no_jp2c.jp2", REFUSED, BROKEN),
    ("uint16.j2k", DIFFERS, "OpenCV does not scale it to 16 bits"),
    ("goodstuff_32s.tif", REFUSED, NO_SCALE),
    ("uint32.tif", REFUSED, NO_SCALE),
    ("ieeefp32.tif", REFUSED, NO_SCALE),
    ("9bit.j2k", DIFFERS, "OpenCV gives values of 9 bits as they are, which 16 bits are taken of here"),
    ("rot?mir?.avif", DIFFERS, NOT_TURNED),
    ("rot?mir?.avif", ALONE, NOT_TURNED),
    ("xmp_tags_orientation*", DIFFERS, NOT_TURNED),
    ("exif_imagemagick_orientation.png", DIFFERS, NOT_TURNED),
    ("hopper_orientation_?.webp", DIFFERS, NOT_TURNED),
    ("rgb16*.bmp", DIFFERS, "OpenCV shifts 5 bits to 8, so that white is 248; here they are spread over the scale"),
    ("rgb32h52.bmp", DIFFERS, "OpenCV takes the fourth byte for transparency, which no mask says; as rgb32.bmp here"),
    ("mmap_error.bmp", DIFFERS, "it is pal8.bmp less a byte that no pixel needs, and the same picture as that here"),
    ("badrle.bmp", ALONE, "OpenCV refuses it; the pixels that its runs leave out are black"),
    ("hopper_rle8_row_overflow.bmp", ALONE, "OpenCV refuses it; the runs that do not fit are cut off"),
    ("pal8oversizepal.bmp", REFUSED, RARE),
    ("pal8os2v2-16.bmp", REFUSED, RARE),
    ("pal2.bmp", REFUSED, RARE),
    ("rgb*.bmp", REFUSED, RARE),
    ("bad*.bmp", REFUSED, BROKEN),
    ("shortfile.bmp", REFUSED, BROKEN),
    ("reallybig.bmp", REFUSED, BROKEN),
    ("l2rgb_read.bmp", REFUSED, BROKEN),
    ("dispose_bgnd_rgba.gif", DIFFERS, "OpenCV fills the frame otherwise; the same as imagecodecs' first frame"),
    ("background_outside_palette.gif", ALONE, "OpenCV refuses it; the same as imagecodecs' first frame"),
    ("no_palette_with_background.gif", ALONE, "OpenCV refuses it; the same as imagecodecs' first frame"),
    ("test_extents_transparency.gif", ALONE, "damaged behind the first frame; other readers refuse it"),
    ("decompression_bomb.gif", REFUSED, BROKEN),
    ("zero_width.gif", REFUSED, BROKEN),
    ("hopper_be.pfm", DIFFERS, "OpenCV divides by the number in the header, whose sign alone matters to others"),
    ("i_trns.png", DIFFERS, "a transparent gray of 16 bits, which OpenCV does not look at"),
    ("tbbn1g04.png", DIFFERS, "a transparent gray of 4 bits, which OpenCV does not look at; the same as imagecodecs"),
    ("chunk_no_fctl.png", REFUSED, BROKEN),
    ("chunk_no_fdat.png", ALONE, BROKEN),
    ("syntax_num_frames_zero.png", REFUSED, BROKEN),
    ("broken*.png", REFUSED, BROKEN),
    ("truncated*", REFUSED, BROKEN),
    ("png_decompression_dos.png", REFUSED, BROKEN),
    ("unknown_compression_method.png", REFUSED, BROKEN),
    ("ultrahdr.jpg", REFUSED, "cut off at its end; OpenCV fills what is missing with gray"),
    ("16_bit_binary_pgm.tiff", DIFFERS, "32-bit numbers up to 65,535, taken as of 16 bits, which a remark says"),
    ("hopper*.tif", ALONE, NO_CODEC),
    ("tiff_*_RGBa.tiff", DIFFERS, "OpenCV takes multiplied colors for plain ones; " + NO_CODEC),
    ("tiff_overflow_rows_per_strip.tif", ALONE, "other readers refuse its number of rows a strip"),
    ("old-style-jpeg*.tif", ALONE, NO_CODEC),
    ("old-style-jpeg*.tif", DIFFERS, "colors of half the resolution, interpolated by one and repeated by the other"),
    ("16bit.s.tif", REFUSED, NO_SCALE),
    ("8bit.s.tif", REFUSED, NO_SCALE),
    ("separate_planar_extra_samples.tiff", REFUSED, NO_SCALE + ": it says that its bytes are signed"),
    ("10ct_32bit_128.tiff", REFUSED, "floating-point values where 0 is white: no scale says where black is"),
    ("*lab*.tif", REFUSED, "CIELab colors are refused, and not called damaged"),
    ("hopper.Lab.tif", REFUSED, "CIELab colors are refused, and not called damaged"),
    ("hopper_webp.tif", REFUSED, "libtiff as Pillow brings it has no WebP"),
    ("libtiff_segfault.tif", REFUSED, BROKEN),
    ("oom-*.tif", REFUSED, BROKEN),
    ("seek_too_large.tif", REFUSED, BROKEN),
    ("tiff_tiled_jpeg_oob_read.tif", REFUSED, BROKEN),
    ("timeout-*", REFUSED, BROKEN),
    ("crash-*.j2k", REFUSED, BROKEN),
    ("00r?_gray*.jp2", REFUSED, "components with every 13th sample: " + RARE),
    ("balloon_eciRGBv2_aware.jp2", REFUSED, "cut off; no other reader reads it"),
    ("expected_to_read.jp2", REFUSED, BROKEN),
    ("invalid_header_length.jp2", REFUSED, BROKEN),
    ("not_enough_data.jp2", REFUSED, BROKEN),
    ("unbound_variable.jp2", REFUSED, BROKEN),
    ("unknown_mode.j2k", REFUSED, RARE),
    ("zero_height.j2k", REFUSED, BROKEN),
)
