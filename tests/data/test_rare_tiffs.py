"""TIFF files of every form, by generation: the pixels of the plain form, or a refusal that does not call them damaged.

The plain form is known, because the files are written here, byte by byte; where tifffile reads a form too, what was
written is held against it.
"""

import io

import numpy as np
import pytest
import tifffile
from PIL import Image
from tiffs import (
    CMYK,
    DEFLATE,
    HEIGHT,
    LAB,
    NONE,
    PACKBITS,
    PALETTE,
    RGB,
    WHITE_IS_ZERO,
    WIDTH,
    YCBCR,
    Form,
    drawn,
    forms,
    plain,
    storages,
    tiff,
)

from visual_summaries.pipeline.data.decode import DecodeError, _decode, decode, read_image

REFUSED = "^not supported: .*; convert the image to "


@pytest.mark.parametrize("number", range(4))
def test_tiff_of_every_form_is_the_plain_picture(number: int) -> None:
    generator = np.random.default_rng(number)
    count = 0
    # Not every depth with every storage: each pair of them is met.
    every = [form for storage in storages() for form in forms(storage)]
    for form in every[number::12]:
        samples = drawn(form, generator)
        found = _decode(tiff(samples, form))
        rounding = 1.5 if form.format == 3 and form.extras else 1.0
        assert np.abs(found.image - plain(samples, form)).max() <= rounding, form
        assert bool(found.remarks) == (form.format == 3), form
        count += 1
    assert count > 500


def test_what_is_written_here_is_what_tifffile_reads() -> None:
    """It unpacks neither odd depths nor floating-point differences without more libraries."""
    generator = np.random.default_rng(5)
    read = 0
    for storage in storages():
        for form in forms(storage):
            if form.bits not in (8, 16, 32, 64) or form.predictor == 3 or form.reversed or read % 3:
                read += form.bits in (8, 16, 32, 64) and form.predictor != 3 and not form.reversed
                continue
            samples = drawn(form, generator)
            page = tifffile.TiffFile(io.BytesIO(tiff(samples, form))).pages[0].asarray()
            if form.planes and samples.shape[2] > 1:
                page = np.moveaxis(page, 0, -1)
            assert (page.reshape(samples.shape) == samples).all(), form
            read += 1
    assert read > 800


def lzw(samples: np.ndarray, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(samples).save(file, "TIFF", compression=kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
@pytest.mark.parametrize("predictor", [1, 2])
def test_tiff_of_libtiffs_own_compressions(kind: str, predictor: int) -> None:
    if kind == "packbits" and predictor == 2:
        return
    options = {"tiffinfo": {317: predictor}} if predictor == 2 else {}
    ramp = (np.arange(HEIGHT * WIDTH, dtype=np.uint16).reshape(HEIGHT, WIDTH) * 689).astype(np.uint16)
    assert (decode(lzw(ramp, kind, **options)) == (ramp >> 8)[..., None]).all()
    white = (ramp >> 8).astype(np.uint8)
    assert (decode(lzw(white, kind, **options)) == white[..., None]).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_tiff_of_rare_form_is_turned_like_a_usual_one(orientation: int) -> None:
    form = Form(tags={274: [orientation]})
    samples = drawn(form, np.random.default_rng(1))
    deep = samples.astype(np.uint64) * 257
    assert (decode(tiff(samples, form)) == decode(tiff(deep, form.but(bits=16, order=">", planes=True)))).all()


ANY = np.random.default_rng(2).integers(0, 2, (HEIGHT, WIDTH, 6), dtype=np.uint64)
NOT_READ = {
    "Lab": (ANY[..., :3], Form(photometric=LAB)),
    "deep Lab": (ANY[..., :3], Form(photometric=LAB, bits=16)),
    "ICC Lab": (ANY[..., :3], Form(photometric=9)),
    "sensor": (ANY[..., :1], Form(photometric=32803, bits=16)),
    "thumbnail": (ANY[..., :3], Form(photometric=RGB, tags={254: [1], 330: [8]})),
    "mask": (ANY[..., :1], Form(photometric=4, bits=1)),
    "signed bytes": (ANY[..., :1], Form(format=2)),
    "signed": (ANY[..., :1], Form(format=2, bits=16)),
    "floating white": (ANY[..., :1], Form(photometric=WHITE_IS_ZERO, format=3, bits=32)),
    "two extra samples": (ANY[..., :3], Form(extras=(0, 0))),
    "gray of three": (ANY[..., :3], Form()),
    "deep YCbCr": (ANY[..., :3], Form(photometric=YCBCR, bits=16)),
    "subsampled YCbCr": (ANY[..., :3], Form(photometric=YCBCR, tags={530: [2, 2]})),
    "inks": (ANY[..., :6], Form(photometric=CMYK, extras=(1, 0))),
    "predictor": (ANY[..., :1], Form(bits=12, compression=DEFLATE, tags={317: [2]})),
    "complex": (ANY[..., :1], Form(bits=64, tags={339: [6]})),
    "depths": (ANY[..., :3], Form(photometric=RGB, tags={258: [8, 8, 16]})),
    "compression": (ANY[..., :1], Form(tags={259: [34712]})),
    "deep JPEG": (ANY[..., :1], Form(bits=12, tags={259: [7]})),
    "no scale": (ANY[..., :1] * 70_000, Form(bits=32)),
    "too bright": (ANY[..., :1] * 1.0e3, Form(bits=32, format=3)),
    "beyond 1": (ANY[..., :1] * 1.2, Form(bits=32, format=3)),
    "negative": (ANY[..., :1] - 0.5, Form(bits=32, format=3)),
}


@pytest.mark.parametrize("what", NOT_READ)
def test_tiff_that_is_not_read_is_not_called_damaged(what: str) -> None:
    samples, form = NOT_READ[what]
    if what == "inks":
        samples = samples.copy()
        samples[..., 4] = 0
    with pytest.raises(DecodeError, match=REFUSED):
        decode(tiff(samples, form))


@pytest.mark.parametrize("cut", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("compression", [NONE, DEFLATE, PACKBITS])
def test_tiff_of_rare_form_that_is_damaged(compression: int, cut: float) -> None:
    form = Form(bits=16, photometric=WHITE_IS_ZERO, compression=compression)
    content = tiff(drawn(form, np.random.default_rng(3)), form)
    with pytest.raises(DecodeError, match="truncated or damaged"):
        decode(content[: int(len(content) * cut)])


SCALES = {
    "12 bits in 16": (
        ANY[..., :1] * 4095,
        Form(bits=16),
        15,
        "16-bit values go up to 4,095 of 65,535, so nothing is brigh",
    ),
    "14 bits in 16": (ANY[..., :3] * 16383, Form(bits=16, photometric=RGB), 63, "go up to 16,383 of 65,535"),
    "white": (4095 * ANY[..., :1], Form(bits=16, photometric=WHITE_IS_ZERO), 255, "nothing is darker than 240 of 255"),
    "8 bits in 32": (ANY[..., :1] * 255, Form(bits=32), 255, "taken as 8-bit: the file does not say"),
    "16 bits in 32": (ANY[..., :1] * 65535, Form(bits=32), 255, "taken as 16-bit: the file does not say"),
    "16 bits in signed 32": (ANY[..., :1] * 65535, Form(bits=32, format=2), 255, "taken as 16-bit: the file does not"),
    "fractions": (
        ANY[..., :1] * 0.5,
        Form(bits=32, format=3),
        128,
        "up to 0.5, were taken as of .0, 1.: the file does",
    ),
    "floating bytes": (ANY[..., :1] * 200.0, Form(bits=64, format=3), 200, "up to 200, were taken as of .0, 255.: the"),
    "palette": (
        ANY[..., :1],
        Form(bits=1, photometric=PALETTE, colors=(0, 255) * 3),
        255,
        "palette holds 8-bit values",
    ),
    "last sample": (
        ANY[..., :1] * np.array([255, 255, 255, 0]),
        Form(photometric=RGB),
        255,
        "was taken as transparency",
    ),
}


@pytest.mark.parametrize("what", SCALES)
def test_a_scale_that_is_not_in_the_file_is_said(what: str) -> None:
    samples, form, brightest, said = SCALES[what]
    found = _decode(tiff(samples, form))
    assert found.image.max() == brightest
    (remark,) = found.remarks
    with pytest.raises(AssertionError, match=said):
        raise AssertionError(remark.said)


def test_a_dim_picture_of_the_declared_depth_is_not_remarked() -> None:
    for bits in (10, 12, 14, 16):
        form = Form(bits=bits)
        assert _decode(tiff(ANY[..., :1] * (2 ** (bits - 2)), form)).remarks == ()
        assert _decode(tiff(ANY[..., :1] * 0, form)).remarks == ()


def test_the_remarks_come_with_the_picture(tmp_path) -> None:  # noqa: ANN001
    samples, form, *_ = SCALES["12 bits in 16"]
    (tmp_path / "a.tif").write_bytes(tiff(samples, form))
    found = read_image(str(tmp_path / "a.tif"))
    assert found.remarks and found.mode == "I;16" and (found.width, found.height) == (WIDTH, HEIGHT)
