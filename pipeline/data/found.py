"""A photograph that was found, and photographs by their labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# torchvision.datasets.folder.IMG_EXTENSIONS
EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


@dataclass(frozen=True, slots=True)
class Found:
    """A photograph: where it is, and its name relative to its root, which is the same on every machine."""

    uri: str
    name: str


Listing = Mapping[str, Sequence[Found]]
"""Photographs by label; a label may have none."""


def is_image(name: str) -> bool:
    """Whether a file, by its bare name, is a photograph that is not hidden."""
    return name.lower().endswith(EXTENSIONS) and not name.startswith(".")
