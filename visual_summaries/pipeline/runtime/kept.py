"""Tables that another job may add to a run, but not change: each is used with the shards that its manifest lists."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from visual_summaries.pipeline.runtime.failures import RunFailed
from visual_summaries.pipeline.runtime.stage import Stage
from visual_summaries.pipeline.runtime.units import Outcome, Unit
from visual_summaries.pipeline.store.tables import Shard, TableStore

MEND = "run summarize again with what there is now, or measure in another folder (--output)"


@dataclass(frozen=True)
class Kept:
    """A table as it was found.

    Attributes:
        fingerprint: of the stage that wrote it.
        whole: whether it lacks nothing; a finished run may lack units that failed.
        shards: those listed, by path.
    """

    fingerprint: str
    whole: bool
    shards: Mapping[str, Shard]


def kept_tables(store: TableStore, stages: Sequence[Stage]) -> dict[str, Kept]:
    """All tables of a finished run; of any other one those that are whole, up to the first that is not.

    A run is finished when its last table is there. What follows a table that is not whole may have to be made again.
    """
    finished = bool(store.listed(stages[-1].writes))
    kept = {}
    for stage in stages:
        fingerprint, whole = store.settled(stage.writes)
        if not (whole or finished):
            break
        kept[stage.writes] = Kept(fingerprint, whole, store.listed(stage.writes))
    return kept


def units_as_kept(
    kept: Kept, stage: Stage, units: Sequence[Unit], there: Mapping[str, Outcome], store: TableStore
) -> list[Unit]:
    """The units that the table holds; those that its own run has lost are left to that run.

    Raises:
        RunFailed: a unit would have to be computed that the table does not know, or whose shard is lost.
    """
    own = []
    for unit in units:
        path = store.shard_path(stage.writes, unit.fingerprint, unit.label, unit.name)
        if path in kept.shards:
            if unit.name not in there:
                raise RunFailed(
                    f"{store.folder(stage.writes) / path} is missing or damaged, and the table {stage.writes} of a "
                    "finished run is not made anew by the way: run summarize again"
                )
            own.append(unit)
        elif kept.whole:
            raise _changed(stage, {unit.label}, store)
    return own


def check_kept(kept: Kept, stage: Stage, outcomes: Iterable[Outcome], store: TableStore) -> None:
    """Raise a RunFailed where the table holds what the run's inputs do not lead to any more."""
    found = {outcome.shard.path for outcome in outcomes if outcome.shard is not None}
    if gone := {shard.label for path, shard in kept.shards.items() if path not in found}:
        raise _changed(stage, gone, store)


def _changed(stage: Stage, labels: Iterable[str], store: TableStore) -> RunFailed:
    named = ", ".join(sorted(label or "all classes" for label in labels)[:5])
    return RunFailed(
        f"what the table {stage.writes} in {store.root} was made from has changed since ({named}): photographs were "
        f"added, changed or removed, or annotations. The finished table stays as it is: {MEND}"
    )
