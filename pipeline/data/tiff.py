"""TIFF files of rare forms: depths, planes, byte orders, photometric interpretations, kinds of transparency.

Pillow reads the usual ones. Of the others it reads some wrongly, some not at all; here libtiff, by way of Pillow,
undoes the compression alone: it is given the file's strips as a gray picture of 8 bits whose rows are the bytes of the
rows. What these bytes mean is worked out here.
"""

import io
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from pipeline.data.pixels import (
    DEEPEST,
    DecodeError,
    Pixels,
    cmyk_to_rgb,
    eight_bits,
    floats_to_eight_bits,
    gray_to_rgb,
    not_supported,
    on_white,
    signed_eight_bits,
)

BEGINNINGS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
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
OF_PICTURES = {2: "CCITT", 3: "CCITT", 4: "CCITT", 6: "old JPEG", 7: "JPEG", 50001: "WebP"}
UNSIGNED, SIGNED, FLOATING, UNDEFINED = 1, 2, 3, 4
FLOATS = {16: "f2", 32: "f4", 64: "f8"}
HORIZONTAL, FLOATING_POINT = 2, 3
CHUNKY, PLANES = 1, 2
UNSPECIFIED, ASSOCIATED, UNASSOCIATED = 0, 1, 2
THUMBNAIL, MASK = 1, 4
MOST_SAMPLES = 64
# Types of a tag that are whole numbers, none below 0.
WHOLE = {1: "B", 3: "H", 4: "I", 7: "B", 13: "I", 16: "Q", 18: "Q"}
# Of what is unpacked at a time, and of a picture's samples.
BAND_BYTES, MAXIMUM_STORED = 2**24, 2**30
REVERSED = np.packbits(np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little"), axis=1)[:, 0]


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
        return plain and self.photometric in (BLACK_IS_ZERO, RGB) and self.extras in ((), (UNASSOCIATED,))

    @property
    def said_extras(self) -> bool:
        """Whether the file says what each sample beyond the colors is."""
        return len(self.extras) >= self.samples - BASE[self.photometric]


def layout_of(content: bytes) -> Layout:
    """How the first picture of a file is stored.

    Raises:
        DecodeError: it is damaged, or not supported.
    """
    tags = _Tags(content)
    if tags.one(254, 0) & (THUMBNAIL | MASK):
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
    """The tags of the first picture that hold whole numbers."""

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
        raise not_supported(f"a TIFF file with the compression {layout.compression}")
    bits = 1 if layout.compression in CCITT else 8
    plain = layout.format in (UNSIGNED, UNDEFINED) and layout.bits == bits and layout.photometric != PALETTE
    if not plain or (bits == 1 and layout.samples > 1) or (layout.big and layout.order == ">"):
        raise not_supported(f"a TIFF file of {depth}samples with {name} compression")
    if layout.samples - BASE[layout.photometric] and layout.extras != (UNASSOCIATED,):
        raise not_supported(f"a TIFF file of {layout.samples} samples a pixel with {name} compression")


def decode_tiff(content: bytes, layout: Layout) -> Pixels:
    """The pixels of a file that `check` lets pass and that is not `usual`; not turned.

    Raises:
        DecodeError: it is damaged, or its values have no scale.
    """
    size = layout.width * layout.height * layout.samples * layout.bits // 8
    if size > MAXIMUM_STORED:
        raise DecodeError(f"the TIFF file holds {size} bytes of pixels; at most {MAXIMUM_STORED} are decoded")
    values = _samples(content, layout)
    base, bits = BASE[layout.photometric], layout.bits
    extras = layout.extras if layout.said_extras else (UNASSOCIATED,) if layout.samples > base else ()
    # Of several the first that says how transparent a pixel is.
    alpha = next((at for at, kind in enumerate(extras) if kind != UNSPECIFIED and base + at < layout.samples), None)
    remarks: tuple[str, ...] = ()
    if layout.photometric == PALETTE:
        colors, remarks = _of_palette(values[..., 0], layout)
        cover = None if alpha is None else eight_bits(values[..., base + alpha], bits)[0]
    elif layout.format == FLOATING:
        # Only in [0, 1] is it known what an alpha of half is.
        kept = values[..., : base if alpha is None else base + alpha + 1]
        levels, remarks = floats_to_eight_bits(kept)
        if alpha is not None and kept.max(initial=0) > 1:
            raise not_supported("a TIFF file of floating-point values above 1 with transparency")
        colors, cover = levels[..., :base], None if alpha is None else levels[..., base + alpha]
    elif layout.format == SIGNED:
        colors, remarks = signed_eight_bits(values[..., :base], bits)
        cover = None
    else:
        colors, remarks = eight_bits(values[..., :base], bits, layout.photometric == WHITE_IS_ZERO)
        cover = None if alpha is None else eight_bits(values[..., base + alpha], bits)[0]
    rgb = _rgb(colors, layout)
    if cover is not None and int(cover.min(initial=255)) < 255:
        if not layout.said_extras:
            remarks += ("the file does not say what its last sample is; it was taken as transparency",)
        kind = extras[alpha]
        if kind == ASSOCIATED and layout.photometric in (WHITE_IS_ZERO, PALETTE, CMYK):
            raise not_supported("a TIFF file of other colors than gray and RGB, multiplied by their transparency")
        rgb = on_white(rgb, cover, kind == ASSOCIATED)
    return Pixels(rgb, _mode(layout, alpha is not None), remarks)


def _rgb(colors: np.ndarray, layout: Layout) -> np.ndarray:
    if layout.photometric == CMYK:
        return cmyk_to_rgb(colors)
    if layout.photometric == YCBCR:
        return np.asarray(Image.fromarray(np.ascontiguousarray(colors), "YCbCr").convert("RGB"))
    return colors if colors.shape[2] == 3 else gray_to_rgb(colors[..., 0])


def _mode(layout: Layout, transparent: bool) -> str:
    if layout.photometric in MODES:
        return MODES[layout.photometric] + ("A" if transparent else "")
    deep = "F" if layout.format == FLOATING else "I;16" if layout.bits <= 16 else "I"
    return ("1" if layout.bits == 1 else "L" if layout.bits <= 8 else deep) + ("A" if transparent else "")


def _of_palette(indices: np.ndarray, layout: Layout) -> tuple[np.ndarray, tuple[str, ...]]:
    if layout.bits > 16 or len(layout.colors) < 3 * 2**layout.bits:
        raise DecodeError(f"the TIFF file is damaged: its palette has {len(layout.colors) // 3} colors")
    palette = np.array(layout.colors[: 3 * 2**layout.bits], dtype=np.uint32).reshape(3, -1).T
    remarks: tuple[str, ...] = ()
    if palette.max() > 255:
        palette = palette >> 8
    elif palette.max() > 0:
        # Writers of old took 8 bits for 16; as 16 they would all be black.
        remarks = ("the palette holds 8-bit values where 16 bits are due, and was taken so",)
    return palette.astype(np.uint8)[indices], remarks


def _samples(content: bytes, layout: Layout) -> np.ndarray:
    """All samples [H, W, S], in the byte order of the machine."""
    wide, high = layout.chunk
    if not wide or not high:
        raise DecodeError("the TIFF file is damaged: its tiles have no size")
    across, down = -(-layout.width // wide), -(-layout.height // high)
    planes = layout.samples if layout.planar == PLANES else 1
    if len(layout.offsets) < across * down * planes:
        raise DecodeError(f"the TIFF file is damaged: it has {len(layout.offsets)} of {across * down * planes} pieces")
    each = layout.samples // planes
    row_bytes = -(-wide * each * layout.bits // 8)
    result = np.empty((layout.height, layout.width, layout.samples), _kind(layout))
    if row_bytes * high * across > 8 * MAXIMUM_STORED or row_bytes * high > MAXIMUM_STORED:
        raise DecodeError("the TIFF file is damaged: its strips or tiles are larger than the picture")
    step = max(1, BAND_BYTES // (row_bytes * high * across))
    for first in range(0, down, step):
        last = min(first + step, down)
        rows = slice(first * high, min(last * high, layout.height))
        # Strips end with the picture, tiles with their own edge.
        stored = (last - first) * high if layout.tiled else rows.stop - rows.start
        for plane in range(planes):
            pieces = range(plane * across * down + first * across, plane * across * down + last * across)
            raw = _unpacked(content, layout, pieces, (stored, across, row_bytes))
            values = _values(raw, layout, wide * each, each).reshape(stored, across * wide, each)
            own = slice(plane, plane + 1) if planes > 1 else slice(None)
            result[rows, :, own] = values[: rows.stop - rows.start, : layout.width]
    return result


def _kind(layout: Layout) -> str:
    if layout.format == FLOATING:
        return FLOATS[layout.bits]
    size = 1 if layout.bits <= 8 else 2 if layout.bits <= 16 else 4
    return f"{'i' if layout.format == SIGNED else 'u'}{size}"


def _unpacked(content: bytes, layout: Layout, pieces: range, shape: tuple[int, int, int]) -> np.ndarray:
    """The bytes of some strips, or rows of tiles: [rows, pieces across, bytes of a piece's row]."""
    rows, across, row_bytes = shape
    high = layout.chunk[1]
    data = []
    for number, piece in enumerate(pieces):
        begin = layout.offsets[piece]
        if layout.compression == NONE:
            length = row_bytes * (high if layout.tiled else min(high, rows - number * high))
        else:
            length = layout.counts[piece] if piece < len(layout.counts) else len(content)
        data.append(content[begin : begin + length])
        if not data[-1] or (layout.compression == NONE and len(data[-1]) < length):
            raise DecodeError("the TIFF file is truncated")
    if layout.compression != NONE:
        file = _as_gray(data, layout, row_bytes * across, rows, (row_bytes, high))
        with Image.open(file, formats=["TIFF"]) as picture:
            return np.asarray(picture).reshape(shape)
    stored = np.frombuffer(b"".join(data), np.uint8)
    if layout.fill == 2:
        stored = REVERSED[stored]
    if not layout.tiled:
        return stored.reshape(shape)
    return stored.reshape(-1, across, high, row_bytes).swapaxes(1, 2).reshape(shape)


def _as_gray(
    data: Sequence[bytes], layout: Layout, width: int, height: int, chunk: tuple[int, int]
) -> io.BytesIO:
    """A TIFF file of 8-bit gray with these strips or tiles."""
    starts = np.cumsum([8, *map(len, data)])
    counts = [len(one) for one in data]
    pieces = [(322, [chunk[0]]), (323, [chunk[1]]), (324, starts[:-1]), (325, counts)]
    if not layout.tiled:
        pieces = [(273, starts[:-1]), (278, [chunk[1]]), (279, counts)]
    numbers = [(256, [width]), (257, [height]), (258, [8]), (259, [layout.compression]), (262, [BLACK_IS_ZERO])]
    tags = sorted([*numbers, (266, [layout.fill]), (277, [1]), *pieces])
    # Lists of several numbers come behind the directory.
    directory, behind = struct.pack("<H", len(tags)), b""
    end = int(starts[-1]) + 2 + 12 * len(tags) + 4
    for tag, values in tags:
        packed = struct.pack(f"<{len(values)}I", *map(int, values))
        directory += struct.pack("<HHI", tag, 4, len(values))
        directory += packed if len(values) == 1 else struct.pack("<I", end + len(behind))
        behind += packed if len(values) > 1 else b""
    header = b"II*\0" + struct.pack("<I", int(starts[-1]))
    return io.BytesIO(b"".join([header, *data, directory, bytes(4), behind]))


def _values(raw: np.ndarray, layout: Layout, count: int, each: int) -> np.ndarray:
    """Bytes [rows, pieces, bytes of a row] as samples [rows, pieces, `count`], with the predictor undone."""
    bits, kind = layout.bits, _kind(layout)
    predictor = layout.predictor if layout.compression in (5, 8, 32946, 34925, 50000) else 1
    if predictor == FLOATING_POINT:
        size = bits // 8
        steps = raw.reshape(*raw.shape[:2], -1, each)
        steps = np.cumsum(steps, axis=2, dtype=np.uint8)
        # The first bytes of all values, then the second ones; the highest byte first.
        planes = steps.reshape(*raw.shape[:2], size, count).swapaxes(2, 3)
        return np.ascontiguousarray(planes).view(f">{kind}")[..., 0].astype(kind)
    if bits in (8, 16, 32, 64):
        values = np.ascontiguousarray(raw).view(f"{layout.order}{kind}")
        if predictor == HORIZONTAL:
            whole = values.astype(f"u{bits // 8}") if layout.format != FLOATING else _as_integers(values, bits)
            whole = np.cumsum(whole.reshape(*raw.shape[:2], -1, each), axis=2, dtype=whole.dtype)
            return whole.reshape(*raw.shape[:2], count).view(kind)
        return values.astype(kind)
    if bits == 24:
        parts = raw.reshape(*raw.shape[:2], count, 3).astype(np.uint32)
        low, high = (0, 2) if layout.order == "<" else (2, 0)
        return (parts[..., low] | parts[..., 1] << 8 | parts[..., high] << 16).astype(kind)
    # Other depths are packed from the highest bit on, whatever the order of bytes.
    single = np.unpackbits(raw, axis=2, count=count * bits).reshape(*raw.shape[:2], count, bits)
    values = np.zeros(single.shape[:3], kind)
    for bit in range(bits):
        values = values << np.array(1, kind) | single[..., bit]
    return values


def _as_integers(values: np.ndarray, bits: int) -> np.ndarray:
    """Floating-point values as the integers of their bits, in the machine's byte order."""
    return values.astype(FLOATS[bits]).view(f"u{bits // 8}")
