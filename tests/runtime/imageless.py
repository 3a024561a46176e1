"""Runs of nothing in particular: as little of settings and inputs as the runtime asks for."""

import io
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from rich.console import Console

from visual_summaries.pipeline.runtime.records import RunState
from visual_summaries.pipeline.runtime.stage import Plan, Stage
from visual_summaries.pipeline.store.tables import TableStore


@dataclass(frozen=True)
class Settings:
    """`RunSettings`, and what the stages of a test may want to know besides."""

    output: str
    seed: int = 0
    error_tolerance: float = 0.05
    more: dict[str, Any] = field(default_factory=dict)

    def model_dump(self, *, mode: str) -> dict[str, Any]:
        assert mode == "json"
        return asdict(self)


@dataclass(frozen=True)
class Group:
    """A class that holds so many things."""

    label: str
    things: tuple[str, ...]


@dataclass(frozen=True)
class Inputs:
    """`RunInputs`; `version` is the one thing that a stage may depend on."""

    classes: tuple[Group, ...]
    version: str = "1"
    missing: str = "there is nothing to count"

    @property
    def image_count(self) -> int:
        return sum(len(group.things) for group in self.classes)

    def identity(self, depends_on: Collection[str]) -> tuple[Any, ...]:
        if {*depends_on} - {"version"}:
            raise ValueError(f"unknown: {depends_on}")
        return (self.version if depends_on else None,)

    def only(self, group: Group) -> "Inputs":
        return replace(self, classes=(group,))


class Unwatched:
    """Stands where `RunWatch` and `StageWatch` do, which need Ray."""

    def stage(self, name: str) -> "Unwatched":
        return self

    def __getattr__(self, name: str):  # noqa: ANN204
        return lambda *arguments: None


def inputs_of(labels: Sequence[str], count: int) -> Inputs:
    """Classes of so many things each."""
    return Inputs(tuple(Group(label, tuple(f"{label}{n}" for n in range(count))) for label in labels))


def state_of(folder, stages: Sequence[Stage], inputs: Inputs, **settings: Any) -> RunState:  # noqa: ANN001
    """The state of a run that has done nothing yet and that nobody watches."""
    config = Settings(str(folder), **settings)
    store = TableStore(config.output)
    console = Console(file=io.StringIO())
    return RunState(config, inputs, store, console, Plan(config, store, inputs, {}), "run", stages, watch=Unwatched())
