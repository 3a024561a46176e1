"""Pictures of rare forms of PNG, PNM, BMP and WebP, by generation: the pixels of the plain form, or a refusal.

The plain form is known, because the files are written here, byte by byte; OpenCV reads the usual ones as well.
"""

import io
import itertools
import struct
import zlib
from collections.abc import Iterator

import cv2
import numpy as np
import pytest
from odd_images import chunk
from PIL import Image
from tiffs import eight

from visual_summaries.pipeline.data.decode import DecodeError, _decode, decode

HEIGHT, WIDTH = 5, 19
REFUSED = "^not supported: .*; convert the image to "


@pytest.mark.parametrize("kind", [".png", ".pgm", ".ppm"])
def test_12_bits_in_16_are_remarked_in_other_formats(kind: str) -> None:
    values = np.random.default_rng(4).integers(0, 4096, (HEIGHT, WIDTH, 3), dtype=np.uint16)
    values = values[..., 0] if kind == ".pgm" else values
    found = _decode(cv2.imencode(kind, values)[1].tobytes())
    assert found.image.max() in (15, 16) and f"brighter than {found.image.max()} of 255" in found.remarks[0].said


ADAM = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def packed(values: np.ndarray, bits: int, before: bytes = b"") -> bytes:
    """Rows of samples, from the highest bit on, each with some bytes before it."""
    rows = b""
    for row in values:
        text = "".join(f"{int(one):0{bits}b}" for one in row.reshape(-1))
        rows += before + int(text + "0" * (-len(text) % 8), 2).to_bytes(-(-len(text) // 8), "big")
    return rows


def png(values: np.ndarray, bits: int, color: int, interlaced: bool, extra: bytes) -> bytes:
    parts = [values[y::down, x::across] for x, y, across, down in ADAM] if interlaced else [values]
    body = b"".join(packed(part, bits, b"\0") for part in parts if part.size)
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], bits, color, 0, 0, interlaced)
    pieces = chunk(b"IHDR", header), extra, chunk(b"IDAT", zlib.compress(body)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(pieces)


PNGS = [
    (color, bits, interlaced, transparent)
    for color, depths in ((0, (1, 2, 4, 8, 16)), (2, (8, 16)), (3, (1, 2, 4, 8)), (4, (8, 16)), (6, (8, 16)))
    for bits, interlaced, transparent in itertools.product(depths, (False, True), (False, True))
    if not (transparent and color in (4, 6))
]


@pytest.mark.parametrize("color, bits, interlaced, transparent", PNGS)
def test_png_of_every_form_is_the_plain_picture(color: int, bits: int, interlaced: bool, transparent: bool) -> None:
    generator = np.random.default_rng(bits + color)
    values = generator.integers(0, 2**bits, (9, 11, {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color]), dtype=np.uint64)
    values[0, 0] = 2**bits - 1
    alpha, extra = 1.0, b""
    if color == 3:
        palette, cover = generator.integers(0, 256, (2, 2**bits, 3)).astype(np.uint8)
        extra = chunk(b"PLTE", palette.tobytes())
        if transparent:
            extra += chunk(b"tRNS", cover[:, 0].tobytes())
            alpha = (cover[values[..., 0], :1]) / 255
        colors = palette[values[..., 0]].astype(int)
    else:
        if transparent:
            values[5, 5] = key = values[3, 5].copy()
            # Of colors that differ in their lower bytes alone, only one is transparent.
            values[6, 6] = key if bits < 16 else key ^ np.uint64(1)
            extra, alpha = chunk(b"tRNS", key.astype(">u2").tobytes()), (values != key).any(axis=2)[..., None]
        levels = eight(values, bits)
        colors = levels[..., : 1 if color in (0, 4) else 3]
        alpha = levels[..., -1:] / 255 if color in (4, 6) else alpha
    content = png(values, bits, color, interlaced, extra)
    if color == 2 and bits == 16 and transparent:
        with pytest.raises(
            DecodeError, match="^not supported: a PNG file of 16-bit colors one of which is transparent"
        ):
            decode(content)
        return
    assert np.abs(decode(content) - (255 + (colors - 255) * alpha)).max() <= 1
    other = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if color in (0, 2) and not transparent:
        assert (np.atleast_3d(other)[..., ::-1] >> (8 if bits == 16 else 0) == colors).all()


@pytest.mark.parametrize("top", [0, 1, 2, 3, 15, 100, 255, 256, 1000, 1023, 4095, 16383, 65534, 65535])
def test_pnm_of_every_largest_value_is_the_plain_picture(top: int) -> None:
    generator = np.random.default_rng(top)
    for samples, text in itertools.product((1, 3) if top else (1,), (False, True)):
        values = generator.integers(0, max(top, 1) + 1, (HEIGHT, WIDTH, samples))
        values[0, 0] = max(top, 1)
        number = (1 if not top else 2 if samples == 1 else 3) + (0 if text else 3)
        head = f"P{number}\n# 7 7 7\n{WIDTH} {HEIGHT}\n{top or ''}\n".encode()
        if text:
            body = " ".join(map(str, values.reshape(-1))).encode() + b"\n"
        else:
            body = packed(values, 1) if not top else values.astype(">u2" if top > 255 else "u1").tobytes()
            head = head if top else head[:-1]
        expected = values * 255 / top if top else 255 - values * 255
        assert np.abs(decode(head + body) - expected).max() < 1


def bitmap(bits: int, rows: list[bytes], *, compression: int = 0, flipped: bool = False, masks: bytes = b"",
           palette: bytes = b"", header: int = 40, size: tuple[int, int] = (WIDTH, HEIGHT)) -> bytes:  # fmt: skip
    data = b"".join(row + bytes(-len(row) % 4 if compression in (0, 3) else 0) for row in rows)
    width, height = size
    if header == 12:
        info = struct.pack("<IHHHH", 12, width, height, 1, bits)
    else:
        sign = -1 if flipped else 1
        info = struct.pack("<IiiHHIIiiII", header, width, sign * height, 1, bits, compression, len(data), 0, 0, 0, 0)
    at = 14 + len(info) + len(masks) + len(palette)
    return b"BM" + struct.pack("<IHHI", at + len(data), 0, 0, at) + info + masks + palette + data


def bitmaps() -> Iterator[tuple[str, bytes, np.ndarray]]:
    """(what, file, picture)."""
    generator = np.random.default_rng(7)
    for name, shares, shifts, masks in (
        ("555", (31, 31, 31), (10, 5, 0), b""),
        ("565", (31, 63, 31), (11, 5, 0), struct.pack("<III", 0xF800, 0x7E0, 0x1F)),
    ):
        values = generator.integers(0, np.array(shares) + 1, (HEIGHT, WIDTH, 3))
        words = sum(values[..., at] << shift for at, shift in enumerate(shifts)).astype("<u2")
        rows = [row.tobytes() for row in words[::-1]]
        yield name, bitmap(16, rows, compression=3 if masks else 0, masks=masks), values * 255 / np.array(shares)
    colors = generator.integers(0, 256, (HEIGHT, WIDTH, 4)).astype(np.uint8)
    stored = colors[..., [2, 1, 0, 3]]
    opaque, cover = colors[..., :3].astype(int), colors[..., 3:] / 255
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    whole, rgb = [row.tobytes() for row in stored[::-1]], [row.tobytes() for row in stored[::-1, :, :3]]
    yield "32", bitmap(32, whole), opaque
    yield "32 with masks", bitmap(32, whole, compression=3, masks=masks[:12]), opaque
    transparent = bitmap(32, whole, compression=3, masks=masks + bytes(52), header=108)
    yield "32 with alpha", transparent, 255 + (opaque - 255) * cover
    yield "24", bitmap(24, rgb), opaque
    yield "24 upside down", bitmap(24, rgb[::-1], flipped=True), opaque
    yield "24 of OS/2", bitmap(24, rgb, header=12), opaque
    for bits in (1, 4, 8):
        palette = generator.integers(0, 256, (2**bits, 4)).astype(np.uint8)
        indices = generator.integers(0, 2**bits, (HEIGHT, WIDTH, 1))
        picture = palette[indices[..., 0], 2::-1].astype(int)
        rows = [packed(row[None], bits) for row in indices[::-1]]
        yield f"palette {bits}", bitmap(bits, rows, palette=palette.tobytes()), picture
        yield f"palette {bits} of OS/2", bitmap(bits, rows, palette=palette[:, :3].tobytes(), header=12), picture
        if bits > 1:
            shift = 8 - bits
            runs = [b"".join(bytes([1, int(one) << shift]) for one in row[:, 0]) + b"\0\0" for row in indices[::-1]]
            content = bitmap(bits, [*runs, b"\0\1"], compression=1 if bits == 8 else 2, palette=palette.tobytes())
            yield f"runs of {bits}", content, picture


@pytest.mark.parametrize("what, content, picture", [pytest.param(*one, id=one[0]) for one in bitmaps()])
def test_bmp_of_every_form_is_the_plain_picture(what: str, content: bytes, picture: np.ndarray) -> None:
    assert np.abs(decode(content) - picture).max() <= 1


@pytest.mark.parametrize("options", [{"lossless": True, "exact": True}, {"lossless": True}])
def test_webp_without_loss_with_alpha(options: dict) -> None:
    colors = np.random.default_rng(8).integers(0, 256, (HEIGHT, WIDTH, 4)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(colors, "RGBA").save(file, "WEBP", **options)
    cover = colors[..., 3:] / 255
    assert np.abs(decode(file.getvalue()) - (255 + (colors[..., :3].astype(int) - 255) * cover)).max() <= 1


WHOLE = {
    "a JPEG of 12 bits": b"\xff\xd8\xff\xc1\0\x0b\x0c\0\x05\0\x05\1\1\x11\0\xff\xd9",
    "JPEG-LS": b"\xff\xd8\xff\xf7\0\x0b\x08\0\5\0\5\1\1\x11\0",
    "JPEG XL": b"\xff\x0a" + bytes(30),
    "JPEG XL in a box": b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(30),
    "HEIF": b"\0\0\0\x18ftypheic" + bytes(30),
    "Photoshop": b"8BPS\0\1" + bytes(30),
    "QOI": b"qoif" + bytes(30),
    "TGA": bytes(50) + b"TRUEVISION-XFILE.\0",
    "OpenEXR": b"\x76\x2f\x31\x01" + bytes(30),
    "a bitmap of 2 bits": bitmap(2, [b"\0\0"], palette=bytes(16), size=(4, 1)),
    "a bitmap of other masks": bitmap(32, [bytes(4)], compression=3, masks=struct.pack("<III", 7, 8, 9), size=(1, 1)),
}


@pytest.mark.parametrize("what", WHOLE)
def test_formats_that_are_not_read_are_not_called_damaged(what: str) -> None:
    with pytest.raises(DecodeError, match=REFUSED):
        decode(WHOLE[what])
