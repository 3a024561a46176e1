"""Before any worker starts: annotations that a run names are read, and are of its photographs."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from visual_summaries.pipeline.config import RunConfig
from visual_summaries.pipeline.data.annotations import Box, boxes_in, read_landmarks
from visual_summaries.pipeline.data.catalog import CatalogClass, evenly
from visual_summaries.pipeline.data.class_map import CatalogError
from visual_summaries.pipeline.data.decode import DecodeError, read_image
from visual_summaries.pipeline.data.matches import LOOKED_AT, Photograph, beyond, matched, repeated, sizes_instead
from visual_summaries.pipeline.data.parts import Parts, read_parts
from visual_summaries.pipeline.objects import ObjectPath
from visual_summaries.pipeline.suggestions import few


@dataclass(frozen=True)
class Annotations:
    """What the files say that a run names; None where it names none."""

    boxes: Sequence[Box] | None
    landmarks: Mapping[str, Mapping[str, tuple[float, float]]] | None
    parts: Parts | None


def read_annotations(config: RunConfig) -> Annotations:
    """Read them; errors as the readers, with the setting's name before them."""
    data = config.data
    return Annotations(
        data.boxes and boxes_in(data.boxes.path),
        data.landmarks and read_landmarks(data.landmarks.path),
        data.parts and read_parts(data.parts.path),
    )


def annotation_notes(config: RunConfig, known: Annotations, classes: Iterable[CatalogClass]) -> list[str]:
    """How many of the annotations are of the run's photographs, and what is odd about them.

    Raises:
        CatalogError: none is, or all of some that were compared with their photographs lie beyond them.
    """
    if known == Annotations(None, None, None):
        return []
    size_of = cache(_size_of)
    photographs = [Photograph(entry.uri, entry.label) for group in classes for entry in group.entries]
    data = config.data
    notes = []
    if known.boxes is not None:
        source = _source("data.boxes", data.boxes.path)
        of, said = matched(source, "boxes", Counter(box.key for box in known.boxes), photographs)
        sizes = _sizes(of, size_of)
        edges = [(box.place, box.key, box.edges) for box in known.boxes]
        notes += [said, *repeated(source, known.boxes), *beyond(source, "boxes", edges, sizes)]
        notes += sizes_instead(source, known.boxes, sizes)
    if known.landmarks is not None:
        source = _source("data.landmarks", data.landmarks.path)
        counts = {key: len(places) for key, places in known.landmarks.items()}
        of, said = matched(source, "landmarks", counts, photographs)
        points = [
            (part, key, (x, y, x, y)) for key, places in known.landmarks.items() for part, (x, y) in places.items()
        ]
        notes += [said, *beyond(source, "landmarks", points, _sizes(of, size_of))]
    if known.parts is not None:
        source = _source("data.parts", data.parts.path)
        of, said = matched(source, "part boxes", {key: len(own) for key, own in known.parts.items()}, photographs)
        _check_classes(source, known.parts, of)
        edges = [
            (f"part {part}", key, tuple(box)) for key, own in known.parts.items() for (_, part), (box, _) in own.items()
        ]
        notes += [said, *beyond(source, "part boxes", edges, _sizes(of, size_of))]
    return notes


def _source(setting: str, path: Path | ObjectPath) -> str:
    return f"{setting}: {path}"


def _check_classes(source: str, parts: Parts, photographs: Mapping[str, Photograph]) -> None:
    named = {label for key in photographs for label, _ in parts[key]}
    labels = {photograph.label for photograph in photographs.values()}
    if not named & labels:
        raise CatalogError(
            f"{source}: no `class` of the part boxes is a label of this run: found {few(sorted(named), 3)}, the labels "
            f"are {few(sorted(labels), 3)}"
        )


def _sizes(
    photographs: Mapping[str, Photograph], size_of: Callable[[str], tuple[int, int] | None]
) -> dict[str, tuple[int, int]]:
    """Width and height of some, spread over all, those that cannot be read left out."""
    found = {key: size_of(photographs[key].uri) for key in evenly(sorted(photographs), LOOKED_AT)}
    return {key: size for key, size in found.items() if size is not None}


def _size_of(uri: str) -> tuple[int, int] | None:
    try:
        height, width = read_image(uri).image.shape[:2]
    except DecodeError:
        return None
    return width, height
