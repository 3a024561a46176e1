"""What a person gives in Python, as the rest of the program has it: settings, photographs, the class to explain."""

import hashlib
import io
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from visual_summaries.pipeline.config import ConfigurationError, RunConfig, load_config
from visual_summaries.pipeline.data.class_map import ClassMap
from visual_summaries.pipeline.data.decode import DecodeError, decode, read_image
from visual_summaries.pipeline.models.classifier import Classifier
from visual_summaries.pipeline.objects import ObjectPath
from visual_summaries.pipeline.suggestions import did_you_mean, few

# Pillow's color modes that a PNG file holds as they are.
PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16")

Photograph = str | os.PathLike | Image.Image | np.ndarray


def configured(settings: Mapping[str, Any] | None, given: Mapping[str, Any]) -> RunConfig:
    """The configuration of `settings` and what arguments say by dotted names, without those that are None.

    Raises:
        ConfigurationError: an unknown name or impossible value; or a setting that an argument says as well.
    """
    known = {name: plain(value) for name, value in given.items() if value is not None}
    values = {name: plain(value) for name, value in leaves_given(settings)}
    if twice := sorted(values.keys() & known.keys()):
        raise ConfigurationError(f"{twice[0]} is given twice, as an argument and in settings: leave one of them")
    return load_config(values=values | known)


def leaves_given(settings: Mapping[str, Any] | None, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of the settings, which may be given by dotted names or section by section."""
    for name, value in (settings or {}).items():
        if not isinstance(name, str):
            raise ConfigurationError(f"settings: {name!r} is no name of a setting; write section.key")
        if isinstance(value, Mapping):
            yield from leaves_given(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def plain(value: Any) -> Any:
    """A path as text, which settings are."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return str(value) if isinstance(value, ObjectPath) else value


def decoded(photograph: Photograph) -> tuple[np.ndarray, str, str | None]:
    """(pixels uint8 [H, W, 3] RGB upright, id, path or address if it has one) of a photograph.

    The id of a file is the sha256 of its bytes, as in the tables; of pixels it is that of the pixels.

    Raises:
        DecodeError: the file cannot be read; the message names it.
        ValueError: the array is not uint8 [H, W, 3] or [H, W].
        TypeError: it is something else.
    """
    if isinstance(photograph, str | os.PathLike | ObjectPath):
        name = str(plain(photograph))
        try:
            found = read_image(os.path.expanduser(name) if "://" not in name else name)
        except DecodeError as error:
            raise DecodeError(f"{name}: {error}", error.image_id) from None
        return found.image, found.image_id, name
    if isinstance(photograph, Image.Image):
        pixels = _of_pillow(photograph)
    elif isinstance(photograph, np.ndarray):
        pixels = _of_array(photograph)
    else:
        raise TypeError(
            f"a photograph is a path, a PIL image or an array uint8 [height, width, 3], not {type(photograph).__name__}"
        )
    identity = hashlib.sha256(f"{pixels.shape}|".encode() + pixels.tobytes()).hexdigest()
    return pixels, identity, getattr(photograph, "filename", None) or None


def _of_pillow(image: Image.Image) -> np.ndarray:
    """As a file that holds the same: transparency on white, 16 bits to 8, upright."""
    image = ImageOps.exif_transpose(image)
    if image.mode == "RGB":
        return np.array(image)
    stream = io.BytesIO()
    (image if image.mode in PNG_MODES else image.convert("RGB")).save(stream, "PNG", compress_level=1)
    return decode(stream.getvalue())


def _of_array(array: np.ndarray) -> np.ndarray:
    gray = array.ndim == 2 and array.size > 0
    if array.dtype != np.uint8 or not (gray or (array.ndim == 3 and array.shape[2] == 3 and array.size > 0)):
        raise ValueError(
            f"an array must be uint8 [height, width, 3], red, green and blue from 0 to 255, or gray [height, width]; "
            f"this one is {array.dtype} {list(array.shape)}"
        )
    return np.repeat(array[..., None], 3, axis=2) if gray else np.ascontiguousarray(array)


def class_index(target: int | str, classifier: Classifier) -> int:
    """The class that a person names by its index, name, synonym or WordNet id.

    Raises:
        ValueError: the classifier has no such class, or several of that name.
        TypeError: it is neither a number nor text.
    """
    names = classifier.class_names
    if isinstance(target, bool) or not isinstance(target, int | np.integer | str):
        raise TypeError(f"target is a class's index or name, not {type(target).__name__}")
    if not isinstance(target, str):
        if not 0 <= target < len(names):
            raise ValueError(f"target {target}: {classifier.name} has the classes 0 to {len(names) - 1}")
        return int(target)
    classes = ClassMap(names, classifier.wordnet_ids)
    found = classes.candidates(target)
    if len(found) > 1:
        raise ValueError(f"target {target!r} may be any of the classes {classes.named(found)}: give the index")
    if not found:
        near = did_you_mean(target, names, 3) or f"; its classes: {few(names)}"
        raise ValueError(f"target {target!r} is no class of {classifier.name}{near}")
    return found.pop()


def targets_of(
    target: int | str | Iterable[int | str | None] | None, count: int, classifier: Classifier
) -> list[int | None]:
    """The class of each of `count` photographs, None where it is the predicted one; raises as `class_index`."""
    several = isinstance(target, Iterable) and not isinstance(target, str)
    wanted = list(target) if several else [target] * count
    if len(wanted) != count:
        raise ValueError(f"there are {len(wanted)} targets for {count} photographs: give one, or one for each")
    return [None if one is None else class_index(one, classifier) for one in wanted]
