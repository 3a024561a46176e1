"""What a run's tables have cost, whatever runs made them: the tables `costs`, a row per unit, and `runs`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

from visual_summaries.pipeline.runtime.units import Outcome
from visual_summaries.pipeline.store.tables import Shard, StoreError, TableStore, Unreachable, digest
from visual_summaries.schemas import make_table

PART_ROWS = 20_000


@dataclass(frozen=True)
class Cost:
    """Of a stage's table: seconds in which it was worked on, processor seconds in workers, bytes of the largest."""

    seconds: float
    worker_seconds: float
    peak_memory: int


class Ledger:
    """Enters what units cost, and knows what they cost in earlier runs.

    Rows of earlier runs stay: a shard that is found complete cost what it cost when it was made.
    """

    def __init__(self, store: TableStore, run: str) -> None:
        """`run`: the run that the new rows are of. Nothing is read or written yet."""
        self._store, self._run = store, run
        self._rows: list[dict[str, Any]] = []
        self._full: list[Shard] = []
        self._written = 0

    def enter(self, stage: str, outcome: Outcome) -> None:
        """A unit was done just now."""
        self._rows.append(
            {
                "run": self._run,
                "stage": stage,
                "label": outcome.unit.label,
                "unit": outcome.unit.name,
                "ended": datetime.now(UTC),
                "seconds": outcome.seconds,
                "worker_seconds": outcome.processor_seconds,
                "peak_memory": outcome.peak_memory,
            }
        )

    def write(self) -> None:
        """Write what was entered since the last time; a run that is killed later has cost that much all the same."""
        if len(self._rows) == self._written:
            return
        parts = [self._rows[start : start + PART_ROWS] for start in range(0, len(self._rows), PART_ROWS)]
        shards = [
            self._store.write("costs", self._path(len(self._full) + number), make_table("costs", rows), "")
            for number, rows in enumerate(parts)
        ]
        self._store.write_manifest("costs", "", [*self._earlier("costs"), *self._full, *shards], complete=True)
        full = len(self._rows) // PART_ROWS
        self._full += shards[:full]
        self._rows = self._rows[full * PART_ROWS :]
        self._written = len(self._rows)

    def cost(self, stage: str, outcomes: Sequence[Outcome], seconds: float) -> Cost:
        """What the units of a stage cost together; those that this run has done took it `seconds`, side by side.

        Those found complete cost what the runs took that made them. Where no run has said it, they count nothing.
        """
        found = [self._known.get((stage, outcome.unit.name)) for outcome in outcomes if outcome.cached]
        earlier = [row for row in found if row is not None]
        new = [outcome for outcome in outcomes if not outcome.cached]
        spans: dict[str, list[datetime]] = {}
        for row in earlier:
            spans.setdefault(row["run"], []).extend((row["ended"] - timedelta(seconds=row["seconds"]), row["ended"]))
        return Cost(
            seconds + sum((max(times) - min(times)).total_seconds() for times in spans.values()),
            sum(outcome.processor_seconds for outcome in new) + sum(row["worker_seconds"] for row in earlier),
            max([outcome.peak_memory for outcome in new] + [row["peak_memory"] for row in earlier], default=0),
        )

    def write_runs(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write the run's rows of `runs` beside those of earlier runs."""
        shard = self._store.write("runs", f"{digest(self._run)}/label=/run.parquet", make_table("runs", rows), "")
        self._store.write_manifest("runs", digest(self._run), [*self._earlier("runs"), shard], complete=True)

    @cached_property
    def _known(self) -> dict[tuple[str, str], dict[str, Any]]:
        """(stage, unit) → its row of the last run that did it."""
        rows = self._store.read("costs", [shard.path for shard in self._earlier("costs")]).to_pylist()
        return {(row["stage"], row["unit"]): row for row in sorted(rows, key=lambda row: row["ended"])}

    def _earlier(self, table: str) -> list[Shard]:
        return self._before[table]

    @cached_property
    def _before(self) -> dict[str, list[Shard]]:
        """The shards of earlier runs that can be read: what is lost of them must not keep the tables from readers."""
        own = digest(self._run)
        return {
            table: [
                shard
                for path, shard in self._store.listed(table).items()
                if not path.startswith(f"{own}/") and self._readable(table, path)
            ]
            for table in ("costs", "runs")
        }

    def _readable(self, table: str, path: str) -> bool:
        try:
            self._store.read(table, [path])
        except Unreachable:
            raise
        except StoreError:
            return False
        return True

    def _path(self, number: int) -> str:
        return f"{digest(self._run)}/label=/{number}.parquet"
