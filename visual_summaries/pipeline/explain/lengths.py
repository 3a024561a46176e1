"""Lengths that the methods were published with, for 224-px images, in the pixels of any other image."""

PUBLISHED_SIDE = 224
"""Side in pixels of the images that lengths in pixels are meant for."""


def pixels(length: float, height: int, width: int, least: float = 0.0) -> float:
    """`length` pixels of a 224-px image as pixels of an image of `height` by `width`; of a 224-px image exactly.

    The shorter side counts, as it does where preprocessing resizes a photograph: things are then as large, in
    lengths, as in a square image of that side.

    Args:
        length: 0 or more; 0 is nothing at any size.
        least: lower bound in pixels, because a smaller length would do nothing.
    """
    return max(least, length * min(height, width) / PUBLISHED_SIDE) if length else 0.0
