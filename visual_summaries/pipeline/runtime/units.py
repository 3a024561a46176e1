"""Units of work and what comes back of them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from visual_summaries.pipeline.names import readable
from visual_summaries.pipeline.store.tables import Shard


@dataclass(frozen=True)
class Unit:
    """One piece of work and of resume: makes one shard.

    Attributes:
        label: class of the shard.
        identity: JSON values that, with the stage's fingerprint, determine the shard's content.
        items: image ids (or uris) in it, for progress and for finding the one that kills a worker.
        inputs: shards it reads, by table.
        payload: whatever else the work needs.
        divisible: whether single items can be worked on alone.
        size: images in it, or what else its stage counts, for progress.
        quadratic: whether its time may grow with the square of its size, as that of a whole class.
    """

    label: str
    identity: tuple[Any, ...]
    items: tuple[str, ...] = ()
    inputs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    payload: Any = None
    divisible: bool = False
    size: int = 0
    quadratic: bool = False
    name: str = ""
    fingerprint: str = ""

    @property
    def called(self) -> "UnitName":
        """What is kept of it when it is done."""
        return UnitName(self.label, self.name, self.fingerprint, self.size)


@dataclass(frozen=True, slots=True)
class UnitName:
    """Of a unit, what its shard is called by and how large it was; the driver may keep hundreds of thousands."""

    label: str
    name: str
    fingerprint: str
    size: int


@dataclass
class Output:
    """Rows of the stage's table and rows of `errors` that one unit gives.

    `table`: the rows, where they are a table already. `value`: what a stage without a table gives instead.
    """

    rows: list[dict[str, Any]]
    errors: list[dict[str, Any]] = field(default_factory=list)
    table: pa.Table | None = None
    value: Any = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the driver learns of a finished unit: its shards (or another value) and its cost."""

    unit: UnitName
    shard: Shard | None = None
    errors: Shard | None = None
    seconds: float = 0.0
    processor_seconds: float = 0.0
    peak_memory: int = 0
    cached: bool = False
    value: Any = None


@dataclass(frozen=True)
class Failure:
    """A unit that could not be done, and why."""

    unit: Unit
    reason: str


def known(value: float | None) -> float | None:
    """A figure for a table, where what is not finite is null."""
    return float(value) if value is not None and math.isfinite(value) else None


def error_row(
    stage: str,
    label: str,
    reason: str,
    image_id: str | None = None,
    uri: str | None = None,
    retry: bool = False,
) -> dict[str, Any]:
    """A row of `errors`; `retry` marks what another run may well manage: a crash, an unreadable file."""
    return {
        "stage": stage,
        "label": label,
        "image_id": image_id,
        "uri": uri,
        "reason": readable(reason),
        "retry": retry,
    }
