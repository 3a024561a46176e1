"""Decoding: orientation against numpy, colors against OpenCV and closed forms, bad files against one clear line."""

import hashlib
import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from visual_summaries.pipeline.data.decode import DecodeError, decode, read_image

PICTURE = np.random.default_rng(0).integers(0, 256, (5, 9, 3), dtype=np.uint8)

# From the EXIF standard: which side of the upright image the first stored row and the first stored column are.
UPRIGHT = {
    1: lambda stored: stored,
    2: lambda stored: np.fliplr(stored),
    3: lambda stored: np.rot90(stored, 2),
    4: lambda stored: np.flipud(stored),
    5: lambda stored: np.swapaxes(stored, 0, 1),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(np.swapaxes(stored, 0, 1), 2),
    8: lambda stored: np.rot90(stored, 1),
}


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def smooth_picture(height: int = 64, width: int = 96) -> np.ndarray:
    vertical, horizontal = np.mgrid[0:height, 0:width]
    return np.stack([vertical * 3, horizontal * 2, 255 - vertical - horizontal], axis=2).astype(np.uint8)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_orientation(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = smooth_picture() if kind == "JPEG" else PICTURE
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 98, "subsampling": 0}}.get(kind, {})
    image = decode(encoded(Image.fromarray(stored), kind, exif=exif, **options))
    expected = UPRIGHT[orientation](stored)
    assert image.shape == expected.shape and image.dtype == np.uint8
    assert np.abs(image.astype(int) - expected).max() <= (4 if kind == "JPEG" else 0)


@pytest.mark.parametrize("orientation", [0, 9, 700])
def test_meaningless_orientation_and_broken_exif_are_ignored(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert (decode(encoded(Image.fromarray(PICTURE), "PNG", exif=exif)) == PICTURE).all()
    broken = encoded(Image.fromarray(PICTURE), "PNG", exif=b"Exif\x00\x00MM\x00*\x00\x00\xff\xff\xff\xff")
    assert (decode(broken) == PICTURE).all()


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "JPEG2000"])
def test_rgb_is_kept(kind: str) -> None:
    image = decode(encoded(Image.fromarray(PICTURE), kind))
    assert (image == PICTURE).all() and image.flags.writeable


def test_gray_and_bilevel() -> None:
    gray = PICTURE[..., 0]
    assert (decode(encoded(Image.fromarray(gray), "PNG")) == gray[..., None]).all()
    assert (decode(encoded(Image.fromarray(gray > 127), "PNG")) == np.where(gray > 127, 255, 0)[..., None]).all()


def composited(colors: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[..., None] / 255
    return colors * share + 255 * (1 - share)


def test_transparency_is_composited_on_white() -> None:
    alpha = np.random.default_rng(1).integers(0, 256, PICTURE.shape[:2], dtype=np.uint8)
    alpha[0, :4] = (0, 255, 1, 254)
    with_alpha = Image.fromarray(np.dstack([PICTURE, alpha]))
    assert np.abs(decode(encoded(with_alpha, "PNG")) - composited(PICTURE, alpha)).max() <= 1
    gray = Image.fromarray(np.dstack([PICTURE[..., 0], alpha]), "LA")
    expected = composited(PICTURE[..., :1].repeat(3, axis=2), alpha)
    assert np.abs(decode(encoded(gray, "PNG")) - expected).max() <= 1


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_palette_with_a_transparent_color(kind: str) -> None:
    indices = np.arange(12, dtype=np.uint8).reshape(3, 4) % 3
    image = Image.fromarray(indices, "P")
    image.putpalette([10, 20, 30, 200, 0, 0, 0, 0, 250])
    opaque = np.array([[10, 20, 30], [200, 0, 0], [0, 0, 250]])
    assert (decode(encoded(image, kind)) == opaque[indices]).all()
    opaque[1] = 255
    assert (decode(encoded(image, kind, transparency=1)) == opaque[indices]).all()


def test_palette_with_partial_transparency_and_rgb_with_a_transparent_color() -> None:
    image = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    image.putpalette([0, 0, 0, 100, 100, 100])
    assert decode(encoded(image, "PNG", transparency=bytes([51, 255])))[0, :, 0].tolist() == [204, 100]
    rgb = Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8))
    assert decode(encoded(rgb, "PNG", transparency=(1, 2, 3))).tolist() == [[[255] * 3, [4, 5, 6]]]


def test_cmyk() -> None:
    inks = np.random.default_rng(2).integers(0, 256, (6, 7, 4), dtype=np.uint8)
    image = decode(encoded(Image.fromarray(inks, "CMYK"), "TIFF"))
    light = 1 - inks / 255
    assert np.abs(image - 255 * light[..., :3] * light[..., 3:]).max() <= 1.5


def test_adobe_cmyk_jpeg_against_opencv() -> None:
    """Photoshop stores inks inverted; a reader that misses it shows a negative."""
    inks = np.dstack([smooth_picture(), np.full((64, 96), 40, np.uint8)])
    content = encoded(Image.fromarray(inks, "CMYK"), "JPEG", quality=97)
    image = decode(content)
    reference = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert np.abs(image.astype(int) - reference).max() <= 3
    light = 1 - inks / 255
    assert np.abs(image - 255 * light[..., :3] * light[..., 3:]).mean() < 3


def test_16_bit_gray_ramp() -> None:
    ramp = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    for content in (
        cv2.imencode(".png", ramp)[1].tobytes(),
        cv2.imencode(".tiff", ramp)[1].tobytes(),
        encoded(Image.fromarray(ramp.astype(">u2")), "TIFF"),
        b"P5 256 256 65535\n" + ramp.astype(">u2").tobytes(),
        encoded(Image.fromarray(ramp.astype(np.int32)), "TIFF"),
    ):
        image = decode(content)
        assert (image == (ramp // 256)[..., None]).all()


def test_16_bit_color_like_16_bit_gray() -> None:
    values = np.random.default_rng(3).integers(0, 65536, (20, 30, 3), dtype=np.uint16)
    for kind in (".png", ".tiff"):
        image = decode(cv2.imencode(kind, values[..., ::-1])[1].tobytes())
        assert (image == values >> 8).all()


def test_floating_point() -> None:
    values = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
    for scaled in (values, values * 255):
        image = decode(encoded(Image.fromarray(scaled), "TIFF"))
        assert np.abs(image - values[..., None] * 255).max() <= 0.5001
    for bad in (values * 1000, values - 0.5, np.full((2, 2), np.nan, np.float32)):
        with pytest.raises(DecodeError, match="neither in|not all finite"):
            decode(encoded(Image.fromarray(bad), "TIFF"))
    with pytest.raises(DecodeError, match="no agreed brightness"):
        decode(encoded(Image.fromarray(np.array([[0, 70000]], np.int32)), "TIFF"))


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_first_frame_of_an_animation(kind: str) -> None:
    frames = [Image.new("RGB", (8, 6), color) for color in ((250, 0, 0), (0, 250, 0), (0, 0, 250))]
    options = {"lossless": True} if kind == "WEBP" else {}
    image = decode(encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=50, **options))
    assert image.shape == (6, 8, 3) and (image == (250, 0, 0)).all()


def test_jpeg_against_opencv() -> None:
    content = encoded(Image.fromarray(smooth_picture()), "JPEG", quality=80)
    reference = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert np.abs(decode(content).astype(int) - reference).max() <= 2


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "JPEG2000"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.95])
def test_truncated_files(kind: str, share: float) -> None:
    whole = encoded(Image.fromarray(np.tile(PICTURE, (20, 20, 1))), kind)
    with pytest.raises(DecodeError, match="truncated") as raised:
        decode(whole[: max(int(len(whole) * share), 16)])
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "the file is empty"),
        (b"hello, this is text", r"not an image \(starts with b'hello, this is t'\)"),
        (b"<html><body>404</body></html>", "not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "not an image"),
        (b"\x00\x00\x00\x18ftypheic" + bytes(40), "'heic'.*convert"),
        (b"\xff\xd8\xff\xe0", "JPEG file is truncated"),
    ],
)
def test_what_is_no_image(content: bytes, message: str) -> None:
    with pytest.raises(DecodeError, match=message):
        decode(content)


@pytest.mark.parametrize("side", [14_000, 60_000])
def test_decompression_bomb(side: int) -> None:
    """A PNG of a few hundred bytes that says it is huge: refused before its pixels are made."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(9999))) + chunk(b"IEND", b"")
    )
    with pytest.raises(DecodeError, match="at most 178956970"):
        decode(bomb)


def test_read_image(tmp_path: Path) -> None:
    path = tmp_path / "a picture #1.png"
    gray = Image.fromarray(PICTURE[..., 0])
    exif = Image.Exif()
    exif[0x0112] = 6
    path.write_bytes(encoded(gray, "PNG", exif=exif))
    for uri in (str(path), path.as_uri()):
        image = read_image(uri)
        assert image.image_id == hashlib.sha256(path.read_bytes()).hexdigest()
        assert (image.width, image.height, image.mode) == (5, 9, "L")
        assert image.image.shape == (9, 5, 3)


def test_read_image_gone_wrong(tmp_path: Path) -> None:
    with pytest.raises(DecodeError, match="No such file") as raised:
        read_image(str(tmp_path / "none.jpg"))
    assert raised.value.image_id is None
    with pytest.raises(DecodeError, match="directory"):
        read_image(str(tmp_path))
    with pytest.raises(DecodeError, match="cannot be read"):
        read_image("unheard-of://bucket/a.jpg")
    (tmp_path / "a.jpg").write_bytes(b"text")
    with pytest.raises(DecodeError, match="not an image") as raised:
        read_image(str(tmp_path / "a.jpg"))
    assert raised.value.image_id == hashlib.sha256(b"text").hexdigest()


def test_every_photograph_of_the_data_decodes(data_directory: Path) -> None:
    for path in sorted((data_directory / "photos").rglob("*.*"))[::40]:
        if path.suffix.lower() in (".jpg", ".jpeg", ".png"):
            image = read_image(str(path)).image
            # OpenCV's JPEG decoder is another build of libjpeg; it also turns by EXIF data.
            reference = cv2.imread(str(path))[..., ::-1]
            assert np.abs(image.astype(int) - reference).mean() < 1
