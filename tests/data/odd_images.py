"""Hundreds of damaged and odd files named like images, with what must become of each."""

import io
import os
import random
import socket
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from visual_summaries.pipeline.data.decode import MAXIMUM_BYTES

DECODES, REFUSED, EITHER = "decodes", "refused", "either"
"""What must become of a file: pixels, a reason, or one of the two but nothing else."""

FORMATS: dict[str, tuple[str, dict]] = {
    "jpeg.jpg": ("JPEG", {"quality": 90}),
    "progressive.jpg": ("JPEG", {"progressive": True}),
    "png.png": ("PNG", {}),
    "gif.webp": ("GIF", {}),
    "webp.webp": ("WEBP", {}),
    "lossless.webp": ("WEBP", {"lossless": True}),
    "bmp.bmp": ("BMP", {}),
    "tiff.tif": ("TIFF", {}),
    "lzw.tiff": ("TIFF", {"compression": "tiff_lzw"}),
    "ppm.ppm": ("PPM", {}),
    "jpeg2000.jpg": ("JPEG2000", {}),
    "avif.jpg": ("AVIF", {}),
}
CUTS = (0, 1, 3, 8, 16, 0.05, 0.1, 0.25, 0.4, 0.5, 0.6, 0.75, 0.9, -1)
DAMAGED_COPIES = 10
HUGE_SIDE = 11_000


def write_odd_images(folder: Path) -> dict[str, str]:
    """Write them all into `folder`; name → what must become of it."""
    folder.mkdir(parents=True, exist_ok=True)
    expected = {}
    for name, content, fate in (*_truncated(), *_damaged(), *_modes(), *_metadata(), *_sizes(), *_bombs(), *_others()):
        assert name not in expected, name
        (folder / name).write_bytes(content)
        expected[name] = fate
    return expected | _special(folder)


def picture(seed: int = 0, width: int = 90, height: int = 70) -> Image.Image:
    """A smooth picture with some noise, different for each seed."""
    y, x = np.mgrid[0:height, 0:width]
    noise = np.random.default_rng(seed).integers(0, 40, (height, width, 3))
    return Image.fromarray((np.stack([x + seed, y * 2, x + y], axis=2) % 215 + noise).astype(np.uint8))


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


Files = Iterator[tuple[str, bytes, str]]


def _truncated() -> Files:
    for number, (name, (kind, options)) in enumerate(FORMATS.items()):
        content = encoded(picture(number), kind, **options)
        yield f"whole {name}", content, DECODES
        for cut in CUTS:
            length = int(len(content) * cut) if isinstance(cut, float) else cut
            # Without its very last bytes a file may still hold all its pixels.
            fate = EITHER if cut in (0.9, -1) else REFUSED
            yield f"cut at {cut} {name}", content[:length], fate


def _damaged() -> Files:
    generator = random.Random(5)
    for number, (name, (kind, options)) in enumerate(FORMATS.items()):
        content = encoded(picture(100 + number), kind, **options)
        for copy in range(DAMAGED_COPIES):
            damaged = bytearray(content)
            for _ in range(generator.choice((1, 4, 30))):
                damaged[generator.randrange(len(damaged))] = generator.randrange(256)
            yield f"damaged {copy} {name}", bytes(damaged), EITHER


def _modes() -> Files:
    image = picture(200)
    alpha = Image.fromarray(np.tile(np.arange(90, dtype=np.uint8) * 2, (70, 1)))
    transparent = image.copy()
    transparent.putalpha(alpha)
    sixteen = np.asarray(image.convert("L")).astype(np.uint16) * 257
    deep = sixteen.byteswap().tobytes()
    cmyk = encoded(image.convert("CMYK"), "JPEG")
    adobe = cmyk.index(b"Adobe")
    yield "cmyk.jpg", cmyk, DECODES
    # Adobe's marker says in its last byte how the four colors are stored: 2 is YCCK.
    yield "ycck.jpg", cmyk[: adobe + 11] + b"\x02" + cmyk[adobe + 12 :], DECODES
    yield "cmyk.tif", encoded(image.convert("CMYK"), "TIFF"), DECODES
    yield "lab.tif", encoded(image.convert("LAB"), "TIFF"), EITHER
    yield "sixteen gray.png", encoded(Image.fromarray(sixteen), "PNG"), DECODES
    yield "sixteen gray.tif", encoded(Image.fromarray(sixteen), "TIFF"), DECODES
    yield "sixteen gray.pgm", b"P5 90 70 65535\n" + deep, DECODES
    lines = b"".join(b"\0" + deep[start : start + 180] * 3 for start in range(0, len(deep), 180))
    yield "sixteen color.png", _png(90, 70, lines, 16, 2), DECODES
    yield "floating.tif", encoded(Image.fromarray(sixteen.astype(np.float32) / 65535), "TIFF"), DECODES
    yield "not a number.tif", encoded(Image.fromarray(np.full((9, 9), np.nan, np.float32)), "TIFF"), REFUSED
    yield "thirty-two.tif", encoded(Image.fromarray(sixteen.astype(np.int32) * 999), "TIFF"), REFUSED
    for name, mode in (("bits", "1"), ("gray", "L"), ("palette", "P"), ("gray alpha", "LA")):
        yield f"{name}.png", encoded(transparent.convert(mode), "PNG"), DECODES
    yield "bits.tif", encoded(image.convert("1"), "TIFF", compression="group4"), DECODES
    yield "palette transparent.png", encoded(image.convert("P"), "PNG", transparency=3), DECODES
    yield "palette half transparent.png", encoded(image.convert("P"), "PNG", transparency=bytes(range(256))), DECODES
    for kind in ("PNG", "WEBP", "TIFF"):
        yield f"alpha.{kind.lower()}", encoded(transparent, kind), DECODES
    frames = [picture(300 + number) for number in range(4)]
    for name, kind in (("gif.webp", "GIF"), ("webp.webp", "WEBP"), ("apng.png", "PNG"), ("tiff.tif", "TIFF")):
        yield f"animated {name}", encoded(frames[0], kind, save_all=True, append_images=frames[1:]), DECODES
    yield "mpo.jpg", encoded(frames[1], "MPO", save_all=True, append_images=frames[2:]), DECODES


def _metadata() -> Files:
    for orientation in (*range(1, 9), 0, 9, 65535):
        exif = Image.Exif()
        exif[0x0112] = orientation
        yield f"orientation {orientation}.jpg", encoded(picture(400 + orientation % 99), "JPEG", exif=exif), DECODES
    broken = (b"Exif\0\0", b"Exif\0\0MM\0*\0\0\xff\xff", b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x12\x01" * 30)
    for number, exif in enumerate(broken):
        yield f"broken exif {number}.jpg", encoded(picture(420 + number), "JPEG", exif=exif), DECODES
        yield f"broken exif {number}.png", encoded(picture(430 + number), "PNG", exif=exif), DECODES
    for kind, suffix in (("JPEG", "jpg"), ("PNG", "png"), ("WEBP", "webp"), ("TIFF", "tif")):
        content = encoded(picture(440), kind, icc_profile=b"no profile at all" * 9)
        yield f"broken profile.{suffix}", content, DECODES


def _sizes() -> Files:
    for width, height in ((1, 1), (1, 300), (300, 1), (30_000, 2), (2, 30_000)):
        for kind, suffix in (("PNG", "png"), ("JPEG", "jpg"), ("BMP", "bmp")):
            yield f"{width} by {height}.{suffix}", encoded(picture(width % 251, width, height), kind), DECODES
    yield "no width.png", _png(0, 5, b"\0" * 5), REFUSED
    yield "no height.bmp", encoded(picture(), "BMP")[:22] + bytes(4) + encoded(picture(), "BMP")[26:], REFUSED


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(width: int, height: int, pixels: bytes, depth: int = 8, color: int = 0, extra: bytes = b"") -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(pixels, 9))
    return b"\x89PNG\r\n\x1a\n" + header + extra + body + chunk(b"IEND", b"")


def scan_bomb(side: int, scans: int) -> bytes:
    """A small progressive JPEG whose last scan is repeated."""
    content = encoded(Image.new("L", (side, side), 100), "JPEG", progressive=True, quality=50)[:-2]
    return content + content[content.rindex(b"\xff\xda") :] * scans + b"\xff\xd9"


def _bombs() -> Files:
    for side in (14_000, 65_000, 2**31 - 1):
        yield f"bomb {side}.png", _png(side, side, bytes(9999)), REFUSED
    yield "dense.png", _png(HUGE_SIDE, HUGE_SIDE, bytes(HUGE_SIDE * (HUGE_SIDE + 1))), DECODES
    yield "scans.jpg", scan_bomb(2000, 2000), REFUSED
    yield "few scans.jpg", scan_bomb(300, 40), DECODES
    yield "segments.jpg", encoded(picture(), "JPEG")[:2] + b"\xff\xe5\0\2" * 150_000, REFUSED
    zeros = zlib.compress(bytes(80 * 2**20), 9)
    yield "text bomb.png", _png(5, 5, bytes(30), extra=chunk(b"zTXt", b"a\0\0" + zeros)), EITHER
    yield "profile bomb.png", _png(5, 5, bytes(30), extra=chunk(b"iCCP", b"a\0\0" + zeros)), EITHER
    gif = encoded(picture(500), "GIF")
    yield "screen.gif.webp", gif[:6] + b"\xff\xff\xff\xff" + gif[10:], REFUSED
    jpeg = bytearray(encoded(picture(501), "JPEG"))
    place = jpeg.index(b"\xff\xc0")
    jpeg[place + 5 : place + 9] = b"\xff\xdc\xff\xdc"
    yield "claims.jpg", bytes(jpeg), REFUSED
    bitmap = encoded(picture(502), "BMP")
    yield "claims.bmp", bitmap[:18] + struct.pack("<ii", 30_000, 30_000) + bitmap[26:], REFUSED
    yield "claims.ppm", b"P6 99999 99999 255\n" + bytes(999), REFUSED
    yield "claims less.ppm", b"P6 13000 13000 255\n" + bytes(999), REFUSED
    yield "plain.ppm", b"P3 9999 9999 255\n" + b"1 " * 5000, REFUSED
    yield "comment.ppm", b"P6 #" + b"a" * 2_000_000, REFUSED
    tiff = encoded(picture(503), "TIFF")
    directory = struct.unpack("<I", tiff[4:8])[0]
    entries = struct.unpack("<H", tiff[directory : directory + 2])[0]
    end = directory + 2 + 12 * entries
    yield "cyclic.tif", tiff[:end] + struct.pack("<I", directory) + tiff[end + 4 :], DECODES
    yield "directory.tif", tiff[:directory] + b"\xff\xff" + tiff[directory + 2 :], EITHER
    yield "no directory.tif", tiff[:4] + b"\xff\xff\xff\xff" + tiff[8:], REFUSED
    for number in range(entries):
        count = directory + 2 + 12 * number + 4
        yield f"count {number}.tif", tiff[:count] + b"\xff\xff\xff\x7f" + tiff[count + 4 :], EITHER
        yield f"value {number}.tif", tiff[: count + 4] + b"\xff\xff\xff\x7f" + tiff[count + 8 :], EITHER


def _others() -> Files:
    jpeg = encoded(picture(600), "JPEG")
    yield "zeros.jpg", bytes(5000), REFUSED
    yield "text.jpg", b"hello, this is no picture\n" * 9, REFUSED
    yield "page.jpg", b"<!DOCTYPE html><html><body>404 not found</body></html>", REFUSED
    yield "drawing.png", b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>", REFUSED
    yield "archive.jpg", b"PK\x03\x04" + bytes(200), REFUSED
    yield "program.jpg", b"\x7fELF\x02\x01\x01" + bytes(200), REFUSED
    yield "script.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", REFUSED
    yield "document.tiff", b"%PDF-1.7\n" + bytes(99), REFUSED
    yield "phone.jpg", b"\0\0\0\x18ftypheic" + bytes(99), REFUSED
    yield "film.jpg", b"\0\0\0\x18ftypmp42" + bytes(99), REFUSED
    for seed, name in enumerate(
        ("png inside.jpg", "-rf.jpg", "--output=x.jpg", "new\nline.jpg", "quote'\".jpg", "a;b|c&d.jpg", "$(id).jpg")
    ):
        yield name, encoded(picture(610 + seed), "PNG"), DECODES
    for seed, name in enumerate(
        ("100%.jpg", "%2e%2e.jpg", "a#b?c=d.jpg", "label=x.jpg", "üñí 鳥 🐦.jpg", " .jpg", "a\\b.jpg", "[bold].jpg")
    ):
        yield name, encoded(picture(630 + seed), "JPEG"), DECODES
    yield "n" * 251 + ".jpg", encoded(picture(650), "JPEG"), DECODES
    yield "jpeg inside.png", jpeg, DECODES
    yield "UPPER.JPG", encoded(picture(651), "JPEG"), DECODES
    yield "with more behind.jpg", encoded(picture(652), "JPEG") + b"\xff\xda" * 9999, DECODES


def _special(folder: Path) -> dict[str, str]:
    """What is not a file of bytes, or not one that can be read."""
    (folder / "dangling.jpg").symlink_to("nowhere.jpg")
    (folder / "circle.jpg").symlink_to("circle.jpg")
    (folder / "nothing.jpg").symlink_to("/dev/null")
    (folder / "endless.jpg").symlink_to("/dev/zero")
    (folder / "folder.jpg").mkdir()
    os.mkfifo(folder / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as bound:
        # The path of a socket must be short.
        here = os.open(folder, os.O_RDONLY)
        try:
            bound.bind(f"/proc/self/fd/{here}/socket.jpg")
        finally:
            os.close(here)
    with (folder / "sparse.jpg").open("wb") as file:
        file.truncate(MAXIMUM_BYTES + 1)
    names = ("dangling", "circle", "nothing", "endless", "folder", "pipe", "socket", "sparse")
    return {f"{name}.jpg": REFUSED for name in names}
