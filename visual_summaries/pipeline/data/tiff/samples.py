"""The samples of a TIFF file, whatever their depth, planes, strips or tiles, order of bytes and predictor.

Libtiff, by way of Pillow, undoes the compression alone: it is given the file's strips as a gray picture of 8 bits whose
rows are the bytes of the rows. What these bytes mean is worked out here.
"""

import io
import struct
from collections.abc import Sequence

import numpy as np
from PIL import Image

from visual_summaries.pipeline.data.pixels import DecodeError
from visual_summaries.pipeline.data.tiff.layout import (
    BLACK_IS_ZERO,
    FLOATING,
    FLOATING_POINT,
    FLOATS,
    HORIZONTAL,
    NONE,
    PLANES,
    SIGNED,
    Layout,
)

# Of what is unpacked at a time, and of a picture's samples.
BAND_BYTES, MAXIMUM_STORED = 2**24, 2**30
REVERSED = np.packbits(np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little"), axis=1)[:, 0]


def read_samples(content: bytes, layout: Layout) -> np.ndarray:
    """All samples [H, W, S]: unsigned of 8, 16 or 32 bits, signed of 32, or floating-point.

    Raises:
        DecodeError: the file is damaged, or too large.
    """
    size = layout.width * layout.height * layout.samples * layout.bits // 8
    if size > MAXIMUM_STORED:
        raise DecodeError(f"the TIFF file holds {size} bytes of pixels; at most {MAXIMUM_STORED} are decoded")
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


def _as_gray(data: Sequence[bytes], layout: Layout, width: int, height: int, chunk: tuple[int, int]) -> io.BytesIO:
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
