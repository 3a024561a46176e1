"""Drawing on arrays: members as in the paper's Figure 1, saliency over photographs, contact sheets."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

RED = (214, 16, 38)
"""The common part, and nothing else in the report."""

TEAL = (13, 110, 110)
"""Accent: the frame of the exemplar."""

PAPER = (255, 255, 255)
INK = (52, 64, 66)

FADED_CONTRAST = 0.26
"""Share of its contrast to paper white that the part of a photograph keeps that is not salient."""

REGION_EDGE = 0.6
"""Opacity of the thin gray edge of a salient region, which shows it on white and gray photographs too."""

OVERLAY_GRAY = 0.4
"""Share of the gray photograph in a saliency overlay; the rest is color."""

LINE_WIDTH = 3.2
"""Width of the red outline in pixels, in a picture of side 224 or less; larger pictures scale it."""

HALO_WIDTH = 1.4
"""Width of the white line on each side of the red one, likewise."""

_SUPERSAMPLING = 4

# Ten colors at equal steps along viridis (S. van der Walt and N. Smith, 2015; CC0).
_VIRIDIS = "440154 482878 3e4989 31688e 26828e 1f9e89 35b779 6ece58 b5de2b fde725".split()


def color_map() -> np.ndarray:
    """Lookup table from saliency to color: viridis, perceptually uniform and safe for color blindness.

    Returns:
        uint8 [256, 3], RGB, from dark violet to yellow.
    """
    anchors = np.array([tuple(bytes.fromhex(code)) for code in _VIRIDIS], np.float64)
    places = np.linspace(0.0, 255.0, len(anchors))
    channels = [np.interp(np.arange(256), places, anchors[:, channel]) for channel in range(3)]
    return np.rint(np.stack(channels, axis=1)).astype(np.uint8)


_COLORS = color_map()


def member_picture(
    image: np.ndarray, regions_mask: np.ndarray, hull: np.ndarray, box: Sequence[float], size: int = 224
) -> np.ndarray:
    """A member of a summary: its salient regions in color, the rest faded, the common part outlined in red.

    The outline is antialiased and lies between two thin white lines, so that it shows on any background; it
    is moved inside the picture where the part reaches the border. (Visual-summaries paper, Figure 1.)

    Args:
        image: uint8 [S, S, 3], RGB.
        regions_mask: bool [S, S], the salient regions that the member's box touches.
        hull: float [n, 2], x and y of the part's convex hull in pixels, in order around it; with fewer than 3
            points the box is outlined instead.
        box: x0, y0, x1, y1 in pixels, half-open.
        size: side of the picture in pixels.

    Returns:
        uint8 [size, size, 3].

    Raises:
        ValueError: an array has the wrong type or shape.
    """
    picture = salient_picture(image, regions_mask, size)
    points = np.asarray(hull, np.float64).reshape(-1, 2)
    if len(points) < 3:
        x0, y0, x1, y1 = (float(edge) for edge in box)
        points = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
    if not np.isfinite(points).all():
        raise ValueError(f"the hull of a member must hold finite coordinates, got {points.tolist()}")
    return _outline(picture, points * (size / image.shape[0]))


def salient_picture(image: np.ndarray, regions_mask: np.ndarray, size: int = 224) -> np.ndarray:
    """The photograph with its salient regions in color and the rest gray and faded toward white.

    Args:
        image: uint8 [S, S, 3], RGB.
        regions_mask: bool [S, S].
        size: side of the picture in pixels.

    Returns:
        uint8 [size, size, 3].

    Raises:
        ValueError: an array has the wrong type or shape.
    """
    resized = photograph(image, size)
    mask = np.asarray(regions_mask)
    if mask.dtype != np.bool_ or mask.shape != image.shape[:2]:
        raise ValueError(f"regions must be bool {list(image.shape[:2])}, got {mask.dtype} {list(mask.shape)}")
    gray = np.asarray(Image.fromarray(resized).convert("L"), np.float32)[..., None]
    faded = 255.0 - FADED_CONTRAST * (255.0 - gray)
    coverage = Image.fromarray(mask.astype(np.uint8) * 255).resize((size, size), Image.Resampling.BILINEAR)
    share = np.asarray(coverage.filter(ImageFilter.GaussianBlur(0.7)), np.float32) / 255.0
    picture = _blend(faded, resized, share)
    return _blend(picture, INK, REGION_EDGE * 4 * share * (1 - share))


def photograph(image: np.ndarray, size: int = 224) -> np.ndarray:
    """The image uint8 [S, S, 3] resized to uint8 [size, size, 3].

    Raises:
        ValueError: the image has the wrong type or shape.
    """
    _check_image(image)
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.LANCZOS))


def overlay(image: np.ndarray, saliency: np.ndarray) -> np.ndarray:
    """Saliency in color over the photograph in gray.

    Args:
        image: uint8 [H, W, 3], RGB.
        saliency: uint8 [h, w], 255 = most salient; resized to the image.

    Returns:
        uint8 [H, W, 3].

    Raises:
        ValueError: an array has the wrong type or shape.
    """
    _check_image(image, square=False)
    saliency = np.asarray(saliency)
    if saliency.dtype != np.uint8 or saliency.ndim != 2 or not saliency.size:
        raise ValueError(f"saliency must be uint8 [h, w], got {saliency.dtype} {list(saliency.shape)}")
    height, width = image.shape[:2]
    resized = Image.fromarray(saliency).resize((width, height), Image.Resampling.BILINEAR)
    gray = np.asarray(Image.fromarray(image).convert("L"), np.float32)[..., None]
    colors = _COLORS[np.asarray(resized)].astype(np.float32)
    return _blend(colors, gray, np.full((height, width), OVERLAY_GRAY, np.float32))


def mask_picture(saliency: np.ndarray, size: int = 224) -> np.ndarray:
    """The saliency map itself, white where it is most salient.

    Args:
        saliency: uint8 [h, w].
        size: side of the picture in pixels.

    Returns:
        uint8 [size, size, 3].

    Raises:
        ValueError: the map has the wrong type or shape.
    """
    saliency = np.asarray(saliency)
    if saliency.dtype != np.uint8 or saliency.ndim != 2 or not saliency.size:
        raise ValueError(f"saliency must be uint8 [h, w], got {saliency.dtype} {list(saliency.shape)}")
    gray = np.asarray(Image.fromarray(saliency).resize((size, size), Image.Resampling.BILINEAR))
    return np.repeat(gray[..., None], 3, axis=2)


def numbered_regions(
    picture: np.ndarray, masks: Sequence[np.ndarray], numbers: Sequence[int] | None = None
) -> np.ndarray:
    """The photograph in gray with each region in color, edged and numbered.

    Args:
        picture: uint8 [P, P, 3].
        masks: of the regions, bool [S, S] each.
        numbers: of the regions; default from 1.

    Returns:
        uint8 [P, P, 3].

    Raises:
        ValueError: the picture has the wrong type or shape.
    """
    _check_image(picture)
    size = len(picture)
    gray = np.asarray(Image.fromarray(picture).convert("L"), np.float32)[..., None]
    result = np.rint(np.broadcast_to(255.0 - FADED_CONTRAST * (255.0 - gray), picture.shape)).astype(np.uint8)
    centers = []
    for mask in masks:
        grown = Image.fromarray(mask.astype(np.uint8) * 255).resize((size, size), Image.Resampling.BILINEAR)
        share = np.asarray(grown, np.float32) / 255.0
        result = _blend(result, picture, share)
        # Where a blurred mask is neither in nor out is its edge.
        soft = np.asarray(grown.filter(ImageFilter.GaussianBlur(1.5)), np.float32) / 255.0
        result = _blend(result, TEAL, (4 * soft * (1 - soft)) ** 2)
        centers.append(_inmost(share))
    canvas = Image.fromarray(result)
    draw, letter = ImageDraw.Draw(canvas), max(12, round(size * 0.075))
    font = ImageFont.load_default(letter)
    for number, (x, y) in zip(numbers or range(1, len(centers) + 1), centers, strict=True):
        stroke = {"stroke_width": 2, "stroke_fill": PAPER}
        draw.text((x, y), str(number), fill=TEAL, font=font, anchor="mm", **stroke)
    return np.asarray(canvas)


def boxed(picture: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """The photograph in gray with thin boxes; where many meet, their lines add up.

    Args:
        picture: uint8 [P, P, 3].
        boxes: float [n, 4], x0, y0, x1, y1 in pixels of the picture, half-open.

    Returns:
        uint8 [P, P, 3].

    Raises:
        ValueError: the picture has the wrong type or shape.
    """
    _check_image(picture)
    size = len(picture)
    gray = np.asarray(Image.fromarray(picture).convert("L"), np.float32)[..., None]
    shown = np.ones((size, size), np.float32)
    for box in boxes:
        x0, y0, x1, y1 = (int(edge) for edge in np.clip(np.rint(box), 0, size - 1))
        frame = np.zeros((size, size), bool)
        frame[[y0, y1], x0 : x1 + 1] = True
        frame[y0 : y1 + 1, [x0, x1]] = True
        shown[frame] *= 0.35
    return _blend(255.0 - FADED_CONTRAST * 1.6 * (255.0 - gray), TEAL, 1.0 - shown)


def _inmost(share: np.ndarray) -> tuple[float, float]:
    """A place well inside a region: the brightest of its blurred mask, so never outside a bent one."""
    blurred = Image.fromarray((share * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(len(share) / 24))
    y, x = np.unravel_index(int(np.argmax(np.asarray(blurred, np.float32) * (share > 0.5))), share.shape)
    return float(x), float(y)


def contact_sheet(
    pictures: Sequence[np.ndarray | None], columns: int, gap: int, captions: Sequence[str] | None = None
) -> np.ndarray:
    """Pictures of one size side by side, row by row, on white.

    Args:
        pictures: uint8 [h, w, 3], all alike; None leaves a place empty.
        columns: pictures in a row.
        gap: white between two pictures, in pixels; there is none around the sheet.
        captions: one line for each row, written above it; use Latin letters only, for the font of Pillow that
            is drawn everywhere has no others.

    Returns:
        uint8 [H, W, 3]. A sheet with one row is only as wide as its pictures.

    Raises:
        ValueError: no pictures, pictures of different sizes, or not one caption for each row.
    """
    present = [picture for picture in pictures if picture is not None]
    if not present or columns < 1 or gap < 0:
        raise ValueError("a contact sheet needs a picture, a column and a gap of 0 pixels or more")
    height, width = present[0].shape[:2]
    for picture in present:
        if picture.dtype != np.uint8 or picture.shape != (height, width, 3):
            raise ValueError(
                f"pictures of a contact sheet must be uint8 {[height, width, 3]}, "
                f"got {picture.dtype} {list(picture.shape)}"
            )
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    if captions is not None and len(captions) != rows:
        raise ValueError(f"a contact sheet of {rows} rows needs {rows} captions, got {len(captions)}")
    letter = max(12, round(height * 0.105))
    above = 0 if captions is None else round(letter * 1.75)
    pitch = height + above + (gap if captions is None else max(gap, letter))
    sheet = np.empty((rows * pitch - (pitch - height - above), columns * (width + gap) - gap, 3), np.uint8)
    sheet[:] = PAPER
    for place, picture in enumerate(pictures):
        if picture is not None:
            top, left = place // columns * pitch + above, place % columns * (width + gap)
            sheet[top : top + height, left : left + width] = picture
    if captions is None:
        return sheet
    canvas = Image.fromarray(sheet)
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(letter)
    for row, caption in enumerate(captions):
        draw.text((0, row * pitch + letter), caption, fill=INK, font=font, anchor="ls")
    return np.asarray(canvas)


def framed(picture: np.ndarray, width: int = 3) -> np.ndarray:
    """A copy of the picture uint8 [H, W, 3] with a frame of `width` pixels in the accent color."""
    copy = picture.copy()
    copy[:width] = copy[-width:] = TEAL
    copy[:, :width] = copy[:, -width:] = TEAL
    return copy


def encode(picture: np.ndarray) -> bytes:
    """The picture uint8 [H, W, 3] as a WebP file of quality 80."""
    stream = io.BytesIO()
    # Method 2 takes less than half the time of 4, for files a twentieth larger.
    Image.fromarray(picture).save(stream, "WEBP", quality=80, method=2)
    return stream.getvalue()


def _check_image(image: np.ndarray, square: bool = True) -> None:
    fits = image.dtype == np.uint8 and image.ndim == 3 and image.shape[-1] == 3 and image.size
    if not fits or (square and image.shape[0] != image.shape[1]):
        wanted = "[S, S, 3]" if square else "[H, W, 3]"
        raise ValueError(f"an image must be uint8 {wanted}, got {image.dtype} {list(image.shape)}")


def _blend(below: np.ndarray, above: np.ndarray | tuple[int, int, int], share: np.ndarray) -> np.ndarray:
    """below and above [H, W, 3] or [H, W, 1] in 0..255, or one color; share [H, W] of above -> uint8 [H, W, 3]."""
    # Pillow's own blending is several times faster than arithmetic on floating-point arrays.
    mask = Image.fromarray((share * 255 + 0.5).astype(np.uint8))
    picture = _colored(below)
    picture.paste(above if isinstance(above, tuple) else _colored(above), (0, 0), mask)
    return np.asarray(picture)


def _colored(layer: np.ndarray) -> Image.Image:
    """A color picture of [H, W, 3] or [H, W, 1] in 0..255, of its own."""
    whole = layer if layer.dtype == np.uint8 else (layer + 0.5).astype(np.uint8)
    return Image.fromarray(whole) if whole.shape[2] == 3 else Image.fromarray(whole[..., 0]).convert("RGB")


def _outline(picture: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Draw the closed polygon through points [n, 2] (x, y in pixels of the picture) in red between white lines."""
    size = picture.shape[0]
    scale = max(1.0, size / 224)
    line, halo = LINE_WIDTH * scale, (LINE_WIDTH + 2 * HALO_WIDTH) * scale
    points = points.clip(line / 2, size - line / 2)
    # Only the part of the picture that the line reaches is drawn finely.
    left, top = np.floor(points.min(axis=0) - halo).clip(0).astype(int)
    right, bottom = np.ceil(points.max(axis=0) + halo).clip(max=size).astype(int)
    part = picture[top:bottom, left:right]
    for width, color in ((halo, PAPER), (line, RED)):
        part = _blend(part, color, _stroke(points - [left, top], width, part.shape[:2]))
    picture = picture.copy()
    picture[top:bottom, left:right] = part
    return picture


def _stroke(points: np.ndarray, width: float, shape: tuple[int, int]) -> np.ndarray:
    """Share [height, width] of each pixel that a line of `width` pixels around the polygon covers."""
    mask = Image.new("L", (shape[1] * _SUPERSAMPLING, shape[0] * _SUPERSAMPLING))
    draw = ImageDraw.Draw(mask)
    # Pillow's coordinates are pixel centers, ours are pixel edges.
    fine = points * _SUPERSAMPLING - 0.5
    thick = width * _SUPERSAMPLING
    for start, end in zip(fine, np.roll(fine, -1, axis=0), strict=True):
        draw.line([*start, *end], fill=255, width=round(thick))
        draw.ellipse([*(start - thick / 2), *(start + thick / 2)], fill=255)
    return np.asarray(mask.reduce(_SUPERSAMPLING), np.float32) / 255.0
