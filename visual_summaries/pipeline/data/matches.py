"""Which photographs of a run annotations are of, and whether they can be places in them."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from visual_summaries.pipeline.data.annotations import Box, keys_of
from visual_summaries.pipeline.data.class_map import CatalogError
from visual_summaries.pipeline.suggestions import few

LOOKED_AT = 12
"""Photographs whose size is compared with their annotations."""
BEYOND = 1.0
"""Pixels by which an annotation may go beyond a photograph without a word: programs round, and count from 0 or 1."""
SUSPECT = 8


@dataclass(frozen=True)
class Photograph:
    """Where a photograph is, and its label."""

    uri: str
    label: str


def matched(
    source: str, what: str, counts: Mapping[str, int], photographs: Sequence[Photograph]
) -> tuple[dict[str, Photograph], str]:
    """The photographs that annotations are of, by what they call them, and a line that says how many are.

    Args:
        source: setting and file, for messages.
        what: "boxes", "landmarks", "part boxes".
        counts: what annotations call a photograph → how many there are.

    Raises:
        CatalogError: none is of a photograph of the run, or one is of two.
    """
    found: dict[str, Photograph] = {}
    for photograph in photographs:
        key = next((key for key in keys_of(photograph.uri, photograph.label) if key in counts), None)
        if key is None:
            continue
        if key in found and found[key].uri != photograph.uri:
            raise CatalogError(
                f"{source}: {key} is {found[key].uri} and {photograph.uri}: write more of the path as `file`"
            )
        found[key] = photograph
    total, used = sum(counts.values()), sum(counts[key] for key in found)
    if not counts:
        raise CatalogError(f"{source}: there are no {what} in it")
    others = [key for key in counts if key not in found]
    if not found:
        example = "/".join(keys_of(photographs[0].uri, photographs[0].label)[-1].split("/")[-2:]) if photographs else ""
        bare = " without its folder" if "/" not in others[0] else ""
        raise CatalogError(
            f"{source}: 0 of {total:,} {what} are of photographs of this run. `file` is <class>/<name>, such as "
            f"{example}; found {few(others, 2)}{bare}"
        )
    said = f"{source}: {used:,} of {total:,} {what} are of photographs of this run"
    said += f", on {len(found):,} of its {len(photographs):,}"
    return found, f"{said}; the others are of {few(others, 2)}." if others else f"{said}."


def beyond(
    source: str,
    what: str,
    points: Iterable[tuple[str, str, tuple[float, float, float, float]]],
    sizes: Mapping[str, tuple[int, int]],
) -> list[str]:
    """Notes about boxes, or points as boxes without an inside, that go beyond their photographs.

    Args:
        points: (where it stands in the file, what it calls the photograph, x0, y0, x1, y1).
        sizes: width and height of some of the photographs.

    Raises:
        CatalogError: all of those whose photograph's size is known lie beyond it.
    """
    known = [(place, key, edges) for place, key, edges in points if key in sizes]
    outside, over, negative = [], [], []
    for place, key, (x0, y0, x1, y1) in known:
        width, height = sizes[key]
        said = f"{place}, of {key}: x to {x1:g}, y to {y1:g} in a photograph of {width} × {height} pixels"
        if x0 >= width + BEYOND or y0 >= height + BEYOND:
            outside.append(said)
        elif x1 > width + BEYOND or y1 > height + BEYOND:
            over.append(said)
        if x0 < -BEYOND or y0 < -BEYOND:
            negative.append(f"{place}, of {key}: {x0:g}, {y0:g}")
    wrong = [*outside, *over]
    if wrong and len(wrong) == len(known):
        raise CatalogError(
            f"{source}: all of {len(known)} {what} that were compared with their photographs go beyond them, such as "
            f"{wrong[0]}: are they in pixels of other sizes of the photographs, or x, y, width, height?"
        )
    notes = []
    if wrong:
        notes.append(f"{source}: {len(wrong)} of {len(known)} {what} go beyond their photographs, such as {wrong[0]}.")
    if negative:
        count = f"{len(negative)} of {len(known)} {what}"
        notes.append(f"{source}: {count} begin at negative coordinates, such as {negative[0]}.")
    return notes


def sizes_instead(source: str, boxes: Sequence[Box], sizes: Mapping[str, tuple[int, int]]) -> list[str]:
    """A note where boxes could as well be x, y, width, height: all would fit into their photographs, which of boxes
    that are not so, one in four does."""
    known = [(box.edges, sizes[box.key]) for box in boxes if box.key in sizes]
    fit = all(x0 + x1 <= width and y0 + y1 <= height for (x0, y0, x1, y1), (width, height) in known)
    if len(known) < SUSPECT or not fit:
        return []
    return [
        f"{source}: all of {len(known)} boxes that were compared with their photographs would fit as x, y, width, "
        "height as well: see that x1 and y1 are the right and lower edges."
    ]


def repeated(source: str, boxes: Sequence[Box]) -> list[str]:
    """A note about boxes that are there more than once; they count once."""
    counts = Counter((box.key, box.edges) for box in boxes)
    twice = [key for (key, _), count in counts.items() if count > 1]
    if not twice:
        return []
    count = f"{len(twice)} of {len(boxes)} boxes"
    return [f"{source}: {count} are there more than once, such as of {twice[0]}; they count once."]
