"""The pixels of TIFF files that Pillow reads wrongly, or not at all."""

import numpy as np
from PIL import Image

from visual_summaries.pipeline.data.pixels import (
    DecodeError,
    Pixels,
    Remark,
    cmyk_to_rgb,
    eight_bits,
    floats_to_eight_bits,
    gray_to_rgb,
    not_supported,
    on_white,
    signed_eight_bits,
)
from visual_summaries.pipeline.data.tiff.layout import (
    ASSOCIATED,
    BASE,
    CMYK,
    FLOATING,
    MODES,
    PALETTE,
    SIGNED,
    UNASSOCIATED,
    UNSPECIFIED,
    WHITE_IS_ZERO,
    YCBCR,
    Layout,
)
from visual_summaries.pipeline.data.tiff.samples import read_samples


def decode_rare_tiff(content: bytes, layout: Layout) -> Pixels:
    """The pixels of a file that `check` lets pass and that is not `usual`; not turned.

    Raises:
        DecodeError: it is damaged, or its values have no scale.
    """
    values = read_samples(content, layout)
    base, bits = BASE[layout.photometric], layout.bits
    extras = layout.extras if layout.says_extras else (UNASSOCIATED,) if layout.samples > base else ()
    # Of several the first that says how transparent a pixel is.
    alpha = next((at for at, kind in enumerate(extras) if kind != UNSPECIFIED and base + at < layout.samples), None)
    remarks: tuple[Remark, ...] = ()
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
        if not layout.says_extras:
            said = "the file does not say what its last sample is; it was taken as transparency"
            remarks += (Remark("last sample", said),)
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


def _of_palette(indices: np.ndarray, layout: Layout) -> tuple[np.ndarray, tuple[Remark, ...]]:
    if layout.bits > 16 or len(layout.colors) < 3 * 2**layout.bits:
        raise DecodeError(f"the TIFF file is damaged: its palette has {len(layout.colors) // 3} colors")
    palette = np.array(layout.colors[: 3 * 2**layout.bits], dtype=np.uint32).reshape(3, -1).T
    remarks: tuple[Remark, ...] = ()
    if palette.max() > 255:
        palette = palette >> 8
    elif palette.max() > 0:
        # Writers of old took 8 bits for 16; as 16 they would all be black.
        remarks = (Remark("palette", "the palette holds 8-bit values where 16 bits are due, and was taken so"),)
    return palette.astype(np.uint8)[indices], remarks
