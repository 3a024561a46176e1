"""What a dry run looks at beyond the plan. Each look is a function of `LOOKS` that gives lines for a person."""

from collections.abc import Callable, Iterator, Sequence

from visual_summaries.pipeline.config import RunConfig
from visual_summaries.pipeline.data.catalog import CatalogClass, CatalogEntry, evenly
from visual_summaries.pipeline.data.class_map import CatalogError
from visual_summaries.pipeline.data.decode import DecodeError, read_image
from visual_summaries.pipeline.stages.images import file_states
from visual_summaries.pipeline.stages.inputs import Inputs, counted

SAMPLED = 20
SHOWN = 5


def files_are_there(config: RunConfig, inputs: Inputs) -> Iterator[str]:
    """Which files a manifest lists that are not there, or are gone since a folder was listed.

    Raises:
        CatalogError: none is there.
    """
    states = file_states(entry.uri for group in inputs.classes for entry in group.entries)
    missing = [uri for uri, (_, written) in states.items() if written < 0]
    if len(missing) == len(states):
        raise CatalogError(f"none of {counted(len(states), 'file', 'files')} is there, such as {missing[0]}")
    if not missing:
        yield f"All {counted(len(states), 'file is', 'files are')} there."
    else:
        yield f"{len(missing):,} of {len(states):,} files are not there, such as {', '.join(missing[:SHOWN])}."


def a_sample_is_read(config: RunConfig, inputs: Inputs) -> Iterator[str]:
    """Whether some photographs, spread over the classes, can be decoded.

    Raises:
        CatalogError: none of them can.
    """
    chosen = sample(inputs.classes)
    failures = []
    for entry in chosen:
        try:
            read_image(entry.uri)
        except DecodeError as error:
            failures.append(f"  {entry.uri}: {error}")
    classes = counted(len({entry.label for entry in chosen}), "class", "classes")
    photographs = counted(len(chosen), "photograph", "photographs")
    if failures and len(failures) == len(chosen):
        raise CatalogError(f"none of {photographs} of {classes} that were looked at can be read:\n{_some(failures)}")
    if failures:
        yield f"{len(failures)} of {photographs} of {classes} that were looked at cannot be read:\n{_some(failures)}"
    else:
        yield f"Looked at {photographs} of {classes}: all can be read."


LOOKS: tuple[Callable[[RunConfig, Inputs], Iterator[str]], ...] = (files_are_there, a_sample_is_read)


def looked_at(config: RunConfig, inputs: Inputs) -> Iterator[str]:
    """What all looks say; raises a CatalogError where a run could not do anything."""
    for look in LOOKS:
        yield from look(config, inputs)


def sample(classes: Sequence[CatalogClass]) -> list[CatalogEntry]:
    """At most `SAMPLED` photographs: of as many classes as can be, and spread within each."""
    groups = evenly([group for group in classes if group.entries], SAMPLED)
    chosen = []
    for number, group in enumerate(groups):
        share = SAMPLED // len(groups) + (number < SAMPLED % len(groups))
        chosen += evenly(group.entries, share)
    return chosen


def _some(lines: Sequence[str]) -> str:
    more = [f"  … and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return "\n".join([*lines[:SHOWN], *more])
