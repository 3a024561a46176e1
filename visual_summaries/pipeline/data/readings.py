"""What is to be said of the classes that labels were taken for: by what they are known, and what else they may mean."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping

from visual_summaries.pipeline.data.class_map import GIVEN, NAME, NUMBER, SYNONYM, ClassMap
from visual_summaries.pipeline.suggestions import did_you_mean, few

SHOWN = 3


def readings(names: ClassMap, labels: Collection[str], indices: Mapping[str, int]) -> list[str]:
    """Notes about labels that mean one class each.

    Args:
        names: what found their classes.
        labels: of the run's photographs.
        indices: those that are class indices by their kind, not as text.
    """
    taken = {label: names.read(label) for label in sorted(labels)}
    found = {label: min(classes) for label, (classes, _) in taken.items()}
    known_by = {label: "index" if label in indices and how == GIVEN else how for label, (_, how) in taken.items()}
    ways = ", ".join(f"{count:,} by {how}" for how, count in Counter(known_by.values()).most_common())
    unnamed = ", which have no names here (model.labels gives them)" if names.unnamed else ""
    count = f"{len(found):,} label{'' if len(found) == 1 else 's'}"
    of = f"{len({*found.values()}):,} of the network's {len(names.class_names):,}"
    notes = [f"Classes: {count} for {of}{unnamed}: {ways}."]
    labels_of = defaultdict(list)
    for label, index in found.items():
        labels_of[index].append(label)
    if shared := [f"{few(several, SHOWN)} → {index}" for index, several in labels_of.items() if len(several) > 1]:
        notes.append(f"Several labels are one class: {'; '.join(shared[:SHOWN])}.")
    by_number = {label: index for label, index in found.items() if known_by[label] == NUMBER}
    by_name = {label: index for label, index in found.items() if known_by[label] in (NAME, SYNONYM)}
    return [*notes, *_as_folders(by_number, len(names.class_names)), *_as_numbers(by_name, names)]


def _as_folders(found: Mapping[str, int], classes: int) -> list[str]:
    """What torchvision's ImageFolder would have called the classes of folders that are numbers."""
    if not found:
        return []
    every = sorted(found)
    if len(every) < classes and {*every} <= {*map(str, range(classes))}:
        # Some of the folders that it was trained with.
        every = sorted(map(str, range(classes)))
    place = {label: at for at, label in enumerate(every)}
    differing = [label for label in sorted(found, key=int) if place[label] != found[label]]
    if not differing or len(every) != classes:
        return []
    at = next(at for at in range(1, len(every)) if int(every[at]) < int(every[at - 1]))
    before, after = every[at - 1], every[at]
    # Those that stand side by side only as text say it best.
    differing.sort(key=lambda label: label not in (before, after, "10"))
    shown = _pairs((label, found[label]) for label in differing)
    other = _pairs((label, place[label]) for label in differing)
    return [
        f"{len(differing):,} labels that are numbers are taken for class indices, as numbers: {shown}. torchvision's "
        f"ImageFolder puts folders in order as text, where {before} comes before {after}: {other}. If the network was "
        "trained by that, give the indices in a class map (data.class_map)."
    ]


def _as_numbers(found: Mapping[str, int], names: ClassMap) -> list[str]:
    """What labels that are a class's name would be as numbers."""
    numbers = {label: number for label in found if (number := names.numbered(label)) is not None}
    differing = sorted((label for label, number in numbers.items() if number != found[label]), key=int)
    if not differing:
        return []
    shown = _pairs((label, found[label]) for label in differing)
    other = _pairs((label, numbers[label]) for label in differing)
    return [
        f"{len(differing):,} labels that are numbers are taken for the classes of that name: {shown}; not for class "
        f"indices: {other}. If they are indices, give them in a class map (data.class_map)."
    ]


def _pairs(pairs: Iterable[tuple[str, int]]) -> str:
    return few([f"{label} → class {index}" for label, index in pairs], SHOWN)


def unused_entries(class_map: Collection[str], labels: Collection[str]) -> str:
    """What of a class map is of no label; empty if nothing is."""
    unused = sorted({*class_map} - {*labels})
    if not unused:
        return ""
    near = did_you_mean(unused[0], labels) if len(unused) == 1 else ""
    return (
        f"{len(unused):,} of {len(class_map):,} entries are of no label: {few(unused)}; the labels are "
        f"{few(sorted(labels))}{near}"
    )
