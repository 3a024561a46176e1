"""How a TIFF file is stored, by its tags, and which forms are read."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from visual_summaries.pipeline.data.pixels import DEEPEST, DecodeError, not_supported

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR = 0, 1, 2, 3, 5, 6
PHOTOMETRICS = {
    4: "a transparency mask",
    8: "CIELab colors",
    9: "ICC Lab colors",
    10: "ITU Lab colors",
    32803: "the colors of a camera's sensor (raw)",
    32844: "LogL brightness",
    32845: "LogLuv colors",
    34892: "the colors of a camera's sensor (raw)",
}
# Samples of a pixel that are no extra ones.
BASE = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, PALETTE: 1, CMYK: 4, YCBCR: 3}
MODES = {RGB: "RGB", PALETTE: "P", CMYK: "CMYK", YCBCR: "YCbCr"}
NONE, CCITT, JPEG = 1, (2, 3, 4), (6, 7)
# These compress bytes, whatever they mean: LZW, deflate (two numbers), PackBits, LZMA, Zstandard.
OF_BYTES = {NONE: "no", 5: "LZW", 8: "deflate", 32946: "deflate", 32773: "PackBits", 34925: "LZMA", 50000: "Zstandard"}
OF_PICTURES = {2: "CCITT", 3: "CCITT", 4: "CCITT", 6: "old JPEG", 7: "JPEG"}
# Libtiff as Pillow brings it reads none of them.
NOT_READ = {33003: "JPEG 2000", 33005: "JPEG 2000", 34712: "JPEG 2000", 34887: "LERC", 50001: "WebP", 50002: "JPEG XL"}
UNSIGNED, SIGNED, FLOATING, UNDEFINED = 1, 2, 3, 4
FLOATS = {16: "f2", 32: "f4", 64: "f8"}
HORIZONTAL, FLOATING_POINT = 2, 3
CHUNKY, PLANES = 1, 2
UNSPECIFIED, ASSOCIATED, UNASSOCIATED = 0, 1, 2
THUMBNAIL, MASK = 1, 4
MOST_SAMPLES = 64
# Types of a tag that are whole numbers, none below 0.
WHOLE = {1: "B", 3: "H", 4: "I", 7: "B", 13: "I", 16: "Q", 18: "Q"}


@dataclass(frozen=True)
class Layout:
    """How the first picture of a TIFF file is stored; numbers as the format has them."""

    order: str
    big: bool
    width: int
    height: int
    bits: int
    format: int
    samples: int
    extras: tuple[int, ...]
    photometric: int
    compression: int
    predictor: int
    fill: int
    planar: int
    chunk: tuple[int, int]
    tiled: bool
    offsets: tuple[int, ...]
    counts: tuple[int, ...]
    colors: tuple[int, ...]
    subsampling: tuple[int, ...]
    orientation: int

    @property
    def usual(self) -> bool:
        """Whether Pillow reads it, and rightly."""
        if self.big and self.order == ">":
            return False
        if self.compression not in OF_BYTES:
            return True
        if self.photometric == YCBCR:
            return self.compression != NONE
        plain = (self.bits, self.format, self.fill, self.planar) == (8, UNSIGNED, 1, CHUNKY)
        usual = self.photometric in (BLACK_IS_ZERO, RGB) and self.extras in ((), (UNASSOCIATED,))
        return plain and usual and self.says_extras

    @property
    def says_extras(self) -> bool:
        """Whether the file says what each sample beyond the colors is."""
        return len(self.extras) >= self.samples - BASE[self.photometric]


def layout_of(content: bytes) -> Layout:
    """How the first picture of a file is stored.

    Raises:
        DecodeError: it is damaged, or not supported.
    """
    tags = _Tags(content)
    if tags.one(254, 0) & (THUMBNAIL | MASK) and (tags.more or 330 in tags):
        raise not_supported("a TIFF file that begins with a thumbnail or a mask, as those of cameras do")
    photometric, compression = tags.one(262, WHITE_IS_ZERO), tags.one(259, NONE)
    if compression == JPEG[0]:
        photometric = YCBCR
    width, height = tags.one(256), tags.one(257)
    if not width or not height:
        raise DecodeError("the TIFF file is damaged: it has no width or height")
    samples = tags.one(277, BASE.get(photometric, 1) if compression in JPEG else 1)
    tiled = 324 in tags or 322 in tags
    chunk = (tags.one(322), tags.one(323)) if tiled else (width, min(tags.one(278, height) or height, height))
    return Layout(
        order="<" if content.startswith(b"II") else ">",
        big=43 in content[2:4],
        width=width,
        height=height,
        bits=_same(tags.all(258, (1,))[:samples], "samples of different depths"),
        format=_same(tags.all(339, (UNSIGNED,))[:samples], "samples of different kinds"),
        samples=samples,
        extras=tags.all(338),
        photometric=photometric,
        compression=compression,
        predictor=tags.one(317, 1),
        fill=tags.one(266, 1),
        planar=tags.one(284, CHUNKY) if samples > 1 else CHUNKY,
        chunk=chunk,
        tiled=tiled,
        offsets=tags.all(324 if tiled else 273) or tags.all(273),
        counts=tags.all(325 if tiled else 279) or tags.all(279),
        colors=tags.all(320),
        subsampling=tags.all(530, (2, 2)),
        orientation=tags.one(274, 1),
    )


class _Tags:
    """The tags of the first picture that hold whole numbers; `more`: whether another one follows."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._order = "<" if content.startswith(b"II") else ">"
        big = 43 in content[2:4]
        # The directory's count, its entries with room for a value, and a place in the file.
        head, entry, place = ("Q", "HHQ8s", "Q") if big else ("H", "HHI4s", "I")
        self._place = self._order + place
        (at,) = self._read(self._place, 8 if big else 4)
        (entries,) = self._read(self._order + head, at)
        at += struct.calcsize(self._order + head)
        size = struct.calcsize(self._order + entry)
        if at + entries * size > len(content):
            raise DecodeError("the TIFF file is truncated or damaged: its directory is cut off")
        behind = at + entries * size
        self.more = any(content[behind : behind + struct.calcsize(self._place)])
        self._found: dict[int, tuple[int, int, bytes]] = {}
        for number in range(entries):
            tag, kind, count, value = struct.unpack_from(self._order + entry, content, at + number * size)
            self._found.setdefault(tag, (kind, count, value))

    def _read(self, form: str, at: int) -> tuple[int, ...]:
        if at + struct.calcsize(form) > len(self._content):
            raise DecodeError("the TIFF file is truncated or damaged: it ends before its directory")
        return struct.unpack_from(form, self._content, at)

    def __contains__(self, tag: int) -> bool:
        return tag in self._found

    def all(self, tag: int, default: tuple[int, ...] = ()) -> tuple[int, ...]:
        kind, count, value = self._found.get(tag, (0, 0, b""))
        if not count:
            return default
        if kind not in WHOLE:
            raise DecodeError(f"the TIFF file is damaged: its tag {tag} holds no whole numbers")
        size = count * struct.calcsize(f"={WHOLE[kind]}")
        if size > len(value):
            (at,) = struct.unpack(self._place, value)
            value = self._content[at : at + size]
        if size > len(value):
            raise DecodeError(f"the TIFF file is truncated or damaged: its tag {tag} is cut off")
        return struct.unpack_from(f"{self._order}{count}{WHOLE[kind]}", value)

    def one(self, tag: int, default: int = 0) -> int:
        return (self.all(tag) or (default,))[0]


def _same(values: Sequence[int], what: str) -> int:
    if len(set(values)) != 1:
        raise not_supported(f"a TIFF file with {what}")
    return values[0]


def check(layout: Layout) -> None:
    """Raise a DecodeError for what is not read, here or by Pillow."""
    named = PHOTOMETRICS.get(layout.photometric)
    if named or layout.photometric not in BASE:
        raise not_supported(f"a TIFF file with {named or f'the photometric interpretation {layout.photometric}'}")
    base = BASE[layout.photometric]
    beyond = layout.samples - base
    if layout.samples > MOST_SAMPLES or beyond < 0 or (base == 1 and beyond > 1 and max(layout.extras, default=0) == 0):
        kind = "gray" if base == 1 else MODES[layout.photometric]
        raise not_supported(f"a TIFF file of {kind} with {layout.samples} samples a pixel")
    depth = f"{layout.bits}-bit "
    if layout.format not in (UNSIGNED, SIGNED, FLOATING, UNDEFINED):
        raise not_supported("a TIFF file of complex numbers")
    if layout.format == FLOATING and (layout.bits not in FLOATS or layout.photometric not in (BLACK_IS_ZERO, RGB)):
        white = " where 0 is white" if layout.photometric == WHITE_IS_ZERO else ""
        raise not_supported(f"a TIFF file of {depth}floating-point values{white}")
    if layout.format == SIGNED and (layout.bits != DEEPEST or layout.photometric != BLACK_IS_ZERO or beyond):
        raise not_supported(f"a TIFF file of {depth}signed integers, which have no agreed brightness scale")
    if layout.format != FLOATING and not 1 <= layout.bits <= DEEPEST:
        raise not_supported(f"a TIFF file of {depth}samples")
    if layout.compression not in OF_BYTES:
        _check_picture(layout, depth)
        return
    if layout.photometric == YCBCR and (layout.bits != 8 or layout.planar != CHUNKY or beyond):
        raise not_supported(f"a TIFF file of {depth}YCbCr with {layout.samples} samples a pixel, or in planes")
    if layout.photometric == YCBCR and layout.compression == NONE and layout.subsampling != (1, 1):
        raise not_supported("a TIFF file of subsampled YCbCr without compression")
    if layout.predictor not in (1, HORIZONTAL, FLOATING_POINT):
        raise not_supported(f"a TIFF file with the predictor {layout.predictor}")
    if (layout.predictor == HORIZONTAL and layout.bits not in (8, 16, 32, 64)) or (
        layout.predictor == FLOATING_POINT and layout.format != FLOATING
    ):
        raise not_supported(f"a TIFF file of {depth}samples with the predictor {layout.predictor}")


def _check_picture(layout: Layout, depth: str) -> None:
    """What compresses pictures, not bytes, is Pillow's to read: 8 bits, or 1 of a facsimile."""
    name = OF_PICTURES.get(layout.compression)
    if name is None:
        known = NOT_READ.get(layout.compression, f"number {layout.compression}")
        raise not_supported(f"a TIFF file with {known} compression")
    bits = 1 if layout.compression in CCITT else 8
    plain = layout.format in (UNSIGNED, UNDEFINED) and layout.bits == bits and layout.photometric != PALETTE
    if not plain or (bits == 1 and layout.samples > 1) or (layout.big and layout.order == ">"):
        raise not_supported(f"a TIFF file of {depth}samples with {name} compression")
    if layout.samples - BASE[layout.photometric] and layout.extras != (UNASSOCIATED,):
        raise not_supported(f"a TIFF file of {layout.samples} samples a pixel with {name} compression")
