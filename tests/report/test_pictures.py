"""Pictures of the report, against brute-force distances, CIE color differences and closed forms."""

import io

import numpy as np
import pytest
from PIL import Image
from skimage.color import deltaE_ciede2000, rgb2lab

from visual_summaries.pipeline.report import pictures

# Machado, Oliveira and Fernandes (2009), severity 1.0, on linear RGB.
DEUTERANOPIA = np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                         [-0.011820, 0.042940, 0.968881]])
PROTANOPIA = np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                       [-0.003882, -0.048116, 1.051998]])


@pytest.fixture
def noise() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (96, 96, 3), dtype=np.uint8)


def disk(side: int, x: float, y: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:side, :side] + 0.5
    return (columns - x) ** 2 + (rows - y) ** 2 < radius**2


def distances_to_polygon(points: np.ndarray, side: int) -> np.ndarray:
    """Distance from each pixel's center to the nearest point of the closed polygon, sampled finely."""
    centers = np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1) + 0.5
    result = np.full((side, side), np.inf)
    for start, end in zip(points, np.roll(points, -1, axis=0), strict=True):
        for along in np.linspace(0, 1, 400):
            place = start + along * (end - start)
            result = np.minimum(result, np.hypot(*np.moveaxis(centers - place, -1, 0)))
    return result


def test_color_map_rises_evenly_in_lightness_and_color() -> None:
    colors = pictures.color_map()
    assert colors.shape == (256, 3) and colors.dtype == np.uint8
    steps = rgb2lab(colors[None, ::15] / 255.0)[0]
    assert (np.diff(steps[:, 0]) > 2.0).all()
    differences = deltaE_ciede2000(steps[1:], steps[:-1])
    assert differences.max() / differences.min() < 2.5
    assert differences.std() / differences.mean() < 0.25


@pytest.mark.parametrize("matrix", [DEUTERANOPIA, PROTANOPIA])
def test_color_map_rises_for_the_color_blind(matrix: np.ndarray) -> None:
    colors = pictures.color_map()[::15] / 255.0
    linear = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
    seen = (linear @ matrix.T).clip(0, 1)
    encoded = np.where(seen <= 0.0031308, seen * 12.92, 1.055 * seen ** (1 / 2.4) - 0.055)
    assert (np.diff(rgb2lab(encoded[None])[0, :, 0]) > 1.0).all()


@pytest.mark.parametrize("base", [0, 128, 214, 255])
def test_outline_lies_on_the_hull_with_white_beside_it(base: int) -> None:
    hull = np.array([[30.0, 20.0], [75.0, 34.0], [61.0, 80.0], [22.0, 60.0]])
    image = np.full((96, 96, 3), base, np.uint8)
    picture = pictures.member_picture(image, np.ones((96, 96), bool), hull, (0, 0, 96, 96), size=96)
    distance = distances_to_polygon(hull, 96)
    half, whole = pictures.LINE_WIDTH / 2, pictures.LINE_WIDTH / 2 + pictures.HALO_WIDTH
    on_line, outside = distance < half - 0.9, distance > whole + 0.9
    in_halo = (distance > half + 0.75) & (distance < whole - 0.6)
    assert on_line.sum() > 50 and in_halo.sum() > 5
    assert (np.abs(picture[on_line].astype(int) - pictures.RED) <= 3).all()
    assert (picture[in_halo] >= 200).all()
    assert (picture[outside] == base).all()


def test_outline_is_antialiased() -> None:
    hull = np.array([[20.0, 15.0], [80.0, 40.0], [30.0, 85.0]])
    image = np.zeros((96, 96, 3), np.uint8)
    picture = pictures.member_picture(image, np.ones((96, 96), bool), hull, (0, 0, 96, 96), size=96)
    greens = picture[..., 1]
    assert len(np.unique(greens)) > 10
    assert ((greens > 40) & (greens < 215)).sum() > 100


def test_outline_scales_with_the_picture() -> None:
    hull = np.array([[20.0, 20.0], [70.0, 20.0], [70.0, 70.0], [20.0, 70.0]])
    image = np.full((96, 96, 3), 90, np.uint8)
    picture = pictures.member_picture(image, np.ones((96, 96), bool), hull, (0, 0, 96, 96), size=192)
    reddest = picture[..., 0].astype(int) - picture[..., 1]
    middle_row, middle_column = reddest[90], reddest[:, 90]
    for line in (middle_row, middle_column):
        assert abs(np.average(np.arange(96) + 0.5, weights=line[:96]) - 40) < 0.2
        assert abs(np.average(np.arange(96, 192) + 0.5, weights=line[96:]) - 140) < 0.2


def test_outline_of_the_whole_picture_stays_inside() -> None:
    hull = np.array([[0.0, 0.0], [96.0, 0.0], [96.0, 96.0], [0.0, 96.0]])
    image = np.zeros((96, 96, 3), np.uint8)
    picture = pictures.member_picture(image, np.ones((96, 96), bool), hull, (0, 0, 96, 96), size=96)
    for edge in (picture[1, 8:-8], picture[-2, 8:-8], picture[8:-8, 1], picture[8:-8, -2]):
        assert (np.abs(edge.astype(int) - pictures.RED) <= 3).all()


@pytest.mark.parametrize("hull", [np.zeros((0, 2)), np.array([[30.0, 30.0], [50.0, 50.0]])])
def test_hull_without_area_gives_way_to_the_box(noise: np.ndarray, hull: np.ndarray) -> None:
    mask = disk(96, 48, 48, 30)
    corners = np.array([[20.0, 30.0], [70.0, 30.0], [70.0, 66.0], [20.0, 66.0]])
    expected = pictures.member_picture(noise, mask, corners, (0, 0, 96, 96), size=96)
    assert np.array_equal(pictures.member_picture(noise, mask, hull, (20, 30, 70, 66), size=96), expected)


def test_salient_regions_keep_their_color_and_the_rest_fades(noise: np.ndarray) -> None:
    picture = pictures.salient_picture(noise, disk(96, 40, 50, 22), size=96)
    inside, outside = disk(96, 40, 50, 19), ~disk(96, 40, 50, 25)
    assert np.array_equal(picture[inside], noise[inside])
    faded = picture[outside].astype(float)
    assert (faded == faded[:, :1]).all()
    assert faded.min() >= 255 * (1 - pictures.FADED_CONTRAST) - 1
    gray = noise[outside] @ np.array([0.299, 0.587, 0.114])
    assert np.abs(255 - pictures.FADED_CONTRAST * (255 - gray) - faded[:, 0]).max() < 1.01


def test_region_edge_shows_on_a_white_photograph() -> None:
    picture = pictures.salient_picture(np.full((96, 96, 3), 255, np.uint8), disk(96, 48, 48, 25), size=96)
    distance = np.abs(np.hypot(*(np.mgrid[:96, :96] + 0.5 - 48)) - 25)
    assert picture[distance < 0.4].mean() < 190
    assert (picture[distance > 4] == 255).all()


def test_overlay_mixes_the_color_of_the_saliency_with_gray() -> None:
    gray_levels = np.broadcast_to(np.arange(64, dtype=np.uint8)[None, :, None] * 4, (32, 64, 3))
    saliency = np.broadcast_to(np.arange(32, dtype=np.uint8)[:, None] * 8, (32, 64))
    picture = pictures.overlay(np.ascontiguousarray(gray_levels), np.ascontiguousarray(saliency))
    for row, column in ((0, 0), (5, 60), (31, 63), (17, 30)):
        color = pictures.color_map()[8 * row].astype(float)
        expected = pictures.OVERLAY_GRAY * 4 * column + (1 - pictures.OVERLAY_GRAY) * color
        assert np.abs(picture[row, column] - expected).max() <= 0.51


def test_overlay_resizes_a_small_map() -> None:
    saliency = np.zeros((4, 4), np.uint8)
    saliency[:, 2:] = 255
    picture = pictures.overlay(np.full((40, 60, 3), 100, np.uint8), saliency)
    assert picture.shape == (40, 60, 3)
    assert picture[20, 5, 1] < picture[20, 55, 1] - 80


def test_contact_sheet_places_every_picture() -> None:
    cells = [np.full((10, 12, 3), value, np.uint8) for value in (10, 20, 30, 40)]
    sheet = pictures.contact_sheet([*cells[:3], None, cells[3]], columns=2, gap=3)
    assert sheet.shape == (3 * 10 + 2 * 3, 2 * 12 + 3, 3)
    expected = np.full(sheet.shape[:2], 255)
    for value, (top, left) in {10: (0, 0), 20: (0, 15), 30: (13, 0), 40: (26, 0)}.items():
        expected[top : top + 10, left : left + 12] = value
    assert np.array_equal(sheet, np.repeat(expected[..., None], 3, axis=2))


def test_contact_sheet_writes_captions_above_the_rows() -> None:
    cell = np.full((60, 200, 3), 120, np.uint8)
    plain = pictures.contact_sheet([cell, cell], columns=1, gap=4, captions=["", ""])
    sheet = pictures.contact_sheet([cell, cell], columns=1, gap=4, captions=["", "Summary 2"])
    changed = np.argwhere((plain != sheet).any(axis=2))
    above_second = sheet.shape[0] - 60
    assert changed.size and sheet[-60:].tobytes() == np.full((60, 200, 3), 120, np.uint8).tobytes()
    assert changed[:, 0].max() < above_second
    first_bottom = np.flatnonzero((plain == 120).all(axis=(1, 2)))[59]
    assert changed[:, 0].min() > first_bottom


def test_frame_is_drawn_on_a_copy(noise: np.ndarray) -> None:
    before = noise.copy()
    picture = pictures.framed(noise, 3)
    assert np.array_equal(noise, before)
    assert np.array_equal(picture[3:-3, 3:-3], noise[3:-3, 3:-3])
    border = np.ones((96, 96), bool)
    border[3:-3, 3:-3] = False
    assert (picture[border] == pictures.TEAL).all()


def test_encoded_picture_reads_back() -> None:
    smooth = np.stack(np.meshgrid(np.arange(0, 224), np.arange(0, 224))[:1] * 3, axis=2).astype(np.uint8)
    data = pictures.encode(smooth)
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == "WEBP"
        read = np.asarray(image.convert("RGB")).astype(int)
    assert np.abs(read - smooth).mean() < 3
    assert len(data) < 10_000 and data == pictures.encode(smooth)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pictures.photograph(np.zeros((8, 9, 3), np.uint8)), r"\[S, S, 3\], got uint8 \[8, 9, 3\]"),
        (lambda: pictures.photograph(np.zeros((8, 8, 3))), "got float64"),
        (lambda: pictures.photograph(np.zeros((8, 8), np.uint8)), r"got uint8 \[8, 8\]"),
        (lambda: pictures.photograph(np.zeros((0, 0, 3), np.uint8)), r"got uint8 \[0, 0, 3\]"),
        (
            lambda: pictures.salient_picture(np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8))),
            "regions must be bool",
        ),
        (
            lambda: pictures.salient_picture(np.zeros((8, 8, 3), np.uint8), np.zeros((4, 4), bool)),
            r"bool \[8, 8\], got bool \[4, 4\]",
        ),
        (
            lambda: pictures.overlay(np.zeros((8, 8, 3), np.uint8), np.zeros((3, 8, 8), np.uint8)),
            r"saliency must be uint8 \[h, w\]",
        ),
        (
            lambda: pictures.member_picture(
                np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), bool), np.full((3, 2), np.nan), (0, 0, 8, 8)
            ),
            "finite",
        ),
        (lambda: pictures.contact_sheet([None], 1, 0), "needs a picture"),
        (
            lambda: pictures.contact_sheet([np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5, 3), np.uint8)], 2, 0),
            r"\[4, 5, 3\]",
        ),
        (
            lambda: pictures.contact_sheet([np.zeros((4, 4, 3), np.uint8)] * 3, 2, 0, ["one"]),
            "2 rows needs 2 captions, got 1",
        ),
    ],
)
def test_unfit_arrays_are_named(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
