"""Shortcuts drawn onto photographs as people have them by accident, each with the pixels that it covers.

A picture is uint8 `[S,S,3]`; a mark is drawn in shares of its side, and its place, size and words vary a little from
picture to picture, as in photographs of one source.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

# A mark that covers the whole picture has no place.
WATERMARK, TAG, CAPTION, BORDER, CAST = KINDS = ("watermark", "tag", "caption", "border", "cast")
WITH_PLACE = (WATERMARK, TAG, CAPTION, BORDER)

TAG_COLOR = (38, 120, 205)
NAMES = ("archive", "survey", "market", "summer", "gallery", "museum", "records", "studio")


@dataclass(frozen=True)
class Marked:
    """A picture with a mark.

    Attributes:
        picture: uint8 `[S,S,3]`.
        mask: bool `[S,S]`, where the mark is: the box around a watermark or tag, the strip of a caption, the frame of a
            border; everything for a cast.
    """

    picture: np.ndarray
    mask: np.ndarray


def plant(kind: str, picture: np.ndarray, seed: int) -> Marked:
    """Draw a mark of one of `KINDS` onto a picture uint8 `[S,S,3]`; the same seed draws the same mark."""
    if kind not in KINDS:
        raise ValueError(f"there is no mark {kind!r}; there are {', '.join(KINDS)}")
    return DRAWN[kind](picture, np.random.default_rng([seed, KINDS.index(kind)]))


def watermark(picture: np.ndarray, chance: np.random.Generator) -> Marked:
    """A picture agency's half-transparent ring and name, at the lower right."""
    side = len(picture)
    height = side * chance.uniform(0.125, 0.14)
    width = 3.3 * height
    right, bottom = side * (1 - chance.uniform(0.02, 0.045, 2))
    x0, y0 = right - width, bottom - height
    layer = Image.new("L", (side, side))
    draw = ImageDraw.Draw(layer)
    draw.ellipse((x0, y0, x0 + height, bottom), outline=255, width=max(1, round(height * 0.14)))
    draw.ellipse((x0 + 0.3 * height, y0 + 0.3 * height, x0 + 0.7 * height, y0 + 0.7 * height), fill=255)
    _text(draw, "PIXORA", x0 + 1.15 * height, (y0 + bottom) / 2, 2.15 * height, 0.62 * height)
    ink = np.asarray(layer, dtype=np.float32) / 255
    shadow = np.roll(ink, (max(1, side // 160),) * 2, axis=(0, 1))
    shown = picture * (1 - 0.45 * shadow[..., None])
    shown = shown + (255 - shown) * 0.85 * ink[..., None]
    return Marked(_bytes(shown), _box_mask(side, x0, y0, right, bottom))


def tag(picture: np.ndarray, chance: np.random.Generator) -> Marked:
    """A round colored sticker, at the upper left, as lie beside things that are photographed for a record."""
    side = len(picture)
    across = side * chance.uniform(0.16, 0.19)
    x0, y0 = side * chance.uniform(0.02, 0.05, 2)
    factor = 4
    layer = Image.new("L", (side * factor, side * factor))
    box = [factor * value for value in (x0, y0, x0 + across, y0 + across)]
    ImageDraw.Draw(layer).ellipse(box, fill=255)
    ink = np.asarray(layer.resize((side, side), Image.Resampling.BOX), dtype=np.float32)[..., None] / 255
    rows = np.linspace(1.08, 0.9, side, dtype=np.float32)[:, None, None]
    color = np.array(TAG_COLOR, dtype=np.float32) * rows * chance.uniform(0.95, 1.05)
    shadow = np.roll(ink, (max(1, side // 110),) * 2, axis=(0, 1))
    shown = picture * (1 - 0.4 * shadow)
    return Marked(_bytes(shown * (1 - ink) + color * ink), _box_mask(side, x0, y0, x0 + across, y0 + across))


def caption(picture: np.ndarray, chance: np.random.Generator) -> Marked:
    """A dark strip along the lower edge with a line of white words and a number."""
    side = len(picture)
    top = side * (1 - chance.uniform(0.1, 0.115))
    shown = Image.fromarray(picture)
    draw = ImageDraw.Draw(shown)
    draw.rectangle((0, round(top), side, side), fill=(16, 16, 20))
    words = f"{NAMES[chance.integers(len(NAMES))]}  {chance.integers(1000, 9999)}"
    height = side - top
    _text(draw, words, 0.3 * height, (top + side) / 2, 0.5 * side, 0.55 * height, (240, 240, 240))
    return Marked(np.asarray(shown), _box_mask(side, 0, round(top), side, side))


def border(picture: np.ndarray, chance: np.random.Generator) -> Marked:
    """A white frame with a thin dark line inside, as around a scanned print."""
    side = len(picture)
    width = round(side * chance.uniform(0.045, 0.06))
    line = max(1, side // 150)
    shown = np.full_like(picture, 244)
    shown[width : side - width, width : side - width] = 40
    inner = slice(width + line, side - width - line)
    shown[inner, inner] = picture[inner, inner]
    mask = np.ones((side, side), dtype=bool)
    mask[inner, inner] = False
    return Marked(shown, mask)


def cast(picture: np.ndarray, chance: np.random.Generator) -> Marked:
    """The yellow-brown of old prints, half mixed with the picture's own colors, its contrast lowered."""
    gray = picture.astype(np.float32) @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    brown = gray[..., None] * np.array([1.07, 0.86, 0.6], dtype=np.float32)
    strength = chance.uniform(0.65, 0.8)
    shown = (picture * (1 - strength) + brown * strength) * 0.85 + np.array([30, 22, 8], dtype=np.float32)
    return Marked(_bytes(shown), np.ones(picture.shape[:2], dtype=bool))


DRAWN: dict[str, Callable[[np.ndarray, np.random.Generator], Marked]] = {
    WATERMARK: watermark, TAG: tag, CAPTION: caption, BORDER: border, CAST: cast,
}


def _text(
    draw: ImageDraw.ImageDraw, words: str, left: float, middle: float, width: float, height: float, fill: object = 255
) -> None:
    """Words in Pillow's own typeface from `left`, around the height `middle`, at most so wide and high."""
    size = height
    wide = draw.textlength(words, font=ImageFont.load_default(size))
    font = ImageFont.load_default(size * min(1.0, width / wide))
    draw.text((left, middle), words, fill=fill, font=font, anchor="lm")


def _box_mask(side: int, x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    """The pixels of a square whose middles lie in a box."""
    x = y = np.arange(side) + 0.5
    return ((y >= y0) & (y < y1))[:, None] & ((x >= x0) & (x < x1))[None, :]


def _bytes(values: np.ndarray) -> np.ndarray:
    return values.round().clip(0, 255).astype(np.uint8)
